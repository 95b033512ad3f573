//! Payments: an attempt to pay an invoice with HTLCs.

use ark_lib::VtxoId;
use ark_lib::fees::VtxoFeeInfo;
use ark_lib::lightning::Invoice;
use bitcoin::Amount;
use server_rpc::{TryFromBytes, protos};

use super::super::faults::Hook;
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{Attempt, AttemptStatus, VtxoRecord, VtxoState, attempt};
use super::mailbox_of;

impl Ark {
    /// `InitiateLightningPayment`. After the checks it always answers `Ok`, even if nothing was started: without a node, or while
    /// an attempt is open. It is not idempotent: after a failed attempt, the same call pays again.
    pub(in super::super) async fn initiate_lightning_payment(
        &self,
        request: protos::InitiateLightningPaymentRequest,
    ) -> Result<protos::Empty, RpcError> {
        let invoice: Invoice = request
            .invoice
            .parse()
            .map_err(|_| RpcError::bad("invalid invoice"))?;
        let ids = request
            .htlc_vtxo_ids
            .iter()
            .map(VtxoId::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        let amount = Amount::from_sat(request.payment_amount_sat);
        let mailbox = mailbox_of(request.mailbox_id.as_deref())?;

        let _turn = self.turn().await;
        let htlcs = self.user_vtxos(&ids)?;
        for htlc in &htlcs {
            self.check_payable(htlc, &invoice).await?;
        }
        check_amount(&invoice, amount)?;
        self.check_own_invoice(&invoice)?;
        self.check_funds(&htlcs, amount).await?;
        invoice
            .check_signature()
            .map_err(|error| RpcError::Internal(error.into()))?;

        let expiries = htlcs.iter().filter_map(htlc_expiry);
        let attempt = Attempt {
            number: 0, // given by the store
            hash: invoice.payment_hash(),
            invoice: request.invoice,
            amount_sat: amount.to_sat(),
            htlc_expiry: expiries.min().unwrap_or_default(),
            mailbox,
            started: self.now(),
            linked: false,
            status: AttemptStatus::Open,
            reason: None,
        };
        self.start_attempt(&invoice, attempt, &ids).await?;
        Ok(protos::Empty {})
    }

    /// Checks that an HTLC can pay this invoice.
    async fn check_payable(&self, htlc: &VtxoRecord, invoice: &Invoice) -> Result<(), RpcError> {
        let vtxo = &htlc.vtxo;
        let id = vtxo.id();
        let refuse = |reason: String| Err(RpcError::bad(format!("vtxo {id} {reason}")));
        let Some(policy) = vtxo.policy().as_server_htlc_send() else {
            return refuse("is not an htlc-send vtxo".into());
        };
        if self.exit_height(id, vtxo.chain_anchor()).await?.is_some() {
            return refuse("has exited onchain".into());
        }
        if htlc.state != VtxoState::Spendable {
            return refuse(format!("is not spendable (state: {})", htlc.state));
        }
        if vtxo.server_pubkey() != self.keys.server.public_key() {
            return refuse("has a wrong server key".into());
        }
        if policy.payment_hash != invoice.payment_hash() {
            return refuse("doesn't match invoice".into());
        }
        Ok(())
    }

    /// Refuses another invoice than the one issued for this hash.
    fn check_own_invoice(&self, invoice: &Invoice) -> Result<(), RpcError> {
        match self.store.receive(invoice.payment_hash())? {
            Some(receive) if receive.invoice != invoice.to_string() => Err(RpcError::bad(
                "the invoice does not match the invoice we issued",
            )),
            _ => Ok(()),
        }
    }

    async fn check_funds(&self, htlcs: &[VtxoRecord], amount: Amount) -> Result<(), RpcError> {
        let tip = self.tip_height().await?;
        let infos = htlcs
            .iter()
            .map(|htlc| VtxoFeeInfo::from_vtxo_and_tip(&htlc.vtxo, tip));
        let fees = &self.params.fees.lightning_send;
        let needed = fees
            .calculate(amount, infos)
            .and_then(|fee| amount.checked_add(fee))
            .ok_or_else(|| RpcError::bad("fee overflow"))?;
        let sum: Amount = htlcs.iter().map(|htlc| htlc.vtxo.amount()).sum();
        if sum < needed {
            return Err(RpcError::bad(format!(
                "the HTLC sum {sum} is less than the payment amount with fees, {needed}"
            )));
        }
        Ok(())
    }

    /// Stores the attempt and starts to pay. Each commit is one of a real server.
    async fn start_attempt(
        &self,
        invoice: &Invoice,
        attempt: Attempt,
        htlcs: &[VtxoId],
    ) -> Result<(), RpcError> {
        let hash = attempt.hash;
        let network = &self.lightning.network;
        let latest = self.store.latest_attempt(hash)?;
        let is_open = latest.is_some_and(|latest| latest.status == AttemptStatus::Open);
        if !network.is_online() || is_open {
            return Ok(());
        }
        if let Some(receive) = self.store.receive(hash)? {
            return self.pay_own_client(attempt, htlcs, &receive).await;
        }
        let number = self
            .store
            .write(|db| attempt::insert(db, &attempt, htlcs))?;
        self.hook(Hook::LnAttempt)?;
        let tip = self.tip_height().await?.to_u32();
        // Too late for the node: the attempt stays open until the jobs find no payment.
        if attempt.htlc_expiry >= tip + self.params.htlc_expiry_delta.to_u32() {
            network.pay(invoice, attempt.amount_sat.saturating_mul(1_000))?;
            self.lightning.ram().calls.insert(number);
        }
        self.hook(Hook::LnInitiated)?;
        self.lightning.wake();
        Ok(())
    }
}

fn htlc_expiry(htlc: &VtxoRecord) -> Option<u32> {
    let policy = htlc.vtxo.policy().as_server_htlc_send()?;
    Some(policy.htlc_expiry.to_u32())
}

/// An amount is accepted from the invoice's to twice the invoice's.
fn check_amount(invoice: &Invoice, amount: Amount) -> Result<(), RpcError> {
    let Some(asked) = invoice.amount_msat() else {
        return Ok(());
    };
    let offered = amount.to_sat().saturating_mul(1_000);
    if offered < asked {
        return Err(RpcError::bad(format!(
            "payment amount {amount} is too low for invoice of {asked} msat"
        )));
    }
    if offered > asked.saturating_mul(2) {
        return Err(RpcError::bad(format!(
            "payment amount {amount} is more than double the invoice's {asked} msat"
        )));
    }
    Ok(())
}
