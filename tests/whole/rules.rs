//! What is checked after every event, all in one place.

use std::collections::BTreeSet;

use common::object::TaskId;
use manager::store::{Change, Tables, Write};

use crate::invariants::one_task_per_slot::OneTaskPerSlot;
use crate::invariants::payloads_stay_close::PayloadsStayClose;
use crate::invariants::update_keeps_enough::UpdateKeepsEnough;
use crate::invariants::{addresses_are_given_once, reservations_are_kept, tasks_go_forward};

#[derive(Debug, Default)]
pub struct Rules {
    /// Tasks of whose end a leader has heard.
    pub ended: BTreeSet<TaskId>,
    slots: OneTaskPerSlot,
    updates: UpdateKeepsEnough,
    pub payloads: PayloadsStayClose,
}

impl Rules {
    /// `changes` were just written.
    pub fn check(&mut self, before: &Tables, after: &Tables, changes: &[Change]) -> Result<(), String> {
        for change in changes {
            if let Change::Task(Write::Create(task) | Write::Update { value: task, .. }) = change {
                self.payloads.note(after, task);
            }
        }
        addresses_are_given_once::check(after)?;
        self.slots.check(after, changes)?;
        self.updates.check(before, after, changes)?;
        reservations_are_kept::check(after, &self.ended)?;
        tasks_go_forward::check(before, after, changes)
    }
}
