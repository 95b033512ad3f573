//! The header with the idempotency key of a request.

use utoipa::IntoParams;

/// The name of the header, as the document writes it.
pub(in crate::http) const NAME: &str = "Idempotency-Key";

/// The header of each route that begins something which must not happen twice. A route that declares it here honours it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code)]
pub(in crate::http) struct IdempotencyKey {
    /// A key of your choice for this request, 1 to 255 visible ASCII characters, such as a UUID. The same request with the same key gets
    /// the same answer for 24 hours, and is carried out once: 409 `idempotency_in_progress` until it has an answer, 422
    /// `idempotency_key_reused` if the key belongs to another request.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}
