//! The raft log, the snapshots and whole groups of managers, with disks that fail and members that die.

mod agreement;
mod disk;
mod durability;
mod group;
mod log;
mod reseal;
mod suite;
mod wire;

use common::object::cluster::Authority;
use common::object::sensitive::Sensitive;
use common::object::{Cluster, ClusterId, Meta, Node, NodeDescription, NodeId, NodeSpec, Role};
use common::time::Timestamp;

use crate::store::{Change, Proposal, Write};

pub const SECRET: &str = "SWMTKN-1-this-must-not-be-readable-on-a-disk";

/// A proposal that creates the cluster, with a secret in it.
pub fn create_cluster(id: u64) -> Proposal {
    let secret = || Sensitive::new(SECRET.into());
    let cluster = Cluster {
        next_raft_id: 4,
        ..Cluster::new(ClusterId(1), Authority::new(String::new(), secret(), secret(), secret()))
    };
    Proposal { id, at: Timestamp(1), changes: vec![Change::Cluster(Write::Create(cluster))] }
}

/// A proposal that creates node `number`, with `padding` bytes of description.
pub fn create_node(number: u64, padding: usize) -> Proposal {
    let node = Node {
        id: NodeId(number.into()),
        meta: Meta::default(),
        spec: NodeSpec { name: format!("n{number}"), ..NodeSpec::default() },
        role: Role::Worker,
        description: Some(NodeDescription { hostname: "x".repeat(padding), ..NodeDescription::default() }),
        status: Default::default(),
        manager: None,
    };
    Proposal { id: number + 1, at: Timestamp(number), changes: vec![Change::Node(Write::Create(node))] }
}
