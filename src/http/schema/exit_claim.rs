//! The answer to a claim of exits.

use bitcoin::FeeRate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::wallet::ClaimOutcome;

/// A claim that is stored.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ExitClaimResponse {
    /// What was done, for a human reader.
    message: String,
    /// The claim's transaction.
    txid: String,
    /// What the address gets, in satoshis.
    amount_sat: u64,
    /// What the miners get, in satoshis.
    fee_sat: u64,
}

impl From<ClaimOutcome> for ExitClaimResponse {
    fn from(outcome: ClaimOutcome) -> Self {
        let message = match outcome.refused {
            None => {
                "The claim was broadcast; the bitcoin is on chain when it is confirmed.".to_owned()
            }
            Some(reason) => format!(
                "The claim is stored, but the network did not take it yet ({reason}). It is repeated at each block; to replace \
                 it, claim again at a higher fee_rate."
            ),
        };
        Self {
            message,
            txid: outcome.txid.to_string(),
            amount_sat: outcome.amount.to_sat(),
            fee_sat: outcome.fee.to_sat(),
        }
    }
}

/// Reads a fee rate in sat/kvB.
pub(in crate::http) fn parse_fee_rate(
    sat_per_kvb: Option<u64>,
) -> Result<Option<FeeRate>, ApiError> {
    match sat_per_kvb {
        None => Ok(None),
        Some(0) => Err(ApiError::bad_request(
            "invalid_fee_rate",
            "fee_rate has to be at least 1 sat/kvB",
        )),
        Some(rate) => Ok(Some(FeeRate::from_sat_per_kwu(rate.div_ceil(4)))),
    }
}
