//! Interprets a node's answer to the submission of a package (docs/protocol.md §9.2).

pub(super) use bdk_esplora::esplora_client::api::SubmitPackageResult as PackageResult;
use bitcoin::Transaction;

use super::BroadcastError;
use super::error::{Verdict, classify};

/// Whether the node accepted the package. The results are a map without order, so they are read in the order of `txs`: the
/// first refusal is the cause of those after it.
pub(super) fn package_verdict(
    txs: &[Transaction],
    result: &PackageResult,
) -> Result<(), BroadcastError> {
    if result.package_msg == "success" {
        return Ok(());
    }
    let mut known = 0;
    for tx in txs {
        let Some(tx_result) = result.tx_results.get(&tx.compute_wtxid()) else {
            continue;
        };
        match tx_result.error.as_deref() {
            None => known += 1,
            // The node did not validate this transaction because another one failed.
            Some("package-not-validated") => {}
            Some(reason) => match classify(reason) {
                Verdict::AlreadyKnown => known += 1,
                Verdict::Refused(refused) => return Err(refused),
            },
        }
    }
    if known == txs.len() {
        return Ok(());
    }
    match classify(&result.package_msg) {
        Verdict::AlreadyKnown => Ok(()),
        Verdict::Refused(refused) => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::absolute::LockTime;
    use bitcoin::transaction::Version;

    fn package(message: &str, errors: [Option<&str>; 2]) -> Result<(), BroadcastError> {
        let txs = [1, 2].map(|height| Transaction {
            version: Version(3),
            lock_time: LockTime::from_consensus(height),
            input: vec![],
            output: vec![],
        });
        let results: serde_json::Map<String, serde_json::Value> = txs
            .iter()
            .zip(errors)
            .map(|(tx, error)| {
                let mut result = serde_json::json!({ "txid": tx.compute_txid() });
                if let Some(error) = error {
                    result["error"] = error.into();
                }
                (tx.compute_wtxid().to_string(), result)
            })
            .collect();
        let answer = serde_json::json!({ "package_msg": message, "tx-results": results });
        package_verdict(&txs, &serde_json::from_value(answer).unwrap())
    }

    #[test]
    fn the_first_refusal_in_package_order_is_the_verdict() {
        assert_eq!(package("success", [None, None]), Ok(()));
        assert_eq!(
            package(
                "transaction failed",
                [Some("txn-already-known"), Some("txn-already-in-mempool")]
            ),
            Ok(())
        );
        assert_eq!(
            package(
                "transaction failed",
                [Some("dust"), Some("bad-txns-inputs-missingorspent")]
            ),
            Err(BroadcastError::Rejected("dust".into()))
        );
        assert!(matches!(
            package(
                "transaction failed",
                [
                    Some("package-not-validated"),
                    Some("insufficient fee, rejecting replacement")
                ]
            ),
            Err(BroadcastError::FeeTooLow(_))
        ));
        assert_eq!(
            package("package-not-sorted", [Some("package-not-validated"); 2]),
            Err(BroadcastError::Rejected("package-not-sorted".into()))
        );
    }
}
