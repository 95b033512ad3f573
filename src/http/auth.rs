//! Bearer authentication: the token, the file that keeps it, and the check in front of each route (docs/protocol.md §22).
//!
//! The token is a version byte and the 32 random bytes of the secret, in unpadded URL-safe base64. A daemon has exactly one.

use std::io;
use std::path::Path;
use std::str::FromStr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hex_conservative::FromHex;
use rand::TryRngCore;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::ApiError;
use crate::datadir;

const VERSION: u8 = 0;

/// The 32 secret bytes inside the bearer token.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new secret from the operating system's randomness.
    pub fn random() -> anyhow::Result<Self> {
        let mut bytes = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Reads the token file; `None` if it does not exist.
    ///
    /// # Errors
    /// The file cannot be read, or does not contain a token.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        match std::fs::read_to_string(path) {
            Ok(text) => match Self::from_token(&text) {
                Some(secret) => Ok(Some(secret)),
                None => anyhow::bail!(
                    "{} does not contain a valid token; `arkwalletd secret refresh` writes a new one",
                    path.display()
                ),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(anyhow::Error::new(e).context(format!("cannot read {}", path.display()))),
        }
    }

    /// Replaces the token file.
    pub fn store(&self, path: &Path) -> io::Result<()> {
        datadir::write_atomic(path, self.to_token().as_bytes())
    }

    /// The bearer token of 44 characters.
    pub fn to_token(&self) -> String {
        let mut bytes = [VERSION; 33];
        bytes[1..].copy_from_slice(&self.0);
        let token = URL_SAFE_NO_PAD.encode(bytes);
        bytes.zeroize();
        token
    }

    /// The secret inside a token. White space around the token is ignored; padding and the standard base64 alphabet are rejected.
    pub fn from_token(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token.trim()).ok()?;
        match bytes.as_slice() {
            [VERSION, secret @ ..] => Some(Self(secret.try_into().ok()?)),
            _ => None,
        }
    }
}

/// From 64 hex characters.
impl FromStr for Secret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <[u8; 32]>::from_hex(text)
            .map(Self)
            .map_err(|_| "the secret must be 64 hex characters")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Rejects a request without the right token. `None` means that authentication is off.
pub(super) async fn require_token(
    State(secret): State<Option<Secret>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(secret) = secret {
        check(&secret, request.headers())?;
    }
    Ok(next.run(request).await)
}

pub(super) fn check(secret: &Secret, headers: &HeaderMap) -> Result<(), ApiError> {
    let token = bearer_token(headers)?.ok_or_else(|| {
        ApiError::unauthorized(
            "missing_token",
            "missing auth token; send the header Authorization: Bearer <token>. The token is in the file auth_token of the daemon's \
             data directory, and `arkwalletd --datadir <directory> secret show` prints it",
        )
    })?;
    match Secret::from_token(token) {
        Some(given) if given == *secret => Ok(()),
        _ => Err(invalid()),
    }
}

/// The token in the `Authorization` headers, whose scheme may be in upper or lower case. Other schemes are skipped; a further header after a bearer token is an error.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut token = None;
    for value in headers.get_all(header::AUTHORIZATION) {
        let text = value.to_str().map_err(|_| invalid())?;
        if token.is_some() {
            return Err(invalid());
        }
        token = text
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer"))
            .map(|(_, token)| token);
    }
    Ok(token)
}

fn invalid() -> ApiError {
    ApiError::unauthorized(
        "invalid_token",
        "invalid auth token; the right one is in the file auth_token of the daemon's data directory, and \
         `arkwalletd --datadir <directory> secret show` prints it. The daemon reads it when it starts",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret([byte; 32])
    }

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::AUTHORIZATION,
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn known_tokens() {
        assert_eq!(secret(0).to_token(), "A".repeat(44));
        assert_eq!(
            secret(42).to_token(),
            "ACoqKioqKioqKioqKioqKioqKioqKioqKioqKioqKioq"
        );
    }

    #[test]
    fn a_token_may_have_white_space_around_it_and_no_other_change() {
        let token = secret(42).to_token();
        assert!(Secret::from_token(&format!(" {token}\n")) == Some(secret(42)));
        let other_version = URL_SAFE_NO_PAD.encode([1; 33]);
        let short = URL_SAFE_NO_PAD.encode([0; 32]);
        let other_alphabet = secret(0xff).to_token().replace('_', "/");
        for wrong in [
            "",
            &token[..43],
            &format!("{token}="),
            &other_version,
            &short,
            &other_alphabet,
        ] {
            assert!(Secret::from_token(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_stored_token_is_loaded_and_an_invalid_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth_token");
        assert!(Secret::load(&path).unwrap().is_none());
        let random = Secret::random().unwrap();
        random.store(&path).unwrap();
        assert!(Secret::load(&path).unwrap() == Some(random));
        std::fs::write(&path, "not a token").unwrap();
        assert!(Secret::load(&path).is_err());
    }

    #[test]
    fn only_the_right_token_passes() {
        let right = format!("Bearer {}", secret(7).to_token());
        let wrong = format!("Bearer {}", secret(8).to_token());
        let lower = right.replace("Bearer", "bearer");
        let passes = |values: &[&[u8]]| check(&secret(7), &headers(values)).map_err(|e| e.code());
        assert_eq!(passes(&[right.as_bytes()]), Ok(()));
        assert_eq!(passes(&[b"Basic dTpw", right.as_bytes()]), Ok(()));
        assert_eq!(passes(&[]), Err("missing_token"));
        assert_eq!(passes(&[b"Basic dTpw"]), Err("missing_token"));
        assert_eq!(passes(&[lower.as_bytes()]), Ok(()));
        assert_eq!(passes(&[b"Bearer"]), Err("missing_token"));
        assert_eq!(passes(&[wrong.as_bytes()]), Err("invalid_token"));
        assert_eq!(
            passes(&[right.as_bytes(), right.as_bytes()]),
            Err("invalid_token")
        );
        assert_eq!(
            passes(&[right.as_bytes(), b"Basic dTpw"]),
            Err("invalid_token")
        );
        assert_eq!(passes(&[b"Bearer \xff"]), Err("invalid_token"));
    }
}
