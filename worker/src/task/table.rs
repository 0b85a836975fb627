//! What this node knows of its tasks now: what is assigned, one entry per task, what is to be said and written.
//!
//! Plain data behind the agent's lock. Nothing here waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use common::object::{TaskId, TaskState, TaskStatus};
use common::wire::assignment::{AssignedSpec, AssignedTask};
use tokio::sync::watch;

use super::assigned::{Assigned, SpecKey};
use super::next_step::Stopping;
use super::order::Order;
use super::outbox::Outbox;
use crate::disk::{Record, Restored, StoredSpec, StoredTask};
use crate::payloads::Given;

#[derive(Debug, Default)]
pub struct Table {
    pub assigned: Assigned,
    pub entries: BTreeMap<TaskId, Entry>,
    pub outbox: Outbox,
    /// What the journal does not have yet.
    unwritten: Unwritten,
    /// Counts changes: the journal is so far when it has this number.
    changes: u64,
}

/// One task, from its assignment until nothing is left of it.
#[derive(Debug)]
pub struct Entry {
    pub orders: watch::Sender<Order>,
    pub status: watch::Sender<TaskStatus>,
    pub stopping: Option<Stopping>,
    /// Where its ports may be reached, once somebody has asked.
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct Unwritten {
    tasks: BTreeSet<TaskId>,
    specs: BTreeSet<SpecKey>,
}

impl Entry {
    pub fn is_leaving(&self) -> bool {
        self.orders.borrow().is_leaving
    }

    pub fn state(&self) -> TaskState {
        self.status.borrow().state
    }
}

impl Table {
    /// A task this node has not heard of, or has from the disk. Its runner gets its orders from what is given back.
    pub fn insert(
        &mut self,
        order: Order,
        status: TaskStatus,
        stopping: Option<Stopping>,
    ) -> watch::Receiver<Order> {
        let task = order.assigned.id;
        self.mark(task);
        self.unwritten.specs.insert(key(&order.assigned));
        let (orders, receiver) = watch::channel(order);
        self.entries.insert(
            task,
            Entry { orders, status: watch::Sender::new(status), stopping, addresses: Vec::new() },
        );
        receiver
    }

    /// What is wanted of a known task now.
    pub fn renew(&mut self, task: TaskId, assigned: &AssignedTask, spec: &Arc<AssignedSpec>, given: Given) {
        let Some(entry) = self.entries.get(&task) else { return };
        let (mut task_changed, mut spec_changed) = (false, false);
        entry.orders.send_if_modified(|order| {
            task_changed = order.assigned != *assigned;
            // The same content keeps its place in memory, so that nobody has to look at it again.
            spec_changed = order.is_incomplete || *order.spec != **spec;
            if task_changed {
                order.assigned = assigned.clone();
            }
            if spec_changed {
                order.spec = spec.clone();
                order.is_incomplete = false;
            }
            // Not for the journal: it is never on a disk.
            let given_changed = order.given != given;
            if given_changed {
                order.given = given;
            }
            task_changed || spec_changed || given_changed
        });
        if spec_changed {
            self.unwritten.specs.insert(key(assigned));
        }
        if task_changed || spec_changed {
            self.mark(task);
        }
    }

    /// The task is not this node's any more: it ends, and nobody hears of it.
    pub fn leave(&mut self, task: TaskId) {
        let Some(entry) = self.entries.get(&task) else { return };
        let changed = entry.orders.send_if_modified(|order| !std::mem::replace(&mut order.is_leaving, true));
        if changed {
            self.outbox.forget(task);
            self.mark(task);
        }
    }

    /// Takes down what was seen of a task; gives the number at which the journal has it.
    pub fn note(&mut self, task: TaskId, status: &TaskStatus, stopping: Option<&Stopping>) -> u64 {
        let Some(entry) = self.entries.get_mut(&task) else { return self.changes };
        entry.stopping = stopping.cloned();
        entry.status.send_replace(status.clone());
        if !entry.is_leaving() {
            self.outbox.put(task, status.clone());
        }
        self.mark(task);
        self.changes
    }

    pub fn remove(&mut self, task: TaskId) {
        if self.entries.remove(&task).is_some() {
            self.outbox.forget(task);
            self.mark(task);
        }
    }

    /// A session begins: whoever is there now has heard nothing.
    pub fn session_opened(&mut self) {
        self.assigned.expect_whole();
        let known = self.entries.iter().filter(|(_, entry)| !entry.is_leaving());
        let said = known.filter(|(_, entry)| entry.state() >= TaskState::Accepted);
        self.outbox.start_over(said.map(|(task, entry)| (*task, entry.status.borrow().clone())));
    }

    pub fn running(&self) -> usize {
        self.entries.values().filter(|entry| entry.state() == TaskState::Running).count()
    }

    /// What is to be written, and the number the journal then has.
    pub fn take_unwritten(&mut self) -> (u64, Vec<Record>) {
        let unwritten = std::mem::take(&mut self.unwritten);
        let spec_of = |key: &SpecKey| {
            let user = |entry: &&Entry| key_of(entry) == *key;
            self.entries.values().find(user).map(stored_spec)
        };
        let specs = unwritten.specs.iter().filter_map(spec_of);
        let tasks = unwritten.tasks.iter().map(|task| match self.entries.get(task) {
            Some(entry) => stored_task(entry),
            None => Record::Forgotten(*task),
        });
        (self.changes, specs.chain(tasks).collect())
    }

    /// Everything, for a journal written anew; nothing is unwritten then.
    pub fn take_all(&mut self) -> (u64, Vec<Record>) {
        self.unwritten = Unwritten::default();
        let mut seen = BTreeSet::new();
        let specs = self.entries.values().filter(|entry| seen.insert(key_of(entry))).map(stored_spec);
        let mut records: Vec<Record> = specs.collect();
        records.extend(self.entries.values().map(stored_task));
        (self.changes, records)
    }

    fn mark(&mut self, task: TaskId) {
        self.unwritten.tasks.insert(task);
        self.changes += 1;
    }
}

/// What the disk had, as orders for runners.
pub fn restored_orders(restored: Restored) -> Vec<(Order, TaskStatus, Option<Stopping>)> {
    let Restored { tasks, specs } = restored;
    let order = |task: StoredTask| {
        let spec = specs.get(&key(&task.assigned))?;
        let order = Order {
            assigned: task.assigned,
            spec: spec.spec.clone(),
            is_incomplete: spec.is_incomplete,
            is_leaving: task.is_leaving,
            given: Given::default(),
        };
        Some((order, task.status, task.stopping))
    };
    tasks.into_values().filter_map(order).collect()
}

fn key(task: &AssignedTask) -> SpecKey {
    (task.service, task.spec)
}

fn key_of(entry: &Entry) -> SpecKey {
    key(&entry.orders.borrow().assigned)
}

fn stored_spec(entry: &Entry) -> Record {
    let order = entry.orders.borrow();
    Record::Spec(Box::new(StoredSpec::new(&order.spec, order.is_incomplete)))
}

fn stored_task(entry: &Entry) -> Record {
    let order = entry.orders.borrow();
    Record::Task(Box::new(StoredTask {
        assigned: order.assigned.clone(),
        status: entry.status.borrow().clone(),
        stopping: entry.stopping.clone(),
        is_leaving: order.is_leaving,
    }))
}
