//! The administration services that scripts for a real server use, on a port of their own (docs/protocol.md §33.7).

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bitcoin::Amount;
use futures::future::BoxFuture;
use server_rpc::lookup_grpc_method;
use server_rpc::protos::{Empty, WalletStatus, WalletStatusResponse};
use server_rpc::server::{
    RoundAdminService, RoundAdminServiceServer, WalletAdminService, WalletAdminServiceServer,
};
use server_rpc::tonic::body::Body;
use server_rpc::tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use server_rpc::tonic::{self, Request, Response, Status};
use tower::Service;

use super::Runs;
use super::state::Ark;
use super::status::RpcError;

/// The administration services; a restart does not interrupt them.
#[derive(Clone)]
pub struct AdminGate {
    rounds: RoundAdminServiceServer<Admin>,
    wallet: WalletAdminServiceServer<Admin>,
}

impl AdminGate {
    /// In front of these runs.
    pub fn new(runs: Arc<Runs>) -> AdminGate {
        let admin = Arc::new(Admin(runs));
        AdminGate {
            rounds: RoundAdminServiceServer::from_arc(admin.clone()),
            wallet: WalletAdminServiceServer::from_arc(admin),
        }
    }
}

impl Service<HttpRequest<Body>> for AdminGate {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        // Each service answers a method that it does not have with `Unimplemented`.
        match lookup_grpc_method(request.uri().path()).0 {
            "WalletAdminService" => self.wallet.call(request),
            _ => self.rounds.call(request),
        }
    }
}

struct Admin(Arc<Runs>);

#[tonic::async_trait]
impl RoundAdminService for Admin {
    // The round goes on after the answer.
    async fn trigger_round(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.current().start_round();
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl WalletAdminService for Admin {
    async fn wallet_status(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<WalletStatusResponse>, Status> {
        let rounds = wallet_status(&self.0.current())
            .await
            .map_err(RpcError::from)?;
        Ok(Response::new(WalletStatusResponse {
            rounds: Some(rounds),
            watchman: None,
        }))
    }
}

async fn wallet_status(ark: &Ark) -> anyhow::Result<WalletStatus> {
    let mut status = WalletStatus {
        address: ark.coins.address().to_string(),
        ..WalletStatus::default()
    };
    let (mut trusted, mut untrusted) = (Amount::ZERO, Amount::ZERO);
    for coin in ark.chain.unspent(&ark.keys.coins.script()).await? {
        let (sum, list) = match coin.height {
            Some(_) => (&mut trusted, &mut status.confirmed_utxos),
            None => (&mut untrusted, &mut status.unconfirmed_utxos),
        };
        *sum += coin.output.value;
        list.push(coin.outpoint.to_string());
    }
    status.trusted_balance = trusted.to_sat();
    status.untrusted_balance = untrusted.to_sat();
    status.total_balance = (trusted + untrusted).to_sat();
    Ok(status)
}
