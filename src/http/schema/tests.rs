//! The published Rust client reads the responses of this daemon.

use ark_lib::vtxo::VtxoPolicyKind;
use ark_lib::{VtxoId, fees};
use bark_rest_client::models;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, FeeRate, Network, OutPoint, SignedAmount, Weight};
use bitcoin_ext::{BlockDelta, BlockHeight};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::ark_info::ArkInfo;
use super::movement::Movement;
use super::vtxo::WalletVtxoInfo;
use crate::model::MovementStatus;
use crate::model::PaymentMethod;
use crate::wallet::{self, MovementId, Subsystem, Transfer, VtxoRecord, VtxoState};

/// Parses `answer` with the client's type `T`, and returns it as JSON again.
fn read_back<T: DeserializeOwned + Serialize>(answer: &impl Serialize) -> Value {
    let answer = serde_json::to_value(answer).unwrap();
    serde_json::to_value(serde_json::from_value::<T>(answer).unwrap()).unwrap()
}

fn key() -> PublicKey {
    "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
        .parse()
        .unwrap()
}

fn vtxo_id() -> VtxoId {
    VtxoId::from(OutPoint::new(
        bitcoin::hashes::Hash::from_byte_array([7; 32]),
        3,
    ))
}

#[test]
fn vtxos() {
    let mut record = VtxoRecord {
        id: vtxo_id(),
        amount: Amount::from_sat(1_000),
        policy: VtxoPolicyKind::Pubkey,
        user_pubkey: key(),
        server_pubkey: key(),
        expiry_height: BlockHeight::new(5_838),
        exit_delta: BlockDelta::new(144),
        chain_anchor: OutPoint::null(),
        exit_depth: 4,
        exit_tx_weight: Weight::ZERO,
        state: VtxoState::Spendable,
        claimed: false,
        registered: true,
    };
    let states = [
        (VtxoState::Spendable, json!({"type": "spendable"})),
        (VtxoState::Spent, json!({"type": "spent"})),
        (VtxoState::Exited, json!({"type": "exited"})),
        (VtxoState::Locked(None), json!({"type": "locked"})),
        (
            VtxoState::Locked(Some("ab".repeat(16).into())),
            json!({"type": "locked", "action_id": "ab".repeat(16)}),
        ),
    ];
    for (state, shown) in states {
        record.state = state;
        let read = read_back::<models::WalletVtxoInfo>(&WalletVtxoInfo::from(&record));
        assert_eq!(read["state"], shown);
        assert_eq!(read["id"], vtxo_id().to_string());
        assert_eq!(read["policy_type"], "pubkey");
        assert_eq!(read["exit_depth"], 4);
    }
}

#[test]
fn movements() {
    let at: DateTime<Utc> = "2026-11-20T21:58:53.781627083Z".parse().unwrap();
    let method = |method| Transfer {
        method,
        amount: Amount::from_sat(7),
    };
    let mut movement = wallet::Movement {
        id: MovementId(2),
        status: MovementStatus::Successful,
        subsystem: Subsystem::ArkoorSend,
        metadata: Map::new(),
        intended_balance: SignedAmount::from_sat(-7),
        effective_balance: SignedAmount::from_sat(-7),
        offchain_fee: Amount::ZERO,
        sent_to: vec![method(PaymentMethod::Custom("x".into()))],
        received_on: Vec::new(),
        input_vtxos: vec![vtxo_id()],
        output_vtxos: Vec::new(),
        exited_vtxos: Vec::new(),
        created_at: at,
        updated_at: at,
        completed_at: Some(at),
    };
    let read = read_back::<models::Movement>(&Movement::from(movement.clone()));
    assert_eq!(read["status"], "successful");
    assert_eq!(
        read["subsystem"],
        json!({"name": "bark.arkoor", "kind": "send"})
    );
    assert_eq!(
        read["sent_to"][0]["destination"],
        json!({"type": "custom", "value": "x"})
    );
    assert_eq!(read["effective_balance_sat"], -7);

    movement.completed_at = None;
    for status in [
        MovementStatus::Pending,
        MovementStatus::Failed,
        MovementStatus::Canceled,
    ] {
        movement.status = status;
        let read = read_back::<models::Movement>(&Movement::from(movement.clone()));
        assert_eq!(read["status"], status.name());
        assert!(read["time"].get("completed_at").is_none_or(Value::is_null));
    }
}

#[test]
#[expect(deprecated, reason = "the fields are still part of the type")]
fn ark_info() {
    let ppm = fees::PpmFeeRate(1_000);
    let table = vec![fees::PpmExpiryFeeEntry {
        expiry_blocks_threshold: 5,
        ppm,
    }];
    let fee = Amount::from_sat(100);
    let mut info = ark_lib::ArkInfo {
        network: Network::Bitcoin,
        server_pubkey: key(),
        mailbox_pubkey: key(),
        round_interval: std::time::Duration::from_secs(90),
        nb_round_nonces: 8,
        vtxo_exit_delta: BlockDelta::new(144),
        vtxo_lifetime: BlockDelta::new(4_320),
        vtxo_expiry_delta: BlockDelta::new(0),
        htlc_send_expiry_delta: BlockDelta::new(258),
        htlc_expiry_delta: BlockDelta::new(40),
        max_vtxo_amount: None,
        required_board_confirmations: 3,
        max_user_invoice_cltv_delta: BlockDelta::new(250),
        min_board_amount: Amount::from_sat(20_000),
        offboard_feerate: FeeRate::from_sat_per_kwu(2_500),
        max_offboard_inputs: 100,
        ln_receive_anti_dos_required: false,
        fees: fees::FeeSchedule {
            board: fees::BoardFees {
                min_fee: fee,
                base_fee: fee,
                ppm,
            },
            offboard: fees::OffboardFees {
                base_fee: fee,
                fixed_additional_vb: 212,
                ppm_expiry_table: table.clone(),
            },
            refresh: fees::RefreshFees {
                base_fee: fee,
                ppm_expiry_table: table.clone(),
            },
            lightning_receive: fees::LightningReceiveFees { base_fee: fee, ppm },
            lightning_send: fees::LightningSendFees {
                min_fee: fee,
                base_fee: fee,
                ppm_expiry_table: table,
            },
        },
        max_vtxo_exit_depth: 100,
        tos_link: None,
    };
    let shown = serde_json::to_value(ArkInfo::from(&info)).unwrap();
    assert_eq!(shown["network"], "bitcoin");
    assert_eq!(shown["round_interval"], "1m 30s");
    assert_eq!(shown["vtxo_expiry_delta"], 4_320);
    assert_eq!(shown["offboard_feerate_sat_per_kvb"], 10_000);
    assert_eq!(shown["max_vtxo_amount"], Value::Null);
    assert_eq!(shown["fees"], serde_json::to_value(&info.fees).unwrap());

    let read = read_back::<models::ArkInfo>(&ArkInfo::from(&info));
    assert_eq!(read["round_interval"], "1m 30s");
    info.max_vtxo_amount = Some(fee);
    let read = read_back::<models::ArkInfo>(&ArkInfo::from(&info));
    assert_eq!(read["max_vtxo_amount"], 100);
}
