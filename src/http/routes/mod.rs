//! The routes: one folder for each tag of the OpenAPI document, one file for each endpoint.
//!
//! Every file has the same shape: request and response types, the declaration for the document, and a handler that parses the request,
//! calls the wallet once, and converts the result.

mod bitcoin;
mod boards;
mod exits;
mod fees;
mod history;
mod lightning;
mod message;
mod notifications;
mod onchain;
mod ping;
pub(super) mod wallet;
mod webhooks;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;

/// The routes that need a bearer token.
pub(super) fn api() -> OpenApiRouter<App> {
    let v1 = OpenApiRouter::new()
        .merge(bitcoin::routes())
        .merge(wallet::routes())
        .merge(boards::routes())
        .merge(onchain::routes())
        .merge(exits::routes())
        .merge(fees::routes())
        .merge(history::routes())
        .merge(lightning::routes())
        .merge(message::routes())
        .merge(notifications::routes())
        .merge(webhooks::routes());
    OpenApiRouter::new().nest("/api/v1", v1)
}

/// The routes that need no token.
pub(super) fn open() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(ping::ping))
}

/// The routes that need a ticket.
pub(super) fn ticketed() -> Router<App> {
    notifications::ticketed()
}
