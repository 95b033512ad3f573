//! What a chain backend can answer instead of an answer, and how a refused transaction is classified (docs/protocol.md §9.2).

use bitcoin::{BlockHash, Network};

/// A question to the chain that got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The backend cannot be reached or is overloaded; asking again later may help.
    #[error("the chain backend is unreachable: {0}")]
    Unavailable(String),
    /// The backend refused the question; asking again gives the same answer.
    #[error("the chain backend refused the request: {0}")]
    Rejected(String),
    /// The backend's answer makes no sense.
    #[error("the chain backend gave an invalid answer: {0}")]
    Invalid(String),
    /// The backend cannot be used as configured.
    #[error("the chain backend is misconfigured: {0}")]
    Config(String),
    /// The backend follows another chain than the wallet.
    #[error("the chain backend at {url} is not on {network}: its first block is {genesis}")]
    WrongNetwork {
        /// Where the backend is.
        url: String,
        /// The wallet's network.
        network: Network,
        /// The backend's block at height 0.
        genesis: BlockHash,
    },
}

/// Why a transaction did not enter the mempool. Only [`Unavailable`](BroadcastError::Unavailable) says nothing about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    /// An input does not exist or is spent. A confirmed transaction whose outputs are spent gets this answer as well, so
    /// nothing may be written off before its status is known.
    #[error("an input is missing or already spent")]
    MissingOrSpent,
    /// A conflicting transaction in the mempool pays as much or more.
    #[error("the fee is too low to replace the transaction in the mempool: {0}")]
    FeeTooLow(String),
    /// The node refuses the transaction for another reason.
    #[error("the transaction was rejected: {0}")]
    Rejected(String),
    /// The backend cannot be reached; it is unknown whether the transaction arrived.
    #[error("the chain backend is unreachable: {0}")]
    Unavailable(String),
}

/// What a node's reject reason means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The mempool or the chain has the transaction.
    AlreadyKnown,
    /// The transaction is refused.
    Refused(BroadcastError),
}

/// Reads a node's reject reason, bare or inside an RPC error text.
pub(super) fn classify(reason: &str) -> Verdict {
    const KNOWN: [&str; 5] = [
        "txn-already-known",
        "txn-already-in-mempool",
        "txn-same-nonwitness-data-in-mempool",
        "already in utxo set",
        "already in block chain",
    ];
    let text = reason.to_lowercase();
    if KNOWN.iter().any(|known| text.contains(known)) {
        Verdict::AlreadyKnown
    } else if text.contains("bad-txns-inputs-missingorspent") || text.contains("missing inputs") {
        Verdict::Refused(BroadcastError::MissingOrSpent)
    } else if text.contains("insufficient fee") {
        Verdict::Refused(BroadcastError::FeeTooLow(reason.to_owned()))
    } else {
        Verdict::Refused(BroadcastError::Rejected(reason.to_owned()))
    }
}

/// The innermost cause says what happened; the outer layers only say that it happened.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reject_reasons_are_classified_also_inside_rpc_errors() {
        for known in [
            "txn-already-known",
            "txn-already-in-mempool",
            r#"sendrawtransaction RPC error: {"code":-27,"message":"Transaction outputs already in utxo set"}"#,
        ] {
            assert_eq!(classify(known), Verdict::AlreadyKnown, "{known}");
        }
        assert_eq!(
            classify(
                r#"sendrawtransaction RPC error: {"code":-25,"message":"bad-txns-inputs-missingorspent"}"#
            ),
            Verdict::Refused(BroadcastError::MissingOrSpent)
        );
        let rbf = "insufficient fee, rejecting replacement 11, less fees than conflicting txs";
        assert_eq!(
            classify(rbf),
            Verdict::Refused(BroadcastError::FeeTooLow(rbf.into()))
        );
        for other in [
            "min relay fee not met, 0 < 110",
            "txn-mempool-conflict",
            "dust",
        ] {
            assert_eq!(
                classify(other),
                Verdict::Refused(BroadcastError::Rejected(other.into()))
            );
        }
    }
}
