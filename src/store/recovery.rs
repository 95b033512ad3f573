//! Recoveries and their candidates (docs/protocol.md §4.11).

use ark_lib::VtxoId;
use ark_lib::tree::signed::UnlockHash;
use bitcoin::Amount;
use bitcoin::hashes::Hash;
use bitcoin_ext::BlockHeight;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Error, WriteTx};
use crate::model::{
    FoundVtxo, LeftOut, OpenCandidate, OperationId, RecoveryCause, RecoveryRow, UnprovenSpend,
    Verdict,
};

/// Writes a new recovery. What finished ones have found is forgotten, but not which spends are unproven. The mailbox is held for one from the seed, spending for one of an
/// older database.
pub fn begin(
    tx: &WriteTx<'_>,
    id: &OperationId,
    cause: RecoveryCause,
    now: i64,
) -> Result<(), Error> {
    tx.execute_batch(
        "DELETE FROM recovery_candidate WHERE recovery IN (SELECT id FROM recovery WHERE finished_at IS NOT NULL)
             AND verdict IS NOT 'spent_unproven';
         DELETE FROM recovery_round",
    )?;
    tx.execute(
        "INSERT INTO recovery (id, cause, holds_mailbox, holds_spends, started_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            id.as_str(),
            cause.name(),
            cause == RecoveryCause::Seed,
            cause == RecoveryCause::OlderDatabase,
            now
        ],
    )?;
    Ok(())
}

/// How many recoveries there are.
pub fn count(connection: &Connection) -> Result<u32, Error> {
    Ok(connection.query_row("SELECT count(*) FROM recovery", [], |row| row.get(0))?)
}

/// The last recovery, if there ever was one.
pub fn last(connection: &Connection) -> Result<Option<RecoveryRow>, Error> {
    let sql = "SELECT id, cause, started_at, finished_at, holds_spends, undecodable FROM recovery ORDER BY started_at DESC, id DESC LIMIT 1";
    let row = connection
        .prepare_cached(sql)?
        .query_row([], |row| {
            Ok(RecoveryRow {
                id: OperationId::from(row.get::<_, String>(0)?),
                cause: row.get(1)?,
                started_at: row.get(2)?,
                finished_at: row.get(3)?,
                holds_spends: row.get(4)?,
                undecodable: row.get(5)?,
            })
        })
        .optional()?;
    Ok(row)
}

/// Whether a recovery takes the messages of the mailbox.
pub fn holds_mailbox(connection: &Connection) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM recovery WHERE holds_mailbox)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Whether no VTXO is spent, because a recovery has to find out first which ones are ours.
pub fn holds_spends(connection: &Connection) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM recovery WHERE holds_spends)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Gives the mailbox back to the wallet.
pub fn release_mailbox(tx: &WriteTx<'_>, id: &OperationId) -> Result<(), Error> {
    let sql = "UPDATE recovery SET holds_mailbox = 0 WHERE id = ?1";
    tx.execute(sql, [id.as_str()])?;
    Ok(())
}

/// Allows the wallet to spend again.
pub fn release_spends(tx: &WriteTx<'_>, id: &OperationId) -> Result<(), Error> {
    let sql = "UPDATE recovery SET holds_spends = 0 WHERE id = ?1";
    tx.execute(sql, [id.as_str()])?;
    Ok(())
}

/// Ends a recovery.
pub fn finish(tx: &WriteTx<'_>, id: &OperationId, now: i64) -> Result<(), Error> {
    let sql = "UPDATE recovery SET finished_at = ?2 WHERE id = ?1";
    tx.execute(sql, params![id.as_str(), now])?;
    Ok(())
}

/// Counts entries that are no VTXO and no id of one.
pub fn count_undecodable(tx: &WriteTx<'_>, id: &OperationId, more: u64) -> Result<(), Error> {
    let sql = "UPDATE recovery SET undecodable = undecodable + ?2 WHERE id = ?1";
    tx.execute(sql, params![id.as_str(), more])?;
    Ok(())
}

/// Adds a candidate, or what was not known of it. One that another recovery has left open is taken over.
pub fn add(tx: &WriteTx<'_>, recovery: &OperationId, found: &FoundVtxo) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO recovery_candidate (id, recovery, source, backed_up, key_index, body, state)
         VALUES (?1, ?2, ?3, ?3 = 'recovery_mailbox', ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET
             verdict = iif(recovery = excluded.recovery, verdict, NULL),
             tries = iif(recovery = excluded.recovery, tries, 0),
             recovery = excluded.recovery,
             backed_up = max(backed_up, excluded.backed_up),
             key_index = coalesce(key_index, excluded.key_index),
             body = coalesce(body, excluded.body),
             state = coalesce(excluded.state, state)",
    )?
    .execute(params![
        found.id.to_bytes(),
        recovery.as_str(),
        found.source.name(),
        found.key_index,
        found.body,
        found.state
    ])?;
    Ok(())
}

