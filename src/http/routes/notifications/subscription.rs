//! Which events a client wants, and from where.

use std::time::Duration;

use crate::http::error::ApiError;
use crate::wallet::{EventId, EventKind, EventStart};

/// How long a client of a stream may take to accept what is sent to it.
pub(super) const SEND_PATIENCE: Duration = Duration::from_secs(60);
/// The most events that are read at once for a client of a stream.
pub(super) const STREAM_PAGE: usize = 64;

/// The kinds of events that a client wants.
pub(super) struct Kinds(Vec<EventKind>);

impl Kinds {
    /// The kinds of a parameter `types`: a list with commas, or `all`. Without it, those that published clients know.
    pub(super) fn parse(types: Option<&str>) -> Result<Kinds, ApiError> {
        match types {
            None => Ok(Kinds(vec![
                EventKind::MovementCreated,
                EventKind::MovementUpdated,
            ])),
            Some("all") => Ok(Kinds(EventKind::ALL.to_vec())),
            Some(list) => {
                let names = list.split(',').map(str::trim);
                // Sent whatever the list says, because it tells of a loss.
                let names = names.filter(|name| *name != "channel-lagging");
                let kinds =
                    names.map(|name| EventKind::from_name(name).ok_or_else(|| unknown(name)));
                Ok(Kinds(kinds.collect::<Result<_, _>>()?))
            }
        }
    }

    /// Whether the client wants this kind.
    pub(super) fn contain(&self, kind: EventKind) -> bool {
        self.0.contains(&kind)
    }
}

fn unknown(name: &str) -> ApiError {
    let known = EventKind::ALL.map(EventKind::name).join(", ");
    ApiError::bad_request(
        "invalid_types",
        format!("There is no type {name:?}; types is \"all\", or a list of: {known}"),
    )
}

/// Where a stream starts: after the event that the client names, otherwise now.
pub(super) fn start_of_stream(after: Option<u64>) -> EventStart {
    after.map_or(EventStart::Now, |id| EventStart::After(EventId(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_types_that_it_lists() {
        let kinds = |types: Option<&str>| {
            let kinds = Kinds::parse(types).map_err(|error| error.code())?;
            Ok::<_, &str>(kinds.0)
        };
        let movements = vec![EventKind::MovementCreated, EventKind::MovementUpdated];
        assert_eq!(kinds(None), Ok(movements));
        assert_eq!(kinds(Some("all")), Ok(EventKind::ALL.to_vec()));
        assert_eq!(
            kinds(Some("channel-lagging, movement-updated")),
            Ok(vec![EventKind::MovementUpdated])
        );
        assert_eq!(kinds(Some("")), Err("invalid_types"));
        assert_eq!(kinds(Some("movement-created;x")), Err("invalid_types"));
    }
}
