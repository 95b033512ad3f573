//! How far the exit chain of a VTXO is on chain, and whether somebody else has spent something of it (docs/protocol.md §4.3, §4.9).

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoPolicy};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, ScriptBuf, Txid};

use crate::chain::{self, ChainSource, Spend};

/// What the chain says about a VTXO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Standing {
    /// Its own transaction is not confirmed: it can be spent off chain.
    OffChain {
        /// How many transactions of its chain are confirmed.
        confirmed: usize,
    },
    /// Its own transaction is confirmed: it can be spent on chain only.
    Exited,
    /// Its own transaction is confirmed, and this confirmed transaction has spent its output.
    Claimed(Txid),
    /// A confirmed transaction that is not of its chain spends what it hangs from.
    DoubleSpent(Txid),
    /// Such a transaction is in the mempool.
    Contested(Txid),
}

/// Compares VTXOs with the chain: from the anchor down, and one level deeper only where the level above is on chain or in the
/// mempool (H32, H50). Each output is asked about once, however many VTXOs hang from it.
///
/// # Errors
/// The chain backend does not answer.
pub(in crate::wallet) async fn standings(
    chain: &ChainSource,
    vtxos: &[Vtxo<Full>],
) -> Result<Vec<Standing>, chain::Error> {
    let mut descents: Vec<Descent> = vtxos.iter().map(Descent::new).collect();
    loop {
        let open: BTreeSet<OutPoint> = descents.iter().filter_map(Descent::next_outpoint).collect();
        if open.is_empty() {
            return Ok(descents.iter().map(Descent::standing).collect());
        }
        let open: Vec<OutPoint> = open.into_iter().collect();
        let spends = chain.spenders(&open).await?;
        for descent in &mut descents {
            descent.go_down(&spends);
        }
    }
}

/// The walk down the exit chain of one VTXO.
struct Descent<'v> {
    vtxo: &'v Vtxo<Full>,
    /// The output of each transaction of the chain that the next one spends, and at last the VTXO's own. All transactions have to be
    /// built for it, which takes about a millisecond, so it is made only when the anchor is spent.
    path: OnceCell<Vec<OutPoint>>,
    /// How many transactions of the chain are on chain or in the mempool.
    published: usize,
    confirmed: usize,
    /// The spend by a transaction that is not of the chain.
    foreign: Option<Spend>,
    ended: bool,
}

impl Descent<'_> {
    fn new(vtxo: &Vtxo<Full>) -> Descent<'_> {
        Descent {
            vtxo,
            path: OnceCell::new(),
            published: 0,
            confirmed: 0,
            foreign: None,
            ended: false,
        }
    }

    fn path(&self) -> &[OutPoint] {
        self.path.get_or_init(|| {
            let outputs = self.vtxo.transactions().map(|item| {
                let vout = u32::try_from(item.output_idx).unwrap_or(u32::MAX);
                OutPoint::new(item.tx.compute_txid(), vout)
            });
            outputs.collect()
        })
    }

    /// The deepest output that is on chain or in the mempool: what spends it?
    fn outpoint(&self) -> OutPoint {
        match self.published.checked_sub(1) {
            None => self.vtxo.chain_anchor(),
            Some(above) => self.path()[above],
        }
    }

    fn next_outpoint(&self) -> Option<OutPoint> {
        (!self.ended).then(|| self.outpoint())
    }

    fn go_down(&mut self, spends: &HashMap<OutPoint, Spend>) {
        if self.ended {
            return;
        }
        let Some(spend) = spends.get(&self.outpoint()) else {
            self.ended = true;
            return;
        };
        let expected = self.path().get(self.published).map(|next| next.txid);
        if Some(spend.txid) == expected {
            self.published += 1;
            self.confirmed += usize::from(spend.status.is_confirmed());
        } else {
            self.foreign = Some(*spend);
            self.ended = true;
        }
    }

    fn standing(&self) -> Standing {
        let exited = self.confirmed == usize::from(self.vtxo.exit_depth());
        match self.foreign {
            Some(spend) if exited && spend.status.is_confirmed() => Standing::Claimed(spend.txid),
            _ if exited => Standing::Exited,
            Some(spend) if spend.status.is_confirmed() => Standing::DoubleSpent(spend.txid),
            Some(spend) => Standing::Contested(spend.txid),
            None => Standing::OffChain {
                confirmed: self.confirmed,
            },
        }
    }
}

