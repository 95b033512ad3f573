//! The notes of clients in a movement's metadata (docs/protocol.md §7.3).

use serde_json::{Map, Value};

use crate::model::{Fact, MovementId};
use crate::store::movement;
use crate::wallet::engine::clock;
use crate::wallet::{Error, Result, Wallet};

/// Bytes of JSON that the notes on one movement may take.
const MAX_NOTES: usize = 16 * 1024;
/// Objects and lists within each other, the patch itself included.
const MAX_DEPTH: usize = 16;

impl Wallet {
    /// Merges `patch` into a movement's metadata as RFC 7396 specifies: null deletes a key, objects merge, other values replace. `None`
    /// deletes everything that clients wrote. Keys of the wallet are never changed (W16).
    ///
    /// # Errors
    /// `unknown_movement`, `reserved_metadata_key`, `metadata_too_deep`, `metadata_too_large`; then nothing is changed.
    pub async fn update_metadata(
        &self,
        id: MovementId,
        patch: Option<Map<String, Value>>,
    ) -> Result<()> {
        patch.as_ref().map_or(Ok(()), check)?;
        self.store
            .write(move |tx| {
                let unknown = || {
                    let message = format!(
                        "there is no movement {}; GET /api/v1/history lists them",
                        id.0
                    );
                    Error::not_found("unknown_movement", message, id.0)
                };
                let mut metadata = movement::get(tx, id)?.ok_or_else(unknown)?.metadata;
                match patch {
                    Some(patch) => merge(&mut metadata, patch),
                    None => metadata.retain(|key, _| Fact::is_name(key)),
                }
                check_size(&metadata)?;
                Ok(movement::set_metadata(
                    tx,
                    id,
                    &metadata,
                    clock::now_millis(),
                )?)
            })
            .await
    }
}

/// Refuses a patch that is too deep, or that names a key of the wallet.
fn check(patch: &Map<String, Value>) -> Result<()> {
    let refuse = |code, message: String| Err(Error::bad_request(code, message));
    let mut keys = patch.keys().filter(|key| Fact::is_name(key));
    if let Some(key) = keys.next() {
        let message = format!("the key {key:?} is the wallet's own; use another name for yours");
        return refuse("reserved_metadata_key", message);
    }
    if depth_within(patch.values()) >= MAX_DEPTH {
        let message = format!(
            "metadata has at most {MAX_DEPTH} levels of objects and lists; make it flatter"
        );
        return refuse("metadata_too_deep", message);
    }
    Ok(())
}

/// Objects and lists within each other. Its recursion ends with that of the parser, which reads at most 128 levels.
fn depth(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + depth_within(map.values()),
        Value::Array(list) => 1 + depth_within(list),
        _ => 0,
    }
}

fn depth_within<'v>(values: impl IntoIterator<Item = &'v Value>) -> usize {
    values.into_iter().map(depth).max().unwrap_or(0)
}

/// Refuses metadata in which the keys of clients take too much room.
fn check_size(metadata: &Map<String, Value>) -> Result<()> {
    let mut notes = metadata.clone();
    notes.retain(|key, _| !Fact::is_name(key));
    let size = Value::Object(notes).to_string().len();
    if size <= MAX_NOTES {
        return Ok(());
    }
    let message = format!(
        "the notes on a movement take at most {MAX_NOTES} bytes of JSON, with this patch they would take {size}; delete keys by setting \
         them to null, or keep the data elsewhere and note its id"
    );
    Err(Error::bad_request("metadata_too_large", message))
}

/// RFC 7396 for two objects.
fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(&key);
            }
            Value::Object(inner) => {
                let slot = target
                    .entry(key)
                    .or_insert_with(|| Value::Object(Map::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(existing) = slot {
                    merge(existing, inner);
                }
            }
            other => {
                target.insert(key, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(target: Value, patch: Value) -> Value {
        let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else {
            panic!("objects")
        };
        merge(&mut target, patch);
        Value::Object(target)
    }

    /// Cases of RFC 7396 appendix A.
    #[test]
    fn patches_merge_as_rfc_7396_specifies() {
        assert_eq!(
            merged(json!({"a": "b"}), json!({"a": "c"})),
            json!({"a": "c"})
        );
        assert_eq!(
            merged(json!({"a": "b"}), json!({"b": "c"})),
            json!({"a": "b", "b": "c"})
        );
        assert_eq!(
            merged(json!({"a": "b", "b": "c"}), json!({"a": null})),
            json!({"b": "c"})
        );
        assert_eq!(
            merged(json!({"a": ["b"]}), json!({"a": "c"})),
            json!({"a": "c"})
        );
        assert_eq!(
            merged(
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}})
            ),
            json!({"a": {"b": "d"}})
        );
        assert_eq!(
            merged(json!({"e": null}), json!({"a": 1})),
            json!({"e": null, "a": 1})
        );
        assert_eq!(
            merged(json!({}), json!({"a": {"bb": {"ccc": null}}})),
            json!({"a": {"bb": {}}})
        );
    }
}
