//! Out-of-round payments between wallets of one Ark (docs/protocol.md §4.2).
//!
//! ```text
//!  start ─▶ RegisterInputs ─▶ Cosign ─▶ Deliver ─▶ done
//!                 │             │ ▲
//!                 │             ▼ │
//!                 └─▶ failed ◀─ Doubted
//! ```
//!
//! | state | the remote call | what its commit holds |
//! |---|---|---|
//! | RegisterInputs | upload the inputs' signed chains | that the server has them |
//! | Cosign | the server signs; from here on it takes the inputs for spent | inputs spent, change stored, payee's VTXOs kept |
//! | Doubted | ask what the server holds of an input | back to Cosign, or inputs free again |
//! | Deliver | upload the new chains, post to the payee's mailbox | that the server has the change's chains; the movement's end |
//!
//! Inputs, change key and change pieces are fixed by the start, so every try asks the server for the same transactions:
//! it answers the same spend again, and refuses any other (hazards H3, H4). A refusal frees the inputs only when no
//! earlier try can have succeeded, when the server itself says that an input is unspent, or when a round has taken one.

mod destination;
pub(in crate::wallet) mod doubt;
mod request;
mod send;
mod sign;
mod start;

use ark_lib::vtxo::Full;
use ark_lib::{Address, ProtocolEncoding, Vtxo, VtxoId};
use bitcoin::Amount;
use bitcoin::hex::{DisplayHex, FromHex};
use serde::{Deserialize, Serialize};

pub use request::{SendOutcome, SendRequest};

/// How far an out-of-round payment is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) enum ArkoorSend {
    /// The server may lack the inputs' signed chains.
    RegisterInputs(Payment),
    /// The server is asked to sign.
    Cosign(Payment),
    /// The server refused to sign, but an earlier try may have reached it.
    Doubted {
        /// The payment that is in doubt.
        payment: Payment,
        /// What the server said.
        refusal: String,
    },
    /// Signed; the server may lack the new signed chains, and the payee has to get the VTXOs.
    Deliver(Signed),
}

/// All that the first remote call depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Payment {
    pub(in crate::wallet) destination: Address,
    #[serde(with = "bitcoin::amount::serde::as_sat")]
    pub(in crate::wallet) amount: Amount,
    pub(in crate::wallet) inputs: Vec<VtxoId>,
    /// Index of the key that the change goes to.
    pub(in crate::wallet) change_key: u32,
    pub(in crate::wallet) change: Vec<Sats>,
    /// Whether the inputs' chains were uploaded by this very payment, and not only some time before.
    pub(in crate::wallet) uploaded: bool,
    /// How often the server refused to sign without proving that an earlier try had not succeeded.
    pub(in crate::wallet) doubts: u32,
}

/// What is left to do after the signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::wallet) struct Signed {
    destination: Address,
    /// The VTXOs that are the payee's.
    outgoing: Vec<EncodedVtxo>,
    change: Vec<VtxoId>,
}

/// An amount inside a list.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::wallet) struct Sats(
    #[serde(with = "bitcoin::amount::serde::as_sat")] pub(in crate::wallet) Amount,
);

/// A VTXO with its exit chain, hex in JSON.
#[derive(Clone, Debug)]
pub(in crate::wallet) struct EncodedVtxo(pub(in crate::wallet) Vtxo<Full>);

impl Serialize for EncodedVtxo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.serialize().to_lower_hex_string())
    }
}

impl<'de> Deserialize<'de> for EncodedVtxo {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        let bytes = Vec::<u8>::from_hex(&hex).map_err(serde::de::Error::custom)?;
        Vtxo::<Full>::deserialize(&bytes)
            .map(EncodedVtxo)
            .map_err(serde::de::Error::custom)
    }
}
