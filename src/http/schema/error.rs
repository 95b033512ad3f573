//! The bodies of failed requests as the document declares them; [`crate::http::error`] writes them.

use utoipa::{IntoResponses, ToSchema};

macro_rules! error_body {
    ($($name:ident: $doc:literal),* $(,)?) => {$(
        #[doc = $doc]
        #[derive(ToSchema)]
        #[allow(dead_code)]
        pub(in crate::http) struct $name {
            /// What went wrong, for people.
            message: String,
            /// What went wrong, a stable word for programs.
            code: String,
            /// The id under which the daemon logs this request.
            request_id: String,
        }
    )*};
}

error_body! {
    BadRequestError: "The request cannot be carried out as it stands.",
    UnauthorizedError: "The bearer token is missing or wrong.",
    ConflictError: "The request does not go with the present state.",
    UnprocessableEntityError: "No wallet is loaded, or the body has the wrong shape.",
    InternalServerError: "Something went wrong inside the daemon.",
    ServiceUnavailableError: "The Ark server or the chain is out of reach; the same request may work later.",
}

/// There is no such thing.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(in crate::http) struct NotFoundError {
    /// What went wrong, for people.
    message: String,
    /// What went wrong, a stable word for programs.
    code: String,
    /// The id under which the daemon logs this request.
    request_id: String,
    /// The names of what was not found.
    resources: Vec<String>,
}

/// What every route behind the token may answer.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(in crate::http) enum Always {
    /// The bearer token is missing or wrong.
    #[response(status = 401)]
    Unauthorized(#[to_schema] UnauthorizedError),
    /// Internal server error
    #[response(status = 500)]
    Internal(#[to_schema] InternalServerError),
}

/// What every route that needs the wallet may answer.
#[derive(IntoResponses)]
#[allow(dead_code)]
pub(in crate::http) enum NeedsWallet {
    /// The bearer token is missing or wrong.
    #[response(status = 401)]
    Unauthorized(#[to_schema] UnauthorizedError),
    /// No wallet is loaded, or the body has the wrong shape.
    #[response(status = 422)]
    NoWallet(#[to_schema] UnprocessableEntityError),
    /// Internal server error
    #[response(status = 500)]
    Internal(#[to_schema] InternalServerError),
}
