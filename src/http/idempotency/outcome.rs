//! The answer of a request, made from what it began.

use axum::response::{IntoResponse, Response};

use crate::http::extract::Json;
use crate::http::schema::board::PendingBoardInfo;
use crate::http::schema::exit_claim::ExitClaimResponse;
use crate::http::schema::exit_start::ExitStartResponse;
use crate::http::schema::lightning_receive::InvoiceInfo;
use crate::http::schema::lightning_send::payment_answer;
use crate::http::schema::offboard::offboard_answer;
use crate::http::schema::round::PendingRoundInfo;
use crate::http::schema::send::send_answer;
use crate::http::schema::transaction::OnchainPayment;
use crate::wallet::{RequestOutcome, SendOutcome};

/// The route that answers a payment in its own form.
const PAY: &str = "/api/v1/lightning/pay";

/// The answer that the route at this path gives for this outcome.
pub(super) fn answer(path: &str, outcome: RequestOutcome) -> Response {
    match outcome {
        RequestOutcome::Sent(SendOutcome::Lightning(paid)) if path == PAY => {
            payment_answer(&paid).into_response()
        }
        RequestOutcome::Sent(sent) => send_answer(sent).into_response(),
        RequestOutcome::Offboarded(offboard) => offboard_answer(offboard).into_response(),
        RequestOutcome::Boarded(board) => Json(PendingBoardInfo::from(board)).into_response(),
        RequestOutcome::Refreshed(round) => Json(PendingRoundInfo::from(round)).into_response(),
        RequestOutcome::PaidOnchain(txid) => Json(OnchainPayment::from(txid)).into_response(),
        RequestOutcome::Claimed(claim) => Json(ExitClaimResponse::from(claim)).into_response(),
        RequestOutcome::Exiting(begun) => Json(ExitStartResponse::from(begun)).into_response(),
        RequestOutcome::Invoiced(invoice) => Json(InvoiceInfo { invoice }).into_response(),
    }
}
