//! One pass of decisions while it is made: the draft, the time, and what the steps leave for later.
//!
//! Pure. Not here: what any step decides.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use common::object::task::Restarts;
use common::object::{Availability, NodeId, NodeState, ServiceId, Slot, Task, TaskId, TaskState};
use common::random::Random;
use common::time::Timestamp;

use super::draft::Draft;
use super::up_to_date::Site;
use crate::store::Tables;

/// What a decision is made with beside the tables.
pub struct Ctx<'a> {
    pub now: Timestamp,
    /// Gives new tasks their ids.
    pub random: &'a mut dyn Random,
}

/// Why something was decided, for the log and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub service: ServiceId,
    pub task: Option<TaskId>,
    pub text: String,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}", self.service)?;
        if let Some(task) = self.task {
            write!(f, ", task {task}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// What is looked at again, at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Slot(ServiceId, Slot),
    /// The roll of a service's slots, not each of them.
    Roll(ServiceId),
    Node(NodeId),
}

/// Where a task is, as far as keeping it there goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// Not placed yet.
    Nowhere,
    /// Its node is no longer in the cluster.
    Removed,
    Down,
    Draining,
    There,
}

impl Seat {
    /// Whether a process may still run there that managers can wait for.
    pub fn may_answer(self) -> bool {
        match self {
            Seat::Draining | Seat::There => true,
            Seat::Nowhere | Seat::Removed | Seat::Down => false,
        }
    }

    pub fn is_lost(self) -> bool {
        matches!(self, Seat::Removed | Seat::Down)
    }
}

/// How a new task begins.
pub(super) struct Beginning {
    pub spec: u64,
    pub hold: Hold,
    pub restarts: Option<Box<Restarts>>,
}

/// What a new task waits for before it may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Nothing,
    /// The end of what else is alive in its slot.
    Predecessor,
    /// That, and this time.
    Until(Timestamp),
}

pub(super) struct Pass<'a> {
    pub draft: Draft,
    pub now: Timestamp,
    pub random: &'a mut dyn Random,
    pub wakes: BTreeSet<(Timestamp, Item)>,
    /// Services that one of their slots or their update asks to look at as a whole.
    pub whole: BTreeSet<ServiceId>,
    pub reasons: Vec<Why>,
    /// Tasks made in this pass that have to get addresses.
    pub unaddressed: BTreeSet<TaskId>,
}

impl<'a> Pass<'a> {
    pub fn new(tables: &Tables, now: Timestamp, random: &'a mut dyn Random) -> Self {
        Self {
            draft: Draft::new(tables),
            now,
            random,
            wakes: BTreeSet::new(),
            whole: BTreeSet::new(),
            reasons: Vec::new(),
            unaddressed: BTreeSet::new(),
        }
    }

    pub fn tables(&self) -> &Tables {
        self.draft.tables()
    }

    /// The tasks of a slot, newest first.
    pub fn slot(&self, service: ServiceId, slot: Slot) -> Vec<Arc<Task>> {
        let mut tasks: Vec<_> = self.tables().tasks_of_slot(service, slot).cloned().collect();
        newest_first(&mut tasks);
        tasks
    }

    pub fn seat(&self, task: &Task) -> Seat {
        let Some(id) = task.node else { return Seat::Nowhere };
        match self.tables().nodes.get(id) {
            None => Seat::Removed,
            Some(node) if node.status.state == NodeState::Down => Seat::Down,
            Some(_) if task.status.state < TaskState::Assigned => Seat::Nowhere,
            Some(node) if node.spec.availability == Availability::Drain => Seat::Draining,
            Some(_) => Seat::There,
        }
    }

    /// Whether managers can wait for the end of this task.
    pub fn is_alive(&self, task: &Task) -> bool {
        !task.status.state.is_final() && self.seat(task).may_answer()
    }

