//! The client of an Esplora server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;

use bdk_esplora::EsploraAsyncExt;
use bdk_esplora::esplora_client::api::TxStatus as ApiStatus;
use bdk_esplora::esplora_client::{AsyncClient, Builder, Error as ClientError};
use bdk_wallet::chain::spk_client::{FullScanRequest, SyncRequest};
use bdk_wallet::{KeychainKind, Update};
use bitcoin::absolute::LOCK_TIME_THRESHOLD;
use bitcoin::amount::CheckedSum;
use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};
use bitcoin_ext::BlockHeight;
use futures::FutureExt;
use futures::future::try_join_all;
use url::Url;

use super::error::{Verdict, classify, innermost};
use super::package::package_verdict;
use super::timeout::{CALL_TIMEOUT, timed_out};
use super::{BroadcastError, Error, MempoolPackage, Spend, Tip, TxStatus};

/// How often a request to an overloaded server is retried.
const RETRIES: usize = 2;
/// The number of consecutive unused addresses after which a full scan stops (docs/protocol.md §1.5).
const STOP_GAP: usize = 50;
/// The most transactions that are looked up for the package of one.
const MAX_LOOKUPS: usize = 100;
/// The number of requests that a scan, or a question about many outputs, makes in parallel.
const PARALLEL_REQUESTS: usize = 4;

/// An Esplora HTTP API.
pub(crate) struct Esplora {
    client: AsyncClient,
}

impl Esplora {
    pub(super) fn new(url: &str, socks5_proxy: Option<&str>) -> Result<Esplora, Error> {
        let mut builder = Builder::new(&normalize_url(url)?)
            .timeout(CALL_TIMEOUT.as_secs())
            .max_retries(RETRIES);
        if let Some(proxy) = socks5_proxy {
            builder = builder.proxy(proxy);
        }
        let client = builder
            .build_async()
            .map_err(|error| Error::Config(describe(&error)))?;
        Ok(Esplora { client })
    }

    pub(super) fn url(&self) -> &str {
        self.client.url()
    }

    pub(super) async fn block_hash(&self, height: BlockHeight) -> Result<BlockHash, Error> {
        limited(self.client.get_block_hash(height.to_u32())).await
    }

    /// The newest block. Its height is requested only if its hash differs from `last`.
    pub(super) async fn tip(&self, last: Option<Tip>) -> Result<Tip, Error> {
        let hash = limited(self.client.get_tip_hash()).await?;
        if let Some(last) = last.filter(|last| last.hash == hash) {
            return Ok(last);
        }
        // Height and hash must come from one answer, because a block may arrive between two requests.
        let blocks = limited(self.client.get_block_infos(None)).await?;
        let possible = blocks
            .iter()
            .filter(|block| block.height < LOCK_TIME_THRESHOLD);
        possible
            .max_by_key(|block| block.height)
            .map(|block| Tip {
                height: BlockHeight::new(block.height),
                hash: block.id,
            })
            .ok_or_else(|| Error::Invalid("its list of blocks is empty".into()))
    }

    pub(super) async fn transaction(&self, txid: Txid) -> Result<Option<Transaction>, Error> {
        let transaction = limited(self.client.get_tx(&txid)).await?;
        if transaction
            .as_ref()
            .is_some_and(|transaction| transaction.compute_txid() != txid)
        {
            return Err(Error::Invalid(format!(
                "it returned another transaction for the id {txid}"
            )));
        }
        Ok(transaction)
    }

    pub(super) async fn status(&self, txid: Txid) -> Result<TxStatus, Error> {
        // Not the path /tx/…/status, which reports an unknown transaction as unconfirmed.
        match limited(self.client.get_tx_info(&txid)).await? {
            None => Ok(TxStatus::NotFound),
            Some(info) => status(&info.status),
        }
    }

    pub(super) async fn spender(&self, outpoint: OutPoint) -> Result<Option<Spend>, Error> {
        let output = limited(
            self.client
                .get_output_status(&outpoint.txid, u64::from(outpoint.vout)),
        )
        .await?;
        let Some(output) = output.filter(|output| output.spent) else {
            return Ok(None);
        };
        let txid = output.txid.ok_or_else(|| {
            Error::Invalid(format!(
                "it reports {outpoint} as spent, without the spending transaction"
            ))
        })?;
        let status = output
            .status
            .as_ref()
            .map_or(Ok(TxStatus::Mempool), status)?;
        Ok(Some(Spend { txid, status }))
    }