/// Whether a recovery has found this VTXO before.
pub fn is_known(connection: &Connection, id: VtxoId) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM recovery_candidate WHERE id = ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([id.to_bytes()], |row| row.get(0))?)
}

/// Whether a recovery has found the id of this VTXO in the recovery mailbox.
pub fn is_backed_up(connection: &Connection, id: VtxoId) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM recovery_candidate WHERE id = ?1 AND backed_up)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([id.to_bytes()], |row| row.get(0))?)
}

/// Adds a round that the mailbox reports.
pub fn add_round(tx: &WriteTx<'_>, recovery: &OperationId, hash: UnlockHash) -> Result<(), Error> {
    let sql =
        "INSERT INTO recovery_round (unlock_hash, recovery) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    tx.prepare_cached(sql)?
        .execute(params![hash.to_byte_array(), recovery.as_str()])?;
    Ok(())
}

/// A reported round that was not looked at.
pub fn next_round(
    connection: &Connection,
    recovery: &OperationId,
) -> Result<Option<UnlockHash>, Error> {
    let sql = "SELECT unlock_hash FROM recovery_round WHERE recovery = ?1 LIMIT 1";
    let hash: Option<[u8; 32]> = connection
        .prepare_cached(sql)?
        .query_row([recovery.as_str()], |row| row.get(0))
        .optional()?;
    Ok(hash.map(UnlockHash::from_byte_array))
}

/// Removes a round that was looked at.
pub fn drop_round(tx: &WriteTx<'_>, hash: UnlockHash) -> Result<(), Error> {
    let sql = "DELETE FROM recovery_round WHERE unlock_hash = ?1";
    tx.prepare_cached(sql)?.execute([hash.to_byte_array()])?;
    Ok(())
}

/// Which candidates are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Without a body; those that were not asked for first.
    WithoutBody,
    /// With a body; those that were not asked about first.
    WithoutState,
    /// With a body, and not judged.
    Unjudged,
    /// Judged as doubtful or missing.
    Doubtful,
}

impl Open {
    fn condition(self) -> &'static str {
        match self {
            Open::WithoutBody => "verdict IS NULL AND body IS NULL ORDER BY tries, id",
            Open::WithoutState => {
                "verdict IS NULL AND body IS NOT NULL AND state IS NULL ORDER BY tries, id"
            }
            Open::Unjudged => "verdict IS NULL AND body IS NOT NULL ORDER BY id",
            Open::Doubtful => "verdict IN ('doubtful', 'missing') ORDER BY id",
        }
    }
}

