//! `GET /wallet`: the fingerprint of the loaded wallet, and what waits for a decision of its operator.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::schema::attention::Attention;
use crate::http::schema::error::Always;
use crate::wallet::{self, Verdict};

#[derive(Serialize, ToSchema)]
pub(super) struct WalletExistsResponse {
    /// The wallet's fingerprint, 8 hex characters; null when there is no wallet.
    fingerprint: Option<String>,
    /// What the wallet does nothing about before its operator decides; oldest first. Without a wallet: what the datadir holds of one.
    attention: Vec<Attention>,
    /// The last recovery of VTXOs that the database did not know; null when there never was one.
    recovery: Option<Recovery>,
}

/// A recovery: from the seed, or of a database that is older than the wallet.
#[derive(Serialize, ToSchema)]
struct Recovery {
    /// Why it runs: `seed` or `older_database`.
    cause: String,
    /// What it does: `keys`, `mailbox`, `reported_rounds`, `recovery_mailbox`, `bodies`, `states`, `rounds`, `judge`; `doubts` when all
    /// is found and some of it is doubtful; `done`.
    phase: String,
    /// When it began.
    started_at: DateTime<Utc>,
    /// When it ended; null while it runs.
    finished_at: Option<DateTime<Utc>>,
    /// Whether no VTXO is spent before it has judged all.
    holds_spends: bool,
    /// Why its last try failed; null when it did not.
    problem: Option<String>,
    /// VTXOs that it knows of.
    found: u64,
    /// How many of them the wallet has and can spend.
    recovered: u64,
    /// How many are spent.
    spent: u64,
    /// How many VTXOs count as spent on the server's word alone: no VTXO of the wallet descends from them, and the chain does not show
    /// their spend. `POST /exits/start/vtxos` exits one that is named.
    spent_unproven: u64,
    /// What they are worth, in sat.
    spent_unproven_sat: u64,
    /// How many are on chain, and the wallet's.
    exited: u64,
    /// How many belong to a round or a Lightning payment that is not complete.
    in_flight: u64,
    /// How many belong to another wallet, or to keys beyond the gap limit.
    foreign: u64,
    /// How many can never be spent.
    invalid: u64,
    /// How many have gone on chain to somebody else, or were claimed.
    gone: u64,
    /// How many the server does not send; it is asked again.
    missing: u64,
    /// How many the wallet has and cannot spend, because the server or the chain does not say what they are worth; both are asked again.
    doubtful: u64,
    /// How many entries were no VTXO and no id of one.
    undecodable: u64,
    /// Those that are neither recovered nor spent, at most 100.
    left_out: Vec<LeftOut>,
}

/// A VTXO that a recovery has not taken as spendable.
#[derive(Serialize, ToSchema)]
struct LeftOut {
    /// Its id.
    vtxo: String,
    /// Its verdict: the name of one of the counts.
    verdict: String,
    /// Why.
    reason: String,
}

impl From<wallet::RecoveryReport> for Recovery {
    fn from(report: wallet::RecoveryReport) -> Self {
        let count = |verdict: Verdict| {
            let mut verdicts = report.verdicts.iter();
            let found = verdicts.find(|(it, _)| *it == verdict);
            found.map_or(0, |(_, count)| *count)
        };
        let time = |millis| DateTime::from_timestamp_millis(millis).unwrap_or_default();
        Self {
            phase: report.phase.to_owned(),
            started_at: time(report.row.started_at),
            finished_at: report.row.finished_at.map(time),
            holds_spends: report.row.holds_spends,
            found: report.found,
            recovered: count(Verdict::Recovered),
            spent: count(Verdict::Spent) + count(Verdict::SpentUnproven),
            spent_unproven: report.spent_unproven,
            spent_unproven_sat: report.spent_unproven_amount.to_sat(),
            exited: count(Verdict::Exited),
            in_flight: count(Verdict::InFlight),
            foreign: count(Verdict::Foreign),
            invalid: count(Verdict::Invalid),
            gone: count(Verdict::Gone),
            missing: count(Verdict::Missing),
            doubtful: count(Verdict::Doubtful),
            undecodable: report.row.undecodable,
            cause: report.row.cause,
            problem: report.problem,
            left_out: report
                .left_out
                .into_iter()
                .map(|it| LeftOut {
                    vtxo: it.id.to_string(),
                    verdict: it.verdict,
                    reason: it.reason,
                })
                .collect(),
        }
    }
}

/// Get wallet fingerprint
#[utoipa::path(get, path = "/wallet", operation_id = "wallet_exists", tag = "wallet", responses(
    (status = 200, description = "The wallet, if there is one", body = WalletExistsResponse),
    Always,
))]
pub(super) async fn wallet_exists(
    State(app): State<App>,
) -> Result<Json<WalletExistsResponse>, ApiError> {
    let Some(wallet) = app.wallets.loaded() else {
        let parts = app.wallets.unloaded_parts().await;
        return Ok(Json(WalletExistsResponse {
            fingerprint: None,
            attention: parts.into_iter().map(Attention::from).collect(),
            recovery: None,
        }));
    };
    let facts = wallet.attention().await?;
    Ok(Json(WalletExistsResponse {
        fingerprint: Some(wallet.fingerprint().to_string()),
        attention: facts.into_iter().map(Attention::from).collect(),
        recovery: wallet.recovery().await?.map(Recovery::from),
    }))
}
