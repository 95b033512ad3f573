//! Whether a VTXO is what it claims to be (docs/protocol.md §4.0, §4.3, §4.16).

use std::sync::Arc;

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, Vtxo, VtxoId, VtxoPolicy};
use bitcoin::secp256k1::Keypair;
use bitcoin::{Transaction, Txid};

use crate::ark::PinnedKeys;
use crate::chain::{self, TxStatus};
use crate::model::OperationId;
use crate::model::{VtxoRecord, VtxoState};
use crate::store::{anchor, key, vtxo, vtxo_body};
use crate::wallet::{Error, Result, Wallet};

/// What the wallet makes of a VTXO that somebody sent.
#[derive(Debug)]
pub(in crate::wallet) enum Verdict {
    /// It is good; here is the transaction that it hangs from.
    Accept(Transaction),
    /// It is not, and never will be.
    Refuse(String),
    /// That cannot be told yet.
    Undecided(String),
}

impl Wallet {
    /// The VTXO with this id.
    pub async fn vtxo(&self, id: VtxoId) -> Result<Arc<VtxoRecord>> {
        let record = self
            .store
            .read(move |connection| vtxo::get(connection, id))
            .await?;
        record.ok_or_else(|| unknown(id))
    }

    /// The VTXO with this id and its exit chain, in the encoding of the protocol.
    pub async fn encoded_vtxo(&self, id: VtxoId) -> Result<Vec<u8>> {
        self.store
            .read(move |connection| match vtxo::get(connection, id)? {
                Some(_) => Ok(vtxo_body::get(connection, id)?.serialize()),
                None => Err(unknown(id)),
            })
            .await
    }

    /// VTXOs with their exit chains, in the order of their ids.
    pub(in crate::wallet) async fn full_vtxos(&self, ids: Vec<VtxoId>) -> Result<Vec<Vtxo<Full>>> {
        self.store
            .read(move |connection| {
                ids.iter()
                    .map(|id| Ok(vtxo_body::get(connection, *id)?))
                    .collect()
            })
            .await
    }

    /// VTXOs with the keys that spend them, in the order of their ids.
    pub(in crate::wallet) async fn signers(
        &self,
        ids: Vec<VtxoId>,
    ) -> Result<Vec<(Vtxo<Full>, Keypair)>> {
        let keys = Arc::clone(&self.keys);
        self.store
            .read(move |connection| {
                ids.iter()
                    .map(|id| {
                        let owned = vtxo_body::get(connection, *id)?;
                        let index = key::index_of(connection, &owned.user_pubkey())?;
                        let unknown = || {
                            Error::internal(anyhow::anyhow!(
                                "the key of VTXO {id} is not in the key table"
                            ))
                        };
                        let key = keys.vtxo_key(index.ok_or_else(unknown)?)?;
                        Ok((owned, key))
                    })
                    .collect()
            })
            .await
    }

    /// Whether an operation still holds all of these VTXOs: a round that has happened takes its inputs from whoever has them.
    pub(in crate::wallet) async fn holds(
        &self,
        id: &OperationId,
        vtxos: &[VtxoId],
    ) -> Result<bool> {
        let (ours, vtxos) = (VtxoState::Locked(Some(id.clone())), vtxos.to_vec());
        self.store
            .read(move |connection| {
                for id in vtxos {
                    if vtxo::get(connection, id)?.is_none_or(|record| record.state != ours) {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await
    }

    /// The transaction that VTXOs hang from, from the store or else from the chain.
    pub(in crate::wallet) async fn anchor(&self, txid: Txid) -> Result<Option<Transaction>> {
        match self
            .store
            .read(move |connection| anchor::get(connection, txid))
            .await?
        {
            Some(transaction) => Ok(Some(transaction)),
            None => Ok(self.chain.transaction(txid).await?),
        }
    }

    /// Checks the signatures of a VTXO that the server has just cosigned for us.
    ///
    /// # Errors
    /// It is not valid, or its anchor cannot be had now.
    pub(in crate::wallet) async fn check_own_output(&self, output: &Vtxo<Full>) -> Result<()> {
        let txid = output.chain_anchor().txid;
        let missing = || {
            Error::unavailable(
                "chain_unavailable",
                format!("transaction {txid} cannot be found"),
            )
        };
        let anchor = self.anchor(txid).await?.ok_or_else(missing)?;
        output.validate(&anchor).map_err(|error| {
            Error::unavailable(
                "server_unavailable",
                format!("the Ark server signed an invalid VTXO: {error}"),
            )
        })
    }

    /// Judges a VTXO that came through the mailbox. Whose key it pays to is not looked at here.
    ///
    /// It must be a plain VTXO of our server, every signature down from its anchor must be good, and the anchor must be
    /// confirmed and not have been spent in another way. A chain that does not answer decides nothing (W1).
    pub(in crate::wallet) async fn judge(
        &self,
        received: &Vtxo<Full>,
        server: &PinnedKeys,
    ) -> Result<Verdict> {
        if !matches!(received.policy(), VtxoPolicy::Pubkey(_)) {
            return Ok(Verdict::Refuse(format!(
                "its policy is {}, not a plain public key",
                received.policy_type()
            )));
        }
        if received.server_pubkey() != server.server {
            return Ok(Verdict::Refuse("it belongs to another Ark server".into()));
        }
        match self.judge_by_chain(received).await {
            Ok(verdict) => Ok(verdict),
            Err(error) => Ok(Verdict::Undecided(error.to_string())),
        }
    }

    async fn judge_by_chain(&self, received: &Vtxo<Full>) -> Result<Verdict, chain::Error> {
        let anchor_point = received.chain_anchor();
        let Some(anchor) = self.chain.transaction(anchor_point.txid).await? else {
            return Ok(Verdict::Undecided(format!(
                "its anchor {} is not on the chain",
                anchor_point.txid
            )));
        };
        if let Err(error) = received.validate(&anchor) {
            return Ok(Verdict::Refuse(error.to_string()));
        }
        if !matches!(
            self.chain.status(anchor_point.txid).await?,
            TxStatus::Confirmed { .. }
        ) {
            return Ok(Verdict::Undecided(format!(
                "its anchor {} is not confirmed",
                anchor_point.txid
            )));
        }
        let first = received
            .transactions()
            .next()
            .map(|item| item.tx.compute_txid());
        match self.chain.spender(anchor_point).await? {
            Some(spend)
                if Some(spend.txid) != first
                    && matches!(spend.status, TxStatus::Confirmed { .. }) =>
            {
                Ok(Verdict::Refuse(format!(
                    "its anchor was spent by {}",
                    spend.txid
                )))
            }
            Some(spend) if Some(spend.txid) != first => Ok(Verdict::Undecided(format!(
                "its anchor is being spent by {}",
                spend.txid
            ))),
            _ => Ok(Verdict::Accept(anchor)),
        }
    }
}

fn unknown(id: VtxoId) -> Error {
    Error::not_found("unknown_vtxo", format!("the wallet has no VTXO {id}"), id)
}
