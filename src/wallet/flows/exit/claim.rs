//! Claims exited outputs: one transaction sends them to one address (docs/protocol.md §4.9).
//!
//! The signed transaction is stored before it is broadcast. From then on it is repeated by the steps of the exits until the chain has
//! spent their outputs, and another transaction is signed only if it replaces the earlier one by a higher fee. So whatever
//! answer is lost, the outputs are spent once.

use std::collections::{BTreeMap, BTreeSet};

use ark_lib::VtxoId;
use bitcoin::absolute::LockTime;
use bitcoin::sighash::SighashCache;
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use bitcoin_ext::BlockHeight;

use super::output::{ExitedOutput, claim_weight};
use crate::model::{Effect, ExitRow, ExitState, OperationId};
use crate::store::exit;
use crate::wallet::engine::request_key;
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

/// The most outputs of one claim. With them it stays below the size that nodes relay.
const MAX_CLAIMED: usize = 500;
/// What a replacement pays for its own relay, in addition to what it replaces.
const RELAY_RATE: FeeRate = FeeRate::BROADCAST_MIN;

/// The code of the error of a claim that comes too late.
pub(super) const EXIT_CHANGED: &str = "exit_changed";

/// A claim that is stored.
#[derive(Clone, Debug)]
pub struct ClaimOutcome {
    /// The transaction.
    pub txid: Txid,
    /// What the address gets.
    pub amount: Amount,
    /// What the miners get.
    pub fee: Amount,
    /// Why the network did not take it yet. It is repeated.
    pub refused: Option<String>,
}

impl Wallet {
    /// Sends the outputs of these exits to a bitcoin address, at the regular fee rate if none is given. A claim of the same outputs
    /// that is not confirmed is replaced if the new one pays more, else repeated if it pays to the same address.
    ///
    /// # Errors
    /// `unknown_vtxo`, `not_claimable`, `too_many_vtxos`, `claim_in_progress`, `claim_fee_too_low`, `amount_too_small`,
    /// `invalid_fee_rate`, `invalid_address`, `wrong_network`, `chain_unavailable`; then no transaction was signed.
    pub async fn claim_exits(
        &self,
        vtxos: Vec<VtxoId>,
        destination: &str,
        fee_rate: Option<FeeRate>,
    ) -> Result<ClaimOutcome> {
        let script = self.bitcoin_address(destination)?.script_pubkey();
        let vtxos: BTreeSet<VtxoId> = vtxos.into_iter().collect();
        let vtxos: Vec<VtxoId> = vtxos.into_iter().collect();
        if vtxos.len() > MAX_CLAIMED {
            let message = format!("one claim takes at most {MAX_CLAIMED} VTXOs; name fewer");
            return Err(Error::bad_request("too_many_vtxos", message));
        }
        self.records(vtxos.clone()).await?;
        let tip = self.let_exits_ripen().await?;
        let exits = self
            .store
            .read(move |connection| {
                let last = |vtxo: &VtxoId| {
                    let found = exit::last_of(connection, *vtxo)?;
                    claimable(*vtxo, found, tip)
                };
                vtxos.iter().map(last).collect::<Result<Vec<_>>>()
            })
            .await?;
        self.claim(exits, script, fee_rate).await
    }

    /// Sends all exited outputs that can be claimed, and that no earlier claim spends, to a bitcoin address. Those that are worth
    /// less than the fee for spending them are left out.
    ///
    /// # Errors
    /// `nothing_claimable`; otherwise as [`claim_exits`](Self::claim_exits).
    pub async fn claim_all_exits(
        &self,
        destination: &str,
        fee_rate: Option<FeeRate>,
    ) -> Result<ClaimOutcome> {
        let script = self.bitcoin_address(destination)?.script_pubkey();
        self.let_exits_ripen().await?;
        let rate = fee_rate.unwrap_or_else(|| self.chain.fee_rates().regular);
        let exits = self.worth_claiming(rate).await?;
        if exits.is_empty() {
            return Err(self.nothing_claimable().await?);
        }
        self.claim(exits, script, Some(rate)).await
    }

    /// Waits until the exits whose claimable height is reached have noticed that. Returns the height of the chain.
    async fn let_exits_ripen(&self) -> Result<BlockHeight> {
        let tip = self.chain.tip().await?.height;
        let mut ripe = self.live_exits().await?;
        ripe.retain(|exit| {
            matches!(&exit.state, ExitState::AwaitingDelta { claimable_height, .. } if *claimable_height <= tip)
        });
        let operations: Vec<OperationId> = ripe.into_iter().map(|exit| exit.operation).collect();
        self.operations.nudge_some(&operations, PATIENCE).await;
        Ok(tip)
    }

