//! Paying somebody, whatever the destination is.

use std::sync::Arc;

use bitcoin::Amount;

use super::destination::{Destination, check_destination, parse};
use crate::model::MovementId;
use crate::wallet::engine::Answer;
use crate::wallet::{Error, Result, Wallet};

/// A payment that somebody asks for.
#[derive(Clone, Debug)]
pub struct SendRequest {
    /// Whom to pay.
    pub destination: String,
    /// How much; needed where the destination does not say it.
    pub amount: Option<Amount>,
    /// A word to the payee, where the destination takes one.
    pub comment: Option<String>,
    /// Seconds for which the server keeps trying a Lightning payment.
    pub retry_for_secs: Option<u64>,
}

/// A payment that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct SendOutcome {
    /// Its entry in the history.
    pub movement: MovementId,
    /// Whether the payee has it. Otherwise the payment is safely stored and goes on by itself: it must not be repeated.
    pub finished: bool,
}

impl Wallet {
    /// Pays. Waits for the payment to be done, but not for ever.
    ///
    /// # Errors
    /// What is wrong with the request, or why the payment failed; then nothing was paid.
    pub async fn send(self: &Arc<Wallet>, request: SendRequest) -> Result<SendOutcome> {
        match parse(&request.destination)? {
            Destination::Ark(address) => {
                if request.comment.is_some() {
                    return Err(Error::bad_request(
                        "comment_not_supported",
                        "an Ark payment carries no comment; leave it out",
                    ));
                }
                let amount = request.amount.ok_or_else(|| {
                    Error::bad_request(
                        "missing_amount",
                        "an Ark address does not say how much to pay; set amount_sat",
                    )
                })?;
                let server = self.server.pinned().ok_or_else(|| {
                    Error::unavailable(
                        "server_unavailable",
                        "the wallet has never reached its Ark server; nothing was paid",
                    )
                })?;
                check_destination(&address, self.network, &server)?;
                let (movement, answer) = self.send_arkoor(*address, amount).await?;
                Ok(SendOutcome {
                    movement,
                    finished: answer == Answer::Settled,
                })
            }
            Destination::Lightning => {
                let message =
                    "Lightning payments are not supported yet; ask the payee for an Ark address";
                Err(Error::not_supported("lightning_not_supported", message))
            }
            Destination::Bitcoin => {
                let message = "this is an on-chain address; pay it from the on-chain wallet with POST /api/v1/onchain/send";
                Err(Error::bad_request("onchain_destination", message))
            }
        }
    }
}
