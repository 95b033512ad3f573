//! Why an LNURL-pay server gave no invoice.

use bitcoin::Amount;

/// Why there is no invoice. Nothing was paid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL cannot be read, or does not begin with `https`.
    #[error("the payee's LNURL leads to an address that this wallet does not request: {0}")]
    InvalidUrl(&'static str),
    /// The URL, or what its host resolves to, is not part of the public internet.
    #[error(
        "the payee's LNURL leads to {0}, an address that is not part of the public internet; ask the payee for an invoice"
    )]
    Forbidden(String),
    /// There was no answer.
    #[error(
        "the payee's LNURL server did not answer: {0}; try again later, or ask the payee for an invoice"
    )]
    Unreachable(String),
    /// The server answered with an error of its own.
    #[error("the payee's LNURL server refused: {0}")]
    Refused(String),
    /// The LNURL is for something other than a payment.
    #[error(
        "this LNURL is {0}; this wallet only pays LNURLs, so ask the payee for one of the type payRequest"
    )]
    Unsupported(&'static str),
    /// The answer breaks the protocol.
    #[error(
        "the payee's LNURL server gave an answer that cannot be used: {0}; ask the payee for an invoice"
    )]
    InvalidAnswer(String),
    /// The payee does not take this amount.
    #[error("the payee takes from {} to {} sat in one payment; change amount_sat", .min.to_sat(), .max.to_sat())]
    AmountOutOfRange {
        /// The smallest amount, rounded up to whole sat.
        min: Amount,
        /// The largest amount, rounded down to whole sat.
        max: Amount,
    },
    /// The payee takes no comments.
    #[error("this payee takes no comment; leave it out")]
    CommentNotSupported,
    /// The payee takes only shorter comments.
    #[error("the payee takes comments of at most {limit} characters; shorten it")]
    CommentTooLong {
        /// In characters.
        limit: u64,
    },
}

impl Error {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Error::InvalidUrl(_) => "invalid_lnurl",
            Error::Forbidden(_) => "lnurl_address_forbidden",
            Error::Unreachable(_) => "lnurl_unreachable",
            Error::Refused(_) => "lnurl_refused",
            Error::Unsupported(_) => "unsupported_lnurl",
            Error::InvalidAnswer(_) => "lnurl_invalid_answer",
            Error::AmountOutOfRange { .. } => "amount_out_of_range",
            Error::CommentNotSupported => "comment_not_supported",
            Error::CommentTooLong { .. } => "comment_too_long",
        }
    }
}
