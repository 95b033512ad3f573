//! What exits would cost, and whether the on-chain wallet can pay for them (docs/protocol.md §4.9, §23.10).

use std::collections::{BTreeMap, BTreeSet};

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use bitcoin::key::UntweakedPublicKey;
use bitcoin::{Amount, FeeRate, ScriptBuf, TxOut, Txid};
use bitcoin_ext::BlockHeight;

use super::output::{ExitedOutput, claim_weight};
use super::standing::{Rest, Standing};
use crate::model::{ExitState, VtxoRecord, VtxoState};
use crate::store::exit;
use crate::wallet::coins::select::is_free;
use crate::wallet::{Error, Result, Wallet};

/// The smallest change of a child, in sat.
const LEAST_CHANGE: Amount = Amount::from_sat(330);

/// What is asked.
#[derive(Clone, Debug)]
pub struct ExitQuestion {
    /// The VTXOs; `None` for all that are spendable.
    pub vtxos: Option<Vec<VtxoId>>,
    /// The fee rate of all transactions; `None` for the fast one, and the regular one for the claim.
    pub fee_rate: Option<FeeRate>,
    /// Where the claim pays to; `None` for an address of the on-chain wallet.
    pub destination: Option<String>,
    /// What the fees of the exit transactions are multiplied with.
    pub margin: f64,
}

/// What exits would cost now.
#[derive(Clone, Debug)]
pub struct ExitEstimate {
    /// The fees of the exit transactions, with the margin. The on-chain wallet pays them.
    pub broadcast_fee: Amount,
    /// The fee of one claim of everything. It is deducted from what is claimed.
    pub claim_fee: Amount,
    /// The fee rate of the exit transactions.
    pub fee_rate: FeeRate,
    /// The exit transactions that the network does not have yet.
    pub to_broadcast: usize,
    /// Whether the on-chain balance covers the broadcast fee.
    pub fundable: bool,
    /// The confirmed coins of the on-chain wallet that nothing holds.
    pub confirmed: Amount,
    /// The number of confirmed coins of which each could pay for one of the next transactions.
    pub coins: usize,
    /// The number of such coins that would let all exits go on in the next block.
    pub coins_wanted: usize,
    /// Each VTXO by itself.
    pub vtxos: Vec<VtxoEstimate>,
}

/// What the exit of one VTXO would cost if it were the only one.
#[derive(Clone, Debug)]
pub struct VtxoEstimate {
    /// The VTXO.
    pub vtxo: VtxoId,
    /// Its transactions that the network does not have yet.
    pub to_broadcast: usize,
    /// The fees of its transactions, with the margin.
    pub broadcast_fee: Amount,
    /// The number of blocks until it can be claimed, if each transaction takes one.
    pub blocks: u32,
}

impl ExitEstimate {
    /// Whether the confirmed coins cover the broadcast fee.
    pub fn is_funded(&self) -> bool {
        self.confirmed >= self.broadcast_fee
    }
}

impl Wallet {
    /// Estimates what the exits of VTXOs would cost now, without doing anything. Ancestors that several VTXOs share are counted once.
    ///
    /// # Errors
    /// `unknown_vtxo`, `vtxo_exited`, `vtxo_spent`, `vtxo_swept`, `vtxo_not_exitable`, `not_claimable`, `invalid_address`,
    /// `wrong_network`, `invalid_fee_rate`, all of them mistakes of the request; `chain_unavailable`.
    pub async fn estimate_exits(&self, question: ExitQuestion) -> Result<ExitEstimate> {
        let to = self.claim_output(question.destination.as_deref())?;
        let rates = self.chain.fee_rates();
        let fee_rate = question.fee_rate.unwrap_or(rates.fast);
        let claim_rate = question.fee_rate.unwrap_or(rates.regular);
        let vtxos = self.to_estimate(question.vtxos).await?;
        let outputs = self
            .exited_outputs(vtxos.iter().map(Vtxo::id).collect())
            .await?;
        let tip = self.chain.tip().await?.height;

        let mut standing = Standing::new(self, fee_rate);
        let (mut costs, mut next) = (BTreeMap::new(), BTreeMap::new());
        let mut absent: BTreeSet<Txid> = BTreeSet::new();
        let mut each = Vec::with_capacity(vtxos.len());
        for (vtxo, output) in vtxos.iter().zip(&outputs) {
            let rest = standing.of(vtxo).await?;
            costs.extend(rest.unconfirmed.iter().map(|it| (it.txid, it.cost)));
            let unpaid = rest.unconfirmed.first().filter(|it| it.cost > Amount::ZERO);
            next.extend(unpaid.map(|it| (it.txid, it.cost)));
            let missing: Vec<Txid> = rest
                .unconfirmed
                .iter()
                .filter(|it| it.is_absent)
                .map(|it| it.txid)
                .collect();
            each.push(VtxoEstimate {
                vtxo: vtxo.id(),
                to_broadcast: missing.len(),
                broadcast_fee: with_margin(rest.cost(), question.margin)?,
                blocks: blocks_left(output, &rest, tip),
            });
            absent.extend(missing);
        }
        let total = costs
            .into_values()
            .try_fold(Amount::ZERO, Amount::checked_add);
        let broadcast_fee = with_margin(total.ok_or_else(too_high)?, question.margin)?;
        let claim_fee = match outputs.is_empty() {
            true => Amount::ZERO,
            false => claim_rate
                .fee_vb(claim_weight(&outputs, &to).to_vbytes_ceil())
                .filter(|fee| *fee <= Amount::MAX_MONEY)
                .ok_or_else(too_high)?,
        };
        let coins = self.onchain.free_confirmed_coins().await?;
        let least = next
            .values()
            .max()
            .map_or(Amount::ZERO, |most| *most + LEAST_CHANGE);
        Ok(ExitEstimate {
            broadcast_fee,
            claim_fee,
            fee_rate,
            to_broadcast: absent.len(),
            fundable: self.onchain.balance().total() >= broadcast_fee,
            confirmed: coins.iter().copied().sum(),
            coins: coins.into_iter().filter(|coin| *coin >= least).count(),
            coins_wanted: next.len(),
            vtxos: each,
        })
    }

