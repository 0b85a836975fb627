//! Which tasks of a service to move so that its nodes carry equal numbers: on request, and when a node comes back.
//!
//! Pure. Names each task once per request; moving them is `update`'s, under the service's rules. So what `place` then
//! decides, for reasons of its own, ends the request all the same.

use std::collections::{BTreeMap, BTreeSet};

use common::object::{Node, NodeId, TaskId};

use super::pass::{Pass, Seat};
use super::place::{self, Board};
use super::up_to_date::Site;

/// The tasks to move, from the nodes with most of this service to those with least.
pub(super) fn crowded(pass: &Pass, site: &Site, board: &Board) -> BTreeSet<TaskId> {
    let service = &site.service;
    let tables = pass.tables();
    let mut on_node: BTreeMap<NodeId, Vec<TaskId>> = BTreeMap::new();
    for task in tables.tasks_of_service(service.id).filter(|task| task.is_wanted()) {
        if let (Some(node), Seat::There) = (task.node, pass.seat(task)) {
            on_node.entry(node).or_default().push(task.id);
        }
    }
    let open: BTreeSet<NodeId> = place::explain(tables, Some(board), service, service.current.number)
        .into_iter()
        .filter_map(|(node, refusal)| refusal.is_none().then_some(node))
        .collect();
    let mut branches: BTreeMap<Vec<String>, Branch> = BTreeMap::new();
    for node in tables.nodes.iter() {
        let tasks = on_node.remove(&node.id).unwrap_or_default();
        if !tasks.is_empty() || open.contains(&node.id) {
            let branch =
                branches.entry(branch_of(node, &service.spec().task.placement.spread_over)).or_default();
            branch.insert(node.id, tasks, open.contains(&node.id));
        }
    }
    branches.into_values().flat_map(Branch::level).collect()
}

/// Nodes among which tasks may be levelled without working against the service's preferences.
#[derive(Default)]
struct Branch {
    tasks: BTreeMap<NodeId, Vec<TaskId>>,
    counts: BTreeSet<(usize, NodeId)>,
    open: BTreeSet<(usize, NodeId)>,
}

impl Branch {
    fn insert(&mut self, node: NodeId, tasks: Vec<TaskId>, open: bool) {
        self.counts.insert((tasks.len(), node));
        if open {
            self.open.insert((tasks.len(), node));
        }
        self.tasks.insert(node, tasks);
    }

    fn level(mut self) -> Vec<TaskId> {
        let mut moved = Vec::new();
        while let (Some(&(most, from)), Some(&(least, to))) = (self.counts.last(), self.open.first()) {
            let task = match self.tasks.get_mut(&from) {
                Some(tasks) if most >= least + 2 => tasks.pop(),
                Some(_) | None => None,
            };
            let Some(task) = task else { break };
            moved.push(task);
            self.recount((most, from), most - 1);
            self.recount((least, to), least + 1);
        }
        moved
    }

    fn recount(&mut self, before: (usize, NodeId), count: usize) {
        self.counts.remove(&before);
        self.counts.insert((count, before.1));
        if self.open.remove(&before) {
            self.open.insert((count, before.1));
        }
    }
}

/// The values of the labels that the service is spread over.
fn branch_of(node: &Node, spread_over: &[String]) -> Vec<String> {
    let engine = node.description.as_ref().map(|description| &description.engine.labels);
    spread_over
        .iter()
        .map(|descriptor| {
            let value = if let Some(key) = descriptor.strip_prefix("node.labels.") {
                node.spec.labels.get(key)
            } else {
                let key = descriptor.strip_prefix("engine.labels.");
                key.and_then(|key| engine.and_then(|labels| labels.get(key)))
            };
            value.cloned().unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_move_until_no_node_has_two_more_than_another() {
        #[rustfmt::skip]
        let cases: [(&[(usize, bool)], usize); 6] = [ // tasks of each node and whether it takes more; moved
            (&[(3, true), (3, true), (0, true)], 2),
            (&[(2, true), (1, true)], 0),
            (&[(6, true), (0, false)], 0),
            (&[(6, false), (0, true)], 3),
            (&[(0, true)], 0),
            (&[(10, true), (0, true), (0, true), (0, true), (0, true)], 8),
        ];
        for (nodes, expected) in cases {
            let mut branch = Branch::default();
            for (index, (tasks, open)) in nodes.iter().enumerate() {
                let tasks = (0..*tasks).map(|task| TaskId((index * 100 + task) as u128)).collect();
                branch.insert(NodeId(index as u128), tasks, *open);
            }
            assert_eq!(branch.level().len(), expected, "{nodes:?}");
        }
    }
}
