//! The idempotency key in a request, and the fingerprint of the request that it belongs to.

use axum::http::{HeaderMap, Method};
use bitcoin::hashes::{Hash, HashEngine, sha256};
use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::schema::idempotency_key::NAME;

/// The most characters of a key.
const MAX_LENGTH: usize = 255;

/// The key in the headers; `None` without the header.
///
/// # Errors
/// 400 `invalid_idempotency_key`.
pub(in crate::http) fn of(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(NAME).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => read(value.to_str().unwrap_or_default()).map(Some),
        (Some(_), Some(_)) => Err(invalid("it is there more than once")),
    }
}

/// Reads a key: a structured-field string in quotes, or its characters alone.
///
/// # Errors
/// 400 `invalid_idempotency_key`.
pub(in crate::http) fn read(text: &str) -> Result<String, ApiError> {
    let key = match text.strip_prefix('"') {
        None => text.to_owned(),
        Some(rest) => unquoted(rest).ok_or_else(|| invalid("its quotes are not closed"))?,
    };
    if !(1..=MAX_LENGTH).contains(&key.len()) || !key.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(invalid("it is empty, too long, or has other characters"));
    }
    Ok(key)
}

/// The content of a structured-field string, from behind its first quote (RFC 8941, section 3.3.3).
fn unquoted(rest: &str) -> Option<String> {
    let mut key = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(key),
            '\\' => key.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => key.push(other),
        }
    }
}

fn invalid(flaw: &str) -> ApiError {
    let message = format!(
        "The Idempotency-Key cannot be used: {flaw}. Choose 1 to {MAX_LENGTH} visible ASCII characters, such as a UUID."
    );
    ApiError::bad_request("invalid_idempotency_key", message)
}

/// SHA-256 of a request. Bodies that are the same JSON count as the same.
pub(super) fn fingerprint(method: &Method, path: &str, body: &[u8]) -> [u8; 32] {
    let mut engine = sha256::HashEngine::default();
    engine.input(method.as_str().as_bytes());
    engine.input(b" ");
    engine.input(path.as_bytes());
    engine.input(b"\n");
    match serde_json::from_slice::<Value>(body) {
        // The keys of an object are sorted.
        Ok(json) => engine.input(json.to_string().as_bytes()),
        Err(_) => engine.input(body),
    }
    sha256::Hash::from_engine(engine).to_byte_array()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_is_read_with_or_without_quotes() {
        let longest = "k".repeat(MAX_LENGTH);
        for (text, key) in [
            ("order-17", "order-17"),
            ("\"order-17\"", "order-17"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (longest.as_str(), longest.as_str()),
        ] {
            assert_eq!(read(text).unwrap(), key, "{text}");
        }
        let too_long = "k".repeat(MAX_LENGTH + 1);
        for text in [
            "",
            "\"\"",
            "\"",
            "\"open",
            "\"a\";b=1",
            r#""a\b""#,
            "two words",
            "ümlaut",
            too_long.as_str(),
        ] {
            let code = read(text).unwrap_err().code();
            assert_eq!(code, "invalid_idempotency_key", "{text}");
        }
    }

    #[test]
    fn a_request_has_one_key_at_most() {
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers).unwrap(), None);
        headers.append(NAME, HeaderValue::from_static("a"));
        assert_eq!(of(&headers).unwrap().as_deref(), Some("a"));
        headers.append(NAME, HeaderValue::from_static("a"));
        assert_eq!(of(&headers).unwrap_err().code(), "invalid_idempotency_key");
    }

    #[test]
    fn the_same_json_is_the_same_request() {
        let of = |path, body: &str| fingerprint(&Method::POST, path, body.as_bytes());
        let first = of("/a", r#"{"x": 1, "y": {"b": 2, "a": 3}}"#);
        assert_eq!(first, of("/a", r#"{"y":{"a":3,"b":2},"x":1}"#));
        assert_ne!(first, of("/b", r#"{"x": 1, "y": {"b": 2, "a": 3}}"#));
        assert_ne!(first, of("/a", r#"{"x": 2, "y": {"b": 2, "a": 3}}"#));
        assert_ne!(of("/a", ""), of("/a", "{}"));
        assert_ne!(of("/a", "{"), of("/a", "{{"));
    }
}
