//! The chain on disk: a file of blocks that only grows, and the mempool beside it, written anew when it changes.
//!
//! A record of the block file replaces everything above a height by the blocks it holds, so a reorganisation is one
//! record too. A record that was cut short by a crash is dropped at the next start. Nothing is flushed to the medium: the
//! chain survives the end of its process, not of its machine.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use bitcoin::consensus::{deserialize_partial, serialize};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{Block, BlockHash, Transaction};

use super::block;
use super::ledger::Ledger;
use super::mempool::Mempool;

const BLOCKS: &str = "blocks.dat";
const MEMPOOL: &str = "mempool.dat";
const MEMPOOL_NEW: &str = "mempool.new";
const LOCK_TRIES: usize = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Length and the start of a hash of what follows.
const HEAD: usize = 8;

/// The open files.
pub(super) struct Disk {
    dir: PathBuf,
    blocks: File,
    /// The chain as the block file has it.
    written: Vec<BlockHash>,
    /// The state of the mempool that its file has.
    mempool_changes: u64,
}

impl Disk {
    /// Opens the directory, or creates it, and reads what it holds: the chain, and the transactions of the mempool.
    pub(super) fn open(dir: &Path) -> anyhow::Result<(Disk, Ledger, Vec<Transaction>)> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let path = dir.join(BLOCKS);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        lock(&file).with_context(|| format!("{} is in use by another sandbox", dir.display()))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut ledger = Ledger::new();
        let mut rest = bytes.as_slice();
        while let Some((record, after)) = split_record(rest) {
            replay(&mut ledger, record).with_context(|| format!("replay {}", path.display()))?;
            rest = after;
        }
        if !rest.is_empty() {
            tracing::warn!(
                bytes = rest.len(),
                "dropped an unfinished record of the block file"
            );
            file.set_len((bytes.len() - rest.len()) as u64)?;
        }
        let txs = match fs::read(dir.join(MEMPOOL)) {
            Ok(bytes) => {
                bitcoin::consensus::deserialize(&bytes).context("read the mempool file")?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context("read the mempool file"),
        };
        let written = (0..=ledger.height())
            .filter_map(|height| ledger.at(height))
            .map(|at| at.hash)
            .collect();
        let disk = Disk {
            dir: dir.to_owned(),
            blocks: file,
            written,
            mempool_changes: 0,
        };
        Ok((disk, ledger, txs))
    }

    /// Writes what changed since the last call.
    pub(super) fn save(&mut self, ledger: &Ledger, mempool: &Mempool) -> anyhow::Result<()> {
        self.save_blocks(ledger).context("write the block file")?;
        if self.mempool_changes != mempool.changes() {
            self.save_mempool(mempool)
                .context("write the mempool file")?;
            self.mempool_changes = mempool.changes();
        }
        Ok(())
    }

    fn save_blocks(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let mut fork = ledger.height().min(u32::try_from(self.written.len() - 1)?);
        while ledger
            .at(fork)
            .is_none_or(|at| self.written.get(fork as usize) != Some(&at.hash))
        {
            fork = fork
                .checked_sub(1)
                .context("the block file is of another chain")?;
        }
        if fork as usize + 1 == self.written.len() && fork == ledger.height() {
            return Ok(());
        }
        let mut payload = fork.to_le_bytes().to_vec();
        self.written.truncate(fork as usize + 1);
        for at in (fork + 1..).map_while(|height| ledger.at(height)) {
            payload.extend(serialize(&at.block));
            self.written.push(at.hash);
        }
        let mut record = u32::try_from(payload.len())?.to_le_bytes().to_vec();
        record.extend(checksum(&payload));
        record.extend(payload);
        self.blocks.write_all(&record)?;
        Ok(())
    }

    fn save_mempool(&self, mempool: &Mempool) -> anyhow::Result<()> {
        let order = mempool.in_order();
        let txs: Vec<Transaction> = order
            .iter()
            .filter_map(|txid| mempool.get(txid))
            .map(|entry| entry.tx.clone())
            .collect();
        let new = self.dir.join(MEMPOOL_NEW);
        fs::write(&new, serialize(&txs))?;
        fs::rename(new, self.dir.join(MEMPOOL))?;
        Ok(())
    }
}

/// Takes the lock that keeps a second chain out. One that was stopped just now may need a moment to let go.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        if file.try_lock().is_ok() {
            return Ok(());
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    file.try_lock()
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256::Hash::hash(payload).to_byte_array();
    [a, b, c, d]
}

/// The first whole record, and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let [l0, l1, l2, l3, sum @ ..] = *head;
    let (payload, after) = rest.split_at_checked(u32::from_le_bytes([l0, l1, l2, l3]) as usize)?;
    (checksum(payload) == sum).then_some((payload, after))
}

fn replay(ledger: &mut Ledger, record: &[u8]) -> anyhow::Result<()> {
    let (fork, mut blocks) = record
        .split_first_chunk()
        .context("a record without height")?;
    let fork = u32::from_le_bytes(*fork);
    ensure!(fork <= ledger.height(), "a record above the chain");
    while ledger.height() > fork {
        ledger.disconnect();
    }
    while !blocks.is_empty() {
        let (block, used): (Block, usize) = deserialize_partial(blocks)?;
        block::connect(ledger, block)?;
        blocks = &blocks[used..];
    }
    Ok(())
}
