//! Errors of the server, and the gRPC status that a client gets.
//!
//! Clients act on the code (docs/protocol.md §30.4): `InvalidArgument` and `NotFound` promise that this request changed nothing, so the
//! client may release its inputs; everything else means "unknown, ask again". A handler may therefore use the first four variants only
//! before it has stored anything.

use std::fmt::Display;

use ark_lib::VtxoId;
use server_rpc::ConvertError;
use server_rpc::tonic::{Code, Status, metadata::MetadataValue};

/// The reason for refusing a VTXO that another transaction spends.
pub const SPENT: &str = "already spent";

/// Metadata entry that names the things a rejection is about.
const IDENTIFIERS: &str = "identifiers";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The server does not know these things. Nothing changed.
    #[error("{what} not found: {}", .ids.join(","))]
    NotFound {
        /// Kind of thing, for the message.
        what: &'static str,
        /// The unknown ids.
        ids: Vec<String>,
    },
    /// These VTXOs cannot be spent. Nothing changed.
    #[error("{reason}: {}", .ids.join(","))]
    Unusable {
        /// Why not.
        reason: String,
        /// The VTXOs.
        ids: Vec<String>,
    },
    /// The request is invalid. Nothing changed.
    #[error("bad user input: {0}")]
    BadArgument(String),
    /// Another request is using the same input, perhaps an earlier try of the same caller. Its code is that of a refusal and it
    /// names no ids, as at a real server (H60).
    #[error("bad user input: vtxo {0} is already locked by another process")]
    Locked(VtxoId),
    /// Too early; the same request may succeed later.
    #[error("{0}")]
    NotYet(String),
    /// The answer is lost although the request may have been carried out.
    #[error("{0}")]
    Lost(&'static str),
    /// The server has no such function.
    #[error("{0} is not implemented")]
    Unimplemented(&'static str),
    /// The server's own fault, possibly after a change.
    #[error("internal error: {0:#}")]
    Internal(#[from] anyhow::Error),
}

impl RpcError {
    /// An invalid request.
    pub fn bad(message: impl Display) -> RpcError {
        RpcError::BadArgument(message.to_string())
    }

    /// VTXOs that the server does not know.
    pub fn unknown_vtxos(ids: impl IntoIterator<Item = VtxoId>) -> RpcError {
        RpcError::NotFound {
            what: "vtxo",
            ids: ids.into_iter().map(|id| id.to_string()).collect(),
        }
    }

    /// VTXOs that the server refuses as inputs.
    pub fn unusable(reason: impl Display, ids: impl IntoIterator<Item = VtxoId>) -> RpcError {
        RpcError::Unusable {
            reason: reason.to_string(),
            ids: ids.into_iter().map(|id| id.to_string()).collect(),
        }
    }

    /// A request that names the same VTXO twice. Real servers count the distinct ones and report the difference as missing.
    pub fn repeated_vtxo() -> RpcError {
        RpcError::NotFound {
            what: "vtxo",
            ids: Vec::new(),
        }
    }

    /// A request that cannot be decoded, or contradicts itself, at the calls where a real server takes this for its own fault.
    pub fn malformed(error: impl Display) -> RpcError {
        RpcError::Internal(anyhow::anyhow!("malformed request: {error}"))
    }

    /// The same refusal without the ids of spent VTXOs: a real server names those only at the calls of rounds.
    pub fn without_spent_ids(self) -> RpcError {
        match self {
            RpcError::Unusable { reason, ids } if reason.contains(SPENT) => {
                RpcError::bad(format!("{reason}: {}", ids.join(",")))
            }
            other => other,
        }
    }

    /// The more important of two errors: unknown before unusable before invalid before internal.
    pub fn or(self, other: RpcError) -> RpcError {
        if other.rank() < self.rank() {
            other
        } else {
            self
        }
    }

    fn rank(&self) -> u8 {
        match self {
            RpcError::NotFound { .. } => 0,
            RpcError::Unusable { .. } => 1,
            RpcError::BadArgument(_) => 2,
            RpcError::NotYet(_) | RpcError::Locked(_) => 3,
            RpcError::Unimplemented(_) => 4,
            RpcError::Lost(_) | RpcError::Internal(_) => 5,
        }
    }
}

impl From<ConvertError> for RpcError {
    fn from(error: ConvertError) -> RpcError {
        RpcError::bad(error)
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Status {
        let message = error.to_string();
        match error {
            RpcError::NotFound { ids, .. } => with_identifiers(Status::not_found(message), &ids),
            RpcError::Unusable { ids, .. } => {
                with_identifiers(Status::invalid_argument(message), &ids)
            }
            RpcError::BadArgument(_) | RpcError::Locked(_) => Status::invalid_argument(message),
            RpcError::NotYet(_) => Status::new(Code::FailedPrecondition, message),
            RpcError::Lost(_) => Status::unavailable(message),
            RpcError::Unimplemented(_) => Status::unimplemented(message),
            RpcError::Internal(_) => Status::internal(message),
        }
    }
}

/// Attaches the comma-joined ids, if any, that a client reads from a rejection.
pub fn with_identifiers(mut status: Status, ids: &[String]) -> Status {
    if ids.is_empty() {
        return status;
    }
    // Ids are hex digits, colons and commas; only a fault can contain anything that is not a valid header value.
    if let Ok(value) = MetadataValue::try_from(ids.join(",")) {
        status.metadata_mut().insert(IDENTIFIERS, value);
    }
    status
}

#[cfg(test)]
mod tests {
    use server_rpc::StatusExt;

    use super::*;

    fn id(n: u8) -> VtxoId {
        VtxoId::from_slice(&[n; 36]).unwrap()
    }

    #[test]
    fn unknown_outranks_unusable_outranks_wrong_outranks_internal() {
        let ordered = || {
            [
                RpcError::unknown_vtxos([id(1)]),
                RpcError::unusable("spent", [id(2)]),
                RpcError::bad("malformed"),
                RpcError::from(anyhow::anyhow!("disk full")),
            ]
        };
        for stronger in 0..4 {
            for weaker in stronger..4 {
                let expected = ordered()[stronger].to_string();
                let [a, b] = [stronger, weaker].map(|n| ordered().into_iter().nth(n).unwrap());
                assert_eq!(a.or(b).to_string(), expected);
                let [a, b] = [weaker, stronger].map(|n| ordered().into_iter().nth(n).unwrap());
                assert_eq!(a.or(b).to_string(), expected);
            }
        }
    }

    #[test]
    fn rejections_name_the_vtxos_and_others_do_not() {
        let status = Status::from(RpcError::unusable("spent", [id(1), id(2)]));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.rejected_vtxos(), vec![id(1), id(2)]);

        let status = Status::from(RpcError::unknown_vtxos([id(3)]));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.rejected_vtxos(), vec![id(3)]);

        assert!(!Status::from(RpcError::NotYet("early".into())).is_rejection());
        assert!(!Status::from(RpcError::Lost("cut")).is_rejection());
        assert!(!Status::from(RpcError::from(anyhow::anyhow!("oops"))).is_rejection());
    }
}
