//! The REST API: it reads a request, makes one call to the wallet, and writes the answer (docs/protocol.md §22 and §23).
//!
//! [`server`] accepts connections and bounds how long they wait for their clients. A request passes, from the outside in: CORS, the id
//! and deadline of [`request`], the guard of [`origin`], the panic catcher, the router (404), the token check of [`auth`], the keys of
//! [`idempotency`], the method (405), and then its handler: path, query, body, wallet, argument checks. Errors leave as
//! [`error::ApiError`].

pub(crate) mod auth;
pub(crate) mod origin;
pub(crate) mod server;

mod document;
mod error;
mod extract;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod idempotency;
mod refusals;
mod request;
mod routes;
mod schema;
#[cfg(test)]
mod tests;
mod tickets;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use document::openapi;
pub(crate) use schema::notification::json as event_json;

use self::auth::Secret;
use self::error::ApiError;
use self::idempotency::Keyed;
use self::tickets::Tickets;
use crate::wallet::lifecycle::{InUse, WalletSlot};

/// Where the OpenAPI document is.
const DOCUMENT: &str = "/api-docs/openapi.json";
/// The maximum size of a request body, in bytes.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The settings of the API.
#[derive(Debug)]
pub(crate) struct Options {
    /// The bearer token's secret; `None` switches authentication off.
    pub secret: Option<Secret>,
    /// The address that the daemon listens on.
    pub bind: SocketAddr,
    /// Without authentication: whether requests with any `Host` are accepted. Never on loopback, where only this machine's names lead.
    pub any_host: bool,
    /// Origins of web pages that may call the API.
    pub allowed_origins: Vec<HeaderValue>,
    /// Whether `GET /wallet/mnemonic` answers.
    pub expose_mnemonic: bool,
    /// Cancelled when the daemon stops: ends what waits for events.
    pub stopping: CancellationToken,
}

/// The state that the handlers share.
#[derive(Clone)]
struct App {
    wallets: Arc<WalletSlot>,
    expose_mnemonic: bool,
    stopping: CancellationToken,
    tickets: Arc<Tickets>,
}

impl App {
    /// The loaded wallet; without one, the 422 answer.
    fn wallet(&self) -> Result<InUse, ApiError> {
        self.wallets.loaded().ok_or_else(ApiError::no_wallet)
    }
}

/// The router of the whole API, on top of the daemon's wallet.
pub(crate) fn router(wallets: Arc<WalletSlot>, options: Options) -> Router {
    let guard = origin::Guard {
        bind: options.bind,
        any_host: options.any_host,
        allowed_origins: options.allowed_origins.clone(),
    };
    let guard = options.secret.is_none().then(|| Arc::new(guard));
    let (api, document) = routes::api().split_for_parts();
    let keyed = Keyed::new(Arc::clone(&wallets), &document);
    let app = App {
        wallets,
        expose_mnemonic: options.expose_mnemonic,
        stopping: options.stopping,
        tickets: Arc::default(),
    };
    let ticketed = routes::ticketed().with_state(app.clone());
    let api = api
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(from_fn_with_state(keyed, idempotency::carry_out_once))
        .route_layer(from_fn_with_state(options.secret, auth::require_token))
        .with_state(app);
    let (open, _) = routes::open().split_for_parts();
    // Written once: anybody may ask for it, and writing it takes long.
    let written = openapi().to_json().expect("the document is plain data");
    let written = Bytes::from(written);
    let json = [(header::CONTENT_TYPE, "application/json")];
    let document = move || std::future::ready((json, written.clone()));
    let open = open
        .route(DOCUMENT, get(document.clone()))
        .route("/openapi.json", get(document))
        .merge(SwaggerUi::new("/swagger-ui").config(Config::from(DOCUMENT)))
        .merge(ticketed)
        .method_not_allowed_fallback(method_not_allowed);
    api.merge(open)
        .fallback(unknown_path)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(
            |panic: Box<dyn std::any::Any + Send>| ApiError::panicked(&*panic).into_response(),
        ))
        .layer(from_fn_with_state(guard, origin::refuse_foreign_pages))
        .layer(from_fn(request::handle))
        .layer(origin::cors(&options.allowed_origins))
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::not_found(
        "unknown_path",
        format!(
            "There is no endpoint at {}; /api-docs/openapi.json lists all",
            uri.path()
        ),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!(
            "{} does not support the method {method}; the Allow header lists the supported ones",
            uri.path()
        ),
    )
}
