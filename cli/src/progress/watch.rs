//! What one look at a service does not show: since when its tasks run, how often they failed, when anything moved.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::engine_api::service::Service;
use common::engine_api::task::Task;
use common::object::TaskState;
use common::time::Timestamp;

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub service: &'a Service,
    /// Tasks of the spec that holds now.
    pub tasks: &'a [Task],
    /// Ids of nodes that are down.
    pub down: &'a BTreeSet<String>,
    pub now: Timestamp,
}

/// What is remembered from look to look.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// When a task was first seen running, by this program's clock.
    running: BTreeMap<String, Timestamp>,
    /// By slot: the error that its tasks ended with last, and which of them ended so.
    failures: BTreeMap<String, (String, BTreeSet<String>)>,
    /// What the last look looked like, and since when it looks so.
    last: Option<(u64, Timestamp)>,
}

impl Watch {
    pub fn note(&mut self, view: &View<'_>) {
        for task in view.tasks {
            match state(task) {
                Some(TaskState::Running) => {
                    self.running.entry(task.id.clone()).or_insert(view.now);
                }
                Some(TaskState::Failed | TaskState::Rejected) => self.note_failure(task),
                _ => {}
            }
        }
        let looks = fingerprint(view);
        match self.last {
            Some((before, _)) if before == looks => {}
            _ => self.last = Some((looks, view.now)),
        }
    }

    fn note_failure(&mut self, task: &Task) {
        let kind = error_kind(&task.status.err);
        let (last, tasks) = self.failures.entry(slot_key(task)).or_default();
        if tasks.contains(&task.id) {
            return;
        }
        if *last != kind {
            *last = kind;
            tasks.clear();
        }
        tasks.insert(task.id.clone());
    }

    /// How long a task has been running for sure. Nodes' clocks may differ from ours: the longer of what the status
    /// says and what was seen, so that no clock makes this wait for ever.
    pub fn running_for(&self, task: &Task, now: Timestamp) -> Duration {
        let seen = self.running.get(&task.id).map(|since| now.since(*since));
        let said = Timestamp::from_rfc3339(&task.status.timestamp).map(|since| now.since(since));
        seen.max(said).unwrap_or_default()
    }

    /// How often tasks of this slot failed in the same way, one after the other.
    pub fn same_failures(&self, task: &Task) -> usize {
        self.failures.get(&slot_key(task)).map_or(0, |(_, tasks)| tasks.len())
    }

    /// How long nothing has moved.
    pub fn unchanged_for(&self, now: Timestamp) -> Duration {
        self.last.map_or(Duration::ZERO, |(_, since)| now.since(since))
    }
}

pub fn state(task: &Task) -> Option<TaskState> {
    task.status.state.parse().ok()
}

pub fn desired(task: &Task) -> Option<TaskState> {
    task.desired_state.parse().ok()
}

/// A slot's number, or the node of a global service.
pub fn slot_key(task: &Task) -> String {
    if task.slot > 0 { task.slot.to_string() } else { format!("{}/{}", task.slot, task.node_id) }
}

/// The same failure of another task has the same kind: ids and addresses within the text do not count.
fn error_kind(error: &str) -> String {
    let is_own = |word: &&str| word.len() >= 12 && word.bytes().any(|byte| byte.is_ascii_digit());
    error.split_whitespace().filter(|word| !is_own(word)).collect::<Vec<_>>().join(" ")
}

/// Equal while nothing that matters moves.
fn fingerprint(view: &View<'_>) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    let mut tasks: Vec<_> = view
        .tasks
        .iter()
        .map(|task| (&task.id, &task.desired_state, &task.status.state, task.status.ready, &task.status.err))
        .collect();
    tasks.sort();
    tasks.hash(&mut hasher);
    view.service.spec_number.hash(&mut hasher);
    if let Some(update) = &view.service.update_status {
        (&update.state, &update.message).hash(&mut hasher);
    }
    hasher.finish()
}
