//! Makes a wallet large: writes VTXOs and movements into the database of a stopped daemon.
//!
//! The VTXOs cannot be spent, because the Ark server does not know them; they are there to be read.

use std::path::Path;

use ark_lib::ProtocolEncoding;
use ark_lib::test_util::dummy::DummyTestVtxoSpec;
use bitcoin::{Amount, Weight};
use bitcoin_ext::BlockHeight;
use rusqlite::{Connection, Transaction, params};

/// VTXOs and movements of one write.
const CHUNK: u32 = 500;

/// Adds VTXOs until the wallet has `vtxos`, and a movement with each.
pub fn fill(folder: &Path, vtxos: u32, address: &str) {
    let path = folder.join("db.sqlite");
    let mut database = Connection::open(path).expect("the database of a stopped daemon");
    let live = "SELECT count(*) FROM vtxo WHERE state <> 'spent'";
    let have: u32 = database
        .query_row(live, [], |row| row.get(0))
        .expect("a number");
    let numbers: Vec<u32> = (have..vtxos).collect();
    for chunk in numbers.chunks(CHUNK as usize) {
        let tx = database.transaction().expect("nobody else writes");
        for number in chunk {
            add_payment(&tx, *number, address).expect("the rows are new");
        }
        tx.commit().expect("the disk has room");
    }
}

/// Adds a VTXO of its own amount, and so of its own id, and the payment that took it and left it, as most movements do.
fn add_payment(tx: &Transaction<'_>, number: u32, address: &str) -> rusqlite::Result<()> {
    let spec = DummyTestVtxoSpec {
        amount: Amount::from_sat(100_000 + u64::from(number)),
        fee: Amount::ZERO,
        expiry_height: BlockHeight::new(10_000 + number % 1_000),
        ..DummyTestVtxoSpec::default()
    };
    let (_, vtxo) = spec.build();
    let id = vtxo.id().to_bytes();
    let weight: Weight = vtxo.transactions().map(|item| item.tx.weight()).sum();
    tx.execute(
        "INSERT INTO vtxo (id, amount, expiry_height, exit_depth, exit_tx_weight, state, registered, backed_up, bare)
         VALUES (?1, ?2, ?3, ?4, ?5, 'spendable', 1, 1, ?6)",
        params![
            id,
            vtxo.amount().to_sat(),
            vtxo.expiry_height().to_u32(),
            vtxo.exit_depth(),
            weight.to_wu(),
            vtxo.to_bare().serialize(),
        ],
    )?;
    tx.execute(
        "INSERT INTO vtxo_body (id, body) VALUES (?1, ?2)",
        params![id, vtxo.serialize()],
    )?;
    tx.execute(
        "INSERT INTO movement (status, subsystem, intended_balance, effective_balance, offchain_fee,
                               created_at, updated_at, completed_at)
         VALUES ('successful', 'bark.arkoor/send', -1000, -1000, 0, ?1, ?1, ?1)",
        [1_700_000_000_000_i64],
    )?;
    let movement = tx.last_insert_rowid();
    tx.execute(
        "INSERT INTO movement_destination (movement, direction, position, method, value, amount)
         VALUES (?1, 'sent', 0, 'ark', ?2, 1000)",
        params![movement, address],
    )?;
    for role in ["input", "output"] {
        tx.execute(
            "INSERT INTO movement_vtxo (movement, role, vtxo) VALUES (?1, ?2, ?3)",
            params![movement, role, id],
        )?;
    }
    Ok(())
}
