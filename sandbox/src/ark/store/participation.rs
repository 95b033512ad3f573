//! Participations in rounds: waiting, issued by a round, or released after the forfeit of the inputs.

use anyhow::Context;
use ark_lib::mailbox::MailboxIdentifier;
use ark_lib::tree::signed::{UnlockHash, UnlockPreimage};
use ark_lib::{ProtocolEncoding, VtxoId, VtxoRequest};
use bitcoin::Txid;
use bitcoin::hashes::Hash;
use prost::Message;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use server_rpc::TryFromBytes;
use server_rpc::protos::{InputVtxo, RoundParticipationRequest};

use super::Store;

/// The inputs and outputs of a client in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participation {
    /// Unlocks the outputs; the client gets it for the forfeit of its inputs.
    pub unlock_preimage: UnlockPreimage,
    /// The VTXOs to forfeit.
    pub inputs: Vec<VtxoId>,
    /// The requested VTXOs, in the client's order.
    pub outputs: Vec<VtxoRequest>,
    /// The mailbox that is notified of the round.
    pub mailbox: Option<MailboxIdentifier>,
    /// No round below this height may include it.
    pub scheduled_height: Option<u32>,
    /// The funding transaction of the round that issued the outputs.
    pub round: Option<Txid>,
    /// Whether the inputs are forfeited.
    pub released: bool,
}

impl Participation {
    /// The hash that locks the outputs.
    pub fn unlock_hash(&self) -> UnlockHash {
        UnlockHash::hash(&self.unlock_preimage)
    }

    fn request(&self) -> RoundParticipationRequest {
        RoundParticipationRequest {
            input_vtxos: self
                .inputs
                .iter()
                .map(|id| InputVtxo {
                    vtxo_id: id.to_bytes().to_vec(),
                    attestation: Vec::new(), // checked when it came
                })
                .collect(),
            vtxo_requests: self.outputs.iter().map(Into::into).collect(),
            unblinded_mailbox_id: self.mailbox.map(|mailbox| mailbox.serialize()),
            scheduled_height: self.scheduled_height,
        }
    }
}

const COLUMNS: &str = "unlock_preimage, request, round, released";

impl Store {
    /// The participation whose outputs are locked with this hash.
    pub fn participation(&self, hash: UnlockHash) -> anyhow::Result<Option<Participation>> {
        self.lock()
            .query_row(
                &format!("SELECT {COLUMNS} FROM participation WHERE unlock_hash = ?1"),
                [hash.to_byte_array()],
                |row| Ok(read(row)),
            )
            .optional()?
            .transpose()
    }

    /// The participations that wait for a round and are due at this height, oldest first.
    pub fn due_participations(&self, tip: u32) -> anyhow::Result<Vec<Participation>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "SELECT {COLUMNS} FROM participation
             WHERE round IS NULL AND COALESCE(scheduled_height, 0) <= ?1 ORDER BY number"
        ))?;
        let rows = statement.query_map([tip], |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// The participations that a round has issued and whose inputs are not forfeited.
    pub(super) fn unreleased_participations(&self) -> anyhow::Result<Vec<Participation>> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!(
            "SELECT {COLUMNS} FROM participation WHERE round IS NOT NULL AND NOT released"
        ))?;
        let rows = statement.query_map([], |row| Ok(read(row)))?;
        rows.map(|row| row?).collect()
    }

    /// The VTXOs that a round has issued for a participation.
    pub fn outputs_of(&self, participation: &Participation) -> anyhow::Result<Vec<VtxoId>> {
        let txid = participation.round.context("not issued")?;
        let round = self.round(txid)?.context("round is lost")?;
        let tree = round.tree.into_cached_tree();
        let leaves = tree.spec.spec.vtxos.iter().enumerate();
        let hash = participation.unlock_hash();
        Ok(leaves
            .filter(|(_, leaf)| leaf.unlock_hash == hash)
            .map(|(index, _)| tree.build_vtxo(index).id())
            .collect())
    }

    /// Stores a waiting participation, and deletes other waiting ones that share an input.
    pub fn replace_participation(&self, participation: &Participation) -> anyhow::Result<()> {
        self.write(|db| {
            for id in &participation.inputs {
                db.execute(
                    "DELETE FROM participation WHERE round IS NULL AND number IN
                         (SELECT participation FROM participation_input WHERE vtxo = ?1)",
                    [id.to_bytes()],
                )?;
            }
            insert(db, participation)
        })
    }

    /// Deletes a waiting participation.
    pub fn drop_participation(&self, hash: UnlockHash) -> anyhow::Result<()> {
        self.lock().execute(
            "DELETE FROM participation WHERE round IS NULL AND unlock_hash = ?1",
            [hash.to_byte_array()],
        )?;
        Ok(())
    }
}

/// Adds a participation.
pub fn insert(db: &Transaction<'_>, participation: &Participation) -> anyhow::Result<()> {
    db.execute(
        "INSERT INTO participation
             (unlock_hash, unlock_preimage, request, scheduled_height, round, released)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            participation.unlock_hash().to_byte_array(),
            participation.unlock_preimage,
            participation.request().encode_to_vec(),
            participation.scheduled_height,
            participation.round.map(Txid::to_byte_array),
            participation.released,
        ],
    )?;
    let number = db.last_insert_rowid();
    for id in &participation.inputs {
        db.execute(
            "INSERT INTO participation_input (vtxo, participation) VALUES (?1, ?2)",
            params![id.to_bytes(), number],
        )?;
    }
    Ok(())
}

/// Records that a round has issued the outputs.
pub fn mark_issued(db: &Transaction<'_>, hash: UnlockHash, round: Txid) -> anyhow::Result<()> {
    let changed = db.execute(
        "UPDATE participation SET round = ?2 WHERE unlock_hash = ?1 AND round IS NULL",
        params![hash.to_byte_array(), round.to_byte_array()],
    )?;
    anyhow::ensure!(changed == 1, "participation {hash} is not waiting");
    Ok(())
}

/// Records that the inputs are forfeited.
pub fn mark_released(db: &Transaction<'_>, hash: UnlockHash) -> anyhow::Result<()> {
    db.execute(
        "UPDATE participation SET released = 1 WHERE unlock_hash = ?1",
        [hash.to_byte_array()],
    )?;
    Ok(())
}

fn read(row: &Row<'_>) -> anyhow::Result<Participation> {
    let request: Vec<u8> = row.get("request")?;
    let request = RoundParticipationRequest::decode(&*request).context("stored request")?;
    let round: Option<[u8; 32]> = row.get("round")?;
    Ok(Participation {
        unlock_preimage: row.get("unlock_preimage")?,
        inputs: request
            .input_vtxos
            .iter()
            .map(|input| VtxoId::from_bytes(&input.vtxo_id))
            .collect::<Result<_, _>>()?,
        outputs: request
            .vtxo_requests
            .into_iter()
            .map(VtxoRequest::try_from)
            .collect::<Result<_, _>>()?,
        mailbox: request
            .unblinded_mailbox_id
            .map(|bytes| MailboxIdentifier::deserialize(&bytes))
            .transpose()
            .context("stored mailbox id")?,
        scheduled_height: request.scheduled_height,
        round: round.map(Txid::from_byte_array),
        released: row.get("released")?,
    })
}
