//! A door in front of the Ark server that notes from when to when it was busy with calls.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use server_rpc::tonic::Status;
use server_rpc::tonic::body::Body;
use server_rpc::tonic::codegen::http::{Request, Response};
use server_rpc::tonic::transport::server::TcpIncoming;
use server_rpc::tonic::transport::{Channel, Endpoint, Server};
use tower::Service;

/// How long a call that is bound to happen may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Calls that keep a connection alive or follow a stream: nobody waits for them.
const BACKGROUND: [&str; 4] = [
    "Handshake",
    "GetArkInfo",
    "SubscribeMailbox",
    "SubscribeRounds",
];

/// The door. Clients connect to [`Proxy::url`].
#[derive(Clone)]
pub struct Proxy {
    /// Where clients connect.
    pub url: String,
    calls: Calls,
}

/// The calls whose answers are there.
type Calls = Arc<Mutex<Vec<Call>>>;

/// A call to the server.
#[derive(Clone)]
struct Call {
    rpc: String,
    begun: Instant,
    ended: Instant,
}

impl Proxy {
    /// Opens a door to the server at `url`.
    pub fn open(url: &str) -> Proxy {
        let server = Endpoint::from_shared(url.to_owned()).expect("a URL");
        let calls = Calls::default();
        let door = Door {
            server: server.tcp_nodelay(true).connect_lazy(),
            calls: Arc::clone(&calls),
        };
        let any = "127.0.0.1:0".parse().expect("an address");
        let incoming = TcpIncoming::bind(any).expect("a free port");
        let incoming = incoming.with_nodelay(Some(true));
        let address = incoming.local_addr().expect("an address");
        tokio::spawn(Server::builder().serve_with_incoming(door, incoming));
        Proxy {
            url: format!("http://{address}"),
            calls,
        }
    }

    /// How long the server was busy between two moments, and with how many calls.
    pub fn busy(&self, from: Instant, to: Instant) -> (Duration, usize) {
        let mut calls = self
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        calls.retain(|call| call.begun >= from && call.ended <= to);
        calls.sort_by_key(|call| call.begun);
        let mut busy = Duration::ZERO;
        let mut counted_to = from;
        for Call { begun, ended, .. } in &calls {
            busy += ended.saturating_duration_since(counted_to.max(*begun));
            counted_to = counted_to.max(*ended);
        }
        (busy, calls.len())
    }

    /// Forgets all calls.
    pub fn forget(&self) {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Waits until a call of this RPC that began after a moment is answered; tells when that was.
    pub async fn answered(&self, rpc: &str, after: Instant) -> Instant {
        loop {
            let calls = self
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let found = calls
                .iter()
                .find(|call| call.rpc == rpc && call.begun >= after);
            if let Some(call) = found {
                return call.ended;
            }
            assert!(after.elapsed() < PATIENCE, "{rpc} is not called");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[derive(Clone)]
struct Door {
    server: Channel,
    calls: Calls,
}

impl Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut door = self.clone();
        Box::pin(async move {
            let rpc = request.uri().path().rsplit('/').next().unwrap_or_default();
            let rpc = rpc.to_owned();
            let begun = Instant::now();
            let answer = async {
                std::future::poll_fn(|context| door.server.poll_ready(context)).await?;
                door.server.call(request).await
            };
            let answer = answer.await;
            if !BACKGROUND.contains(&rpc.as_str()) {
                let mut calls = door.calls.lock().unwrap_or_else(PoisonError::into_inner);
                calls.push(Call {
                    rpc,
                    begun,
                    ended: Instant::now(),
                });
            }
            Ok(answer.unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http()))
        })
    }
}
