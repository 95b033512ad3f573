//! New invoices: the server's node issues them with a payment hash of the wallet.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ark_lib::ArkInfo;
use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::vtxo::VTXO_DUST;
use bitcoin::{Amount, Network};
use bitcoin_ext::BlockDelta;
use lightning_invoice::{Bolt11Invoice, Currency};

use crate::ark::{self, InvoiceOrder};
use crate::model::{Effect, Invoice, OperationId};
use crate::store::lightning_receive;
use crate::wallet::account::ceiling::{self, Charge};
use crate::wallet::account::fees;
use crate::wallet::account::keys;
use crate::wallet::destination::{check_payable, read_ark_address};
use crate::wallet::engine::{clock, request_key};
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Bytes of the longest description that fits an invoice.
const MAX_DESCRIPTION: usize = 639;
/// Characters of the longest name that a client can give to an invoice.
const MAX_EXTERNAL_ID: usize = 256;
/// Blocks that may pass between the moments at which server and wallet look at the tip.
const LAG: u16 = 2;
/// Further blocks by which the HTLCs of the payer should outlive what the claim needs: for blocks that come between the steps.
const SLACK: u16 = 20;

/// An invoice as a caller asks for it.
#[derive(Clone, Debug)]
pub struct InvoiceRequest {
    /// What the payer pays. The Ark server's fee reduces what the wallet gets.
    pub amount: Amount,
    /// The description in the invoice.
    pub description: Option<String>,
    /// A token that the Ark server wants to see before it grants a claim.
    pub token: Option<String>,
    /// How long the wallet accepts a payment, if shorter than the server's invoices live.
    pub expiry: Option<Duration>,
    /// The caller's name for the invoice.
    pub external_id: Option<String>,
    /// The Ark address that gets the money, instead of the wallet.
    pub destination: Option<String>,
}

impl InvoiceRequest {
    /// An invoice over this amount that pays the wallet, without a description.
    pub fn of(amount: Amount) -> InvoiceRequest {
        InvoiceRequest {
            amount,
            description: None,
            token: None,
            expiry: None,
            external_id: None,
            destination: None,
        }
    }
}

impl Wallet {
    /// Makes an invoice; its preimage is durable when this returns (H8).
    ///
    /// # Errors
    /// What is wrong with the request; `fee_above_ceiling`; `invoices_not_supported` if the server's limits leave no time to claim a
    /// payment; `server_unavailable`: then another try makes another invoice.
    pub async fn create_invoice(self: &Arc<Wallet>, request: InvoiceRequest) -> Result<String> {
        check_texts(&request)?;
        let info = self.awaited_info().await?;
        if let Some(destination) = &request.destination {
            self.check_payee(destination)?;
        }
        let fee = self.receive_fee(&info, request.amount)?;
        let min_cltv = self.min_cltv(&info)?;
        let preimage = Preimage::random();
        let hash = preimage.compute_payment_hash();
        let order = InvoiceOrder {
            hash,
            amount: request.amount,
            min_cltv,
            mailbox: self.keys.mailbox_id(),
            description: request.description.clone(),
        };
        let bolt11 = self.server.start_lightning_receive(order).await;
        let bolt11 = bolt11.map_err(refused)?;
        let parsed = self.check_invoice(&bolt11, hash, request.amount, min_cltv)?;
        let now = clock::now_millis();
        let lifetime = request.expiry.map_or(i64::MAX, millis);
        let server_expiry = parsed
            .duration_since_epoch()
            .saturating_add(parsed.expiry_time());
        let mut invoice = Invoice {
            hash,
            preimage,
            bolt11: bolt11.clone(),
            amount: request.amount,
            fee,
            key_index: 0,
            min_cltv,
            token: request.token,
            destination: request.destination,
            external_id: request.external_id,
            created_at: now,
            expires_at: now.saturating_add(lifetime).min(millis(server_expiry)),
            accepted_at: None,
            end: None,
        };
        let (keys, request) = (Arc::clone(&self.keys), request_key::current());
        let effect = Effect::Invoice {
            bolt11: bolt11.clone(),
            receive: OperationId::lightning_receive(hash),
        };
        self.commit(CommitPoint::LightningReceiveInvoiced, move |tx| {
            invoice.key_index = keys::reveal_next(tx, &keys)?.index;
            lightning_receive::insert(tx, &invoice)?;
            request_key::bind(tx, request.as_ref(), &effect)
        })
        .await?;
        self.invoice_poll.wake();
        tracing::info!(payment_hash = %hash, "made an invoice");
        Ok(bolt11)
    }

    fn check_payee(&self, destination: &str) -> Result<()> {
        let address = read_ark_address(destination)?;
        check_payable(&address, self.network, &self.server_keys()?)
    }

