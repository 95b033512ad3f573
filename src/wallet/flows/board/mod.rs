//! Boards: on-chain coins become a VTXO (docs/protocol.md §4.1).
//!
//! ```text
//!  start ─▶ Cosign ─▶ Broadcast ─▶ Confirm ─▶ done
//!             │         ▲  │          │
//!             ▼         └──┼──────────┘ the transaction has vanished
//!           failed ◀───────┘ its coins were spent otherwise, and that is confirmed
//! ```
//!
//! | state | the remote call | what its commit holds |
//! |---|---|---|
//! | Cosign | the server signs its half of the exit; it stores nothing | the VTXO, locked; the signed funding transaction |
//! | Broadcast | hand the funding transaction to the network | the transaction in the on-chain wallet |
//! | Confirm | look how deep it is; then tell the server | the VTXO spendable, the movement's end |
//!
//! Nothing is broadcast before the exit is signed and stored, so the coins can always be taken back on chain. The VTXO
//! commits to the exact funding transaction: coins are picked once, and only from native segwit outputs (hazards H5-H7).

mod fund;
mod pending;
mod steps;

use ark_lib::VtxoId;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, Psbt, Transaction};
use bitcoin_ext::{BlockDelta, BlockHeight};
use serde::{Deserialize, Serialize};

pub use fund::BoardAmount;
pub(in crate::wallet) use fund::signed;
pub use pending::PendingBoard;

/// How far a board is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum Board {
    /// The server is asked for its half of the exit's signature.
    Cosign(Box<Funded>),
    /// The exit is safe; the funding transaction has to get out.
    Broadcast(Signed),
    /// It is out; it has to get deep enough, and then the server has to take it.
    Confirm(Signed),
}

/// All that the first remote call depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Funded {
    /// The unsigned funding transaction; the operation holds its coins.
    #[serde(with = "psbt_hex")]
    psbt: Psbt,
    /// The output that becomes the VTXO.
    utxo: OutPoint,
    /// Its value, before the fee.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    amount: Amount,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    fee: Amount,
    user_key: u32,
    user_pubkey: PublicKey,
    server_pubkey: PublicKey,
    expiry_height: BlockHeight,
    exit_delta: BlockDelta,
    vtxo: VtxoId,
}

/// A PSBT in its own encoding, hex in JSON.
mod psbt_hex {
    use bitcoin::Psbt;
    use bitcoin::hex::FromHex;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::wallet) fn serialize<S: Serializer>(
        psbt: &Psbt,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&psbt.serialize_hex())
    }

    pub(in crate::wallet) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Psbt, D::Error> {
        let hex = String::deserialize(deserializer)?;
        let bytes = Vec::<u8>::from_hex(&hex).map_err(Error::custom)?;
        Psbt::deserialize(&bytes).map_err(Error::custom)
    }
}

/// A board whose exit is signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Signed {
    funding_tx: Transaction,
    vtxo: VtxoId,
    /// The VTXO's value, after the fee.
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    net: Amount,
}
