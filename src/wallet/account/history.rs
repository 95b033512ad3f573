//! The history: queries, and changes of a movement's metadata (docs/protocol.md §7).

use serde_json::{Map, Value};

use crate::model::{HistoryPage, Movement, MovementId};
use crate::store::movement;
use crate::wallet::engine::clock;
use crate::wallet::{Error, Result, Wallet};

impl Wallet {
    /// The movements that `page` selects, newest first.
    ///
    /// # Errors
    /// Only the database's.
    pub async fn history(&self, page: HistoryPage) -> Result<Vec<Movement>> {
        let movements = self
            .store
            .read(move |connection| movement::list(connection, &page));
        Ok(movements.await?)
    }

    /// Merges `patch` into a movement's metadata as RFC 7396 specifies: null deletes a key, objects merge, other values replace.
    ///
    /// # Errors
    /// `unknown_movement`; `invalid_patch` unless the patch is an object, as any other value would erase all metadata (W16).
    pub async fn update_metadata(&self, id: MovementId, patch: Value) -> Result<()> {
        let Value::Object(patch) = patch else {
            return Err(Error::bad_request(
                "invalid_patch",
                "a metadata patch is a JSON object; set a key to null to delete it",
            ));
        };
        self.store
            .write(move |tx| {
                let unknown = || {
                    Error::not_found(
                        "unknown_movement",
                        format!("there is no movement {}", id.0),
                        id.0,
                    )
                };
                let mut metadata = movement::get(tx, id)?.ok_or_else(unknown)?.metadata;
                merge(&mut metadata, patch);
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
