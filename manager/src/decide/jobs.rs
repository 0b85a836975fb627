//! Jobs: tasks that run to their end. So many in all and so many at a time, or once on each node.
//!
//! Pure. Only tasks of the job's current run count; those of earlier runs are stopped. A slot whose task may not be
//! started again has failed and stays so: a fresh task there would be one more attempt than the policy allows.
//! Lost and drained nodes are seen: a task begins elsewhere, and a node that joins gets its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::object::{NodeId, NodeState, Slot, Task, TaskState};

use super::global::{self, Standing};
use super::pass::{Beginning, Hold, Pass};
use super::replicated::{by_slot, slots};
use super::up_to_date::Site;
use super::{restart, slot};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Active,
    Complete,
    Failed,
}

/// How far the slots of one replicated job are. Derived from the tasks, slot by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    slots: BTreeMap<u64, Progress>,
    active: u64,
    /// Every lower slot is in use.
    free_from: u64,
}

impl Tally {
    pub fn sync(&mut self, pass: &Pass, site: &Site, slot: u64) {
        let tasks = current(site, pass.slot(site.service.id, Slot::Number(slot)));
        let is = |test: &dyn Fn(&Task) -> bool| tasks.iter().any(|task| test(task));
        let progress = if is(&|task| task.status.state == TaskState::Complete) {
            Some(Progress::Complete)
        } else if is(&|task| task.is_wanted() && !task.status.state.is_final()) {
            Some(Progress::Active)
        } else {
            tasks.first().map(|_| Progress::Failed)
        };
        self.put(slot, progress);
    }

    fn put(&mut self, slot: u64, progress: Option<Progress>) {
        let before = match progress {
            Some(progress) => self.slots.insert(slot, progress),
            None => self.slots.remove(&slot),
        };
        self.active -= u64::from(before == Some(Progress::Active));
        self.active += u64::from(progress == Some(Progress::Active));
        if progress.is_none() {
            self.free_from = self.free_from.min(slot);
        }
    }

    /// The lowest slot that was never used in this run.
    fn next_free(&mut self) -> u64 {
        while self.slots.contains_key(&self.free_from) {
            self.free_from += 1;
        }
        self.free_from
    }
}

/// Looks at all of a replicated job.
pub(super) fn look(pass: &mut Pass, site: &mut Site) -> Tally {
    let mut tally = Tally::default();
    let tasks = by_slot(pass, site.service.id);
    for tasks in slots(&tasks) {
        let slot = tasks[0].slot;
        if !slot::is_quiet(pass, site, tasks) {
            slot::look(pass, site, slot);
        }
        if let Slot::Number(number) = slot {
            tally.sync(pass, site, number);
        }
    }
    tally
}

/// Begins as many tasks as there is room for.
pub(super) fn begin_next(
    pass: &mut Pass,
    site: &Site,
    tally: &mut Tally,
    concurrent_max: u64,
    completions: u64,
) {
    while tally.active < concurrent_max {
        let number = tally.next_free();
        if number >= completions {
            return;
        }
        let slot = Slot::Number(number);
        let alive = pass.slot(site.service.id, slot).iter().any(|task| pass.is_alive(task));
        let hold = if alive { Hold::Predecessor } else { Hold::Nothing };
        let spec = site.service.current.number;
        pass.create(site, slot, Beginning { spec, hold, restarts: None });
        tally.put(number, Some(Progress::Active));
    }
}

/// Stops what earlier runs have left; what has ended stays as history.
pub(super) fn retire(pass: &mut Pass, site: &Site, slot: Slot) {
    let run = site.service.job.map(|job| job.iteration);
    for task in pass.slot(site.service.id, slot).iter().filter(|task| task.iteration != run) {
        if task.status.state.is_final() {
            pass.stop(task.id);
        } else {
            pass.forget(task.id);
        }
    }
}

/// Global jobs: once on each node that takes it, and on those that join.
pub(super) fn settle(pass: &mut Pass, site: &mut Site, node: NodeId) {
    let slot = Slot::Node(node);
    retire(pass, site, slot);
    let tasks = pass.slot(site.service.id, slot);
    let alive = tasks.iter().any(|task| pass.is_alive(task));
    let ready = pass.tables().nodes.get(node).is_some_and(|node| node.status.state == NodeState::Ready);
    match global::standing(pass, site, node) {
        Standing::Gone => tasks.iter().for_each(|task| pass.forget(task.id)),
        Standing::Refuses => {
            let running = tasks.iter().filter(|task| task.is_wanted() && !task.status.state.is_final());
            running.for_each(|task| pass.stop(task.id));
        }
        Standing::Paused => {}
        Standing::Takes => {
            let tasks = current(site, tasks);
            let done = tasks.iter().any(|task| task.status.state == TaskState::Complete);
            let wanted = tasks.iter().any(|task| task.is_wanted());
            // Stopped because of its node, and not by itself.
            let stopped = |task: &Arc<Task>| match task.status.state {
                TaskState::Shutdown | TaskState::Orphaned => true,
                state => !state.is_final(),
            };
            let again =
                tasks.first().is_none_or(|last| stopped(last) || !restart::is_over(site, last, pass.now));
            if ready && !done && !wanted && again {
                let hold = if alive { Hold::Predecessor } else { Hold::Nothing };
                let spec = site.service.current.number;
                pass.create(site, slot, Beginning { spec, hold, restarts: None });
            }
        }
    }
}

fn current(site: &Site, tasks: Vec<Arc<Task>>) -> Vec<Arc<Task>> {
    let run = site.service.job.map(|job| job.iteration);
    tasks.into_iter().filter(|task| task.iteration == run).collect()
}
