//! The one list of tables.

use std::sync::Arc;

use common::object::{Cluster, Node, Version};
use common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::table::Table;

/// All state of the cluster. A clone is a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// The last log entry applied.
    pub version: Version,
    /// The newest time any proposal brought: a leader's time is never earlier than this.
    pub newest: Timestamp,
    pub clusters: Table<Cluster>,
    pub nodes: Table<Node>,
}

impl Tables {
    /// The cluster's own object: there from the first proposal on.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.clusters.iter().next()
    }
}
