//! The children that pay for the transactions of exits. Exits with a common ancestor share its child.

use bitcoin::{Amount, FeeRate, OutPoint, Transaction, Txid, Weight};

use super::Exit;
use crate::model::{ChildOrigin, ExitChild, ExitProblem, ExitRow};
use crate::onchain::{self, ChildFee, ReplacedChild};
use crate::store::{WriteTx, exit};
use crate::wallet::engine::{Next, Step};
use crate::wallet::{CommitPoint, Result, Wallet};

/// What came of building a child.
pub(super) enum Built {
    /// The write that stores it.
    Step(Step<Exit>),
    /// The on-chain wallet cannot pay for it.
    Problem(ExitProblem),
}

/// Under which name the coins of the child of `parent` are held.
pub(super) fn holder(parent: Txid) -> String {
    format!("{HOLDER}{parent}")
}

/// The transaction whose child's coins are held under this name; `None` if it is another name.
pub(super) fn parent_of(holder: &str) -> Option<Txid> {
    holder.strip_prefix(HOLDER)?.parse().ok()
}

const HOLDER: &str = "exit-child.";

/// The highest fee rate at which the wallet pays for this exit by itself (H27). A person may go beyond.
pub(super) fn ceiling(wallet: &Wallet, exit: &ExitRow) -> FeeRate {
    let most = wallet.settings.max_exit_fee_rate;
    exit.fee_rate.map_or(most, |asked| asked.max(most))
}

/// The fee rate that the exit should have now.
pub(super) async fn wanted_rate(wallet: &Wallet, exit: &ExitRow) -> FeeRate {
    if let Some(rate) = exit.fee_rate {
        return rate;
    }
    let rates = match wallet.chain.refresh_fee_rates().await {
        Ok(rates) => rates,
        Err(_) => wallet.chain.fee_rates(),
    };
    rates.fast.min(wallet.settings.max_exit_fee_rate)
}

/// Whether a child pays less than this rate for itself and its parent. One whose fee is unknown does not (H27).
pub(super) fn pays_less(parent: &Transaction, child: &ExitChild, rate: FeeRate) -> bool {
    let (Some(body), Some(fee)) = (&child.body, child.fee) else {
        return false;
    };
    rate.fee_vb(size(parent.weight(), body.weight()))
        .is_some_and(|wanted| wanted > fee)
}

/// The next higher fee rate to try after the network has refused a child; `None` when it is beyond `most`.
pub(super) fn richer(parent: &Transaction, child: &ExitChild, most: FeeRate) -> Option<FeeRate> {
    let (body, fee) = (child.body.as_ref()?, child.fee?);
    let size = size(parent.weight(), body.weight()).max(1);
    let now = fee.to_sat().saturating_mul(1_000) / size / 4;
    let next = FeeRate::from_sat_per_kwu(now.saturating_add(now / 2).max(now.saturating_add(250)));
    if FeeRate::from_sat_per_kwu(now) >= most {
        return None;
    }
    Some(next.min(most))
}

fn size(parent: Weight, child: Weight) -> u64 {
    parent.to_vbytes_ceil() + child.to_vbytes_ceil()
}