    /// The transactions that spend these outputs, with one request for each.
    pub(super) async fn spenders(
        &self,
        outpoints: &[OutPoint],
    ) -> Result<HashMap<OutPoint, Spend>, Error> {
        let mut spends = HashMap::new();
        for batch in outpoints.chunks(PARALLEL_REQUESTS) {
            let requests: Vec<_> = batch.iter().map(|it| self.spender(*it)).collect();
            for (outpoint, spend) in batch.iter().zip(try_join_all(requests).await?) {
                spends.extend(spend.map(|spend| (*outpoint, spend)));
            }
        }
        Ok(spends)
    }

    /// Looks up each unconfirmed ancestor. More of them than a mempool accepts are an error of the server.
    pub(super) async fn mempool_package(
        &self,
        txid: Txid,
    ) -> Result<Option<MempoolPackage>, Error> {
        let mut package = MempoolPackage {
            fee: Amount::ZERO,
            vsize: 0,
        };
        let (mut open, mut known) = (vec![txid], HashSet::from([txid]));
        while let Some(next) = open.pop() {
            if known.len() > MAX_LOOKUPS {
                return Err(Error::Invalid(format!("{txid} has too many ancestors")));
            }
            let info = limited(self.client.get_tx_info(&next)).await?;
            let Some(info) = info.filter(|info| !info.status.confirmed) else {
                if next == txid {
                    return Ok(None);
                }
                continue;
            };
            let fee = Amount::from_sat(info.fee);
            package.fee = package
                .fee
                .checked_add(fee)
                .filter(|fee| *fee <= Amount::MAX_MONEY)
                .ok_or_else(|| Error::Invalid(format!("it reports an impossible fee of {next}")))?;
            package.vsize = package.vsize.saturating_add(info.weight.div_ceil(4));
            let parents = info.vin.iter().map(|input| input.txid);
            open.extend(parents.filter(|parent| known.insert(*parent)));
        }
        Ok(Some(package))
    }

    pub(super) async fn broadcast(&self, txs: &[Transaction]) -> Result<(), BroadcastError> {
        if let [single] = txs {
            let sent = tokio::time::timeout(CALL_TIMEOUT, self.client.broadcast(single)).await;
            return sent
                .map_err(|_| BroadcastError::Unavailable(timed_out()))?
                .or_else(refusal);
        }
        let submission = self.client.submit_package(txs, None, None);
        match tokio::time::timeout(CALL_TIMEOUT, submission).await {
            Err(_) => Err(BroadcastError::Unavailable(timed_out())),
            Ok(Err(error)) => refusal(error),
            Ok(Ok(result)) => package_verdict(txs, &result),
        }
    }

    pub(super) async fn fee_estimates(&self) -> Result<BTreeMap<u16, f64>, Error> {
        let estimates = limited(self.client.get_fee_estimates()).await?;
        Ok(estimates.into_iter().collect())
    }

    /// Looks up the addresses that the on-chain wallet has revealed.
    pub(crate) async fn sync_wallet(
        &self,
        request: SyncRequest<(KeychainKind, u32)>,
    ) -> Result<Update, Error> {
        let sync = self.client.sync(request, PARALLEL_REQUESTS);
        match AssertUnwindSafe(sync).catch_unwind().await {
            Ok(Ok(response)) => check_amounts(response.into()),
            Ok(Err(error)) => Err(convert(*error)),
            Err(_) => Err(contradictory()),
        }
    }

    /// Looks up the addresses of a restored on-chain wallet, until [`STOP_GAP`] consecutive ones are unused.
    pub(crate) async fn scan_wallet(
        &self,
        request: FullScanRequest<KeychainKind>,
    ) -> Result<Update, Error> {
        let scan = self.client.full_scan(request, STOP_GAP, PARALLEL_REQUESTS);
        match AssertUnwindSafe(scan).catch_unwind().await {
            Ok(Ok(response)) => check_amounts(response.into()),
            Ok(Err(error)) => Err(convert(*error)),
            Err(_) => Err(contradictory()),
        }
    }
}

/// The base URL in the form that the client library requires: with a scheme, without a trailing slash.
fn normalize_url(url: &str) -> Result<String, Error> {
    let url = url.trim();
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    match Url::parse(&url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        Ok(parsed) => Err(Error::Config(format!(
            "an Esplora URL must begin with http:// or https://, not {}://",
            parsed.scheme()
        ))),
        Err(error) => Err(Error::Config(format!(
            "the Esplora URL is not valid: {error}"
        ))),
    }
}

/// Limits a request to [`CALL_TIMEOUT`].
async fn limited<T>(call: impl Future<Output = Result<T, ClientError>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(convert),
        Err(_) => Err(Error::Unavailable(timed_out())),
    }
}

