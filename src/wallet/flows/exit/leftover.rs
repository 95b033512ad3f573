//! Coins that exits have left behind: one that ends early keeps the coins of a child that the network had then.

use std::collections::HashSet;

use bitcoin::Txid;
use rusqlite::Connection;

use super::{child, stored};
use crate::store::{WriteTx, exit, onchain, vtxo_body};
use crate::wallet::{Result, Wallet};

/// What becomes of the coins that are held for a child.
enum Leftover {
    /// The child is confirmed.
    Spent(Txid),
    /// The network does not have the child.
    Free,
}

impl Wallet {
    /// Settles or releases what is held for children that no exit under way needs. Those in the mempool are left until the next time. What a
    /// crash loses is found again.
    ///
    /// # Errors
    /// `chain_unavailable`; the database's.
    pub(super) async fn settle_leftovers(&self) -> Result<()> {
        let read = self.store.read(move |connection| {
            let held = onchain::holders(connection)?;
            let parents = held.iter().filter_map(|it| child::parent_of(it));
            let parents: Vec<Txid> = parents.collect();
            if parents.is_empty() {
                return Ok(parents);
            }
            let needed = needed(connection, None)?;
            let left = parents
                .into_iter()
                .filter(|parent| !needed.contains(parent));
            Ok::<_, crate::wallet::Error>(left.collect())
        });
        let mut found = Vec::new();
        for parent in read.await? {
            found.extend(self.leftover(parent).await?.map(|it| (parent, it)));
        }
        if found.is_empty() {
            return Ok(());
        }
        let onchain = self.onchain.clone();
        let write = move |tx: &mut WriteTx<'_>| -> Result<()> {
            // An exit may have begun meanwhile.
            let needed = needed(tx, None)?;
            for (parent, leftover) in found.iter().filter(|(it, _)| !needed.contains(it)) {
                match leftover {
                    Leftover::Spent(txid) => child::settle(&onchain, tx, *parent, *txid)?,
                    Leftover::Free => {
                        exit::drop_child(tx, *parent)?;
                        onchain.release(tx, &child::holder(*parent))?;
                    }
                }
            }
            Ok(())
        };
        self.store.write(write).await
    }

    async fn leftover(&self, parent: Txid) -> Result<Option<Leftover>> {
        let Some(child) = stored::child(self, parent).await? else {
            return Ok(Some(Leftover::Free));
        };
        Ok(match self.chain.confirmations(child.txid).await? {
            None => Some(Leftover::Free),
            Some(0) => None,
            Some(_) => Some(Leftover::Spent(child.txid)),
        })
    }
}

/// The transactions of the exits under way, but for those of one.
pub(super) fn needed(connection: &Connection, except: Option<i64>) -> Result<HashSet<Txid>> {
    let mut needed = HashSet::new();
    for exit in exit::live(connection)? {
        if Some(exit.id) != except {
            let vtxo = vtxo_body::get(connection, exit.vtxo)?;
            needed.extend(vtxo.transactions().map(|item| item.tx.compute_txid()));
        }
    }
    Ok(needed)
}
