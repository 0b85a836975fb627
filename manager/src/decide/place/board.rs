//! What placing knows beside the tables: what is counted for every task, and what waits.
//!
//! Derived from the tables and lost without harm. Counting is idempotent: `sync_*` makes what is counted what the
//! tables say, whatever was counted before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::object::resources::GenericGrant;
use common::object::{NodeId, Service, ServiceId, Task, TaskId, TaskState};

use super::groups::{Failures, Group, GroupKey, NeedsList, Queue, ServiceEntry, Slab};
use super::ids::ById;
use super::index::Indexes;
use super::needs::Needs;
use super::nodes::{NodeIndex, Nodes, Seen, Touch, take_one};
use crate::store::Tables;

/// Where every task is, what every node has left, which tasks wait.
#[derive(Clone, Debug, Default)]
pub struct Board {
    pub(super) nodes: Nodes,
    pub(super) services: Slab<ServiceEntry>,
    service_numbers: HashMap<ServiceId, u32, ById>,
    pub(super) groups: Slab<Group>,
    needs: NeedsList,
    /// What is counted for each task; nothing for those that have ended.
    tasks: HashMap<TaskId, Counted, ById>,
    grants: HashMap<TaskId, Box<[GenericGrant]>, ById>,
    pub(super) failures: Failures,
    pub(super) indexes: Indexes,
    /// What the next pass has to look at; a group once, by its `is_due`. A group that is dropped stays in the list, and
    /// is known by its key not to be the one that has its number now.
    pub(super) due: Vec<(GroupKey, u32)>,
    pub(super) due_pinned: BTreeSet<TaskId>,
    /// Groups with tasks that wait, by their needs.
    pub(super) waiting: BTreeMap<u32, BTreeSet<u32>>,
    /// How far nodes were looked at on behalf of those.
    pub(super) seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub group: u32,
    pub part: Part,
}

/// What a task is to placing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Waits for a node.
    Queued,
    /// Made for this node, and not assigned yet.
    Pinned(NodeIndex),
    /// On the node, and to stay.
    Wanted(NodeIndex),
    /// On the node until it has ended.
    Leaving(NodeIndex),
}

impl Board {
    /// The board as the tables have it.
    pub fn new(tables: &Tables) -> Self {
        let mut board = Self::default();
        board.tasks.reserve(tables.tasks.len());
        tables.nodes.iter().for_each(|node| board.sync_node(tables, node.id));
        // In the order in which groups are placed, so that they lie in memory in that order.
        let services = tables.services.iter().filter(|service| !service.removed);
        for service in services {
            board.new_group(service.id, service.current.number, Some(service));
        }
        tables.tasks.iter().for_each(|task| board.sync(tables, task));
        board
    }

    /// Makes what is counted for this task what the tables say. Also after it was placed in vain.
    pub fn sync_task(&mut self, tables: &Tables, task: TaskId) {
        match tables.tasks.get(task) {
            Some(task) => self.sync(tables, task),
            None => self.forget(task),
        }
    }

    pub fn sync_node(&mut self, tables: &Tables, node: NodeId) {
        let found = tables.nodes.get(node);
        if found.is_none() && self.nodes.number(node).is_none() {
            return;
        }
        let index = self.nodes.index_of(node);
        if self.nodes.set(index, found) {
            self.due_pinned.extend(&self.nodes.entry(index).pinned);
        }
        self.nodes.forget_if_idle(index);
    }

    /// After its spec changed, came or went.
    pub fn sync_service(&mut self, tables: &Tables, id: ServiceId) {
        let Some(entry) = self.service_numbers.get(&id).and_then(|number| self.services.get(*number)) else {
            return;
        };
        let service = tables.services.get(id);
        let mut are_others = false;
        for (spec, number) in entry.groups.clone() {
            let needs = service.and_then(|service| service.spec_at(spec)).map(|spec| Needs::of(spec));
            let Some(group) = self.groups.get_mut(number) else { continue };
            group.is_current = service.is_some_and(|service| service.current.number == spec);
            if group.needs.as_deref() != needs.as_ref() {
                are_others = true;
                self.unlink(number);
            }
            self.drop_group_if_idle(number);
        }
        if are_others {
            tables.tasks_of_service(id).for_each(|task| self.sync(tables, task));
        }
    }

