//! The parsers of bytes from outside, for the targets in `fuzz/`. Each function panics if a parser does, or breaks what it promises.

pub use crate::http::fuzzing::{bearer_token, vtxo_hex};
pub use crate::lnurl::fuzzing::lnurl_answer;
pub use crate::wallet::destination::fuzzing::{destination, payment_uri};
pub use crate::wallet::inbox::fuzzing::mailbox_message;
