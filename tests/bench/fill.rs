//! Makes a wallet large: VTXOs and movements straight into the database of a stopped daemon.
//!
//! Nobody could spend these VTXOs, and the Ark server has never seen them; they are there to be read.

use std::path::Path;

use ark_lib::VtxoId;
use ark_lib::test_util::dummy::DummyTestVtxoSpec;
use arkwalletd::model::VtxoState;
use arkwalletd::model::{MovementStatus, NewMovement, PaymentMethod, Subsystem, Transfer};
use arkwalletd::store::movement;
use arkwalletd::store::vtxo;
use arkwalletd::store::{Error, Store, WriteTx};
use bitcoin::{Amount, SignedAmount};
use bitcoin_ext::BlockHeight;

/// VTXOs and movements of one write.
const CHUNK: u32 = 500;

/// Adds VTXOs until the wallet has `vtxos`, and a movement with each.
pub async fn fill(folder: &Path, vtxos: u32, address: &str) {
    let store = Store::open(&folder.join("db.sqlite")).expect("the database of a stopped daemon");
    let mut have = u32::try_from(store.live_vtxos().len()).expect("a small number");
    while have < vtxos {
        let next = vtxos.min(have + CHUNK);
        let address = address.to_owned();
        let added = store.write(move |tx| {
            let mut ids: Vec<VtxoId> = Vec::new();
            for number in have..next {
                let (_, dummy) = dummy(number).build();
                vtxo::insert(tx, &dummy, VtxoState::Spendable)?;
                record_payment(tx, &address, dummy.id())?;
                ids.push(dummy.id());
            }
            vtxo::set_registered(tx, &ids, true)?;
            vtxo::set_backed_up(tx, &ids)
        });
        let added: Result<(), Error> = added.await;
        added.expect("the rows are new");
        have = next;
    }
}

/// A VTXO of its own amount, and so of its own id.
fn dummy(number: u32) -> DummyTestVtxoSpec {
    DummyTestVtxoSpec {
        amount: Amount::from_sat(100_000 + u64::from(number)),
        fee: Amount::ZERO,
        expiry_height: BlockHeight::new(10_000 + number % 1_000),
        ..DummyTestVtxoSpec::default()
    }
}

/// A payment that took a VTXO and left another, as most movements of a wallet are.
fn record_payment(tx: &mut WriteTx<'_>, address: &str, vtxo: VtxoId) -> Result<(), Error> {
    let amount = Amount::from_sat(1_000);
    let balance = SignedAmount::from_sat(-1_000);
    let payment = NewMovement {
        operation: None,
        status: MovementStatus::Successful,
        subsystem: Subsystem::ArkoorSend,
        intended_balance: balance,
        effective_balance: balance,
        offchain_fee: Amount::ZERO,
        sent_to: &[Transfer {
            method: PaymentMethod::Ark(address.to_owned()),
            amount,
        }],
        received_on: &[],
        input_vtxos: &[vtxo],
        output_vtxos: &[vtxo],
        metadata: serde_json::Map::new(),
    };
    movement::insert(tx, &payment, 1_700_000_000_000)?;
    Ok(())
}