    fn sync(&mut self, tables: &Tables, task: &Task) {
        if let (TaskState::Failed | TaskState::Rejected, Some(node)) = (task.status.state, task.node) {
            self.failures.note((task.service, task.spec), node, task.id, task.status.applied_at);
        }
        let Some(part) = self.part_of(task) else { return self.forget(task.id) };
        let next = Counted { group: self.group_of(tables, task.service, task.spec), part };
        let grants = task.granted.as_deref().unwrap_or_default();
        let before = self.tasks.get(&task.id).copied();
        let is_same =
            before == Some(next) && self.grants.get(&task.id).map_or(&[][..], |grants| grants) == grants;
        if is_same {
            return self.tell_again(task, next);
        }
        // Held first, so that a group that both are in is not dropped between.
        if let Some(group) = self.groups.get_mut(next.group) {
            group.tasks += 1;
        }
        let left = before.and_then(|_| self.uncount(task.id));
        self.count(task.id, next, task.slot.number(), grants);
        // Only now, for the same reason.
        left.into_iter().for_each(|node| self.nodes.forget_if_idle(node));
    }

    /// A task that still waits is looked at again where its stored reason is not the one that was given: writing that,
    /// or the node it was given before, has failed.
    fn tell_again(&mut self, task: &Task, counted: Counted) {
        let Some(group) = self.groups.get_mut(counted.group) else { return };
        match counted.part {
            Part::Queued if *group.reason != *task.status.error => {
                group.queue.push(task.slot.number(), task.id);
                group.mark_due(counted.group, &mut self.due);
            }
            Part::Pinned(node) if self.pinned_reason(counted.group, node) != task.status.error => {
                self.due_pinned.insert(task.id);
            }
            Part::Queued | Part::Pinned(_) | Part::Wanted(_) | Part::Leaving(_) => {}
        }
    }

    fn part_of(&mut self, task: &Task) -> Option<Part> {
        let wanted = task.is_wanted();
        match task.node {
            Some(node) if task.is_on_node() => {
                let node = self.nodes.index_of(node);
                Some(if wanted { Part::Wanted(node) } else { Part::Leaving(node) })
            }
            Some(node) if wanted && task.status.state == TaskState::Pending => {
                Some(Part::Pinned(self.nodes.index_of(node)))
            }
            None if wanted && task.status.state == TaskState::Pending => Some(Part::Queued),
            Some(_) | None => None,
        }
    }

    /// Counts a task that is not counted, in a group that already holds it.
    fn count(&mut self, task: TaskId, counted: Counted, slot: u64, grants: &[GenericGrant]) {
        self.tasks.insert(task, counted);
        if !grants.is_empty() {
            self.grants.insert(task, grants.into());
        }
        let Some(group) = self.groups.get_mut(counted.group) else { return };
        match counted.part {
            Part::Queued => {
                group.queue.push(slot, task);
                group.mark_due(counted.group, &mut self.due);
            }
            Part::Pinned(node) => {
                self.nodes.entry_mut(node).pinned.insert(task);
                self.due_pinned.insert(task);
            }
            Part::Wanted(node) | Part::Leaving(node) => {
                let is_wanted = counted.part == Part::Wanted(node);
                let entry = self.nodes.entry_mut(node);
                entry.load.add(group.needs.as_deref(), grants, is_wanted);
                if is_wanted && let Some(service) = self.services.get_mut(group.service) {
                    *service.counts.entry(node).or_default() += 1;
                }
                self.nodes.touch(Touch { node, facts: false });
            }
        }
    }

    fn forget(&mut self, task: TaskId) {
        if let Some(node) = self.uncount(task) {
            self.nodes.forget_if_idle(node);
        }
    }

    /// Takes back all that is counted for a task; answers the node that may be left with nothing.
    fn uncount(&mut self, task: TaskId) -> Option<NodeIndex> {
        let counted = self.tasks.remove(&task)?;
        let grants = self.grants.remove(&task).unwrap_or_default();
        let group = self.groups.get_mut(counted.group)?;
        group.tasks -= 1;
        match counted.part {
            Part::Queued => group.queue.is_untidy = true,
            Part::Pinned(node) => {
                self.nodes.entry_mut(node).pinned.remove(&task);
            }
            Part::Wanted(node) | Part::Leaving(node) => {
                let is_wanted = counted.part == Part::Wanted(node);
                let entry = self.nodes.entry_mut(node);
                entry.load.remove(group.needs.as_deref(), &grants, is_wanted);
                self.due_pinned.extend(&entry.pinned);
                self.nodes.touch(Touch { node, facts: false });
                if is_wanted {
                    let service = group.service;
                    self.uncount_of_service(service, node);
                }
            }
        }
        self.drop_group_if_idle(counted.group);
        match counted.part {
            Part::Pinned(node) | Part::Wanted(node) | Part::Leaving(node) => Some(node),
            Part::Queued => None,
        }
    }

