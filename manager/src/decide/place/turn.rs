//! One pass: which groups have a reason to be looked at, and where their tasks go.

use std::collections::BTreeMap;

use common::object::TaskId;
use common::time::Timestamp;

use super::explain::{no_suitable_node, words};
use super::filter;
use super::groups::{GroupKey, Queue, ServiceEntry, SharedNeeds, Slab, Waiting};
use super::index::{Index, View};
use super::nodes::{NodeIndex, Nodes};
use super::rank::FAILURES_THAT_COUNT;
use super::spread::SpreadTree;
use super::{Assigned, Board, Placed};
use crate::store::Tables;

/// The tasks of one group on their way to nodes.
struct Turn<'a> {
    group: u32,
    service: u32,
    needs: SharedNeeds,
    /// Nodes on which so many failed of late that others are better.
    failures: BTreeMap<NodeIndex, usize>,
    queue: std::slice::Iter<'a, Waiting>,
    placed: &'a mut Placed,
}

impl Board {
    /// Whether a pass would find nothing to do.
    pub(super) fn is_quiet(&self) -> bool {
        let nodes_are_seen = self.waiting.is_empty() || self.seen == self.nodes.seen();
        self.due.is_empty() && self.due_pinned.is_empty() && nodes_are_seen
    }

    /// Finds the groups for which a changed node may make a difference.
    pub(super) fn look_at_nodes(&mut self) {
        if self.seen == self.nodes.seen() {
            return;
        }
        for (number, groups) in &self.waiting {
            let first = groups.first().and_then(|group| self.groups.get(*group));
            let Some(needs) = first.and_then(|group| group.needs.clone()) else { continue };
            let view = View { nodes: &self.nodes, needs: &needs, counts: None, failures: None };
            let (index, opened) = self.indexes.take((*number, None), &view);
            self.indexes.put((*number, None), index);
            for number in groups.iter().filter(|_| opened) {
                if let Some(group) = self.groups.get_mut(*number) {
                    group.mark_due(*number, &mut self.due);
                }
            }
        }
    }

    pub(super) fn place_pinned(&mut self, tables: &Tables, placed: &mut Placed) {
        for task in std::mem::take(&mut self.due_pinned) {
            let Some((group, node)) = self.pinned(task) else { continue };
            let reason = self.pinned_reason(group, node);
            if reason.is_empty() {
                let granted = self.claim(task, group, node);
                placed.assigned.push(Assigned { task, node: self.nodes.entry(node).id, granted });
            } else {
                tell(tables, task, &reason, placed);
            }
        }
    }

    /// Why a node does not take a task made for it; empty where it does.
    pub(super) fn pinned_reason(&self, group: u32, node: NodeIndex) -> Box<str> {
        let Some(group) = self.groups.get(group) else { return Box::default() };
        let entry = self.nodes.entry(node);
        let verdict = match (&group.needs, &entry.node) {
            (Some(needs), Some(node_facts)) => {
                let tasks = self.tasks_of_service(group.service, node);
                filter::verdict(needs, filter::facts(needs, node_facts), entry, tasks)
            }
            (None, _) | (_, None) => Some(filter::Filter::Ready),
        };
        verdict.map_or(Box::default(), |filter| words(filter, 1).into())
    }

    pub(super) fn is_due(&self, key: GroupKey, number: u32) -> bool {
        self.groups.get(number).is_some_and(|group| group.is_due && group.key == key)
    }

    pub(super) fn place_group(&mut self, number: u32, tables: &Tables, now: Timestamp, placed: &mut Placed) {
        let Some(group) = self.groups.get_mut(number) else { return };
        group.is_due = false;
        let Some(needs) = group.needs.clone() else { return };
        let (service, key) = (group.service, group.key);
        let mut queue = std::mem::take(&mut group.queue);
        queue.tidy(|task| self.is_queued(task, number));
        let many = self.failures.recent(key, now).filter(|(_, count)| *count >= FAILURES_THAT_COUNT);
        let failures = many.filter_map(|(node, count)| Some((self.nodes.number(node)?, count))).collect();
        let mut turn = Turn {
            group: number,
            service,
            needs: needs.clone(),
            failures,
            queue: queue.waiting.iter(),
            placed,
        };
        let reason = self.place_turn(&mut turn);
        let first_left = queue.waiting.len() - turn.queue.len();
        queue.waiting.drain(..first_left);
        let is_waiting = !queue.waiting.is_empty();
        if let Some(group) = self.groups.get_mut(number) {
            let is_news = group.reason != reason;
            for waiting in queue.waiting.iter_mut().filter(|waiting| is_news || !waiting.told) {
                waiting.told = true;
                tell(tables, waiting.task, &reason, placed);
            }
            group.reason = reason;
            // Without its room where nothing is left: there may be very many groups.
            group.queue = if is_waiting { queue } else { Queue::default() };
        }
        if is_waiting {
            self.waiting.entry(needs.number).or_default().insert(number);
        } else {
            self.waits_no_more(needs.number, number);
        }
    }

