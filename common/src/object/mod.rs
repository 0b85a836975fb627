//! What the cluster stores: spec (wanted) + observed + version.
//!
//! Docker's spelling of these is in `engine_api`, with the conversion both ways.

pub mod cidr;
pub mod client;
pub mod cluster;
pub mod container;
pub mod id;
pub mod network;
pub mod node;
pub mod payload;
pub mod payload_template;
pub mod placement;
pub mod policy;
pub mod ports;
pub mod resources;
pub mod sensitive;
pub mod service;
pub mod task;
pub mod task_state;
pub mod template;
pub mod version;
mod words;

pub use cidr::Cidr;
pub use client::{AccessRole, ClientRecord, ClientSerial};
pub use cluster::{Cluster, ClusterSpec, LivenessPreset};
pub use id::{ClusterId, NetworkId, NodeId, PayloadId, ServiceId, TaskId};
pub use network::{Network, NetworkSpec};
pub use node::{Availability, Node, NodeDescription, NodeSpec, NodeState, Role};
pub use payload::{Payload, PayloadKind};
pub use service::{Service, ServiceMode, ServiceSpec, TaskSpec};
pub use task::{Slot, Task, TaskStatus};
pub use task_state::TaskState;
pub use version::{Meta, Version};
pub use words::UnknownWord;

use serde::{Deserialize, Serialize};

/// The kinds of object in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectKind {
    Cluster,
    Node,
    Service,
    Task,
    Payload,
    Network,
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectKind::Cluster => "cluster",
            ObjectKind::Node => "node",
            ObjectKind::Service => "service",
            ObjectKind::Task => "task",
            ObjectKind::Payload => "secret or config",
            ObjectKind::Network => "network",
        })
    }
}
