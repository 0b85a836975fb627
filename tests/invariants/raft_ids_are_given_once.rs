//! A raft id stands for one log on one disk. Given to a second node, or seated again after its disk was given up, it
//! would vote twice in one term, or forget what it has acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use common::object::NodeId;
use manager::store::Tables;

use crate::decide::group::Group;

#[derive(Debug, Default)]
pub struct RaftIds {
    given: BTreeMap<u64, NodeId>,
    /// Their logs are deleted.
    given_up: BTreeSet<u64>,
}

impl RaftIds {
    pub fn give_up(&mut self, raft_id: u64) {
        self.given_up.insert(raft_id);
    }

    pub fn check(&mut self, tables: &Tables, group: &Group) {
        let next = tables.cluster().expect("there is a cluster").next_raft_id;
        for (raft_id, seat) in group.seats() {
            self.note(raft_id, seat.node);
            assert!(!self.given_up.contains(&raft_id), "raft id {raft_id} has a seat and no log: {group:?}");
        }
        for node in tables.nodes.iter() {
            let Some(record) = &node.manager else { continue };
            assert!(record.raft_id < next, "raft id {} is still to be given", record.raft_id);
            self.note(record.raft_id, node.id);
        }
    }

    fn note(&mut self, raft_id: u64, node: NodeId) {
        if !self.given.contains_key(&raft_id) {
            let last = self.given.last_key_value().map_or(0, |(last, _)| *last);
            assert!(raft_id > last, "raft id {raft_id} was given after {last}");
        }
        let owner = *self.given.entry(raft_id).or_insert(node);
        assert_eq!(owner, node, "raft id {raft_id} was another node's");
    }
}
