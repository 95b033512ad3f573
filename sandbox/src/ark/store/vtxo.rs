//! One record per VTXO (docs/protocol.md §30.6).

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, ServerVtxo, Vtxo, VtxoId};
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{OutPoint, Txid};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::Store;

/// The state of a VTXO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VtxoState {
    /// Spendable.
    Spendable,
    /// Cosigned, but its signed transactions have not been uploaded.
    Unregistered,
    /// From a round whose inputs have not been forfeited.
    Unclaimed,
    /// Issued for a Lightning receive whose preimage is not known yet.
    HtlcRecvUnclaimed,
    /// Spent off chain.
    Spent,
    /// HTLC that paid a Lightning invoice.
    LnSpent,
    /// The server's own output, which clients never see.
    Internal,
}

const STATE_NAMES: [(VtxoState, &str); 7] = [
    (VtxoState::Spendable, "spendable"),
    (VtxoState::Unregistered, "unregistered"),
    (VtxoState::Unclaimed, "unclaimed"),
    (VtxoState::HtlcRecvUnclaimed, "htlc-recv-unclaimed"),
    (VtxoState::Spent, "spent"),
    (VtxoState::LnSpent, "ln-spent"),
    (VtxoState::Internal, "internal"),
];

impl fmt::Display for VtxoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = STATE_NAMES.iter().find(|(state, _)| state == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for VtxoState {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<VtxoState> {
        STATE_NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(state, _)| *state)
            .ok_or_else(|| anyhow!("unknown vtxo state {text}"))
    }
}

/// A client's VTXO and what the server knows about it.
#[derive(Debug, Clone)]
pub struct VtxoRecord {
    /// The VTXO, with its signatures if they have been uploaded.
    pub vtxo: Vtxo<Full>,
    /// Its state.
    pub state: VtxoState,
    /// The transaction that spends it off chain.
    pub spent_by: Option<Txid>,
    /// Height at which its output was confirmed on chain.
    pub exited_height: Option<u32>,
}

/// An output that the server answers for: a client's VTXO or one of its own.
#[derive(Debug, Clone)]
pub struct ServerRecord {
    /// The output, without its path.
    pub vtxo: ServerVtxo,
    /// Its state.
    pub state: VtxoState,
}

impl Store {
    /// A client's VTXO. The server's own outputs are not found here.
    pub fn vtxo(&self, id: VtxoId) -> anyhow::Result<Option<VtxoRecord>> {
        self.lock()
            .query_row(
                "SELECT body, state, spent_by, exited_height FROM vtxo
                 WHERE id = ?1 AND state <> 'internal'",
                [id.to_bytes()],
                |row| Ok(read_record(row)),
            )
            .optional()?
            .transpose()
    }

