//! The second half of an offboard: the client has signed the forfeits, and the server pays.

use anyhow::Context;
use ark_lib::musig::{PartialSignature, PublicNonce, SecretNonce};
use ark_lib::offboard::{OffboardForfeitContext, OffboardForfeitResult};
use ark_lib::vtxo::Full;
use ark_lib::{Vtxo, VtxoId};
use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::serialize;
use bitcoin::{Transaction, Txid};
use server_rpc::{TryFromBytes, protos};

use super::super::faults::{Action, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{TxKind, VtxoState, tx, vtxo};
use crate::coin_wallet::CoinLock;

impl Ark {
    /// `FinishOffboard`. Once it is done, it only repeats the signed transaction, and only as long as the session lasts: a real server
    /// keeps it in RAM, and refuses a committed offboard as unknown afterwards.
    pub(in super::super) async fn finish_offboard(
        &self,
        request: protos::FinishOffboardRequest,
    ) -> Result<protos::FinishOffboardResponse, RpcError> {
        let txid = Txid::from_bytes(&request.offboard_txid)?;
        let nonces = request
            .user_nonces
            .iter()
            .map(PublicNonce::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        let signatures = request
            .partial_signatures
            .iter()
            .map(PartialSignature::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;

        let _turn = self.turn().await;
        self.forget_late_offboards().await;
        let known = self.offboards.sessions().contains_key(&txid);
        if known && let Some(signed) = self.store.offboard_tx(txid)? {
            return Ok(answer(&signed));
        }
        let completed = self.complete(txid, &nonces, &signatures).await?;
        self.store.write(|db| persist(db, &completed))?;

        let mut told = completed.signed;
        match self.hook(Hook::OffboardPersisted)? {
            Some(Action::Withhold) => self.store.withhold_tx(txid)?,
            Some(Action::OtherTxid) => told.lock_time = LockTime::from_consensus(1),
            _ => {}
        }
        self.broadcast_now().await;
        self.coins.release(completed.lock).await;
        Ok(answer(&told))
    }

    /// Uses up the session: completes the forfeits, then signs the transaction that pays for them.
    async fn complete(
        &self,
        txid: Txid,
        nonces: &[PublicNonce],
        signatures: &[PartialSignature],
    ) -> Result<Completed, RpcError> {
        let claimed = self.claim_session(txid, nonces.len(), signatures.len())?;
        let inputs: Vec<Vtxo<Full>> = self
            .known(&claimed.inputs)?
            .into_iter()
            .map(|record| record.vtxo)
            .collect();
        let context = OffboardForfeitContext::new(&inputs, &claimed.tx).map_err(RpcError::bad)?;
        let forfeits = context.finish(
            &self.keys.server,
            &claimed.public_nonces,
            claimed.secret_nonces,
            nonces,
            signatures,
        );
        let forfeits = match forfeits {
            Ok(forfeits) => forfeits,
            Err(error) => {
                self.offboards.sessions().remove(&txid);
                self.coins.release(claimed.lock).await;
                return Err(RpcError::bad(error));
            }
        };
        Ok(Completed {
            signed: self.coins.sign(claimed.tx).await?,
            inputs: claimed.inputs,
            forfeits,
            lock: claimed.lock,
        })
    }

    /// Takes the secret nonces out of the session, so that nothing can use them a second time.
    fn claim_session(
        &self,
        txid: Txid,
        nonces: usize,
        signatures: usize,
    ) -> Result<Claimed, RpcError> {
        let mut sessions = self.offboards.sessions();
        let session = sessions
            .get_mut(&txid)
            .ok_or_else(|| RpcError::bad("unknown offboard txid"))?;
        let count = session.inputs.len();
        if nonces != count || signatures != count {
            return Err(RpcError::bad(format!(
                "{count} nonces and {count} signatures are needed"
            )));
        }
        let secret_nonces = session
            .secret_nonces
            .take()
            .context("the offboard was interrupted")?;
        Ok(Claimed {
            tx: session.tx.clone(),
            inputs: session.inputs.clone(),
            public_nonces: session.public_nonces.clone(),
            secret_nonces,
            lock: session.lock,
        })
    }
}

/// What is taken out of a session, which can be used once.
struct Claimed {
    tx: Transaction,
    inputs: Vec<VtxoId>,
    public_nonces: Vec<PublicNonce>,
    secret_nonces: Vec<SecretNonce>,
    lock: CoinLock,
}

/// An offboard with all signatures.
struct Completed {
    signed: Transaction,
    inputs: Vec<VtxoId>,
    forfeits: OffboardForfeitResult,
    lock: CoinLock,
}

fn persist(db: &rusqlite::Transaction<'_>, completed: &Completed) -> anyhow::Result<()> {
    let txid = completed.signed.compute_txid();
    let forfeits = &completed.forfeits;
    tx::insert_signed(db, TxKind::Offboard, &completed.signed)?;
    for forfeit in &forfeits.forfeit_txs {
        tx::insert_signed(db, TxKind::Forfeit, forfeit)?;
    }
    if let Some(fan_out) = &forfeits.connector_tx {
        tx::insert_signed(db, TxKind::Connector, fan_out)?;
    }
    for output in forfeits
        .forfeit_vtxos
        .iter()
        .chain(&forfeits.connector_vtxos)
    {
        vtxo::insert(db, output, VtxoState::Internal, None)?;
    }
    for input in &completed.inputs {
        vtxo::mark_spent(db, *input, txid)?;
    }
    Ok(())
}

fn answer(signed: &Transaction) -> protos::FinishOffboardResponse {
    protos::FinishOffboardResponse {
        signed_offboard_tx: serialize(signed),
    }
}