    /// The exits that can be claimed, that no earlier claim spends, and that are worth more than the fee for spending them; all of
    /// them if none is, so that the claim is refused with the amounts.
    pub(super) async fn worth_claiming(&self, rate: FeeRate) -> Result<Vec<ExitRow>> {
        let mut exits = self.store.read(exit::live).await?;
        exits.retain(|exit| {
            matches!(exit.state, ExitState::Claimable { .. }) && exit.claim.is_none()
        });
        exits.truncate(MAX_CLAIMED);
        let outputs = self.outputs_of(&exits).await?;
        let worthy: BTreeSet<VtxoId> = outputs
            .iter()
            .filter(|output| {
                let fee = rate.fee_wu(output.input_weight());
                fee.is_some_and(|fee| output.amount() > fee)
            })
            .map(ExitedOutput::id)
            .collect();
        if !worthy.is_empty() {
            exits.retain(|exit| worthy.contains(&exit.vtxo));
        }
        Ok(exits)
    }

    async fn nothing_claimable(&self) -> Result<Error> {
        let live = self.store.read(exit::live).await?;
        let pending: BTreeSet<String> = live
            .iter()
            .filter_map(|exit| exit.claim)
            .map(|txid| txid.to_string())
            .collect();
        let message = if pending.is_empty() {
            "no exit can be claimed at present; GET /exits/status/live shows from which height on each one can".to_owned()
        } else {
            let pending: Vec<String> = pending.into_iter().collect();
            format!(
                "all exits that can be claimed are being claimed, by {}; name them to replace this by a claim with a higher fee",
                pending.join(", ")
            )
        };
        Ok(Error::bad_request("nothing_claimable", message))
    }

    pub(super) async fn claim(
        &self,
        exits: Vec<ExitRow>,
        script: ScriptBuf,
        fee_rate: Option<FeeRate>,
    ) -> Result<ClaimOutcome> {
        let outputs = self.outputs_of(&exits).await?;
        let earlier = self.earlier_claims(&exits, &outputs).await?;
        let tip = self.chain.tip().await?.height;
        let rate = fee_rate.unwrap_or_else(|| self.chain.fee_rates().regular);
        let claim = Claim::new(&outputs, script, rate, tip)?;
        let claim = match &earlier {
            None => claim,
            Some(earlier) => match earlier.repeats(&claim, fee_rate.is_none()) {
                Some(same) => same,
                None if earlier.is_outbid_by(&claim) => claim,
                None => return Err(earlier.too_low()),
            },
        };
        let txid = claim.transaction.compute_txid();
        if !earlier.as_ref().is_some_and(|earlier| earlier.has(txid)) {
            self.store_claim(&exits, &claim).await?;
            tracing::info!(%txid, exits = exits.len(), amount = %claim.amount(), fee = %claim.fee, "claim of exits signed");
        }
        let package = std::slice::from_ref(&claim.transaction);
        let sent = self.chain.broadcast_package(package).await;
        if let Err(error) = &sent {
            tracing::warn!(%txid, %error, "broadcast of a claim failed; the next block repeats it");
        }
        for exit in &exits {
            self.operations.nudge(&exit.operation);
        }
        Ok(ClaimOutcome {
            txid,
            amount: claim.amount(),
            fee: claim.fee,
            refused: sent.err().map(|error| error.to_string()),
        })
    }

    async fn outputs_of(&self, exits: &[ExitRow]) -> Result<Vec<ExitedOutput>> {
        self.exited_outputs(exits.iter().map(|exit| exit.vtxo).collect())
            .await
    }

    /// The claims that the new one would replace.
    ///
    /// # Errors
    /// `claim_in_progress` if one of them also spends outputs that are not to be claimed.
    async fn earlier_claims(
        &self,
        exits: &[ExitRow],
        outputs: &[ExitedOutput],
    ) -> Result<Option<Earlier>> {
        let txids: BTreeSet<Txid> = exits.iter().filter_map(|exit| exit.claim).collect();
        let claims: Vec<Transaction> = self
            .store
            .read(move |connection| {
                let bodies = txids.iter().map(|txid| exit::claim(connection, *txid));
                let bodies: Vec<Option<Transaction>> =
                    bodies.collect::<std::result::Result<_, _>>()?;
                Ok::<_, Error>(bodies.into_iter().flatten().collect())
            })
            .await?;
        let values: BTreeMap<OutPoint, Amount> = outputs
            .iter()
            .map(|output| (output.input().previous_output, output.amount()))
            .collect();
        let mut fee = Amount::ZERO;
        for claim in &claims {
            let mut spent = Amount::ZERO;
            for input in &claim.input {
                let Some(value) = values.get(&input.previous_output) else {
                    let message = format!(
                        "the claim {} also spends {}; name all of its VTXOs to replace it",
                        claim.compute_txid(),
                        input.previous_output
                    );
                    return Err(Error::bad_request("claim_in_progress", message));
                };
                spent += *value;
            }
            let paid = claim.output.iter().map(|output| output.value).sum();
            fee += spent.checked_sub(paid).unwrap_or(Amount::ZERO);
        }
        Ok((!claims.is_empty()).then_some(Earlier { claims, fee }))
    }

