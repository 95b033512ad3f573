//! What the wallet itself writes into the metadata of a movement. These keys are the wallet's alone; all others are the clients'.

use serde_json::{Map, Value};

/// A key of the metadata that only the wallet writes (docs/protocol.md §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The output that a board pays to, `txid:vout`.
    ChainAnchor,
    /// The on-chain fee of a board, in sat.
    OnchainFee,
    /// The transaction that funds a round.
    FundingTxid,
    /// The transaction of an offboard.
    OffboardTxid,
    /// The transaction of an offboard, hex.
    OffboardTx,
    /// The VTXOs that an offboard of an exact amount gives to the server.
    OffboardVtxos,
    /// The payment hash of a Lightning payment, hex.
    PaymentHash,
    /// The VTXOs that are locked for a Lightning payment.
    HtlcVtxos,
    /// The preimage of a Lightning payment, hex, which proves it.
    PaymentPreimage,
}

impl Fact {
    /// Every key.
    const ALL: [Fact; 9] = [
        Fact::ChainAnchor,
        Fact::OnchainFee,
        Fact::FundingTxid,
        Fact::OffboardTxid,
        Fact::OffboardTx,
        Fact::OffboardVtxos,
        Fact::PaymentHash,
        Fact::HtlcVtxos,
        Fact::PaymentPreimage,
    ];

    /// The key in the API and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Fact::ChainAnchor => "chain_anchor",
            Fact::OnchainFee => "onchain_fee_sat",
            Fact::FundingTxid => "funding_txid",
            Fact::OffboardTxid => "offboard_txid",
            Fact::OffboardTx => "offboard_tx",
            Fact::OffboardVtxos => "offboard_vtxos",
            Fact::PaymentHash => "payment_hash",
            Fact::HtlcVtxos => "htlc_vtxos",
            Fact::PaymentPreimage => "payment_preimage",
        }
    }

    /// Whether a key of the metadata is the wallet's, whatever the movement.
    pub fn is_name(key: &str) -> bool {
        Fact::ALL.iter().any(|fact| fact.name() == key)
    }
}

/// Facts with their values.
#[derive(Clone, Debug, Default)]
pub struct Facts(Map<String, Value>);

impl Facts {
    /// The facts as metadata.
    pub fn into_metadata(self) -> Map<String, Value> {
        self.0
    }
}

impl<const N: usize> From<[(Fact, Value); N]> for Facts {
    fn from(facts: [(Fact, Value); N]) -> Facts {
        let named = facts.into_iter();
        Facts(
            named
                .map(|(fact, value)| (fact.name().to_owned(), value))
                .collect(),
        )
    }
}