    fn uncount_of_service(&mut self, service: u32, node: NodeIndex) {
        let Some(entry) = self.services.get_mut(service) else { return };
        take_one(&mut entry.counts, &node);
        // A place below the limit per node, which no node by itself shows.
        for (_, number) in &entry.groups {
            let Some(group) = self.groups.get_mut(*number) else { continue };
            let is_limited = group.needs.as_ref().is_some_and(|needs| needs.replicas_max_per_node > 0);
            if is_limited && !group.queue.waiting.is_empty() {
                group.mark_due(*number, &mut self.due);
            }
        }
    }

    /// Assigns a waiting task to a node, as far as the board goes.
    pub(super) fn claim(
        &mut self,
        task: TaskId,
        number: u32,
        node: NodeIndex,
    ) -> Option<Box<[GenericGrant]>> {
        let group = self.groups.get(number)?;
        let grants = group.needs.as_ref().and_then(|needs| self.nodes.entry(node).grants(needs));
        self.nodes.entry_mut(node).pinned.remove(&task);
        let counted = Counted { group: number, part: Part::Wanted(node) };
        self.count(task, counted, 0, grants.as_deref().unwrap_or_default());
        grants
    }

    pub(super) fn is_queued(&self, task: TaskId, group: u32) -> bool {
        self.tasks.get(&task) == Some(&Counted { group, part: Part::Queued })
    }

    /// The group and the node of a task that waits for that node.
    pub(super) fn pinned(&self, task: TaskId) -> Option<(u32, NodeIndex)> {
        match self.tasks.get(&task)? {
            Counted { group, part: Part::Pinned(node) } => Some((*group, *node)),
            Counted { part: Part::Queued | Part::Wanted(_) | Part::Leaving(_), .. } => None,
        }
    }

    /// How many wanted tasks of a service are on a node.
    pub(super) fn tasks_of_service(&self, service: u32, node: NodeIndex) -> u32 {
        self.services.get(service).and_then(|service| service.counts.get(&node)).copied().unwrap_or_default()
    }

    pub(super) fn service_number(&self, id: ServiceId) -> Option<u32> {
        self.service_numbers.get(&id).copied()
    }

    /// The group of a service and spec, and a new one where there is none.
    fn group_of(&mut self, tables: &Tables, id: ServiceId, spec: u64) -> u32 {
        let number = self.service_numbers.get(&id);
        let known = number.and_then(|number| self.services.get(*number)).and_then(|entry| entry.group(spec));
        match known {
            Some(group) => group,
            None => self.new_group(id, spec, tables.services.get(id).map(|service| &**service)),
        }
    }

    fn new_group(&mut self, id: ServiceId, spec: u64, service: Option<&Service>) -> u32 {
        let services = &mut self.services;
        let number =
            *self.service_numbers.entry(id).or_insert_with(|| services.insert(ServiceEntry::new(id)));
        let known = service.and_then(|service| service.spec_at(spec));
        let group = self.groups.insert(Group {
            service: number,
            key: (id, spec),
            needs: known.map(|spec| self.needs.add(Needs::of(spec))),
            is_current: service.is_some_and(|service| service.current.number == spec),
            tasks: 0,
            is_due: false,
            queue: Queue::default(),
            reason: Box::default(),
        });
        if let Some(entry) = self.services.get_mut(number) {
            entry.groups.reserve_exact(1);
            entry.groups.push((spec, group));
            entry.groups_alive += 1;
        }
        group
    }

    /// Lets a new group take the place of this one, whose needs are no longer the spec's; its tasks leave it one by one.
    fn unlink(&mut self, number: u32) {
        let Some(group) = self.groups.get_mut(number) else { return };
        group.is_current = false;
        if let Some(entry) = self.services.get_mut(group.service) {
            entry.groups.retain(|(_, other)| *other != number);
        }
    }

    fn drop_group_if_idle(&mut self, number: u32) {
        if self.groups.get(number).is_none_or(|group| group.tasks > 0 || group.is_current) {
            return;
        }
        let Some(group) = self.groups.remove(number) else { return };
        if let Some(needs) = group.needs {
            self.indexes.forget(needs.number, Some(group.service));
            if self.needs.remove(needs.number) {
                self.indexes.forget(needs.number, None);
            }
            self.waits_no_more(needs.number, number);
        }
        let Some(entry) = self.services.get_mut(group.service) else { return };
        entry.groups.retain(|(_, other)| *other != number);
        entry.groups_alive -= 1;
        if entry.groups_alive == 0 {
            self.service_numbers.remove(&entry.id);
            self.services.remove(group.service);
        }
    }

    pub(super) fn waits_no_more(&mut self, needs: u32, group: u32) {
        if let Some(groups) = self.waiting.get_mut(&needs) {
            groups.remove(&group);
            if groups.is_empty() {
                self.waiting.remove(&needs);
            }
        }
    }
}
