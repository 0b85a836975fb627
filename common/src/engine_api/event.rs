//! `/events`: one line of JSON each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{null_as_default, object_or_default};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// `node`, `service`, `task` (ours), `container`, …
    #[serde(rename = "Type", deserialize_with = "null_as_default")]
    pub kind: String,
    /// `create`, `update`, `remove`, …
    #[serde(rename = "Action", deserialize_with = "null_as_default")]
    pub action: String,
    #[serde(rename = "Actor", deserialize_with = "object_or_default")]
    pub actor: Actor,
    /// `swarm` or `local`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub scope: String,
    /// Seconds since 1970.
    #[serde(deserialize_with = "null_as_default")]
    pub time: i64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano", deserialize_with = "null_as_default")]
    pub time_nano: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    #[serde(rename = "ID", deserialize_with = "null_as_default")]
    pub id: String,
    #[serde(rename = "Attributes", deserialize_with = "null_as_default")]
    pub attributes: BTreeMap<String, String>,
}
