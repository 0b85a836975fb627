//! Versions and times in the store never run backwards, whatever wall clocks do: people and programs order
//! what they see by them, and a new leader's clock may be behind the old one's.

use std::collections::BTreeMap;

use common::object::{NodeId, Version};
use common::time::Timestamp;
use manager::store::Tables;

#[derive(Debug, Default)]
pub struct TimeGoesForward {
    reached: (Version, Timestamp),
    nodes: BTreeMap<NodeId, (Version, Timestamp, Timestamp)>,
}

impl TimeGoesForward {
    pub fn check(&mut self, tables: &Tables) {
        let reached = (tables.version, tables.newest);
        assert!(self.reached.0 <= reached.0, "version {:?} after {:?}", reached.0, self.reached.0);
        assert!(self.reached.1 <= reached.1, "time {} after {}", reached.1, self.reached.1);
        self.reached = reached;
        for node in tables.nodes.iter() {
            let now = (node.meta.version, node.meta.updated_at, node.status.since);
            let before = self.nodes.insert(node.id, now).unwrap_or_default();
            assert!(before.0 <= now.0, "node {}: version {} after {}", node.id, now.0, before.0);
            assert!(before.1 <= now.1, "node {}: updated at {} after {}", node.id, now.1, before.1);
            assert!(before.2 <= now.2, "node {}: in its state since {} after {}", node.id, now.2, before.2);
            assert!(node.meta.created_at <= now.1, "node {}: updated before it was created", node.id);
        }
    }
}
