//! How a call to the Ark server can fail (docs/protocol.md §3.8).

use ark_lib::VtxoId;
use server_rpc::{StatusExt, tonic};

/// The server's answer while an earlier request about the same VTXO still runs. That request may be our own, so the outcome is
/// unknown, although the status code says otherwise (H60).
const LOCKED: &str = "already locked by another process";

/// A failed call. The variant says whether the server may have carried the request out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, and its status code proves that this request changed nothing.
    #[error("the Ark server refused: {message}")]
    Rejected {
        /// The server's message.
        message: String,
        /// The VTXOs that the server names as the reason.
        vtxos: Vec<VtxoId>,
    },
    /// The server is not connected; the request was never sent.
    #[error("the Ark server cannot be reached: {0}")]
    Unreachable(String),
    /// The request may or may not have been carried out.
    #[error("the Ark server gave no clear answer: {0}")]
    Unknown(String),
    /// The server finds the request too large, or is overloaded. Whether it carried the request out is not proven.
    #[error("the Ark server finds a request too large: {0}")]
    TooLarge(String),
    /// The server's keys or parameters are not safe to work with.
    #[error("the Ark server is not safe to use: {0}")]
    Unsafe(String),
    /// The server's answer cannot be decoded.
    #[error("the Ark server's answer cannot be decoded: {0}")]
    Malformed(String),
}

impl Error {
    /// For an answer that cannot be decoded.
    pub(super) fn malformed(error: impl ToString) -> Error {
        Error::Malformed(error.to_string())
    }
}

/// What a server answers, as an internal error, when an input's checkpoint was spent by a payment of the same amounts to other keys.
/// A repeated request of ours has the same keys, so this one has certainly failed.
const CHECKPOINT_SPENT: &str = "is already spent";

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Error {
        let checkpoint_spent =
            status.code() == tonic::Code::Internal && status.message().contains(CHECKPOINT_SPENT);
        let rejected = status.is_rejection() && !status.message().contains(LOCKED);
        if rejected || checkpoint_spent {
            return Error::Rejected {
                message: status.message().to_owned(),
                vtxos: status.rejected_vtxos(),
            };
        }
        let message = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => Error::TooLarge(message),
            _ => Error::Unknown(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_invalid_argument_and_not_found_are_rejections() {
        use tonic::Code;
        for code in (0..=16).map(Code::from) {
            let error = Error::from(tonic::Status::new(code, "no"));
            let as_expected = match code {
                Code::InvalidArgument | Code::NotFound => matches!(error, Error::Rejected { .. }),
                Code::OutOfRange | Code::ResourceExhausted => matches!(error, Error::TooLarge(_)),
                _ => matches!(error, Error::Unknown(_)),
            };
            assert!(as_expected, "{code:?}: {error:?}");
        }
    }

    #[test]
    fn a_checkpoint_that_another_payment_spends_is_a_rejection() {
        let text = "tx body error: checkpoint 00:0 is already spent";
        let error = Error::from(tonic::Status::internal(text));
        assert!(matches!(error, Error::Rejected { .. }), "{error}");
    }

    #[test]
    fn a_busy_input_is_no_rejection() {
        let text = "bad user input: vtxo is already locked by another process";
        let error = Error::from(tonic::Status::invalid_argument(text));
        assert!(matches!(error, Error::Unknown(_)), "{error}");
    }
}
