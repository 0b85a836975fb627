//! How far the slots of one service are while it is updated or its tasks are moved.
//!
//! Pure, and derived: each entry follows from the tasks of its slot alone, so that one slot is looked at anew when one
//! of its tasks changes, and a new leader comes to the same roll. Kept only while something is under way.

use std::collections::{BTreeMap, BTreeSet};

use common::object::{Slot, Task, TaskId, TaskState};
use common::time::Timestamp;

use super::global::{self, Standing};
use super::pass::{Item, Pass, Seat};
use super::up_to_date::{Likeness, Site};
use super::update;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// To be replaced, because its spec is not the current one.
    Outdated { phase: Phase },
    /// To be replaced, because of where it is.
    Misplaced { phase: Phase },
    /// Not yet known to be well; or what was there before has not ended.
    Busy { replaces: bool },
    /// Stands, since then.
    Settled { since: Timestamp },
    /// Tried, without success: its restarts go on beside the update.
    Spent { replaces: bool },
}

impl Class {
    fn is_midway(self) -> bool {
        match self {
            Class::Outdated { phase } | Class::Misplaced { phase } => phase == Phase::Midway,
            Class::Busy { .. } | Class::Settled { .. } | Class::Spent { .. } => false,
        }
    }
}

/// What replacing a slot disturbs; the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// In the middle of an earlier replacement: nobody serves, or who does stays. Counted as in progress.
    Midway,
    Silent,
    Serving,
}

/// Tasks to be moved though their node still keeps them.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// Their node is no longer what they need.
    pub misfit: BTreeSet<TaskId>,
    /// There are emptier nodes.
    pub crowded: BTreeSet<TaskId>,
}

