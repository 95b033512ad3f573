//! Fee estimates.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::extract::AmountSat;
use crate::wallet;

/// The cost of an operation. `gross_amount_sat` is the sum of `net_amount_sat` and `fee_sat`, unless the fee exceeds the amount.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FeeEstimate {
    /// The amount that leaves the wallet, in satoshis.
    gross_amount_sat: u64,
    /// The fee of the Ark server, in satoshis.
    fee_sat: u64,
    /// The net amount, in satoshis; zero if the fee exceeds the amount.
    net_amount_sat: u64,
    /// The VTXOs that would be spent, `txid:vout`; empty when the balance is too low, and then the fee is an upper bound.
    vtxos_spent: Vec<String>,
}

impl From<wallet::FeeEstimate> for FeeEstimate {
    fn from(estimate: wallet::FeeEstimate) -> Self {
        Self {
            gross_amount_sat: estimate.gross.to_sat(),
            fee_sat: estimate.fee.to_sat(),
            net_amount_sat: estimate.net.to_sat(),
            vtxos_spent: estimate.vtxos.iter().map(ToString::to_string).collect(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct AmountQuery {
    /// The amount, in satoshis.
    #[param(inline)]
    pub(in crate::http) amount_sat: AmountSat,
}
