//! What a call to the Ark server can come to, other than its answer.

use ark_lib::VtxoId;
use server_rpc::{StatusExt, tonic};

/// A call that did not bring its answer (docs/protocol.md §3.8).
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, and proves by its code that this request changed nothing.
    #[error("the Ark server refused: {message}")]
    Rejected {
        /// Its words.
        message: String,
        /// The VTXOs that it names as the reason.
        vtxos: Vec<VtxoId>,
    },
    /// There is no connection; the request was never sent.
    #[error("the Ark server cannot be reached: {0}")]
    Unreachable(String),
    /// The request may or may not have been carried out.
    #[error("the Ark server gave no clear answer: {0}")]
    Unknown(String),
    /// The server's keys or parameters are not safe to work with.
    #[error("the Ark server is refused: {0}")]
    Unsafe(String),
    /// The answer does not decode.
    #[error("the Ark server's answer makes no sense: {0}")]
    Malformed(String),
}

impl Error {
    /// An answer that does not decode.
    pub(super) fn malformed(error: impl ToString) -> Error {
        Error::Malformed(error.to_string())
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Error {
        if status.is_rejection() {
            return Error::Rejected {
                message: status.message().to_owned(),
                vtxos: status.rejected_vtxos(),
            };
        }
        Error::Unknown(format!("{:?}: {}", status.code(), status.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_invalid_argument_and_not_found_prove_that_nothing_happened() {
        for code in 0..=16 {
            let error = Error::from(tonic::Status::new(tonic::Code::from(code), "no"));
            let proven =
                code == tonic::Code::InvalidArgument as i32 || code == tonic::Code::NotFound as i32;
            assert_eq!(
                matches!(error, Error::Rejected { .. }),
                proven,
                "code {code}"
            );
        }
    }
}