impl Marks {
    pub fn forget(&mut self, task: TaskId) {
        self.misfit.remove(&task);
        self.crowded.remove(&task);
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roll {
    classes: BTreeMap<Slot, Class>,
    /// In the order in which they are replaced.
    pub outdated: BTreeSet<(Phase, Slot)>,
    pub misplaced: BTreeSet<(Phase, Slot)>,
    pub busy: BTreeSet<Slot>,
    /// Busy or spent, where what was there before is not gone yet.
    pub replacing: BTreeSet<Slot>,
    pub settled: BTreeSet<(Timestamp, Slot)>,
    pub spent: BTreeSet<Slot>,
    /// Outdated and misplaced ones in the middle of a replacement.
    midway: usize,
}

impl Roll {
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether nothing is to be replaced, or was replaced a moment ago.
    pub fn is_calm(&self) -> bool {
        self.outdated.is_empty()
            && self.misplaced.is_empty()
            && self.busy.is_empty()
            && self.replacing.is_empty()
    }

    /// Slots that are in progress, whatever is to become of them.
    pub fn in_progress(&self) -> usize {
        self.busy.len() + self.midway
    }

    pub fn put(&mut self, slot: Slot, class: Option<Class>) {
        if let Some(before) = self.classes.remove(&slot) {
            self.midway -= usize::from(before.is_midway());
            match before {
                Class::Outdated { phase } => self.outdated.remove(&(phase, slot)),
                Class::Misplaced { phase } => self.misplaced.remove(&(phase, slot)),
                Class::Busy { .. } => self.busy.remove(&slot) | self.replacing.remove(&slot),
                Class::Settled { since } => self.settled.remove(&(since, slot)),
                Class::Spent { .. } => self.spent.remove(&slot) | self.replacing.remove(&slot),
            };
        }
        let Some(class) = class else { return };
        self.midway += usize::from(class.is_midway());
        match class {
            Class::Outdated { phase } => self.outdated.insert((phase, slot)),
            Class::Misplaced { phase } => self.misplaced.insert((phase, slot)),
            Class::Busy { replaces: false } => self.busy.insert(slot),
            Class::Busy { replaces: true } => self.busy.insert(slot) & self.replacing.insert(slot),
            Class::Settled { since } => self.settled.insert((since, slot)),
            Class::Spent { replaces: false } => self.spent.insert(slot),
            Class::Spent { replaces: true } => self.spent.insert(slot) & self.replacing.insert(slot),
        };
        self.classes.insert(slot, class);
    }
}

/// What one slot is to the roll; none when it is not one of the service's.
pub(super) fn classify(pass: &mut Pass, site: &mut Site, slot: Slot, marks: &Marks) -> Option<Class> {
    let Slot::Node(node) = slot else { return class_of(pass, site, slot, marks) };
    match global::standing(pass, site, node) {
        Standing::Takes => class_of(pass, site, slot, marks),
        // Nothing is begun on a paused node; what was begun there before is still in progress.
        Standing::Paused => {
            class_of(pass, site, slot, marks).filter(|class| matches!(class, Class::Busy { .. }))
        }
        Standing::Refuses | Standing::Gone => None,
    }
}

/// The same for a slot that is there to stay.
fn class_of(pass: &mut Pass, site: &mut Site, slot: Slot, marks: &Marks) -> Option<Class> {
    let tasks = pass.slot(site.service.id, slot);
    let Some(newest) = tasks.iter().find(|task| task.is_wanted()) else {
        let last = tasks.first().filter(|task| task.desired == TaskState::Shutdown)?;
        let outdated = !is_current(pass, site, last);
        return Some(if outdated && !site.is_paused() {
            Class::Outdated { phase: Phase::Silent }
        } else {
            Class::Spent { replaces: false }
        });
    };
    let serves = tasks.iter().any(|task| task.is_wanted() && task.is_serving());
    let replaces = tasks.iter().any(|task| task.id != newest.id && (task.is_wanted() || pass.is_alive(task)));
    let tried = newest.restarts.as_ref().is_some_and(|restarts| restarts.count > 0);
    let waits = newest.status.state < TaskState::Assigned && !newest.status.error.is_empty();
    let midway = replaces && newest.status.state < TaskState::Running && !tried && !waits;
    let phase = match serves {
        // One that serves and would not stay is disturbed like any other, however far its successor is; so is one
        // that has long taken over from what a node that is back still has.
        true if !midway || !update::starts_first(site) => Phase::Serving,
        false if !midway => Phase::Silent,
        true | false => Phase::Midway,
    };
    let current = is_current(pass, site, newest);
    if !current && !site.is_paused() {
        return Some(Class::Outdated { phase });
    }
    if is_misplaced(pass, newest, marks, current) {
        return Some(Class::Misplaced { phase });
    }
    if newest.is_serving() {
        let since = newest.status.applied_at;
        let healthy_at = since.plus(update::config(site).healthy_min());
        if healthy_at > pass.now {
            pass.wake(healthy_at, Item::Slot(site.service.id, slot));
            return Some(Class::Busy { replaces });
        }
        return Some(if replaces { Class::Busy { replaces } } else { Class::Settled { since } });
    }
    // Without an update nothing is owed to a slot that waits for a node: moving the others may be what helps it.
    Some(if tried || (waits && !site.is_updating()) {
        Class::Spent { replaces }
    } else {
        Class::Busy { replaces }
    })
}

/// Whether any slot may be to replace or in the middle of it: one cheap look at each task, before a roll is made.
pub(super) fn is_suspect(pass: &Pass, site: &mut Site, marks: &Marks) -> bool {
    let mut last_wanted = None;
    let tasks = pass.tables().tasks_of_service(site.service.id);
    tasks.into_iter().any(|task| {
        if !task.is_wanted() {
            // Only the newest of a slot matters, but nothing is certain here.
            return task.desired == TaskState::Shutdown && site.likeness(task.spec) != Likeness::Same;
        }
        let second = last_wanted.replace(task.slot) == Some(task.slot);
        let current = site.likeness(task.spec) == Likeness::Same || is_current(pass, site, task);
        second || !current || is_misplaced(pass, task, marks, current)
    })
}

/// Whether a task is of the current spec, as far as its node goes.
pub(super) fn is_current(pass: &Pass, site: &mut Site, task: &Task) -> bool {
    let node = task.node.and_then(|node| pass.tables().nodes.get(node));
    site.is_up_to_date(task, node.map(|node| &**node))
}

pub(super) fn is_misplaced(pass: &Pass, task: &Task, marks: &Marks, current: bool) -> bool {
    let movable = matches!(task.slot, Slot::Number(_));
    // One of an old spec, in an update that is paused, would be placed by the old spec again.
    let marked = current && (marks.misfit.contains(&task.id) || marks.crowded.contains(&task.id));
    movable && (marked || pass.seat(task) == Seat::Draining)
}