fn convert(error: ClientError) -> Error {
    match &error {
        ClientError::HttpResponse { status, .. } if is_overload(*status) => {
            Error::Unavailable(describe(&error))
        }
        ClientError::HttpResponse { .. } => Error::Rejected(describe(&error)),
        ClientError::Reqwest(cause) if !cause.is_decode() => Error::Unavailable(describe(&error)),
        _ => Error::Invalid(describe(&error)),
    }
}

fn is_overload(status: u16) -> bool {
    status >= 500 || status == 408 || status == 429
}

fn describe(error: &ClientError) -> String {
    match error {
        ClientError::HttpResponse { status, message } => {
            format!("HTTP {status}: {}", message.trim())
        }
        ClientError::Reqwest(error) => innermost(error),
        other => other.to_string(),
    }
}

/// The error for a panic of the client library. It panics when a server's genesis block differs from the one that the wallet
/// knows.
fn contradictory() -> Error {
    Error::Invalid("its blocks contradict each other".into())
}

/// Refuses amounts above 21 million bitcoin, so that sums of amounts cannot overflow.
fn check_amounts(update: Update) -> Result<Update, Error> {
    let total = |tx: &Transaction| tx.output.iter().map(|output| output.value).checked_sum();
    let possible = |amount: Amount| amount <= Amount::MAX_MONEY;
    let txs = &update.tx_update.txs;
    let spent = &update.tx_update.txouts;
    if txs.iter().all(|tx| total(tx).is_some_and(possible))
        && spent.values().all(|output| possible(output.value))
    {
        Ok(update)
    } else {
        Err(Error::Invalid(
            "it reports outputs of more than 21 million bitcoin".into(),
        ))
    }
}

fn status(status: &ApiStatus) -> Result<TxStatus, Error> {
    match (status.confirmed, status.block_height, status.block_hash) {
        (false, ..) => Ok(TxStatus::Mempool),
        (true, Some(height), Some(hash)) => Ok(TxStatus::Confirmed {
            height: BlockHeight::new(height),
            hash,
        }),
        (true, ..) => Err(Error::Invalid(
            "it reports a confirmation without its block".into(),
        )),
    }
}

/// The verdict of a failed submission. Servers pass a node's refusal on with various HTTP status codes, so the text of the
/// refusal decides before the status code does.
fn refusal(error: ClientError) -> Result<(), BroadcastError> {
    let ClientError::HttpResponse { status, message } = &error else {
        return Err(BroadcastError::Unavailable(describe(&error)));
    };
    match classify(message.trim()) {
        Verdict::AlreadyKnown => Ok(()),
        Verdict::Refused(BroadcastError::Rejected(_)) if is_overload(*status) => {
            Err(BroadcastError::Unavailable(describe(&error)))
        }
        Verdict::Refused(refused) => Err(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_a_scheme_and_lose_their_trailing_slash() {
        for (given, normalized) in [
            ("mempool.example/api/", "https://mempool.example/api"),
            (" http://127.0.0.1:3002 ", "http://127.0.0.1:3002"),
            ("https://mempool.example//", "https://mempool.example"),
        ] {
            assert_eq!(normalize_url(given).unwrap(), normalized);
        }
        for wrong in ["ftp://mempool.example", "", "http://"] {
            assert!(
                matches!(normalize_url(wrong), Err(Error::Config(_))),
                "{wrong}"
            );
        }
    }

    fn response(status: u16, message: &str) -> ClientError {
        ClientError::HttpResponse {
            status,
            message: message.into(),
        }
    }

    #[test]
    fn an_overloaded_server_is_unavailable_and_other_errors_are_refusals() {
        for status in [429, 500, 503] {
            assert!(matches!(
                convert(response(status, "busy")),
                Error::Unavailable(_)
            ));
        }
        assert!(matches!(
            convert(response(400, "bad txid")),
            Error::Rejected(_)
        ));
    }

    #[test]
    fn a_reject_reason_decides_before_the_status_code() {
        let spent = "sendrawtransaction RPC error -25: bad-txns-inputs-missingorspent";
        assert_eq!(
            refusal(response(500, spent)),
            Err(BroadcastError::MissingOrSpent)
        );
        assert_eq!(refusal(response(400, "txn-already-in-mempool")), Ok(()));
        assert!(matches!(
            refusal(response(502, "bad gateway")),
            Err(BroadcastError::Unavailable(_))
        ));
        assert!(matches!(
            refusal(response(400, "dust")),
            Err(BroadcastError::Rejected(_))
        ));
    }
}