    /// Stores a claim before anybody else sees it.
    ///
    /// # Errors
    /// `exit_changed` if one of the exits has changed since it was looked at.
    async fn store_claim(&self, exits: &[ExitRow], claim: &Claim) -> Result<()> {
        let (exits, transaction) = (exits.to_vec(), claim.transaction.clone());
        let key = request_key::current();
        let effect = Effect::Claim {
            txid: transaction.compute_txid(),
            amount: claim.amount().to_sat(),
            fee: claim.fee.to_sat(),
            exits: exits.iter().map(|exit| exit.operation.clone()).collect(),
        };
        self.commit(CommitPoint::ExitClaimSigned, move |tx| {
            for seen in &exits {
                let now = exit::live_of(tx, seen.vtxo)?;
                let same = now.is_some_and(|now| {
                    now.id == seen.id && now.claim == seen.claim && is_claimable(&now)
                });
                if !same {
                    let message = format!(
                        "the exit of VTXO {} has changed at this moment; look at its status and try again",
                        seen.vtxo
                    );
                    return Err(Error::conflict(EXIT_CHANGED, message));
                }
            }
            let ids: Vec<i64> = exits.iter().map(|exit| exit.id).collect();
            exit::set_claim(tx, &ids, &transaction)?;
            request_key::bind(tx, key.as_ref(), &effect)
        })
        .await
    }
}

/// A signed claim.
struct Claim {
    transaction: Transaction,
    fee: Amount,
}

impl Claim {
    /// Builds and signs it at this fee rate.
    fn new(
        outputs: &[ExitedOutput],
        script: ScriptBuf,
        rate: FeeRate,
        tip: BlockHeight,
    ) -> Result<Claim> {
        let total = outputs
            .iter()
            .try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.amount()))
            .ok_or_else(|| Error::internal(anyhow::anyhow!("amounts of VTXOs overflow")))?;
        let pay = |value| TxOut {
            value,
            script_pubkey: script.clone(),
        };
        let size = claim_weight(outputs, &pay(total)).to_vbytes_ceil();
        let fee = rate.fee_vb(size).filter(|fee| *fee <= Amount::MAX_MONEY);
        let fee = fee.ok_or_else(|| {
            Error::bad_request("invalid_fee_rate", "this fee rate is impossibly high")
        })?;
        let dust = script.minimal_non_dust();
        let rest = total.checked_sub(fee).filter(|rest| *rest >= dust);
        let rest = rest.ok_or_else(|| {
            let message = format!(
                "the claim of {total} would cost {fee}, which leaves less than the {dust} that the address can receive; claim more \
                 VTXOs together, or at a lower fee rate"
            );
            Error::bad_request("amount_too_small", message)
        })?;
        Ok(Claim {
            transaction: sign(outputs, pay(rest), tip)?,
            fee,
        })
    }

    fn amount(&self) -> Amount {
        self.transaction
            .output
            .iter()
            .map(|output| output.value)
            .sum()
    }
}

/// A signed transaction that spends these outputs to one.
fn sign(outputs: &[ExitedOutput], to: TxOut, tip: BlockHeight) -> Result<Transaction> {
    let lock = outputs.iter().filter_map(ExitedOutput::lock_height).max();
    let height = lock.map_or(tip, |lock| lock.max(tip));
    let mut transaction = Transaction {
        version: Version::TWO,
        lock_time: LockTime::from_height(height.to_u32()).map_err(Error::internal)?,
        input: outputs.iter().map(ExitedOutput::input).collect(),
        output: vec![to],
    };
    let spent: Vec<TxOut> = outputs.iter().map(ExitedOutput::output).collect();
    let mut cache = SighashCache::new(&transaction);
    let mut witnesses = Vec::with_capacity(outputs.len());
    for (index, output) in outputs.iter().enumerate() {
        witnesses.push(output.witness(&mut cache, index, &spent)?);
    }
    for (input, witness) in transaction.input.iter_mut().zip(witnesses) {
        input.witness = witness;
    }
    Ok(transaction)
}