/// Builds a child in place of `replaced`, or the first one. The commit stores it with its coins, unless another exit that needs the
/// same transaction was first: then nothing is written, and the next step finds that one.
///
/// # Errors
/// `internal` when it cannot be signed; the database's.
pub(super) async fn build(
    wallet: &Wallet,
    parent: &Transaction,
    rate: FeeRate,
    replaced: Option<ExitChild>,
) -> Result<Built> {
    let before = replaced.as_ref().map(|child| child.txid);
    let replaces = replaced.and_then(|child| {
        Some(ReplacedChild {
            transaction: child.body?,
            fee: child.fee?,
        })
    });
    let fee = ChildFee { rate, replaces };
    wallet.reserve_exit_coins().await;
    let prepared = match wallet.onchain.prepare_child(parent, &fee).await {
        Ok(prepared) => prepared,
        Err(onchain::Error::InsufficientFunds { needed, available }) => {
            return Ok(Built::Problem(ExitProblem::InsufficientConfirmedFunds {
                needed,
                available,
            }));
        }
        Err(onchain::Error::TooManyInputs { limit }) => {
            let error = format!(
                "it needs more than {limit} coins; send a larger amount to an address of this wallet"
            );
            return Ok(Built::Problem(ExitProblem::ExitPackageBroadcastFailure {
                txid: parent.compute_txid(),
                error,
            }));
        }
        Err(error) => return Err(error.into()),
    };
    let parent = parent.compute_txid();
    let child = ExitChild {
        txid: prepared.transaction().compute_txid(),
        body: Some(prepared.transaction().clone()),
        fee: Some(prepared.fee()),
        origin: ChildOrigin::Wallet,
        accepted: false,
    };
    Ok(Built::Step(Step::commit(
        CommitPoint::ExitChildBuilt,
        Next::State(Exit::Publish),
        move |tx| {
            let now = exit::child(tx, parent)?.map(|child| child.txid);
            if now != before {
                return Ok(());
            }
            exit::put_child(tx, parent, &child)?;
            Ok(prepared.hold(tx, &holder(parent))?)
        },
    )))
}

/// A child that somebody else has made, or that the wallet has made and lost from its table, as the network has it.
///
/// # Errors
/// `chain_unavailable`.
pub(super) async fn found(wallet: &Wallet, child: Txid) -> Result<ExitChild> {
    let body = wallet.chain.transaction(child).await?;
    let fee = match &body {
        Some(body) => fee_of(wallet, body).await?,
        None => None,
    };
    let origin = match wallet.onchain.transaction(child) {
        Some(_) => ChildOrigin::Wallet,
        None => ChildOrigin::Mempool,
    };
    Ok(ExitChild {
        txid: child,
        body,
        fee,
        origin,
        accepted: true,
    })
}

/// The fee of a transaction; `None` when the chain backend does not show all that it spends.
async fn fee_of(wallet: &Wallet, transaction: &Transaction) -> Result<Option<Amount>> {
    let mut paid = Amount::ZERO;
    for input in &transaction.input {
        let OutPoint { txid, vout } = input.previous_output;
        let spent = wallet.chain.transaction(txid).await?;
        let output = spent.and_then(|spent| {
            let vout = usize::try_from(vout).ok()?;
            spent.output.get(vout).map(|output| output.value)
        });
        let Some(value) = output else {
            return Ok(None);
        };
        paid = paid.checked_add(value).unwrap_or(Amount::MAX_MONEY);
    }
    let out: Amount = transaction.output.iter().map(|output| output.value).sum();
    Ok(paid.checked_sub(out))
}

/// Settles what the wallet holds for the child of a confirmed transaction: if its own child is the one that was confirmed, its coins
/// are spent, otherwise they are free again.
pub(super) fn settle(
    wallet: &onchain::OnchainWallet,
    tx: &mut WriteTx<'_>,
    parent: Txid,
    confirmed: Txid,
) -> Result<()> {
    let own = exit::child(tx, parent)?
        .filter(|child| child.txid == confirmed && child.origin == ChildOrigin::Wallet)
        .and_then(|child| child.body);
    match own {
        Some(body) => wallet.record(tx, &body, Some(&holder(parent)))?,
        None => wallet.release(tx, &holder(parent))?,
    }
    Ok(())
}

/// Forgets a child whose coins are spent otherwise; its other coins are free again.
pub(super) fn dropped(wallet: &Wallet, parent: Txid, child: Txid) -> Result<Step<Exit>> {
    let onchain = wallet.onchain.clone();
    Ok(Step::commit(
        CommitPoint::ExitChildDropped,
        Next::State(Exit::Publish),
        move |tx| {
            let now = exit::child(tx, parent)?.map(|child| child.txid);
            if now == Some(child) {
                exit::drop_child(tx, parent)?;
                onchain.release(tx, &holder(parent))?;
            }
            Ok(())
        },
    ))
}
