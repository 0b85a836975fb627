//! Members of JSON documents by path: specs are edited as JSON, so that what this program does not know survives.

use serde_json::{Map, Value};

/// The member at `path`; whatever on the way is no object becomes one.
pub fn member<'v>(value: &'v mut Value, path: &[&str]) -> &'v mut Value {
    path.iter().fold(value, |value, key| {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        &mut value[*key]
    })
}

/// The member at `path`, null when there is none.
pub fn look<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(value, |value, key| value.get(*key).unwrap_or(&Value::Null))
}