/// Claims of the same outputs that are not confirmed.
struct Earlier {
    claims: Vec<Transaction>,
    /// What they pay together.
    fee: Amount,
}

impl Earlier {
    fn has(&self, txid: Txid) -> bool {
        let mut claims = self.claims.iter();
        claims.any(|claim| claim.compute_txid() == txid)
    }

    /// The least fee of a claim of this size that the network takes in their place (BIP 125): what they pay, and the relay of the new
    /// one; and a higher rate than that of each of them.
    fn least_fee(&self, size: u64) -> Amount {
        let relay = RELAY_RATE.fee_vb(size).unwrap_or(Amount::MAX_MONEY);
        self.fee.checked_add(relay).unwrap_or(Amount::MAX_MONEY)
    }

    fn is_outbid_by(&self, claim: &Claim) -> bool {
        claim.fee >= self.least_fee(claim.transaction.vsize() as u64)
    }

    /// The earlier claim, if it does what the new one would: it spends the same outputs to the same address, and the new one would not
    /// have to pay more, because nobody asked for another rate, or for no higher one.
    fn repeats(&self, new: &Claim, any_rate: bool) -> Option<Claim> {
        let [old] = self.claims.as_slice() else {
            return None;
        };
        let spent = |claim: &Transaction| -> BTreeSet<OutPoint> {
            let inputs = claim.input.iter();
            inputs.map(|input| input.previous_output).collect()
        };
        let script = |claim: &Transaction| claim.output.first().map(|to| to.script_pubkey.clone());
        let same = spent(old) == spent(&new.transaction)
            && script(old) == script(&new.transaction)
            && (any_rate || new.fee <= self.fee);
        same.then(|| Claim {
            transaction: old.clone(),
            fee: self.fee,
        })
    }

    fn too_low(&self) -> Error {
        let size = self
            .claims
            .iter()
            .map(|claim| claim.vsize() as u64)
            .sum::<u64>()
            .max(1);
        let fee = u128::from(self.least_fee(size).to_sat());
        let rate = (fee * 1_000).div_ceil(u128::from(size));
        let txids: Vec<String> = self
            .claims
            .iter()
            .map(|claim| claim.compute_txid().to_string())
            .collect();
        let message = format!(
            "these exits are being claimed, by {}; to replace that, set fee_rate to at least {rate} sat/kvB",
            txids.join(", ")
        );
        Error::bad_request("claim_fee_too_low", message)
    }
}

fn is_claimable(exit: &ExitRow) -> bool {
    match &exit.state {
        ExitState::Claimable { .. } => true,
        // Only a transaction of the wallet can be replaced by another one.
        ExitState::ClaimInProgress { claim_txid, .. } => exit.claim == Some(*claim_txid),
        _ => false,
    }
}

/// The exit of a VTXO, if its output can be claimed at this height.
///
/// # Errors
/// `not_claimable`.
fn claimable(vtxo: VtxoId, exit: Option<ExitRow>, tip: BlockHeight) -> Result<ExitRow> {
    let reason = match exit {
        Some(exit) if is_claimable(&exit) => return Ok(exit),
        None => "it is not exiting; start its exit first".to_owned(),
        Some(exit) => match exit.state {
            ExitState::Start | ExitState::Processing { .. } => {
                "its exit transactions are not confirmed yet".to_owned()
            }
            ExitState::AwaitingDelta {
                claimable_height, ..
            } => format!(
                "it can be claimed from height {claimable_height} on; the chain is at {tip}"
            ),
            ExitState::ClaimInProgress { claim_txid, .. } => {
                format!("transaction {claim_txid}, which is not of this wallet, spends its output")
            }
            ExitState::Claimed { txid, .. } => format!("transaction {txid} has spent its output"),
            ExitState::Canceled => "its exit was canceled; start it again".to_owned(),
            ExitState::VtxoAlreadySpent => "it was spent before it was on chain".to_owned(),
            ExitState::VtxoSwept { .. } => "what it hangs from was spent by others".to_owned(),
            ExitState::Claimable { .. } => "its state is changing; try again".to_owned(),
        },
    };
    let message = format!("VTXO {vtxo} cannot be claimed: {reason}");
    Err(Error::bad_request("not_claimable", message))
}