    /// Every VTXO of a client, and the height at which it was last seen on chain.
    pub fn exit_heights(&self) -> anyhow::Result<Vec<(VtxoId, Option<u32>)>> {
        let connection = self.lock();
        let mut statement =
            connection.prepare("SELECT id, exited_height FROM vtxo WHERE state <> 'internal'")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, [u8; VtxoId::ENCODE_SIZE]>(0)?, row.get(1)?))
        })?;
        rows.map(|row| {
            let (id, height) = row?;
            Ok((VtxoId::from_slice(&id)?, height))
        })
        .collect()
    }

    /// Every output that the server answers for, its own included.
    pub fn outputs(&self) -> anyhow::Result<Vec<OutPoint>> {
        let connection = self.lock();
        let mut statement = connection.prepare("SELECT id FROM vtxo")?;
        let ids = statement.query_map([], |row| row.get::<_, [u8; VtxoId::ENCODE_SIZE]>(0))?;
        ids.map(|id| Ok(VtxoId::from_slice(&id?)?.to_point()))
            .collect()
    }

    /// An output that the server answers for, its own included.
    pub fn server_vtxo(&self, id: VtxoId) -> anyhow::Result<Option<ServerRecord>> {
        self.body(id)?
            .map(|(body, state)| {
                let vtxo = ServerVtxo::deserialize(&body).context("stored vtxo is broken")?;
                Ok(ServerRecord { vtxo, state })
            })
            .transpose()
    }

    /// The encoded form of an output that the server answers for, its own included, and its state.
    pub fn body(&self, id: VtxoId) -> anyhow::Result<Option<(Vec<u8>, VtxoState)>> {
        let row: Option<(Vec<u8>, String)> = self
            .lock()
            .query_row(
                "SELECT body, state FROM vtxo WHERE id = ?1",
                [id.to_bytes()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        row.map(|(body, state)| Ok((body, state.parse()?)))
            .transpose()
    }

    /// The encoded form of a VTXO that another client owns, if there is one.
    pub fn body_of_another(&self, id: VtxoId) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self
            .lock()
            .query_row(
                "SELECT body FROM vtxo WHERE state <> 'internal' AND user_pubkey <>
                     (SELECT user_pubkey FROM vtxo WHERE id = ?1) ORDER BY id LIMIT 1",
                [id.to_bytes()],
                |row| row.get(0),
            )
            .optional()?)
    }

    /// The VTXOs of a client's key in the order of their ids, those after `after` if given.
    pub fn vtxos_of_key(
        &self,
        key: &PublicKey,
        after: Option<VtxoId>,
    ) -> anyhow::Result<Vec<VtxoRecord>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(
            "SELECT body, state, spent_by, exited_height FROM vtxo
             WHERE user_pubkey = ?1 AND state <> 'internal' AND id > ?2 ORDER BY id",
        )?;
        let after = after.map_or(Vec::new(), |id| id.to_bytes().to_vec());
        let rows =
            statement.query_map(params![key.serialize(), after], |row| Ok(read_record(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Whether an outpoint is an output that the server keeps a record of, its own included.
    pub fn is_vtxo(&self, outpoint: OutPoint) -> anyhow::Result<bool> {
        Ok(self.lock().query_row(
            "SELECT EXISTS (SELECT 1 FROM vtxo WHERE id = ?1)",
            [VtxoId::from(outpoint).to_bytes()],
            |row| row.get(0),
        )?)
    }
}

/// Adds a VTXO unless it is known already: a repeated request must not reset its state.
pub fn insert<G>(
    tx: &Transaction<'_>,
    vtxo: &ServerVtxo<G>,
    state: VtxoState,
    spent_by: Option<Txid>,
) -> anyhow::Result<()>
where
    ServerVtxo<G>: ProtocolEncoding,
{
    let amount = i64::try_from(vtxo.amount().to_sat()).context("amount beyond 63 bits")?;
    let user_pubkey = vtxo.policy().user_pubkey().map(|key| key.serialize());
    tx.execute(
        "INSERT OR IGNORE INTO vtxo
             (id, body, user_pubkey, amount_sat, anchor, state, spent_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            vtxo.id().to_bytes(),
            vtxo.serialize(),
            user_pubkey,
            amount,
            serialize(&vtxo.chain_anchor()),
            state.to_string(),
            spent_by.map(Txid::to_byte_array),
        ],
    )?;
    Ok(())
}

/// Replaces the stored bytes by those of the signed form.
pub fn replace_body(tx: &Transaction<'_>, vtxo: &Vtxo<Full>) -> anyhow::Result<()> {
    tx.execute(
        "UPDATE vtxo SET body = ?2 WHERE id = ?1",
        params![vtxo.id().to_bytes(), vtxo.serialize()],
    )?;
    Ok(())
}

/// Moves a VTXO from one state to another; no change if it is in a third one.
pub fn change_state(
    tx: &Transaction<'_>,
    id: VtxoId,
    from: VtxoState,
    to: VtxoState,
) -> anyhow::Result<()> {
    tx.execute(
        "UPDATE vtxo SET state = ?3 WHERE id = ?1 AND state = ?2",
        params![id.to_bytes(), from.to_string(), to.to_string()],
    )?;
    Ok(())
}

/// Marks a client's VTXO as spent off chain by `txid`.
pub fn mark_spent(tx: &Transaction<'_>, id: VtxoId, txid: Txid) -> anyhow::Result<()> {
    let changed = tx.execute(
        "UPDATE vtxo SET state = 'spent', spent_by = ?2
         WHERE id = ?1 AND (spent_by IS NULL OR spent_by = ?2)",
        params![id.to_bytes(), txid.to_byte_array()],
    )?;
    anyhow::ensure!(changed == 1, "{id} is spent by another transaction");
    Ok(())
}

/// Fails if another transaction than `txid` spends this output off chain.
pub fn check_spender(tx: &Transaction<'_>, id: VtxoId, txid: Txid) -> anyhow::Result<()> {
    let spender: Option<[u8; 32]> = tx.query_row(
        "SELECT spent_by FROM vtxo WHERE id = ?1",
        [id.to_bytes()],
        |row| row.get(0),
    )?;
    let same = spender.is_none_or(|spender| spender == txid.to_byte_array());
    anyhow::ensure!(same, "{id} is already spent");
    Ok(())
}

/// Records whether a VTXO's output is confirmed on chain, and where.
pub fn set_exited(tx: &Transaction<'_>, id: VtxoId, height: Option<u32>) -> anyhow::Result<()> {
    tx.execute(
        "UPDATE vtxo SET exited_height = ?2 WHERE id = ?1",
        params![id.to_bytes(), height],
    )?;
    Ok(())
}

fn read_record(row: &Row<'_>) -> anyhow::Result<VtxoRecord> {
    let body: Vec<u8> = row.get("body")?;
    let spent_by: Option<[u8; 32]> = row.get("spent_by")?;
    Ok(VtxoRecord {
        vtxo: Vtxo::deserialize(&body).context("stored vtxo is broken")?,
        state: row.get::<_, String>("state")?.parse()?,
        spent_by: spent_by.map(Txid::from_byte_array),
        exited_height: row.get("exited_height")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_name_that_reads_back() {
        for (state, name) in STATE_NAMES {
            assert_eq!(state.to_string(), name);
            assert_eq!(name.parse::<VtxoState>().unwrap(), state);
        }
    }
}
