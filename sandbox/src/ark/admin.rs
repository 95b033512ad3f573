//! The administration service that scripts for a real server use, on a port of its own (docs/protocol.md §33.7). Of all its methods
//! only the one that starts a round exists here.

use std::sync::Arc;

use server_rpc::protos::Empty;
use server_rpc::server::{RoundAdminService, RoundAdminServiceServer};
use server_rpc::tonic::{self, Request, Response, Status};

use super::Runs;

/// The service over these runs; a restart does not interrupt it.
pub fn service(runs: Arc<Runs>) -> RoundAdminServiceServer<impl RoundAdminService> {
    RoundAdminServiceServer::new(Admin(runs))
}

struct Admin(Arc<Runs>);

#[tonic::async_trait]
impl RoundAdminService for Admin {
    /// Starts a round, and answers before its end.
    async fn trigger_round(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.current().start_round();
        Ok(Response::new(Empty {}))
    }
}
