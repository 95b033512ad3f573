//! Where a recovery looks for VTXOs: the server's list by key, the mailbox, and the recovery mailbox.

use ark_lib::vtxo::Full;
use ark_lib::{ProtocolEncoding, tree::signed::UnlockHash};
use ark_lib::{Vtxo, VtxoId};
use rusqlite::Connection;

use super::Recovery;
use crate::ark::{self, KeyPage, ParticipationStatus, Payload, XPUB_AUTHORIZATION};
use crate::model::{CandidateSource, FoundVtxo, OperationId, VtxoState};
use crate::store::{self, WriteTx, mailbox as mailbox_store, recovery, vtxo};
use crate::wallet::account::keys;
use crate::wallet::engine::{Next, Step, Tries};
use crate::wallet::{CommitPoint, Result, Wallet};

/// Failures after which a call that others can stand in for is left out, while the server is connected.
pub(super) const PATIENCE: u32 = 5;
/// No index of a key is taken from the server above this one: all keys below are stored.
const MAX_KEY_INDEX: u32 = 1_000_000;

/// Pages in a row that bring nothing, after which a mailbox is not read on: the server could repeat its messages for ever. It is longer than
/// any list of messages that are no VTXOs, and what is behind it is read later as messages of the running wallet.
pub(super) const MAX_IDLE_PAGES: u32 = 1_000;

const MAILBOX: Recovery = Recovery::Mailbox { cursor: 0, idle: 0 };
const BACKUP: Recovery = Recovery::Backup { cursor: 0, idle: 0 };

/// Whether the wallet does without a call that has failed.
pub(super) fn leave_out(wallet: &Wallet, tries: Tries, error: &ark::Error) -> bool {
    let away = matches!(error, ark::Error::Unreachable(_)) || !wallet.is_connected();
    !away && tries.failed >= PATIENCE
}

pub(super) async fn keys(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
    start: u32,
    cursor: Option<VtxoId>,
) -> Result<Step<Recovery>> {
    let server = wallet.server_keys()?.server;
    let expiry = chrono::Local::now() + XPUB_AUTHORIZATION;
    let (xpub, authorization) = wallet.keys.recovery_request(server, expiry);
    let listed = wallet
        .server
        .vtxos_of_xpub(&xpub, authorization, start, cursor)
        .await;
    let page = match listed {
        Ok(Some(page)) => page,
        Ok(None) => {
            tracing::info!("the Ark server cannot list VTXOs by key; reading the mailboxes only");
            return Ok(pass(MAILBOX));
        }
        Err(error) if leave_out(wallet, tries, &error) => {
            tracing::warn!(%error, "the Ark server does not list VTXOs by key; reading the mailboxes only");
            return Ok(pass(MAILBOX));
        }
        Err(error) => return Err(error.into()),
    };
    let next = next_keys(&page, start, cursor);
    let (mut found, mut undecodable, mut highest) = (Vec::new(), 0, None);
    for listed in page.vtxos {
        let Ok(vtxo) = Vtxo::<Full>::deserialize(&listed.body) else {
            undecodable += 1;
            continue;
        };
        let is_key = listed.key_index <= MAX_KEY_INDEX
            && wallet.keys.vtxo_key(listed.key_index)?.public_key() == vtxo.user_pubkey();
        let key_index = is_key.then_some(listed.key_index);
        highest = highest.max(key_index);
        found.push(FoundVtxo {
            id: vtxo.id(),
            source: CandidateSource::Key,
            key_index,
            body: Some(listed.body),
            state: Some(listed.state),
        });
    }
    tracing::info!(
        found = found.len(),
        start,
        "the Ark server has listed VTXOs of the wallet's keys"
    );
    let (id, wallet_keys) = (id.clone(), wallet.keys.clone());
    Ok(Step::commit(
        CommitPoint::RecoveryScanned,
        Next::State(next),
        move |tx| {
            if let Some(highest) = highest {
                keys::reveal_to(tx, &wallet_keys, highest)?;
            }
            recovery::count_undecodable(tx, &id, undecodable)?;
            add_all(tx, &id, found)
        },
    ))
}

