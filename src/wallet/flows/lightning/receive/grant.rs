//! The check of the HTLC VTXOs that the server grants, while the preimage is still secret (H9, H10).

use ark_lib::vtxo::Full;
use ark_lib::{ArkInfo, Vtxo, VtxoPolicy};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, Transaction};
use bitcoin_ext::BlockHeight;

use crate::model::Invoice;
use crate::wallet::account::fees;
use crate::wallet::coins::published::{Standing, standings};
use crate::wallet::{Error, Result, Wallet};

/// HTLC VTXOs that are worth the preimage.
pub(super) struct Grant {
    /// In ascending order of their ids.
    pub(super) htlcs: Vec<Vtxo<Full>>,
    /// The on-chain transactions that they hang from.
    pub(super) anchors: Vec<Transaction>,
    /// Their total.
    pub(super) amount: Amount,
}

/// What a grant has to fit.
pub(super) struct Terms<'a> {
    pub(super) invoice: &'a Invoice,
    pub(super) info: &'a ArkInfo,
    /// The wallet's key.
    pub(super) key: PublicKey,
    /// The height at which the preimage is about to be revealed; `None` if the server has it already.
    pub(super) tip: Option<BlockHeight>,
}

impl Wallet {
    /// Checks a grant; the inner error is what is wrong with it.
    ///
    /// # Errors
    /// The chain cannot decide about it now.
    pub(super) async fn check_grant(
        &self,
        mut htlcs: Vec<Vtxo<Full>>,
        terms: &Terms<'_>,
    ) -> Result<Result<Grant, String>> {
        htlcs.sort_by_key(Vtxo::id);
        htlcs.dedup_by_key(|htlc| htlc.id());
        for htlc in &htlcs {
            if let Err(flaw) = self.check_terms(htlc, terms) {
                return Ok(Err(flaw));
            }
        }
        let amount = fees::sum(htlcs.iter().map(Vtxo::amount))?;
        let with_fee = amount.checked_add(terms.invoice.fee);
        if with_fee.is_none_or(|sum| sum < terms.invoice.amount) {
            let flaw = format!("HTLCs of {} sat are too little", amount.to_sat());
            return Ok(Err(flaw));
        }
        let mut anchors = Vec::with_capacity(htlcs.len());
        for htlc in &htlcs {
            // It may be unconfirmed: the server grants from transactions that it has just made.
            let anchor = self.anchor_of(htlc).await?;
            if let Err(error) = htlc.validate(&anchor) {
                return Ok(Err(format!("an HTLC is invalid: {error}")));
            }
            anchors.push(anchor);
        }
        for standing in standings(&self.chain, &htlcs).await? {
            match standing {
                Standing::OffChain { .. } => {}
                Standing::Contested(txid) => {
                    let message = format!(
                        "transaction {txid} is about to spend what the granted HTLCs hang from"
                    );
                    return Err(Error::unavailable("server_unavailable", message));
                }
                Standing::Exited | Standing::Claimed(_) | Standing::DoubleSpent(_) => {
                    return Ok(Err("an HTLC is on chain, or double-spent there".into()));
                }
            }
        }
        Ok(Ok(Grant {
            htlcs,
            anchors,
            amount,
        }))
    }

    fn check_terms(&self, htlc: &Vtxo<Full>, terms: &Terms<'_>) -> Result<(), String> {
        let refuse = |flaw: &str| Err(format!("an HTLC {flaw}"));
        let VtxoPolicy::ServerHtlcRecv(policy) = htlc.policy() else {
            return refuse("has another policy");
        };
        if policy.payment_hash != terms.invoice.hash {
            return refuse("has another payment hash");
        }
        if policy.user_pubkey != terms.key {
            return refuse("belongs to another key");
        }
        if htlc.server_pubkey() != terms.info.server_pubkey {
            return refuse("belongs to another server");
        }
        if htlc.exit_delta() != terms.info.vtxo_exit_delta
            || policy.htlc_expiry_delta != terms.info.htlc_expiry_delta
        {
            return refuse("has another exit delay");
        }
        match terms.tip {
            Some(tip) => self.check_time(htlc, terms.info, tip),
            None => Ok(()),
        }
    }

    /// Checks that an HTLC leaves the time for a claim on chain if its preimage is revealed at `tip` (H9).
    pub(super) fn check_time(
        &self,
        htlc: &Vtxo<Full>,
        info: &ArkInfo,
        tip: BlockHeight,
    ) -> Result<(), String> {
        let tip = tip.to_u32();
        let room = tip.saturating_add(self.claim_room(info));
        if let VtxoPolicy::ServerHtlcRecv(policy) = htlc.policy()
            && policy.htlc_expiry.to_u32() < room
        {
            return Err("an HTLC expires before it can be claimed on chain".into());
        }
        let margin = u32::from(self.settings.exit_margin.to_u16());
        if htlc.expiry_height().to_u32() < tip.saturating_add(margin) {
            return Err("an HTLC hangs from a tree that expires too soon".into());
        }
        Ok(())
    }
}
