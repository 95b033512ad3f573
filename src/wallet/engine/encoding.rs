//! Binary values inside the state of an operation: the protocol's or bitcoin's own encoding, as hex in JSON.

use ark_lib::ProtocolEncoding;
use bitcoin::Amount;
use bitcoin::hex::{DisplayHex, FromHex};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value in the encoding of the Ark protocol, such as a nonce, a signature or a policy.
#[derive(Clone, Debug)]
pub(in crate::wallet) struct Encoded<T>(pub(in crate::wallet) T);

impl<T: ProtocolEncoding> Serialize for Encoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.serialize().to_lower_hex_string())
    }
}

impl<'de, T: ProtocolEncoding> Deserialize<'de> for Encoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = bytes(deserializer)?;
        T::deserialize(&bytes)
            .map(Encoded)
            .map_err(serde::de::Error::custom)
    }
}

/// An amount inside a list, in sat.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::wallet) struct Sats(
    #[serde(with = "bitcoin::amount::serde::as_sat")] pub(in crate::wallet) Amount,
);

/// A serde adapter for a transaction in its consensus encoding.
pub(in crate::wallet) type TransactionHex =
    bitcoin::consensus::serde::With<bitcoin::consensus::serde::Hex>;

/// A serde adapter for a PSBT in its own encoding.
pub(in crate::wallet) mod psbt {
    use bitcoin::Psbt;
    use serde::{Deserializer, Serializer};

    pub(in crate::wallet) fn serialize<S: Serializer>(
        psbt: &Psbt,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&psbt.serialize_hex())
    }

    pub(in crate::wallet) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Psbt, D::Error> {
        let bytes = super::bytes(deserializer)?;
        Psbt::deserialize(&bytes).map_err(serde::de::Error::custom)
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let hex = String::deserialize(deserializer)?;
    Vec::<u8>::from_hex(&hex).map_err(serde::de::Error::custom)
}