/// What follows a page: the next one, if this one makes progress. The server could go on for ever.
fn next_keys(page: &KeyPage, start: u32, cursor: Option<VtxoId>) -> Recovery {
    let next = start.saturating_add(page.keys_scanned);
    let progress = next > start || (page.cursor.is_some() && page.cursor != cursor);
    if page.have_more && progress && !page.vtxos.is_empty() && next < MAX_KEY_INDEX {
        Recovery::Keys {
            start: next,
            cursor: page.cursor,
        }
    } else {
        MAILBOX
    }
}

pub(super) async fn mailbox(
    wallet: &Wallet,
    id: &OperationId,
    cursor: u64,
    idle: u32,
) -> Result<Step<Recovery>> {
    let id = id.clone();
    if idle >= MAX_IDLE_PAGES {
        tracing::warn!("the mailbox goes on without VTXOs; the recovery does not read on");
        return Ok(Step::commit(
            CommitPoint::RecoveryScanned,
            Next::State(Recovery::Reported),
            move |tx| Ok(recovery::release_mailbox(tx, &id)?),
        ));
    }
    let messages = wallet.mailbox_page(wallet.keys.mailbox(), cursor).await?;
    let Some(last) = messages.last().map(|message| message.checkpoint) else {
        return Ok(Step::commit(
            CommitPoint::RecoveryScanned,
            Next::State(Recovery::Reported),
            move |tx| {
                if recovery::holds_mailbox(tx)? {
                    // All before it was read here.
                    mailbox_store::advance_cursor(tx, cursor)?;
                    recovery::release_mailbox(tx, &id)?;
                }
                Ok(())
            },
        ));
    };
    let (mut found, mut rounds, mut undecodable) = (Vec::new(), Vec::<UnlockHash>::new(), 0);
    for message in messages {
        match message.payload {
            Payload::Arkoor(bodies) => {
                for body in bodies {
                    match Vtxo::<Full>::deserialize(&body) {
                        Ok(vtxo) => found.push(found_body(&vtxo, body, CandidateSource::Mailbox)),
                        Err(_) => undecodable += 1,
                    }
                }
            }
            Payload::RoundCompleted(hash) => rounds.push(hash),
            _ => {}
        }
    }
    tracing::info!(
        found = found.len(),
        checkpoint = last,
        "read the mailbox for the recovery"
    );
    let of = found.iter().map(|it| it.id).collect();
    let fresh = wallet
        .store
        .read(move |connection| fresh_ones(connection, of, recovery::is_known));
    let idle = match fresh.await? || !rounds.is_empty() {
        true => 0,
        false => idle + 1,
    };
    Ok(Step::commit(
        CommitPoint::RecoveryScanned,
        Next::State(Recovery::Mailbox { cursor: last, idle }),
        move |tx| {
            for hash in rounds {
                recovery::add_round(tx, &id, hash)?;
            }
            recovery::count_undecodable(tx, &id, undecodable)?;
            add_all(tx, &id, found)
        },
    ))
}

