//! The REST API: it reads a request, makes one call to the wallet, and writes the answer (docs/protocol.md §22 and §23).
//!
//! A request passes, from the outside in: CORS, the id and deadline of [`request`], the guard of [`origin`], the panic
//! catcher, the router (404), the token check of [`auth`], the method (405), and then its handler: path, query, body,
//! wallet, argument checks. Errors leave as [`error::ApiError`].

pub(crate) mod auth;
pub(crate) mod origin;

mod document;
mod error;
mod extract;
mod refusals;
mod request;
mod routes;
mod schema;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::SwaggerUi;

pub use document::openapi;

use self::auth::Secret;
use self::error::ApiError;
use crate::wallet::Wallet;
use crate::wallet::lifecycle::WalletSlot;

/// The maximum size of a request body, in bytes.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The settings of the API.
#[derive(Debug)]
pub(crate) struct Options {
    /// The bearer token's secret; `None` switches authentication off.
    pub secret: Option<Secret>,
    /// The address that the daemon listens on.
    pub bind: SocketAddr,
    /// Without authentication: whether requests with any `Host` are accepted.
    pub any_host: bool,
    /// Origins of web pages that may call the API.
    pub allowed_origins: Vec<HeaderValue>,
    /// Whether `GET /wallet/mnemonic` answers.
    pub expose_mnemonic: bool,
}

/// The state that the handlers share.
#[derive(Clone)]
struct App {
    wallets: Arc<WalletSlot>,
    expose_mnemonic: bool,
}

impl App {
    /// The loaded wallet; without one, the 422 answer.
    fn wallet(&self) -> Result<Arc<Wallet>, ApiError> {
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
    let app = App {
        wallets,
        expose_mnemonic: options.expose_mnemonic,
    };
    let (api, _) = routes::api().split_for_parts();
    let api = api
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(from_fn_with_state(options.secret, auth::require_token))
        .with_state(app);
    let (open, _) = routes::open().split_for_parts();
    let open = open
        .merge(SwaggerUi::new("/swagger-ui").url("/api-docs/openapi.json", openapi()))
        .route("/openapi.json", get(async || axum::Json(openapi())))
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
        format!("There is no endpoint at {}", uri.path()),
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