/// At most `limit` of the open candidates of a recovery that were tried fewer than `max_tries` times.
pub fn open(
    connection: &Connection,
    recovery: &OperationId,
    which: Open,
    max_tries: u32,
    limit: u32,
) -> Result<Vec<OpenCandidate>, Error> {
    let sql = format!(
        "SELECT id, backed_up, key_index, body, state, tries FROM recovery_candidate
         WHERE recovery = ?1 AND tries < ?2 AND {} LIMIT ?3",
        which.condition()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![recovery.as_str(), max_tries, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(OpenCandidate {
            id: id(row, 0)?,
            backed_up: row.get(1)?,
            key_index: row.get(2)?,
            body: row.get(3)?,
            state: row.get(4)?,
            tries: row.get(5)?,
        });
    }
    Ok(found)
}

fn id(row: &Row<'_>, column: usize) -> Result<VtxoId, Error> {
    let bytes: Vec<u8> = row.get(column)?;
    VtxoId::from_slice(&bytes).map_err(|error| Error::corrupt("VTXO id", error))
}

/// Stores the body of a candidate; tries count from the beginning.
pub fn set_body(tx: &WriteTx<'_>, id: VtxoId, body: &[u8]) -> Result<(), Error> {
    let sql = "UPDATE recovery_candidate SET body = ?2, tries = 0 WHERE id = ?1";
    tx.prepare_cached(sql)?
        .execute(params![id.to_bytes(), body])?;
    Ok(())
}

/// Stores the index of a candidate's key.
pub fn set_key(tx: &WriteTx<'_>, id: VtxoId, index: u32) -> Result<(), Error> {
    let sql = "UPDATE recovery_candidate SET key_index = ?2 WHERE id = ?1";
    tx.prepare_cached(sql)?
        .execute(params![id.to_bytes(), index])?;
    Ok(())
}

/// Stores what the server says of a candidate.
pub fn set_state(tx: &WriteTx<'_>, id: VtxoId, state: i32) -> Result<(), Error> {
    let sql = "UPDATE recovery_candidate SET state = ?2 WHERE id = ?1";
    tx.prepare_cached(sql)?
        .execute(params![id.to_bytes(), state])?;
    Ok(())
}

/// Counts a try without an answer.
pub fn count_try(tx: &WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    let sql = "UPDATE recovery_candidate SET tries = tries + 1 WHERE id = ?1";
    tx.prepare_cached(sql)?.execute([id.to_bytes()])?;
    Ok(())
}

/// Stores that the spend of a VTXO is shown by nothing but the server's word.
pub fn mark_unproven(tx: &WriteTx<'_>, id: VtxoId) -> Result<(), Error> {
    let sql = "INSERT INTO unproven_spend (id) VALUES (?1) ON CONFLICT DO NOTHING";
    tx.prepare_cached(sql)?.execute([id.to_bytes()])?;
    Ok(())
}

/// Stores that the spend of a VTXO is proven.
pub fn set_proven(tx: &WriteTx<'_>, id: VtxoId, proof: &str) -> Result<(), Error> {
    let sql = "DELETE FROM unproven_spend WHERE id = ?1";
    tx.prepare_cached(sql)?.execute([id.to_bytes()])?;
    decide(tx, id, Verdict::Spent, proof)
}

/// Stores a verdict. The body is kept only while the verdict can change.
pub fn decide(tx: &WriteTx<'_>, id: VtxoId, verdict: Verdict, reason: &str) -> Result<(), Error> {
    tx.prepare_cached(
        "UPDATE recovery_candidate SET verdict = ?2, reason = ?3, tries = 0, body = iif(?2 = 'doubtful', body, NULL)
         WHERE id = ?1",
    )?
    .execute(params![id.to_bytes(), verdict.name(), reason])?;
    Ok(())
}

/// Decides about all candidates without a body.
pub fn give_up_missing(
    tx: &WriteTx<'_>,
    recovery: &OperationId,
    reason: &str,
) -> Result<(), Error> {
    tx.execute(
        "UPDATE recovery_candidate SET verdict = 'missing', reason = ?2, tries = 0
         WHERE recovery = ?1 AND verdict IS NULL AND body IS NULL",
        params![recovery.as_str(), reason],
    )?;
    Ok(())
}

/// How many candidates a recovery has found.
pub fn found(connection: &Connection, recovery: &OperationId) -> Result<u64, Error> {
    let sql = "SELECT count(*) FROM recovery_candidate WHERE recovery = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([recovery.as_str()], |row| row.get(0))?)
}

/// How many candidates of a recovery have this verdict.
pub fn with_verdict(
    connection: &Connection,
    recovery: &OperationId,
    verdict: Verdict,
) -> Result<u64, Error> {
    let sql = "SELECT count(*) FROM recovery_candidate WHERE recovery = ?1 AND verdict = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([recovery.as_str(), verdict.name()], |row| row.get(0))?)
}

/// At most `limit` candidates that are neither recovered nor spent.
pub fn left_out(
    connection: &Connection,
    recovery: &OperationId,
    limit: u32,
) -> Result<Vec<LeftOut>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, verdict, coalesce(reason, '') FROM recovery_candidate
         WHERE recovery = ?1 AND verdict NOT IN ('recovered', 'spent', 'spent_unproven') ORDER BY verdict, id LIMIT ?2",
    )?;
    let mut rows = statement.query(params![recovery.as_str(), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(LeftOut {
            id: id(row, 0)?,
            verdict: row.get(1)?,
            reason: row.get(2)?,
        });
    }
    Ok(found)
}

/// The spent VTXOs for whose spend there is nothing but the server's word, whichever recovery or payment has asked.
pub fn unproven_spends(connection: &Connection) -> Result<Vec<UnprovenSpend>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, amount, expiry_height, max(was_own) FROM vtxo JOIN (
             SELECT id, source = 'own' AS was_own FROM recovery_candidate WHERE verdict = 'spent_unproven'
             UNION ALL SELECT id, 0 FROM unproven_spend
         ) USING (id) WHERE vtxo.state = 'spent' GROUP BY id ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(UnprovenSpend {
            id: id(row, 0)?,
            amount: Amount::from_sat(row.get(1)?),
            expiry_height: BlockHeight::new(row.get(2)?),
            was_spendable: row.get(3)?,
        });
    }
    Ok(found)
}

/// Whether there is nothing but the server's word for the spend of this VTXO.
pub fn is_unproven(connection: &Connection, id: VtxoId) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM recovery_candidate WHERE id = ?1 AND verdict = 'spent_unproven')
                   OR EXISTS (SELECT 1 FROM unproven_spend WHERE id = ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([id.to_bytes()], |row| row.get(0))?)
}

/// The checkpoint up to which the recovery mailbox was read.
pub fn cursor(connection: &Connection) -> Result<u64, Error> {
    Ok(connection.query_row("SELECT recovery_cursor FROM wallet", [], |row| row.get(0))?)
}

/// Moves the cursor of the recovery mailbox forward.
pub fn advance_cursor(tx: &WriteTx<'_>, checkpoint: u64) -> Result<(), Error> {
    let sql = "UPDATE wallet SET recovery_cursor = ?1 WHERE recovery_cursor < ?1";
    tx.prepare_cached(sql)?.execute([checkpoint])?;
    Ok(())
}
