//! How a request to a chain backend can fail, and how a refused transaction is classified (docs/protocol.md §9.2).

use bitcoin::{BlockHash, Network};

/// A failed request to the chain backend.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The backend cannot be reached or is overloaded; a later retry may succeed.
    #[error("the chain backend is unreachable: {0}")]
    Unavailable(String),
    /// The backend refused the request; a retry would be refused as well.
    #[error("the chain backend refused the request: {0}")]
    Rejected(String),
    /// The backend's answer cannot be decoded or contradicts itself.
    #[error("the chain backend gave an invalid answer: {0}")]
    Invalid(String),
    /// The configured backend cannot be used.
    #[error("the chain backend is misconfigured: {0}")]
    Config(String),
    /// The backend is on another network than the wallet.
    #[error("the chain backend at {url} is not on {network}: its first block is {genesis}")]
    WrongNetwork {
        /// The backend's URL.
        url: String,
        /// The wallet's network.
        network: Network,
        /// The backend's block at height 0.
        genesis: BlockHash,
    },
}

/// Why a broadcast failed. All variants but [`Unavailable`](BroadcastError::Unavailable) are a node's verdict on the
/// transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BroadcastError {
    /// An input does not exist or is spent. A node gives the same answer for a confirmed transaction whose outputs are all
    /// spent, so this does not prove that the transaction failed; look up its status.
    #[error("an input is missing or already spent")]
    MissingOrSpent,
    /// The mempool has a conflicting transaction, and the fee is too low to replace it.
    #[error("the fee is too low to replace the transaction in the mempool: {0}")]
    FeeTooLow(String),
    /// The node refuses the transaction for another reason.
    #[error("the transaction was rejected: {0}")]
    Rejected(String),
    /// The backend did not answer; it may or may not have the transaction.
    #[error("the chain backend is unreachable: {0}")]
    Unavailable(String),
}

/// The meaning of a node's reject reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The transaction is already in the mempool or in the chain.
    AlreadyKnown,
    /// The transaction is refused.
    Refused(BroadcastError),
}

/// Classifies a node's reject reason, which may be embedded in the text of an RPC error.
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

/// The text of the innermost cause of an error. The outer layers of HTTP errors only say that a request failed.
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
    fn reject_reasons_are_classified_bare_and_inside_rpc_errors() {
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