/// The outputs of a round that the mailbox reports: its forfeits may be missing, and then nobody has backed up their ids.
pub(super) async fn reported(
    wallet: &Wallet,
    id: &OperationId,
    tries: Tries,
) -> Result<Step<Recovery>> {
    // The wallet has its mailbox back.
    wallet.recovery_advanced.notify_one();
    let of = id.clone();
    let next = wallet
        .store
        .read(move |connection| recovery::next_round(connection, &of));
    let Some(hash) = next.await? else {
        return Ok(pass(BACKUP));
    };
    let outputs = match wallet.server.participation_status(hash).await {
        Ok(ParticipationStatus::Issued(round)) => round.outputs,
        Ok(_) | Err(ark::Error::Malformed(_) | ark::Error::Rejected { .. }) => Vec::new(),
        Err(error) if leave_out(wallet, tries, &error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let outputs = outputs
        .iter()
        .map(|vtxo| found_body(vtxo, vtxo.serialize(), CandidateSource::Round));
    let (found, id) = (outputs.collect(), id.clone());
    Ok(Step::commit(
        CommitPoint::RecoveryScanned,
        Next::State(Recovery::Reported),
        move |tx| {
            recovery::drop_round(tx, hash)?;
            add_all(tx, &id, found)
        },
    ))
}

pub(super) async fn backup(
    wallet: &Wallet,
    id: &OperationId,
    cursor: u64,
    idle: u32,
) -> Result<Step<Recovery>> {
    if idle >= MAX_IDLE_PAGES {
        tracing::warn!("the recovery mailbox repeats itself; the recovery does not read on");
        return Ok(pass(Recovery::Bodies));
    }
    let page = wallet.mailbox_page(wallet.keys.recovery_mailbox(), cursor);
    let messages = page.await?;
    let Some(last) = messages.last().map(|message| message.checkpoint) else {
        return Ok(Step::commit(
            CommitPoint::RecoveryScanned,
            Next::State(Recovery::Bodies),
            move |tx| Ok(recovery::advance_cursor(tx, cursor)?),
        ));
    };
    let (mut found, mut undecodable) = (Vec::new(), 0);
    for message in messages {
        if let Payload::RecoveryIds(ids) = message.payload {
            for id in ids {
                match VtxoId::from_slice(&id) {
                    Ok(id) => found.push(found_id(id)),
                    Err(_) => undecodable += 1,
                }
            }
        }
    }
    tracing::info!(
        found = found.len(),
        checkpoint = last,
        "read the recovery mailbox"
    );
    let of = found.iter().map(|it| it.id).collect();
    let fresh = wallet
        .store
        .read(move |connection| fresh_ones(connection, of, recovery::is_backed_up));
    let (id, idle) = (id.clone(), if fresh.await? { 0 } else { idle + 1 });
    Ok(Step::commit(
        CommitPoint::RecoveryScanned,
        Next::State(Recovery::Backup { cursor: last, idle }),
        move |tx| {
            recovery::count_undecodable(tx, &id, undecodable)?;
            add_all(tx, &id, found)
        },
    ))
}

/// Whether one of these VTXOs was not seen before.
fn fresh_ones(
    connection: &Connection,
    ids: Vec<VtxoId>,
    is_seen: fn(&Connection, VtxoId) -> Result<bool, store::Error>,
) -> Result<bool> {
    for id in ids {
        if !is_seen(connection, id)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn found_body(vtxo: &Vtxo<Full>, body: Vec<u8>, source: CandidateSource) -> FoundVtxo {
    FoundVtxo {
        id: vtxo.id(),
        source,
        key_index: None,
        body: Some(body),
        state: None,
    }
}

fn found_id(id: VtxoId) -> FoundVtxo {
    FoundVtxo {
        id,
        source: CandidateSource::RecoveryMailbox,
        key_index: None,
        body: None,
        state: None,
    }
}

/// Adds candidates, but not what the wallet knows to be spent, on chain, or held by an operation.
fn add_all(tx: &WriteTx<'_>, id: &OperationId, found: Vec<FoundVtxo>) -> Result<()> {
    for found in found {
        let known = vtxo::get(tx, found.id)?;
        let is_open =
            |state: &VtxoState| matches!(state, VtxoState::Spendable | VtxoState::Locked(None));
        if known.is_none_or(|record| is_open(&record.state)) {
            recovery::add(tx, id, &found)?;
        }
    }
    Ok(())
}

/// The next phase, when there is nothing to do in this one.
pub(super) fn pass(next: Recovery) -> Step<Recovery> {
    Step::commit(CommitPoint::RecoveryScanned, Next::State(next), |_| Ok(()))
}
