//! Services, and their tasks that wait for a node, by spec.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::object::{NodeId, ServiceId, TaskId};
use common::time::Timestamp;

use super::needs::Needs;
use super::nodes::NodeIndex;

/// A number for as long as something uses it. Never shown, and never compared.
#[derive(Clone, Debug)]
pub struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(value);
                index
            }
            None => {
                self.entries.push(Some(value));
                (self.entries.len() - 1) as u32
            }
        }
    }

    pub fn remove(&mut self, index: u32) -> Option<T> {
        let value = self.entries.get_mut(index as usize)?.take();
        if value.is_some() {
            self.free.push(index);
        }
        value
    }

    pub fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }
}

/// What the board knows of a service.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    pub id: ServiceId,
    /// Wanted tasks by node.
    pub counts: BTreeMap<NodeIndex, u32>,
    /// Its groups by number of spec; few.
    pub groups: Vec<(u64, u32)>,
    /// Groups of it that there are, also those whose needs turned out to be others.
    pub groups_alive: u32,
}

impl ServiceEntry {
    pub fn new(id: ServiceId) -> Self {
        Self { id, counts: BTreeMap::new(), groups: Vec::new(), groups_alive: 0 }
    }

    pub fn group(&self, spec: u64) -> Option<u32> {
        self.groups.iter().find(|(number, _)| *number == spec).map(|(_, group)| *group)
    }
}

/// The tasks of one service and spec: equal to placing.
#[derive(Clone, Debug)]
pub struct Group {
    pub service: u32,
    pub key: GroupKey,
    /// None where service or spec are not in the tables: nothing of it can be placed.
    pub needs: Option<SharedNeeds>,
    /// Its spec is the one that holds now: kept also without tasks, because some will come.
    pub is_current: bool,
    /// Tasks that are counted in it, in whatever way.
    pub tasks: u32,
    /// Whether it is in the list of those to be looked at.
    pub is_due: bool,
    pub queue: Queue,
    /// Why those in the queue wait, as it was last said.
    pub reason: Box<str>,
}

impl Group {
    /// Has the group looked at in the next pass; `number` is its own.
    pub fn mark_due(&mut self, number: u32, due: &mut Vec<(GroupKey, u32)>) {
        if !std::mem::replace(&mut self.is_due, true) {
            due.push((self.key, number));
        }
    }
}

/// Needs that are kept once, and have a number for as long as a group has them.
#[derive(Clone, Debug)]
pub struct SharedNeeds {
    pub number: u32,
    needs: Arc<Needs>,
}

impl std::ops::Deref for SharedNeeds {
    type Target = Needs;

    fn deref(&self) -> &Needs {
        &self.needs
    }
}

/// In the order in which groups are placed.
pub type GroupKey = (ServiceId, u64);

/// Tasks that wait for a node, in order of slot.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub waiting: Vec<Waiting>,
    /// Entries that may be out of order, doubled, or of tasks that wait no more.
    pub is_untidy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    pub slot: u64,
    pub task: TaskId,
    /// Whether the group's reason was said of it.
    pub told: bool,
}

impl Queue {
    pub fn push(&mut self, slot: u64, task: TaskId) {
        let next = Waiting { slot, task, told: false };
        self.is_untidy |= self.waiting.last().is_some_and(|last| *last >= next);
        if self.waiting.capacity() == 0 {
            self.waiting.reserve_exact(1); // many groups are of one task
        }
        self.waiting.push(next);
    }

    /// Keeps each task once, in order, and only where it still waits.
    pub fn tidy(&mut self, waits: impl Fn(TaskId) -> bool) {
        if std::mem::replace(&mut self.is_untidy, false) {
            // An entry that was not told comes first, and is the one that stays.
            self.waiting.sort_unstable();
            self.waiting.dedup_by_key(|waiting| (waiting.slot, waiting.task));
            self.waiting.retain(|waiting| waits(waiting.task));
        }
    }
}

/// Equal needs have one number.
#[derive(Clone, Debug, Default)]
pub struct NeedsList {
    numbers: BTreeMap<Arc<Needs>, u32>,
    /// With how many groups have them.
    entries: Slab<(Arc<Needs>, u32)>,
}

impl NeedsList {
    pub fn add(&mut self, needs: Needs) -> SharedNeeds {
        if let Some((known, number)) = self.numbers.get_key_value(&needs) {
            if let Some((_, users)) = self.entries.get_mut(*number) {
                *users += 1;
            }
            return SharedNeeds { number: *number, needs: known.clone() };
        }
        let needs = Arc::new(needs);
        let number = self.entries.insert((needs.clone(), 1));
        self.numbers.insert(needs.clone(), number);
        SharedNeeds { number, needs }
    }

    /// One user less; true when it was the last one.
    pub fn remove(&mut self, number: u32) -> bool {
        let Some((needs, users)) = self.entries.get_mut(number) else { return false };
        *users -= 1;
        if *users > 0 {
            return false;
        }
        self.numbers.remove(needs);
        self.entries.remove(number);
        true
    }
}

/// Tasks that failed lately, by service and spec. Told by the tasks' states, and kept when they are forgotten.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    by_group: BTreeMap<GroupKey, BTreeMap<NodeId, BTreeMap<TaskId, Timestamp>>>,
    swept_at: Timestamp,
}

impl Failures {
    pub fn note(&mut self, group: GroupKey, node: NodeId, task: TaskId, at: Timestamp) {
        self.by_group.entry(group).or_default().entry(node).or_default().insert(task, at);
    }

    /// Forgets what no longer counts, of all groups every now and then.
    pub fn sweep(&mut self, now: Timestamp) {
        let period = common::limits::PLACING_FAILURE_TIME;
        if now.since(self.swept_at) < period && self.swept_at <= now {
            return;
        }
        self.swept_at = now;
        self.by_group.retain(|_, nodes| {
            nodes.retain(|_, tasks| {
                tasks.retain(|_, at| now.since(*at) < period);
                !tasks.is_empty()
            });
            !nodes.is_empty()
        });
    }

    /// How often tasks of the group failed on which node within the time that counts.
    pub fn recent(&self, group: GroupKey, now: Timestamp) -> impl Iterator<Item = (NodeId, usize)> {
        let period = common::limits::PLACING_FAILURE_TIME;
        let nodes = self.by_group.get(&group).into_iter().flatten();
        nodes.map(move |(node, tasks)| (*node, tasks.values().filter(|at| now.since(**at) < period).count()))
    }
}
