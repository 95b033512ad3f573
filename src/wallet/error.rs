//! The one error type of the wallet core: what kind of mistake it is, and what the caller can do about it.

use std::fmt;

use crate::{ark, chain, store};

/// A result of the wallet wallet.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller's: the request cannot be carried out as it stands.
    BadRequest,
    /// The caller names a thing that does not exist.
    NotFound,
    /// The request does not go with the present state.
    Conflict,
    /// This release cannot do it.
    NotSupported,
    /// The Ark server or the chain is out of reach; the same request may work later.
    Unavailable,
    /// Ours.
    Internal,
}

/// Why the wallet did not do what it was asked.
///
/// The message is for the caller; the source is for the log alone and may name internals.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    resources: Vec<String>,
    source: Option<std::sync::Arc<anyhow::Error>>,
}

impl Error {
    fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Error {
        Error {
            kind,
            code,
            message: message.into(),
            resources: Vec::new(),
            source: None,
        }
    }

    /// The caller's mistake.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::BadRequest, code, message)
    }

    /// A thing that does not exist, by its name.
    pub fn not_found(
        code: &'static str,
        message: impl Into<String>,
        resource: impl ToString,
    ) -> Error {
        let mut error = Error::new(ErrorKind::NotFound, code, message);
        error.resources.push(resource.to_string());
        error
    }

    /// Nothing is there that the request could be about.
    pub fn no_such_thing(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotFound, code, message)
    }

    /// Names the things that the mistake is about.
    #[must_use]
    pub fn with_resources(mut self, resources: impl IntoIterator<Item = impl ToString>) -> Error {
        self.resources
            .extend(resources.into_iter().map(|resource| resource.to_string()));
        self
    }

    /// A request that does not go with the present state.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Conflict, code, message)
    }

    /// Something that this release cannot do.
    pub fn not_supported(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotSupported, code, message)
    }

    /// A peer that is out of reach.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unavailable, code, message)
    }

    /// Our own fault; the cause goes to the log, not to the caller.
    pub fn internal(source: impl Into<anyhow::Error>) -> Error {
        let error = Error::new(
            ErrorKind::Internal,
            "internal",
            "something went wrong inside the wallet; its log says what",
        );
        Error {
            source: Some(std::sync::Arc::new(source.into())),
            ..error
        }
    }

    /// Whose mistake it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// A sentence for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The names of what was not found.
    pub fn resources(&self) -> &[String] {
        &self.resources
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
        Error::internal(error)
    }
}

impl From<ark::Error> for Error {
    fn from(error: ark::Error) -> Error {
        let message = error.to_string();
        match error {
            ark::Error::Rejected { .. } => Error::conflict("server_refused", message),
            ark::Error::Unsafe(_) => Error::unavailable("server_unsafe", message),
            ark::Error::Unreachable(_) | ark::Error::Unknown(_) | ark::Error::Malformed(_) => {
                Error::unavailable("server_unavailable", message)
            }
        }
    }
}

impl From<chain::Error> for Error {
    fn from(error: chain::Error) -> Error {
        Error::unavailable("chain_unavailable", error.to_string())
    }
}