    pub fn create(&mut self, site: &Site, slot: Slot, beginning: Beginning) {
        let goal = goal(site);
        let (desired, start_at) = match beginning.hold {
            Hold::Nothing => (goal, None),
            Hold::Predecessor => (TaskState::Ready, Some(self.now)),
            Hold::Until(at) => (TaskState::Ready, Some(at)),
        };
        let id = TaskId::generate(self.random);
        let mut task = Task::new(id, site.service.id, slot, beginning.spec, desired);
        // The store writes its own; until then this one tells the newest task of a slot.
        task.meta.created_at = self.now;
        let spec = site.service.spec_at(beginning.spec);
        // Until it has its addresses it is new, and nobody places it.
        let is_addressed = spec.is_some_and(|spec| spec.task.cluster_networks().next().is_some());
        task.status.state = if is_addressed { TaskState::New } else { TaskState::Pending };
        self.unaddressed.extend(is_addressed.then_some(id));
        task.status.at = self.now;
        task.status.applied_at = self.now;
        task.start_at = start_at;
        task.restarts = beginning.restarts;
        task.iteration = site.service.job.map(|job| job.iteration);
        if let Some(at) = start_at {
            self.wake(at.max(self.now), Item::Slot(site.service.id, slot));
        }
        self.draft.set_task(task);
    }

    /// The task is wanted no more. What nobody has begun ends here.
    pub fn stop(&mut self, task: TaskId) {
        self.want(task, TaskState::Shutdown);
    }

    /// Like `stop`, and it is to be forgotten.
    pub fn forget(&mut self, task: TaskId) {
        self.want(task, TaskState::Remove);
    }

    fn want(&mut self, id: TaskId, desired: TaskState) {
        let now = self.now;
        self.draft.edit_task(id, |task| {
            task.desired = task.desired.max(desired);
            task.start_at = None;
            if task.status.state < TaskState::Assigned {
                ended(task, TaskState::Shutdown, now);
            }
        });
    }

    /// How long a task that has ended did its work: none if it never came so far. As seen when its end arrived;
    /// of an end that was written before, no longer than since it was created.
    pub fn life(&self, task: &Task) -> Duration {
        let before = self.draft.before().tasks.get(task.id);
        match before.map(|before| (before.status.state, before.status.applied_at)) {
            Some((TaskState::Running, since)) => task.status.applied_at.since(since),
            Some((state, _)) if !state.is_final() => Duration::ZERO,
            _ => task.status.applied_at.since(task.meta.created_at),
        }
    }

    pub fn wake(&mut self, at: Timestamp, item: Item) {
        self.wakes.insert((at, item));
    }

    pub fn because(&mut self, service: ServiceId, task: Option<TaskId>, text: impl Into<String>) {
        self.reasons.push(Why { service, task, text: text.into() });
    }
}

/// Orders the tasks of one slot.
pub(super) fn newest_first(tasks: &mut [Arc<Task>]) {
    tasks.sort_by_key(|task| std::cmp::Reverse(age(task)));
}

/// What a task that nothing holds is wanted to do.
pub(super) fn goal(site: &Site) -> TaskState {
    if site.mode().is_job() { TaskState::Complete } else { TaskState::Running }
}

/// Writes down the end of a task that its worker will not tell.
pub(super) fn ended(task: &mut Task, state: TaskState, now: Timestamp) {
    task.status.state = state;
    task.status.message = Box::default();
    task.status.at = now;
    task.status.applied_at = now;
    task.status.ready = false;
}

/// Grows from older to newer tasks of a slot. Times may be equal while a clock is behind the store's: then the one
/// that is wanted, and the one that was written last, is the newer one.
fn age(task: &Task) -> (Timestamp, bool, bool, u64, TaskId) {
    let version = match task.meta.version.0 {
        0 => u64::MAX,
        version => version,
    };
    let wanted = task.is_wanted();
    (task.meta.created_at, wanted, !task.status.state.is_final(), version, task.id)
}
