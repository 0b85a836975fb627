//! What workers say of their tasks: merged to the newest per task, and written by the rules of task states.
//!
//! Pure. A report stays until it is seen in the store: a proposal may fail. Who reports is known from the session; a
//! task that is not on that node is not the reporter's to speak of.

use std::collections::{BTreeMap, BTreeSet};

use common::limits::{TASK_PORTS_MAX, TASK_TEXT_BYTES_MAX};
use common::object::{NodeId, ServiceId, Slot, Task, TaskId, TaskStatus};
use common::time::Timestamp;
use common::wire::assignment::TaskReport;

use super::pass::Pass;

#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    heard: BTreeMap<(TaskId, NodeId), TaskStatus>,
    /// Not yet part of a decision, or of one that was not written.
    fresh: BTreeSet<(TaskId, NodeId)>,
}

impl Reports {
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty()
    }

    pub fn receive(&mut self, node: NodeId, report: TaskReport) {
        let key = (report.task, node);
        let status = bounded(report.status);
        if self.heard.get(&key).is_some_and(|before| before.state.advance(status.state).is_err()) {
            return;
        }
        self.heard.insert(key, status);
        self.fresh.insert(key);
    }

    /// The task was written: what it now says needs no keeping.
    pub fn written(&mut self, task: &Task) {
        let Some(node) = task.node else { return };
        let key = (task.id, node);
        if self.heard.get(&key).is_some_and(|status| merged(task, status, Timestamp::default()).is_none()) {
            self.heard.remove(&key);
            self.fresh.remove(&key);
        }
    }

    /// A write of this task has failed.
    pub fn again(&mut self, task: TaskId) {
        let keys = (task, NodeId(u128::MIN))..=(task, NodeId(u128::MAX));
        self.fresh.extend(self.heard.range(keys).map(|(key, _)| *key));
    }

    pub fn all_again(&mut self) {
        self.fresh.extend(self.heard.keys());
    }

    /// Writes what is new into the draft, and answers the slots where that may call for something: those where a
    /// task has ended, and those of services that `is_followed` names.
    pub fn write(
        &mut self,
        pass: &mut Pass,
        is_followed: impl Fn(ServiceId) -> bool,
    ) -> BTreeSet<(ServiceId, Slot)> {
        let mut concerned = BTreeSet::new();
        for key in std::mem::take(&mut self.fresh) {
            let (id, node) = key;
            let Some(status) = self.heard.get(&key) else { continue };
            let task = pass.tables().tasks.get(id).filter(|task| task.node == Some(node));
            let next = task.and_then(|task| merged(task, status, pass.now).map(|next| (task.clone(), next)));
            let Some((task, next)) = next else {
                self.heard.remove(&key);
                continue;
            };
            if next.state.is_final() || is_followed(task.service) {
                concerned.insert((task.service, task.slot));
            }
            pass.draft.edit_task(id, |task| task.status = next);
        }
        concerned
    }
}

/// What a task's status becomes by a report; none when it says nothing new, or would take the task back.
fn merged(task: &Task, reported: &TaskStatus, now: Timestamp) -> Option<TaskStatus> {
    let before = &task.status;
    // Until it is assigned a task is nobody's to report of.
    if task.node.is_none() || before.state < common::object::TaskState::Assigned {
        return None;
    }
    let state = before.state.advance(reported.state).ok()?;
    // Delays count from when the task came to stand as it stands: also from when it became ready.
    let moved = state != before.state || (reported.ready && !before.ready);
    let applied_at = if moved { now } else { before.applied_at };
    let next = TaskStatus { applied_at, ..reported.clone() };
    (next != *before).then_some(next)
}

/// A worker's text is not the cluster's to carry at any length.
fn bounded(mut status: TaskStatus) -> TaskStatus {
    for text in [&mut status.message, &mut status.error] {
        if text.len() > TASK_TEXT_BYTES_MAX {
            *text = cut(text).into();
        }
    }
    if let Some(container) = &mut status.container
        && container.id.len() > TASK_TEXT_BYTES_MAX
    {
        container.id = cut(&container.id).into();
    }
    if let Some(ports) = &mut status.ports
        && (ports.len() > TASK_PORTS_MAX || ports.iter().any(|port| port.name.len() > TASK_TEXT_BYTES_MAX))
    {
        let mut kept: Vec<_> = ports.iter().take(TASK_PORTS_MAX).cloned().collect();
        kept.iter_mut().for_each(|port| port.name = cut(&port.name).into());
        *ports = kept.into();
    }
    status
}

fn cut(text: &str) -> &str {
    let end = (0..=TASK_TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::TaskState;

    fn task(state: TaskState) -> Task {
        let mut task = Task::new(TaskId(1), ServiceId(1), Slot::Number(1), 1, TaskState::Running);
        task.node = Some(NodeId(1));
        task.status.state = state;
        task.status.applied_at = Timestamp(5);
        task
    }

    fn status(state: TaskState, ready: bool) -> TaskStatus {
        TaskStatus { state, ready, applied_at: Timestamp(77), ..TaskStatus::default() }
    }

    #[test]
    fn a_report_moves_a_task_forward_or_says_nothing() {
        use TaskState::*;
        #[rustfmt::skip]
        let cases = [ // stored state, ready; reported state, ready; written with applied at
            (Assigned, false, Running,  true,  Some(9)),
            (Running,  true,  Running,  true,  None),    // the same again
            (Running,  false, Running,  true,  Some(9)), // ready now: counts from here
            (Running,  true,  Running,  false, Some(5)), // not ready any more: it still runs since then
            (Running,  true,  Starting, false, None),    // backwards
            (Failed,   false, Running,  true,  None),
            (Running,  true,  Failed,   false, Some(9)),
            (Pending,  false, Running,  true,  None),    // not assigned, so not its worker's
            (Running,  true,  Remove,   false, None),
        ];
        for (from, was_ready, to, ready, expected) in cases {
            let mut task = task(from);
            task.status.ready = was_ready;
            let next = merged(&task, &status(to, ready), Timestamp(9));
            assert_eq!(next.map(|next| next.applied_at.0), expected, "{from} {was_ready} to {to} {ready}");
        }
    }

    #[test]
    fn the_newest_report_of_a_task_wins_and_no_node_speaks_for_another() {
        let mut reports = Reports::default();
        let mut receive = |node: u128, state| {
            reports.receive(NodeId(node), TaskReport { task: TaskId(1), status: status(state, false) });
        };
        receive(1, TaskState::Running);
        receive(1, TaskState::Starting);
        receive(2, TaskState::Failed);
        assert_eq!(reports.heard[&(TaskId(1), NodeId(1))].state, TaskState::Running);
        let mut stored = task(TaskState::Running);
        stored.status = status(TaskState::Running, false);
        reports.written(&stored);
        assert!(!reports.heard.contains_key(&(TaskId(1), NodeId(1))));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "ä".repeat(TASK_TEXT_BYTES_MAX);
        let status = TaskStatus { error: text.into(), ..TaskStatus::default() };
        assert_eq!(bounded(status).error.len(), TASK_TEXT_BYTES_MAX);
    }
}