    /// What a claim pays to, without its value; a taproot output if there is no address.
    pub(super) fn claim_output(&self, destination: Option<&str>) -> Result<TxOut> {
        let script_pubkey = match destination {
            Some(destination) => self.bitcoin_address(destination)?.script_pubkey(),
            None => {
                let key = UntweakedPublicKey::from(self.keys.mailbox().public_key());
                ScriptBuf::new_p2tr(&ark_lib::SECP, key, None)
            }
        };
        Ok(TxOut {
            value: Amount::ZERO,
            script_pubkey,
        })
    }

    /// The VTXOs whose exit is estimated.
    async fn to_estimate(&self, named: Option<Vec<VtxoId>>) -> Result<Vec<Vtxo<Full>>> {
        let Some(named) = named else {
            let live = self.store.live_vtxos();
            let ids = live.iter().filter(|vtxo| is_free(vtxo)).map(|vtxo| vtxo.id);
            let mut vtxos = self.full_vtxos(ids.collect()).await?;
            // What cannot be exited is skipped, as when all are exited (H21).
            vtxos.retain(|vtxo| vtxo.check_standard().is_ok());
            return Ok(vtxos);
        };
        let ids: BTreeSet<VtxoId> = named.into_iter().collect();
        let ids: Vec<VtxoId> = ids.into_iter().collect();
        let records = self.records(ids.clone()).await.map_err(as_bad_request)?;
        for record in records {
            self.check_exitable(&record).await?;
        }
        let vtxos = self.full_vtxos(ids).await?;
        for vtxo in &vtxos {
            if let Err(error) = vtxo.check_standard() {
                let message = format!("VTXO {} cannot be exited: {error}", vtxo.id());
                return Err(Error::bad_request("vtxo_not_exitable", message));
            }
        }
        Ok(vtxos)
    }

    async fn check_exitable(&self, record: &VtxoRecord) -> Result<()> {
        let id = record.id;
        let last = self
            .store
            .read(move |connection| exit::last_of(connection, id))
            .await?;
        let (code, reason) = match (last.map(|exit| exit.state), &record.state) {
            (Some(ExitState::VtxoSwept { .. }), _) => {
                ("vtxo_swept", "what it hangs from was spent by others")
            }
            (_, VtxoState::Exited) => ("vtxo_exited", "it is on chain already"),
            (_, VtxoState::Spent) => ("vtxo_spent", "it is spent"),
            (_, VtxoState::Spendable | VtxoState::Locked(_)) => return Ok(()),
        };
        let message = format!("VTXO {id} has no exit to estimate: {reason}");
        Err(Error::bad_request(code, message))
    }
}

/// The published API answers every mistake in the query with 400.
fn as_bad_request(error: Error) -> Error {
    match error.code() {
        "unknown_vtxo" => Error::bad_request("unknown_vtxo", error.message().to_owned()),
        _ => error,
    }
}

fn too_high() -> Error {
    Error::bad_request(
        "invalid_fee_rate",
        "this fee rate or margin is impossibly high",
    )
}

/// The fee, multiplied and rounded up.
fn with_margin(fee: Amount, margin: f64) -> Result<Amount> {
    #[allow(clippy::cast_precision_loss)] // Fees are far below 2^53.
    let fee = (fee.to_sat() as f64 * margin).ceil();
    #[allow(clippy::cast_precision_loss)]
    let most = Amount::MAX_MONEY.to_sat() as f64;
    if !(0.0..=most).contains(&fee) {
        return Err(too_high());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It is between 0 and 2^51.
    Ok(Amount::from_sat(fee as u64))
}

fn blocks_left(output: &ExitedOutput, rest: &Rest, tip: BlockHeight) -> u32 {
    let levels = u32::try_from(rest.unconfirmed.len()).unwrap_or(u32::MAX);
    let confirmed = match (levels, rest.confirmed_at) {
        (0, Some(height)) => height,
        _ => BlockHeight::new(tip.to_u32().saturating_add(levels)),
    };
    let claimable = output.claimable_height(confirmed);
    claimable.checked_blocks_since(tip).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_rounded_up_and_bounded() {
        let sats = |fee, margin| with_margin(Amount::from_sat(fee), margin).map(Amount::to_sat);
        assert_eq!(sats(101, 1.2).unwrap(), 122);
        assert_eq!(sats(100, 0.0).unwrap(), 0);
        assert!(sats(1, f64::MAX).is_err());
        assert!(sats(u64::MAX / 2, 1.0).is_err());
    }
}
