//! Requests with an `Idempotency-Key`: each is carried out once, and answered again from what it began (docs/protocol.md §23.0.1).
//!
//! The key is that of draft-ietf-httpapi-idempotency-key-header. A request that is refused before it begins anything is not kept, so
//! it can be repeated with its key once the cause is gone.

pub(super) mod key;
mod outcome;

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{OpenApi, PathItem, RefOr};

use super::error::ApiError;
use super::extract::unreadable;
use super::schema::idempotency_key::NAME;
use crate::wallet::lifecycle::WalletSlot;
use crate::wallet::{KeptAnswer, RequestKey, Standing, Wallet};

/// The header of an answer that was given before, or is made from what an earlier request began.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The largest body of an answer that is kept, in bytes. A larger one is made again.
const MAX_KEPT: usize = 64 * 1024;

/// What the layer needs to know.
#[derive(Clone)]
pub(super) struct Keyed {
    wallets: Arc<WalletSlot>,
    /// The paths whose POST takes a key.
    paths: Arc<HashSet<String>>,
}

/// The paths whose POST declares the header, and so takes a key.
fn keyed_paths(document: &OpenApi) -> HashSet<String> {
    let is_key = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(it) => it.parameter_in == ParameterIn::Header && it.name == NAME,
        RefOr::Ref(_) => false,
    };
    let takes_key = |item: &PathItem| {
        let parameters = item.post.iter().flat_map(|post| &post.parameters);
        parameters.flatten().any(is_key)
    };
    let paths = document.paths.paths.iter();
    let paths = paths.filter(|(_, item)| takes_key(item));
    paths.map(|(path, _)| path.clone()).collect()
}

impl Keyed {
    /// The layer of the routes in this document.
    pub(super) fn new(wallets: Arc<WalletSlot>, document: &OpenApi) -> Keyed {
        Keyed {
            wallets,
            paths: Arc::new(keyed_paths(document)),
        }
    }

    fn takes_key(&self, request: &Request) -> bool {
        request.method() == Method::POST && self.paths.contains(request.uri().path())
    }
}

/// The layer. Without a key, on other routes, and without a wallet, it does nothing.
pub(super) async fn carry_out_once(
    State(keyed): State<Keyed>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !keyed.takes_key(&request) {
        return Ok(next.run(request).await);
    }
    let key = key::of(request.headers())?;
    let (Some(key), Some(wallet)) = (key, keyed.wallets.loaded()) else {
        return Ok(next.run(request).await);
    };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let content = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await;
    let content = content.map_err(|rejection| unreadable(&rejection))?;
    let key = RequestKey {
        key,
        request: key::fingerprint(&parts.method, &path, &content),
    };
    let request = Request::from_parts(parts, Body::from(content));
    // In a task of its own: the answer is kept even if the client is gone.
    let serving = async move { serve(&wallet, key, &path, request, next).await };
    match tokio::spawn(serving.in_current_span()).await {
        Ok(answer) => answer,
        Err(error) => Err(match error.try_into_panic() {
            Ok(panic) => ApiError::panicked(&*panic),
            Err(_) => ApiError::internal("the runtime is shutting down"),
        }),
    }
}

async fn serve(
    wallet: &Arc<Wallet>,
    key: RequestKey,
    path: &str,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (turn, answer) = match wallet.take_turn(key).await? {
        Standing::New(turn) => {
            let answer = turn.run(next.run(request)).await;
            (turn, answer)
        }
        Standing::Outcome(turn, outcome) => (turn, replayed(outcome::answer(path, outcome))),
        Standing::Answered(kept) => return answer_again(kept),
        Standing::Failed(failure) => return Ok(replayed(ApiError::from(failure).into_response())),
        Standing::InProgress(movement) => return Err(ApiError::in_progress(movement)),
        Standing::Reused => return Err(reused()),
    };
    let (answer, kept) = copied(answer).await?;
    if let Some(kept) = kept {
        turn.keep(kept).await;
    }
    Ok(answer)
}

/// An answer and what is kept of it: the final ones with success, as far as they are not too large. A failure is kept by the operation
/// that failed.
async fn copied(answer: Response) -> Result<(Response, Option<KeptAnswer>), ApiError> {
    let size = answer.body().size_hint().upper();
    let fits = size.is_some_and(|size| size <= MAX_KEPT as u64);
    if answer.status() != StatusCode::OK || !fits {
        return Ok((answer, None));
    }
    let (parts, body) = answer.into_parts();
    let content = to_bytes(body, MAX_KEPT)
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let kept = std::str::from_utf8(&content).ok().map(|body| KeptAnswer {
        status: parts.status.as_u16(),
        body: body.to_owned(),
    });
    Ok((Response::from_parts(parts, Body::from(content)), kept))
}

fn answer_again(kept: KeptAnswer) -> Result<Response, ApiError> {
    let status =
        StatusCode::from_u16(kept.status).map_err(|error| ApiError::internal(error.to_string()))?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok(replayed((status, json, kept.body).into_response()))
}

fn replayed(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    answer
}

fn reused() -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency_key_reused",
        "This Idempotency-Key belongs to another request. Repeat that request exactly, path and body, or choose a new key for this one.",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// H70: each POST either takes a key, or begins nothing that must not happen twice.
    #[test]
    fn every_route_that_moves_money_takes_a_key() {
        let without = BTreeSet::from([
            "/api/v1/exits/cancel/{vtxo_id}",
            "/api/v1/exits/progress",
            "/api/v1/fees/offboard",
            "/api/v1/history/{id}/metadata",
            "/api/v1/message/sign",
            "/api/v1/message/verify",
            "/api/v1/onchain/addresses/next",
            "/api/v1/onchain/sync",
            "/api/v1/wallet",
            "/api/v1/wallet/addresses/next",
            "/api/v1/wallet/bip321",
            "/api/v1/wallet/create",
            "/api/v1/wallet/import-vtxo",
            "/api/v1/wallet/rounds/{unlock_hash}/recover",
            "/api/v1/wallet/sync",
            "/api/v1/wallet/sync/mailbox",
            "/api/v1/webhooks",
            "/api/v1/webhooks/{id}/redeliver",
            "/api/v1/webhooks/{id}/rotate-secret",
            "/api/v1/webhooks/{id}/test",
        ]);
        let document = crate::http::openapi();
        let keyed = keyed_paths(&document);
        let posts = document.paths.paths.iter();
        let posts = posts.filter(|(_, item)| item.post.is_some());
        let others: BTreeSet<&str> = posts
            .map(|(path, _)| path.as_str())
            .filter(|path| !keyed.contains(*path))
            .collect();
        assert_eq!(others, without);
    }
}
