//! What the on-chain wallet scans: blocks in order, then the mempool.

use std::collections::HashSet;

use bdk_wallet::chain::CheckPoint;
use bitcoin::{Block, Transaction, Txid};
use serde_json::{Value, json};

use super::rpc::optional;
use super::{Bitcoind, decode_transaction};
use crate::chain::Error;

impl Bitcoind {
    /// The block after the newest of the wallet's blocks that is in the best chain, with its height; `None` if that block is
    /// the tip. After a reorganisation this is the first block after the fork.
    ///
    /// # Errors
    /// [`Error::Unavailable`] also while the node has fewer blocks than the wallet has seen.
    pub(crate) async fn block_after(
        &self,
        newest: &CheckPoint,
    ) -> Result<Option<(u32, Block)>, Error> {
        for known in newest.iter() {
            let Some(header) = self.header(known.hash()).await? else {
                // Either the node lags behind, or the block was reorganised away and this node never had it.
                self.check_caught_up(known.height()).await?;
                continue;
            };
            if !header.in_best_chain() {
                continue;
            }
            let Some(next) = header.next else {
                return Ok(None);
            };
            return Ok(Some((header.height + 1, self.block(next).await?)));
        }
        Err(Error::Invalid(
            "its chain has none of the wallet's blocks".into(),
        ))
    }

    async fn check_caught_up(&self, height: u32) -> Result<(), Error> {
        let count: u32 = self.rpc.call("getblockcount", json!([])).await?;
        if count < height {
            return Err(Error::Unavailable(format!(
                "bitcoind is at block {count}, behind block {height}, which the wallet has seen; wait until it is synced"
            )));
        }
        Ok(())
    }

    /// The ids of all transactions in the mempool.
    pub(crate) async fn mempool(&self) -> Result<HashSet<Txid>, Error> {
        Ok(self.rpc.call("getrawmempool", json!([])).await?)
    }

    /// Transactions of the mempool. Those that have left it meanwhile may be missing.
    pub(crate) async fn mempool_transactions(
        &self,
        txids: &[Txid],
    ) -> Result<Vec<Transaction>, Error> {
        let params: Vec<Value> = txids.iter().map(|txid| json!([txid])).collect();
        let answers = self.rpc.call_each::<String>("getrawtransaction", &params);
        let mut found = Vec::with_capacity(txids.len());
        for answer in answers.await? {
            if let Some(hex) = optional(answer)? {
                found.push(decode_transaction(&hex)?);
            }
        }
        Ok(found)
    }
}
