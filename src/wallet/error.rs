//! The error type of the wallet: the kind of error, a stable code, and a message that tells the caller what to do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::MovementId;
use crate::{ark, chain, lnurl, store};

/// A result of a wallet call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request is invalid or cannot be carried out; the caller has to change it.
    BadRequest,
    /// The request is about something that does not exist.
    NotFound,
    /// The request conflicts with the present state.
    Conflict,
    /// The request is about something that is not ready for it yet.
    NotReady,
    /// The request is about something that is not kept any more.
    Gone,
    /// The Ark server or the chain backend is unreachable or misbehaves; the same request may work later.
    Unavailable,
    /// What the request began goes on by itself, and has nothing to answer yet.
    StillInProgress,
    /// The daemon itself failed.
    Internal,
}

/// Why a wallet call failed.
///
/// The message is for the caller. The source is only for the log and may contain internals.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    resources: Vec<String>,
    movement: Option<MovementId>,
    source: Option<std::sync::Arc<anyhow::Error>>,
}

/// The part of an error that is stored, to answer the same request again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The stable code for programs.
    pub code: String,
    /// The message for the caller.
    pub message: String,
    /// The ids of the things that the error is about.
    pub resources: Vec<String>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        Failure {
            kind: error.kind,
            code: error.code.to_owned(),
            message: error.message.clone(),
            resources: error.resources.clone(),
        }
    }
}

impl Error {
    fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Error {
        Error {
            kind,
            code,
            message: message.into(),
            resources: Vec::new(),
            movement: None,
            source: None,
        }
    }

    /// An invalid request.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::BadRequest, code, message)
    }

    /// A thing that does not exist, with its id.
    pub fn not_found(
        code: &'static str,
        message: impl Into<String>,
        resource: impl ToString,
    ) -> Error {
        let mut error = Error::new(ErrorKind::NotFound, code, message);
        error.resources.push(resource.to_string());
        error
    }

    /// A request for which nothing exists, when there is no id to name.
    pub fn no_such_thing(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotFound, code, message)
    }

    /// Adds the ids of the things that the error is about.
    #[must_use]
    pub fn with_resources(mut self, resources: impl IntoIterator<Item = impl ToString>) -> Error {
        self.resources
            .extend(resources.into_iter().map(|resource| resource.to_string()));
        self
    }

    /// A request that conflicts with the present state.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Conflict, code, message)
    }

    /// A request about something that is not ready for it yet.
    pub fn not_ready(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotReady, code, message)
    }

    /// A request about something that is not kept any more.
    pub fn gone(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Gone, code, message)
    }

    /// An Ark server or chain backend that is unreachable or misbehaves.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unavailable, code, message)
    }

    /// An operation of `what` that goes on by itself, and whose answer lacks what the server or the chain has not given yet.
    pub fn still_in_progress(what: &str, movement: MovementId) -> Error {
        let message = format!(
            "the {what} is stored and continues in the background: do not repeat it, unless with the Idempotency-Key that it had. Movement {} \
             in GET /api/v1/history shows how it ends",
            movement.0
        );
        Error {
            movement: Some(movement),
            ..Error::new(ErrorKind::StillInProgress, "still_in_progress", message)
        }
    }

    /// A failure of the daemon itself. The cause goes to the log, not to the caller.
    pub fn internal(source: impl Into<anyhow::Error>) -> Error {
        let error = Error::new(
            ErrorKind::Internal,
            "internal",
            "internal error of the wallet; see the daemon's log",
        );
        Error {
            source: Some(std::sync::Arc::new(source.into())),
            ..error
        }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// A message for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The ids of the things that the error is about.
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// The movement of what goes on by itself.
    pub fn movement(&self) -> Option<MovementId> {
        self.movement
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {}", self.kind, self.code, self.message)?;
        self.source
            .as_ref()
            .map_or(Ok(()), |source| write!(f, ": {source:#}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_ref()
            .map(|source| -> &(dyn std::error::Error + 'static) { &***source })
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::DiskFull => Error::unavailable("disk_full", error.to_string()),
            store::Error::Unwritable(_) => {
                let message = "the wallet database cannot be written; nothing was changed. Check its disk and the permissions of its files, then try again";
                let caller = Error::unavailable("database_unwritable", message);
                Error {
                    source: Some(std::sync::Arc::new(error.into())),
                    ..caller
                }
            }
            other => Error::internal(other),
        }
    }
}

impl From<ark::Error> for Error {
    fn from(error: ark::Error) -> Error {
        let message = error.to_string();
        match error {
            ark::Error::Rejected { .. } => Error::conflict("server_refused", message),
            ark::Error::Unsafe(_) => Error::unavailable("server_unsafe", message),
            ark::Error::Unreachable(_)
            | ark::Error::Unknown(_)
            | ark::Error::TooLarge(_)
            | ark::Error::Malformed(_) => Error::unavailable("server_unavailable", message),
        }
    }
}

impl From<lnurl::Error> for Error {
    fn from(error: lnurl::Error) -> Error {
        Error::bad_request(error.code(), error.to_string())
    }
}

impl From<chain::Error> for Error {
    fn from(error: chain::Error) -> Error {
        Error::unavailable("chain_unavailable", error.to_string())
    }
}