/// The last of the first `confirmed` transactions of a chain; `None` if there is none.
pub(in crate::wallet) fn last_confirmed(vtxo: &Vtxo<Full>, confirmed: usize) -> Option<Txid> {
    let above = vtxo.transactions().nth(confirmed.checked_sub(1)?)?;
    Some(above.tx.compute_txid())
}

/// Whether the last of the first `confirmed` transactions is of a payment, not of a round's tree or a board.
pub(in crate::wallet) fn is_payment(vtxo: &Vtxo<Full>, confirmed: usize) -> bool {
    let payments = vtxo.past_arkoor_pubkeys().len();
    confirmed + payments > usize::from(vtxo.exit_depth())
}

/// The earlier owner who can claim what the VTXO hangs from, once the first `confirmed` transactions of its chain are on chain and
/// the exit delay is over; `None` if nobody can.
pub(in crate::wallet) fn exposed_to(vtxo: &Vtxo<Full>, confirmed: usize) -> Option<PublicKey> {
    let above = vtxo.transactions().nth(confirmed.checked_sub(1)?)?;
    let output = &above.tx.output.get(above.output_idx)?.script_pubkey;
    // The payments are the last transitions of the chain.
    let payments = vtxo.past_arkoor_pubkeys();
    let first = usize::from(vtxo.exit_depth()).checked_sub(payments.len())?;
    let owners = payments.get(confirmed.checked_sub(first)?)?;
    let pays_to = |owner: &&PublicKey| -> bool {
        let script: ScriptBuf = VtxoPolicy::new_pubkey(**owner).script_pubkey(
            vtxo.server_pubkey(),
            vtxo.exit_delta(),
            vtxo.expiry_height(),
        );
        script == *output
    };
    owners.iter().find(pays_to).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::TxStatus;
    use ark_lib::test_util::VTXO_VECTORS;
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash as _;
    use bitcoin_ext::BlockHeight;

    fn spend(txid: Txid, confirmed: bool) -> Spend {
        let status = match confirmed {
            true => TxStatus::Confirmed {
                height: BlockHeight::new(7),
                hash: BlockHash::all_zeros(),
            },
            false => TxStatus::Mempool,
        };
        Spend { txid, status }
    }

    /// Walks a chain of which the first transactions are published, and the next output is spent by `then`.
    fn walk(vtxo: &Vtxo<Full>, published: &[bool], then: Option<Spend>) -> Standing {
        let mut descent = Descent::new(vtxo);
        let path = descent.path().to_vec();
        let mut spends = HashMap::new();
        let mut above = vtxo.chain_anchor();
        for (confirmed, below) in published.iter().zip(&path) {
            spends.insert(above, spend(below.txid, *confirmed));
            above = *below;
        }
        spends.extend(then.map(|then| (above, then)));
        while descent.next_outpoint().is_some() {
            descent.go_down(&spends);
        }
        descent.standing()
    }

    #[test]
    fn the_deepest_published_transaction_decides() {
        let vtxo = &VTXO_VECTORS.arkoor_htlc_out_vtxo;
        let depth = usize::from(vtxo.exit_depth());
        assert!(depth > 1);
        let rival = Txid::all_zeros();
        for levels in 0..=depth {
            let confirmed = vec![true; levels];
            let expected = match levels {
                all if all == depth => Standing::Exited,
                confirmed => Standing::OffChain { confirmed },
            };
            assert_eq!(walk(vtxo, &confirmed, None), expected, "{levels}");
            let expected = match levels {
                all if all == depth => [Standing::Claimed(rival), Standing::Exited],
                _ => [Standing::DoubleSpent(rival), Standing::Contested(rival)],
            };
            for (mined, expected) in [true, false].into_iter().zip(expected) {
                let then = Some(spend(rival, mined));
                assert_eq!(walk(vtxo, &confirmed, then), expected, "{levels}");
            }
        }
        let mut own_unconfirmed = vec![true; depth];
        own_unconfirmed[depth - 1] = false;
        let confirmed = depth - 1;
        let standing = walk(vtxo, &own_unconfirmed, None);
        assert_eq!(standing, Standing::OffChain { confirmed });
    }

    #[test]
    fn only_the_output_of_an_earlier_owner_is_exposed() {
        let vtxo = &VTXO_VECTORS.arkoor2_vtxo;
        let payments = vtxo.past_arkoor_pubkeys();
        let depth = usize::from(vtxo.exit_depth());
        let first = depth - payments.len();
        assert_eq!(exposed_to(vtxo, 0), None);
        assert_eq!(exposed_to(vtxo, depth), None);
        assert_eq!(exposed_to(vtxo, first), payments[0].first().copied());
    }
}
