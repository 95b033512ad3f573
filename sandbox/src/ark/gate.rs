//! What happens to every call before its handler: it is counted, transport faults are applied, and its headers are checked. A call
//! in progress ends with an error when the run of the server ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::DateTime;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use server_rpc::lookup_grpc_method;
use server_rpc::server::{ArkServiceServer, MailboxServiceServer};
use server_rpc::tonic::body::Body;
use server_rpc::tonic::codec::CompressionEncoding::Zstd;
use server_rpc::tonic::codegen::http::header::{DATE, HeaderValue};
use server_rpc::tonic::codegen::http::{Request, Response};
use server_rpc::tonic::{Code, Status};
use tokio::time::sleep;
use tower::Service;

use super::faults::Action;
use super::headers::check_headers;
use super::service::Rpc;
use super::state::Ark;
use super::status::with_identifiers;

/// The gRPC services of one run of the server. They refuse a request above [`Params::max_request_bytes`] with `OutOfRange`.
///
/// [`Params::max_request_bytes`]: super::Params::max_request_bytes
#[derive(Clone)]
pub struct Gate {
    ark: Arc<Ark>,
    ark_service: ArkServiceServer<Rpc>,
    mailbox_service: MailboxServiceServer<Rpc>,
}

impl Gate {
    /// The services of this run.
    pub fn new(ark: Arc<Ark>) -> Gate {
        let rpc = Arc::new(Rpc(ark.clone()));
        let max_bytes = ark.params.max_request_bytes;
        Gate {
            ark,
            ark_service: ArkServiceServer::from_arc(rpc.clone())
                .max_decoding_message_size(max_bytes)
                .accept_compressed(Zstd)
                .send_compressed(Zstd),
            mailbox_service: MailboxServiceServer::from_arc(rpc)
                .max_decoding_message_size(max_bytes)
                .accept_compressed(Zstd)
                .send_compressed(Zstd),
        }
    }

    async fn pass(mut self, request: Request<Body>) -> Result<Response<Body>, Status> {
        if self.ark.alive.is_cancelled() {
            // A connection that outlived its run.
            return Err(Status::unavailable("server restarted"));
        }
        let (service, rpc) = lookup_grpc_method(request.uri().path());
        self.ark.faults.count(rpc);
        let action = self.ark.faults.on_call(rpc);
        match &action {
            Some(Action::Delay { ms }) => sleep(Duration::from_millis(*ms)).await,
            Some(Action::DropBefore) => return Err(Status::unavailable("connection reset")),
            Some(Action::Status {
                code,
                message,
                identifiers,
            }) => {
                let status = Status::new(Code::from(*code), message);
                return Err(with_identifiers(status, identifiers));
            }
            _ => {}
        }
        check_headers(rpc, request.headers())?;
        let faults = self.ark.faults.clone();
        let request = request.map(|body| measured(body, move |bytes| faults.measure(rpc, bytes)));
        // Each service answers a method that it does not have with `Unimplemented`.
        let Ok(response) = match service {
            "MailboxService" => self.mailbox_service.call(request).await,
            _ => self.ark_service.call(request).await,
        };
        match action {
            Some(Action::DropAfter) => Err(Status::unavailable("connection reset")),
            Some(Action::StatusAfter { code, message }) => {
                Err(Status::new(Code::from(code), message))
            }
            _ => Ok(response),
        }
    }
}

/// The same body; `note` gets the number of bytes that have arrived with each piece.
fn measured(body: Body, note: impl Fn(usize) + Send + 'static) -> Body {
    let mut arrived = 0;
    let pieces = axum::body::Body::new(body).into_data_stream();
    Body::new(axum::body::Body::from_stream(pieces.inspect_ok(
        move |piece| {
            arrived += piece.len();
            note(arrived);
        },
    )))
}

impl Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gate = self.clone();
        let (ark, alive) = (gate.ark.clone(), gate.ark.alive.clone());
        Box::pin(async move {
            // The handler is polled first, so that a handler that ends the run itself still answers.
            let passed = tokio::select! {
                biased;
                passed = gate.pass(request) => passed,
                () = alive.cancelled() => Err(Status::unavailable("server restarted")),
            };
            let mut answer = passed.unwrap_or_else(Status::into_http);
            let now = DateTime::UNIX_EPOCH + ark.now_for_clients();
            let date = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            if let Ok(date) = HeaderValue::from_str(&date) {
                answer.headers_mut().insert(DATE, date);
            }
            Ok(answer)
        })
    }
}