    /// Gives nodes to as many tasks as there is room for. Answers why the others wait; nothing where none does.
    fn place_turn(&mut self, turn: &mut Turn<'_>) -> Box<str> {
        let key = (turn.needs.number, None);
        let (mut index, _) = self.indexes.take(key, &turn.view_of_all(&self.nodes));
        if turn.failures.is_empty() && turn.needs.spread_over.is_empty() {
            self.place_apart(turn, &mut index);
        }
        // Where no node takes it there is nothing to rank.
        let reason = (index.passing() == 0 && turn.queue.len() > 0).then(|| no_suitable_node(&index));
        self.indexes.put(key, index);
        if turn.queue.len() == 0 {
            return Box::default();
        }
        if let Some(reason) = reason {
            return reason;
        }
        let key = (turn.needs.number, Some(turn.service));
        let keeps = turn.failures.is_empty();
        let mut index = match keeps {
            true => self.indexes.take(key, &turn.view(&self.nodes, &self.services)).0,
            false => Index::new(&turn.view(&self.nodes, &self.services)),
        };
        if turn.needs.spread_over.is_empty() {
            self.place_by_rank(turn, &mut index);
        } else {
            self.place_spread(turn, &mut index);
        }
        let reason = if turn.queue.len() == 0 {
            Box::default()
        } else {
            // What opens from now on is told from what these tasks found closed.
            let (all, _) = self.indexes.take((turn.needs.number, None), &turn.view_of_all(&self.nodes));
            self.indexes.put((turn.needs.number, None), all);
            no_suitable_node(&index)
        };
        if keeps {
            self.indexes.put(key, index);
        }
        reason
    }

    /// Uses nodes that have no task of the service yet: to those, all services with these needs are equal. Ends when
    /// so many nodes have one that ranking for the service alone is cheaper than passing them over.
    fn place_apart(&mut self, turn: &mut Turn<'_>, index: &mut Index) {
        let having = self.services.get(turn.service).map_or(0, |service| service.counts.len());
        if 2 * having > index.passing() {
            return;
        }
        let mut hidden = Vec::new();
        while turn.queue.len() > 0 && 2 * hidden.len() <= index.passing() {
            let Some(position) = index.best() else { break };
            let node = self.nodes.order()[position];
            index.hide(position);
            hidden.push(node);
            if self.tasks_of_service(turn.service, node) == 0 {
                self.claim_next(turn, node);
            }
        }
        let view = turn.view_of_all(&self.nodes);
        hidden.into_iter().for_each(|node| index.update(&view, node));
        index.is_up_to_date(&self.nodes);
    }

    fn place_by_rank(&mut self, turn: &mut Turn<'_>, index: &mut Index) {
        while turn.queue.len() > 0
            && let Some(position) = index.best()
        {
            let node = self.nodes.order()[position];
            self.claim_next(turn, node);
            index.update(&turn.view(&self.nodes, &self.services), node);
        }
        index.is_up_to_date(&self.nodes);
    }

    fn place_spread(&mut self, turn: &mut Turn<'_>, index: &mut Index) {
        let mut tree = SpreadTree::new(&turn.view(&self.nodes, &self.services), index);
        while turn.queue.len() > 0
            && let Some(position) = tree.choose()
        {
            let node = self.nodes.order()[position];
            self.claim_next(turn, node);
            index.update(&turn.view(&self.nodes, &self.services), node);
            tree.update(index, position);
        }
        index.is_up_to_date(&self.nodes);
    }

    fn claim_next(&mut self, turn: &mut Turn<'_>, node: NodeIndex) {
        let Some(Waiting { task, .. }) = turn.queue.next().copied() else { return };
        let granted = self.claim(task, turn.group, node);
        turn.placed.assigned.push(Assigned { task, node: self.nodes.entry(node).id, granted });
    }
}

impl Turn<'_> {
    /// As all services with these needs see the nodes.
    fn view_of_all<'a>(&'a self, nodes: &'a Nodes) -> View<'a> {
        View { nodes, needs: &self.needs, counts: None, failures: None }
    }

    fn view<'a>(&'a self, nodes: &'a Nodes, services: &'a Slab<ServiceEntry>) -> View<'a> {
        let counts = services.get(self.service).map(|service| &service.counts);
        View { nodes, needs: &self.needs, counts, failures: Some(&self.failures) }
    }
}

/// Says why a task waits, where that is not what is stored.
fn tell(tables: &Tables, task: TaskId, reason: &str, placed: &mut Placed) {
    let is_stored = tables.tasks.get(task).is_none_or(|task| *task.status.error == *reason);
    if !is_stored {
        placed.waiting.push((task, reason.into()));
    }
}
