//! Ark addresses.

use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ArkAddressResponse {
    /// An Ark address of the wallet.
    pub(in crate::http) address: String,
}
