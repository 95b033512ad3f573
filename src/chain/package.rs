//! What a node's answer to a package of transactions means (docs/protocol.md §9.2).

pub(super) use bdk_esplora::esplora_client::api::SubmitPackageResult as PackageResult;
use bitcoin::Transaction;

use super::BroadcastError;
use super::error::{Verdict, classify};

/// Walks a package's results in its order, because the results themselves have none.
pub(super) fn package_verdict(
    txs: &[Transaction],
    result: &PackageResult,
) -> Result<(), BroadcastError> {
    if result.package_msg == "success" {
        return Ok(());
    }
    let mut known = 0;
    for tx in txs {
        let Some(answer) = result.tx_results.get(&tx.compute_wtxid()) else {
            continue;
        };
        match answer.error.as_deref() {
            None => known += 1,
            // The node stopped before it came to this one, because of another.
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
    fn the_first_real_error_of_a_package_counts() {
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
