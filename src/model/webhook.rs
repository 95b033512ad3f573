//! Webhooks: receivers that events are posted to (docs/protocol.md §26.6).

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::TryRngCore;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{EventId, EventKind};

/// The id of a webhook, `wh_` and 32 hex characters. No other webhook ever gets it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WebhookId(String);

impl WebhookId {
    /// A new id.
    pub fn random() -> WebhookId {
        WebhookId(format!("wh_{:032x}", rand::random::<u128>()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for WebhookId {
    fn from(id: String) -> WebhookId {
        WebhookId(id)
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret that a receiver verifies posts with: 24 to 64 bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// How the text of a secret begins.
    const PREFIX: &str = "whsec_";

    /// A new secret of 32 bytes from the operating system's randomness.
    ///
    /// # Errors
    /// The operating system has none.
    pub fn random() -> anyhow::Result<WebhookSecret> {
        let mut bytes = vec![0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes)?;
        Ok(WebhookSecret(bytes))
    }

    /// A secret of these bytes; `None` unless they are 24 to 64.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<WebhookSecret> {
        (24..=64)
            .contains(&bytes.len())
            .then_some(WebhookSecret(bytes))
    }

    /// Reads `whsec_` with base64.
    pub fn parse(text: &str) -> Option<WebhookSecret> {
        let encoded = text.strip_prefix(WebhookSecret::PREFIX)?;
        WebhookSecret::from_bytes(STANDARD.decode(encoded).ok()?)
    }

    /// The text of the secret, `whsec_` with base64. It goes to the caller who made the secret, and nowhere else.
    pub fn reveal(&self) -> String {
        format!("{}{}", WebhookSecret::PREFIX, STANDARD.encode(&self.0))
    }

    /// The bytes that sign.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where events are posted to. It can contain a token, so it is not logged.
    pub url: String,
    /// The operator's note.
    pub description: String,
    /// The kinds of events that are posted; empty for all.
    pub kinds: Vec<EventKind>,
    /// What signs.
    pub secret: WebhookSecret,
    /// The secret before a rotation, and until when it signs too, unix milliseconds.
    pub old_secret: Option<(WebhookSecret, i64)>,
    /// Grows with each change of a person.
    pub revision: u64,
    /// How far it has got.
    pub progress: Progress,
    /// Events that were deleted before they were delivered, since a person last enabled the webhook.
    pub lost: u64,
    /// When it was created, unix milliseconds.
    pub created_at: i64,
}

impl Webhook {
    /// Whether events of this kind are posted.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// How far a webhook has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether it gets events.
    pub enabled: bool,
    /// The last event that was delivered or passed over.
    pub cursor: EventId,
    /// The failed tries of the next event; `None` when there was none.
    pub failing: Option<Failing>,
}

/// The failed tries of a webhook's next event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// How many.
    pub failures: u32,
    /// When the first of them ended, unix milliseconds.
    pub since: i64,
    /// When the next one begins, unix milliseconds.
    pub next_try_at: i64,
    /// Why the last one failed.
    pub error: String,
}

impl Progress {
    /// That of an enabled webhook without a failed try.
    pub fn at(cursor: EventId) -> Progress {
        Progress {
            enabled: true,
            cursor,
            failing: None,
        }
    }
}

/// One try to deliver an event, or a test.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its number in the log of the webhook, from 1; 0 before it is written.
    pub number: u64,
    /// Which event; `None` for a test.
    pub event: Option<EventId>,
    /// Which try of this event, from 1.
    pub attempt: u32,
    /// The status of the answer; `None` without one.
    pub status: Option<u16>,
    /// How long the answer, or the failure, took.
    pub latency: Duration,
    /// Why it failed; `None` when it was delivered.
    pub error: Option<String>,
    /// When it began, unix milliseconds.
    pub at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_24_to_64_bytes_and_hide_in_debug_output() {
        let text = |length| format!("whsec_{}", STANDARD.encode(vec![7; length]));
        for length in [24, 32, 64] {
            let secret = WebhookSecret::parse(&text(length)).unwrap();
            assert_eq!(secret.reveal(), text(length));
            assert_eq!(format!("{secret:?}"), "WebhookSecret(..)");
        }
        for wrong in [
            &text(23),
            &text(65),
            "whsec_?",
            "",
            &STANDARD.encode([7; 32]),
        ] {
            assert!(WebhookSecret::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(WebhookSecret::random().unwrap().bytes().len(), 32);
        assert_ne!(WebhookId::random(), WebhookId::random());
    }
}
