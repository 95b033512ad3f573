//! Parsing of requests: axum's extractors with JSON errors, checked amounts and VTXO ids, and effects that outlive the connection.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use ark_lib::VtxoId;
use ark_lib::tree::signed::UnlockHash;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bitcoin::Amount;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tracing::Instrument;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::error::ApiError;
use super::server;

/// A JSON body, of a request or of a response.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let axum::Json(Object(value)) = axum::Json::from_request(request, state)
            .await
            .map_err(body_error)?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A body that is an object, or null where `T` can be. By itself, serde reads `[1]` as a request whose first field is 1.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ObjectVisitor(PhantomData);
        deserializer.deserialize_any(visitor).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
        T::deserialize(().into_deserializer())
    }
}

/// The refusal of a body that cannot be read to its end.
pub(super) fn unreadable(rejection: &BytesRejection) -> ApiError {
    if server::is_timeout(rejection) {
        return late_body();
    }
    let status = rejection.status();
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        _ => "malformed_body",
    };
    ApiError::new(status, code, rejection.body_text())
}

fn late_body() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timed_out",
        "The body of the request did not arrive in time, so nothing was done; send the request again",
    )
}

fn body_error(rejection: JsonRejection) -> ApiError {
    if server::is_timeout(&rejection) {
        return late_body();
    }
    let status = rejection.status();
    let code = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid_body",
        _ => "malformed_body",
    };
    let text = rejection.body_text();
    let message = if status == StatusCode::UNPROCESSABLE_ENTITY {
        misfit("body", &text)
    } else {
        text
    };
    ApiError::new(status, code, message)
}

/// What does not fit in a body or query, without axum's introduction, and how it should look.
fn misfit(what: &str, text: &str) -> String {
    let introductions = [
        "Failed to deserialize the JSON body into the target type: ",
        "Failed to deserialize query string: ",
    ];
    let cut = introductions.iter().find_map(|it| text.strip_prefix(it));
    let cause = cut.unwrap_or(text);
    let amounts = if cause.contains("_sat") {
        ". Amounts are whole numbers of sat, such as 1000: no text, no fraction, no bitcoin"
    } else {
        ""
    };
    format!("The {what} does not fit: {cause}{amounts}. /api-docs/openapi.json shows its form")
}

/// The query parameters.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query: Result<_, QueryRejection> =
            axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(value) = query
            .map_err(|e| ApiError::bad_request("invalid_query", misfit("query", &e.body_text())))?;
        Ok(Self(value))
    }
}

/// The path parameters.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path: Result<_, PathRejection> =
            axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(value) =
            path.map_err(|e| ApiError::bad_request("invalid_path", e.body_text()))?;
        Ok(Self(value))
    }
}

/// An amount in a request, in satoshis. It becomes an [`Amount`] only through [`AmountSat::check`].
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(super) struct AmountSat(u64);

impl ToSchema for AmountSat {}

impl PartialSchema for AmountSat {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(format))
            .minimum(Some(1))
            .maximum(Some(Amount::MAX_MONEY.to_sat()))
            .description(Some("An amount, in satoshis."))
            .into()
    }
}

impl AmountSat {
    /// The amount, if it is at least 1 sat and at most 21 million bitcoin.
    pub(super) fn check(self) -> Result<Amount, ApiError> {
        payable(Amount::from_sat(self.0))
    }
}

/// `amount`, if it is at least 1 sat and at most 21 million bitcoin.
pub(super) fn payable(amount: Amount) -> Result<Amount, ApiError> {
    match amount {
        Amount::ZERO => Err(ApiError::bad_request(
            "invalid_amount",
            "The amount must be at least 1 sat.",
        )),
        amount if amount > Amount::MAX_MONEY => Err(ApiError::bad_request(
            "invalid_amount",
            "The amount must be at most 21 million bitcoin.",
        )),
        amount => Ok(amount),
    }
}

/// Parses a VTXO id.
pub(super) fn parse_vtxo_id(id: &str) -> Result<VtxoId, ApiError> {
    id.parse().map_err(|_| {
        ApiError::bad_request(
            "invalid_vtxo_id",
            "A VTXO id has the form txid:vout; GET /api/v1/wallet/vtxos lists those of the wallet",
        )
    })
}

/// Parses a list of VTXO ids, which must not be empty.
pub(super) fn parse_vtxo_ids(ids: &[String]) -> Result<Vec<VtxoId>, ApiError> {
    if ids.is_empty() {
        return Err(ApiError::bad_request(
            "no_vtxos",
            "Name at least one VTXO; GET /api/v1/wallet/vtxos lists those of the wallet",
        ));
    }
    ids.iter().map(|id| parse_vtxo_id(id)).collect()
}

/// Parses the unlock hash of a round.
pub(super) fn parse_unlock_hash(hash: &str) -> Result<UnlockHash, ApiError> {
    hash.parse().map_err(|_| {
        ApiError::bad_request(
            "invalid_unlock_hash",
            "An unlock hash has 64 hex characters",
        )
    })
}

/// Runs `effect` to its end, even if the client disconnects: a payment must not stop halfway.
pub(super) async fn detached<T, F>(effect: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, crate::wallet::Error>> + Send + 'static,
{
    let effect = crate::wallet::with_request_key(effect);
    match tokio::spawn(effect.in_current_span()).await {
        Ok(outcome) => outcome.map_err(ApiError::from),
        Err(e) => match e.try_into_panic() {
            Ok(panic) => Err(ApiError::panicked(&*panic)),
            Err(_) => Err(ApiError::internal("the runtime is shutting down")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_bounds() {
        assert!(AmountSat(0).check().is_err());
        assert_eq!(AmountSat(1).check().unwrap(), Amount::ONE_SAT);
        assert_eq!(
            AmountSat(2_100_000_000_000_000).check().unwrap(),
            Amount::MAX_MONEY
        );
        assert!(AmountSat(2_100_000_000_000_001).check().is_err());
        assert!(AmountSat(u64::MAX).check().is_err());
    }
}
