//! What clients send, as fuzz targets read it.

use axum::http::{HeaderMap, HeaderValue, header};

use super::auth::{self, Secret};
use super::routes::wallet::import_vtxo;
use crate::wallet::inbox::fuzzing::hold_vtxo;

/// The token of the daemon that is asked: the version, and 32 zeros.
const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// `Authorization` headers, one on each line. Only the right token passes, and each token that is read is written as it was.
pub fn bearer_token(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::AUTHORIZATION, value);
        }
    }
    let right = Secret::from_token(TOKEN).expect("the token is one");
    if auth::check(&right, &headers).is_ok() {
        let bearers = headers.values().filter(|value| {
            let text = value.to_str().unwrap_or_default();
            let (scheme, token) = text.split_once(' ').unwrap_or_default();
            scheme.eq_ignore_ascii_case("bearer") && token.trim() == TOKEN
        });
        assert_eq!(bearers.count(), 1, "another token passes");
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(secret) = Secret::from_token(&text) {
        assert_eq!(secret.to_token(), text.trim());
    }
}

/// A VTXO of an import.
pub fn vtxo_hex(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(vtxo) = import_vtxo::decode(0, &text) {
        hold_vtxo(&vtxo);
    }
}
