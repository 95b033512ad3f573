//! The bodies of failed requests, for the document; [`crate::http::error`] writes them.

use utoipa::{IntoResponses, ToSchema};

/// Bodies with what they say, and what some of them have besides the keys of all.
macro_rules! error_body {
    ($($name:ident $(+ { $($more:tt)* })?: $doc:literal),* $(,)?) => {$(
        #[doc = $doc]
        #[derive(ToSchema)]
        #[allow(dead_code)]
        pub(in crate::http) struct $name {
            /// What went wrong, for a human reader.
            message: String,
            /// What went wrong, as a stable word for programs.
            code: String,
            /// The id under which the daemon logs this request.
            request_id: String,
            $($($more)*)?
        }
    )*};
}

error_body! {
    BadRequestError: "The request is invalid.",
    UnauthorizedError: "The bearer token is missing or wrong.",
    ForbiddenError: "Without authentication, foreign web pages are refused.",
    NotFoundError + {
        /// The names of the things that were not found.
        resources: Vec<String>,
    }: "The named thing does not exist.",
    RequestTimeoutError: "The body did not arrive in time.",
    ConflictError + {
        /// The id of the movement, in the history, of what goes on by itself.
        movement_id: Option<u32>,
    }: "The request conflicts with the current state.",
    GoneError: "What was asked for is not kept any more.",
    PayloadTooLargeError: "The body is too large.",
    UnsupportedMediaTypeError: "The content type is not JSON.",
    UnprocessableEntityError: "No wallet is loaded, or the body has the wrong shape.",
    InternalServerError: "Something went wrong inside the daemon.",
    ServiceUnavailableError: "The Ark server or the chain is unreachable. Nothing was done; the same request may succeed later.",
    GatewayTimeoutError + {
        /// The id of the movement, in the history, of what goes on by itself.
        movement_id: Option<u32>,
    }: "The request took too long and may still be in progress; check the history before repeating it.",
}

/// The errors of every route that needs a token.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(in crate::http) enum Always {
    /// The bearer token is missing or wrong.
    #[response(status = 401)]
    Unauthorized(UnauthorizedError),
    /// Internal server error
    #[response(status = 500)]
    Internal(InternalServerError),
    /// The request took too long and may still be in progress.
    #[response(status = 504)]
    Timeout(GatewayTimeoutError),
}

/// The errors of every route that needs a loaded wallet.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(in crate::http) enum NeedsWallet {
    /// The bearer token is missing or wrong.
    #[response(status = 401)]
    Unauthorized(UnauthorizedError),
    /// No wallet is loaded, or the body has the wrong shape.
    #[response(status = 422)]
    NoWallet(UnprocessableEntityError),
    /// Internal server error
    #[response(status = 500)]
    Internal(InternalServerError),
    /// The request took too long and may still be in progress.
    #[response(status = 504)]
    Timeout(GatewayTimeoutError),
}