    /// The server's fee for receiving `amount`.
    fn receive_fee(&self, info: &ArkInfo, amount: Amount) -> Result<Amount> {
        // An invoice counts in tenths of a millisatoshi, in 64 bits (BOLT 11).
        if amount.to_sat().checked_mul(10_000).is_none() {
            let message = "no invoice can be over such an amount; ask for a smaller one, in sat";
            return Err(Error::bad_request("amount_too_large", message));
        }
        if info.max_vtxo_amount.is_some_and(|most| amount > most) {
            let message =
                "the amount is larger than the Ark server's largest VTXO; receive in several parts";
            return Err(Error::bad_request("amount_too_large", message));
        }
        let fee = fees::lightning_receive_fee(info, amount)?;
        if amount.checked_sub(fee).is_none_or(|net| net < VTXO_DUST) {
            let message = format!(
                "of {} sat the Ark server keeps {} sat, which leaves less than the smallest VTXO of {} sat; ask for more",
                amount.to_sat(),
                fee.to_sat(),
                VTXO_DUST.to_sat()
            );
            return Err(Error::bad_request("amount_too_small", message));
        }
        ceiling::check_fee(
            &self.settings.ceilings,
            Charge::LightningReceive,
            fee,
            amount,
        )?;
        Ok(fee)
    }

    /// The blocks that the HTLCs of a payment have to outlive their arrival.
    fn min_cltv(&self, info: &ArkInfo) -> Result<BlockDelta> {
        let least = self.claim_room(info).checked_add(u32::from(LAG));
        let most = info.max_user_invoice_cltv_delta.to_u16();
        let fitting = least
            .and_then(|least| u16::try_from(least).ok())
            .filter(|least| *least <= most);
        let Some(least) = fitting else {
            let message = format!(
                "the Ark server limits the expiry of payments to {most} blocks, too few to claim one on chain with this wallet's \
                 vtxo_exit_margin and htlc_recv_claim_delta; lower these settings, or use another server"
            );
            return Err(Error::conflict("invoices_not_supported", message));
        };
        Ok(BlockDelta::new(least.saturating_add(SLACK).min(most)))
    }

    /// Blocks that an HTLC VTXO has to live at least when its preimage is revealed, so that it can be claimed on chain (H9).
    pub(super) fn claim_room(&self, info: &ArkInfo) -> u32 {
        let deltas = [
            info.vtxo_exit_delta,
            info.htlc_expiry_delta,
            self.settings.exit_margin,
            self.settings.claim_delta,
        ];
        deltas.iter().map(|delta| u32::from(delta.to_u16())).sum()
    }

    /// Checks that an invoice of the server is the one that was asked for. Its signature is checked while it is read.
    fn check_invoice(
        &self,
        bolt11: &str,
        hash: PaymentHash,
        amount: Amount,
        min_cltv: BlockDelta,
    ) -> Result<Bolt11Invoice> {
        let refuse = |flaw: &str| {
            Error::unavailable(
                "server_unavailable",
                format!("the Ark server issued an invoice {flaw}; it is not used, try again"),
            )
        };
        let invoice = Bolt11Invoice::from_str(bolt11)
            .map_err(|error| refuse(&format!("that cannot be read ({error})")))?;
        if PaymentHash::from(&invoice) != hash {
            return Err(refuse("with another payment hash"));
        }
        if invoice.amount_milli_satoshis() != amount.to_sat().checked_mul(1_000) {
            return Err(refuse("over another amount"));
        }
        if invoice.currency() != currency(self.network) {
            return Err(refuse("of another network"));
        }
        if invoice.min_final_cltv_expiry_delta() < u64::from(min_cltv.to_u16()) {
            return Err(refuse("whose payments expire too early"));
        }
        Ok(invoice)
    }
}

/// Blocks between the server's tip at the payer's HTLCs and the wallet's tip.
pub(super) fn slack_of(min_cltv: BlockDelta, room: u32) -> u32 {
    u32::from(min_cltv.to_u16()).saturating_sub(room.saturating_add(u32::from(LAG)))
}

fn check_texts(request: &InvoiceRequest) -> Result<()> {
    let description = request.description.as_deref().unwrap_or_default();
    if description.len() > MAX_DESCRIPTION {
        let message = format!("the description has more than {MAX_DESCRIPTION} bytes; shorten it");
        return Err(Error::bad_request("description_too_long", message));
    }
    let external_id = request.external_id.as_deref().unwrap_or_default();
    if external_id.chars().count() > MAX_EXTERNAL_ID {
        let message = format!("external_id has more than {MAX_EXTERNAL_ID} characters; shorten it");
        return Err(Error::bad_request("external_id_too_long", message));
    }
    if request.expiry == Some(Duration::ZERO) {
        let message = "expiry_secs must be at least 1; leave it out for the server's own expiry";
        return Err(Error::bad_request("invalid_expiry", message));
    }
    Ok(())
}

/// The server's refusal of an invoice. Some limits are not among its parameters.
fn refused(error: ark::Error) -> Error {
    match &error {
        ark::Error::Rejected { message, .. } if message.contains("limit") => {
            let message = format!(
                "the Ark server takes no payment of this amount: {message}; ask for a smaller amount"
            );
            Error::bad_request("amount_too_large", message)
        }
        ark::Error::Rejected { message, .. } if message.contains("description") => {
            let message = format!("the Ark server refuses the description: {message}; change it");
            Error::bad_request("invalid_description", message)
        }
        _ => error.into(),
    }
}

fn currency(network: Network) -> Currency {
    match network {
        Network::Bitcoin => Currency::Bitcoin,
        Network::Signet => Currency::Signet,
        Network::Regtest => Currency::Regtest,
        _ => Currency::BitcoinTestnet,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
