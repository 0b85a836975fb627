//! What the managers are still to hear of this node's tasks: the newest of each, until they say that they have it.
//!
//! Pure. Bounded by the number of tasks; what changes while a report is on its way goes with the next.

use std::collections::BTreeMap;

use common::limits::{REPORTS_ANSWER_WAIT, REPORTS_OUTSTANDING_MAX, REPORTS_PER_MESSAGE_MAX};
use common::object::{TaskId, TaskStatus};
use common::time::Monotonic;
use common::wire::assignment::TaskReport;

#[derive(Debug, Default)]
pub struct Outbox {
    waiting: BTreeMap<TaskId, TaskStatus>,
    /// Sent and not acknowledged, by number.
    sent: BTreeMap<u64, Sent>,
    number: u64,
}

#[derive(Debug)]
struct Sent {
    at: Monotonic,
    reports: Vec<TaskReport>,
}

impl Outbox {
    pub fn put(&mut self, task: TaskId, status: TaskStatus) {
        self.waiting.insert(task, status);
    }

    /// Nobody wants to hear of it any more.
    pub fn forget(&mut self, task: TaskId) {
        self.waiting.remove(&task);
        for sent in self.sent.values_mut() {
            sent.reports.retain(|report| report.task != task);
        }
    }

    /// Whoever listens now has heard nothing yet.
    pub fn start_over(&mut self, all: impl Iterator<Item = (TaskId, TaskStatus)>) {
        self.sent.clear();
        self.waiting = all.collect();
    }

    pub fn acknowledge(&mut self, number: u64) {
        self.sent = self.sent.split_off(&number.saturating_add(1));
    }

    /// The next message, if one may go now.
    pub fn take(&mut self, now: Monotonic) -> Option<(u64, Vec<TaskReport>)> {
        if self.due().is_some_and(|due| due <= now) {
            self.take_back();
        }
        if self.waiting.is_empty() || self.sent.len() >= REPORTS_OUTSTANDING_MAX {
            return None;
        }
        let mut reports = Vec::new();
        while reports.len() < REPORTS_PER_MESSAGE_MAX
            && let Some((task, status)) = self.waiting.pop_first()
        {
            reports.push(TaskReport { task, status });
        }
        self.number += 1;
        self.sent.insert(self.number, Sent { at: now, reports: reports.clone() });
        Some((self.number, reports))
    }

    /// When something is to be sent: now, at the end of a wait for an answer, or not before something happens.
    pub fn next_at(&self, now: Monotonic) -> Option<Monotonic> {
        if !self.waiting.is_empty() && self.sent.len() < REPORTS_OUTSTANDING_MAX {
            return Some(now);
        }
        self.due()
    }

    /// When the oldest message has waited long enough for its answer.
    fn due(&self) -> Option<Monotonic> {
        self.sent.values().next().map(|sent| sent.at.plus(REPORTS_ANSWER_WAIT))
    }

    /// Everything unanswered waits again: an older one sent alone might undo a newer one.
    fn take_back(&mut self) {
        for (_, sent) in std::mem::take(&mut self.sent).into_iter().rev() {
            for report in sent.reports {
                self.waiting.entry(report.task).or_insert(report.status);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::TaskState::{self, *};

    fn status(state: TaskState) -> TaskStatus {
        TaskStatus { state, ..TaskStatus::default() }
    }

    fn said(message: Option<(u64, Vec<TaskReport>)>) -> Option<(u64, Vec<(u128, TaskState)>)> {
        message.map(|(number, reports)| {
            (number, reports.into_iter().map(|report| (report.task.0, report.status.state)).collect())
        })
    }

    #[test]
    fn the_newest_of_each_is_said_until_it_is_heard() {
        let mut outbox = Outbox::default();
        let start = Monotonic::default();
        assert_eq!(said(outbox.take(start)), None);
        outbox.put(TaskId(1), status(Preparing));
        outbox.put(TaskId(1), status(Ready));
        outbox.put(TaskId(2), status(Accepted));
        assert_eq!(said(outbox.take(start)), Some((1, vec![(1, Ready), (2, Accepted)])));
        assert_eq!(said(outbox.take(start)), None);
        outbox.put(TaskId(1), status(Running));
        assert_eq!(said(outbox.take(start)), Some((2, vec![(1, Running)])));
        // No answer in time: again, and the newest.
        let later = start.plus(REPORTS_ANSWER_WAIT);
        assert_eq!(outbox.next_at(start), Some(later));
        assert_eq!(said(outbox.take(later)), Some((3, vec![(1, Running), (2, Accepted)])));
        outbox.acknowledge(3);
        assert_eq!((outbox.next_at(later), said(outbox.take(later.plus(REPORTS_ANSWER_WAIT)))), (None, None));
    }

    #[test]
    fn a_new_session_hears_everything_and_a_slow_one_holds_up_little() {
        let mut outbox = Outbox::default();
        let now = Monotonic::default();
        for task in 0..REPORTS_OUTSTANDING_MAX as u128 {
            outbox.put(TaskId(task), status(Running));
            assert!(outbox.take(now).is_some());
        }
        outbox.put(TaskId(1), status(Failed));
        assert_eq!(said(outbox.take(now)), None, "until something is answered");
        outbox.acknowledge(1);
        assert!(outbox.take(now).is_some());
        outbox.start_over([(TaskId(7), status(Running))].into_iter());
        assert_eq!(said(outbox.take(now)).unwrap().1, [(7, Running)]);
        outbox.forget(TaskId(7));
        assert_eq!(said(outbox.take(now.plus(REPORTS_ANSWER_WAIT))), None);
    }
}
