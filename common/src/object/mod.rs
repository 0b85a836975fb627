//! What the cluster stores: spec (wanted) + observed + version.
//!
//! Docker's spelling of these is in `engine_api`, with the conversion both ways.

pub mod cluster;
pub mod id;
pub mod node;
pub mod version;

pub use cluster::{Cluster, ClusterSpec, LivenessPreset};
pub use id::{ClusterId, NodeId};
pub use node::{Availability, Node, NodeDescription, NodeSpec, NodeState, Role};
pub use version::{Meta, Version};

use serde::{Deserialize, Serialize};

/// The kinds of object in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    Cluster,
    Node,
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectKind::Cluster => "cluster",
            ObjectKind::Node => "node",
        })
    }
}
