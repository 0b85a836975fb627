//! The states of a task, and their moves.

use serde::{Deserialize, Serialize};

use super::words::words;

/// What has been seen of a task, or what is wanted of it. Both only grow.
///
/// ```text
/// New ─▶ Pending ─▶ Assigned ─▶ Accepted ─▶ Preparing ─▶ Ready ─▶ Starting ─▶ Running ─┬▶ Complete
///  managers: what, where       the worker from here on   ▲                             ├▶ Shutdown
///                                                        │ waits here while the        ├▶ Failed
///                                                        │ wanted state is Ready       ├▶ Rejected (before Starting)
///                                                                                      └▶ Orphaned (node given up)
/// ```
///
/// Wanted states in use: Ready (hold before the start), Running, Complete (jobs), Shutdown, Remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskState {
    #[default]
    New,
    Pending,
    Assigned,
    Accepted,
    Preparing,
    Ready,
    Starting,
    Running,
    Complete,
    Shutdown,
    Failed,
    Rejected,
    /// Wanted only: forget the task once it has stopped.
    Remove,
    Orphaned,
}

/// A report that would take a task back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task does not go from {from} to {to}")]
pub struct InvalidMove {
    pub from: TaskState,
    pub to: TaskState,
}

impl TaskState {
    /// Nothing follows: the task has ended and its resources are free.
    pub fn is_final(self) -> bool {
        self > TaskState::Running
    }

    /// What an observed state becomes by a report. The same report may arrive twice.
    pub fn advance(self, next: Self) -> Result<Self, InvalidMove> {
        let repeated = self == next;
        let forward = !self.is_final() && self < next && next != TaskState::Remove;
        // A node that was given up may come back with the truth about a task.
        if repeated || forward { Ok(next) } else { Err(InvalidMove { from: self, to: next }) }
    }

    /// What a status says when nothing better is known. Stored as no text at all.
    pub fn default_message(self) -> &'static str {
        match self {
            TaskState::New => "created",
            TaskState::Pending => "pending task scheduling",
            TaskState::Assigned => "scheduler assigned task to node",
            TaskState::Accepted => "accepted",
            TaskState::Preparing => "preparing",
            TaskState::Ready => "prepared",
            TaskState::Starting => "starting",
            TaskState::Running => "started",
            TaskState::Complete => "finished",
            TaskState::Shutdown => "shutdown",
            TaskState::Failed => "failed",
            TaskState::Rejected => "rejected",
            TaskState::Remove => "removed",
            TaskState::Orphaned => "orphaned",
        }
    }
}

words!(
    TaskState,
    "task state",
    "new, pending, assigned, accepted, preparing, ready, starting, running, complete, shutdown, failed, rejected, remove or orphaned",
    New = "new",
    Pending = "pending",
    Assigned = "assigned",
    Accepted = "accepted",
    Preparing = "preparing",
    Ready = "ready",
    Starting = "starting",
    Running = "running",
    Complete = "complete",
    Shutdown = "shutdown",
    Failed = "failed",
    Rejected = "rejected",
    Remove = "remove",
    Orphaned = "orphaned",
);

#[cfg(test)]
mod tests {
    use super::TaskState::*;

    #[test]
    fn a_task_moves_forward_only_and_stays_where_it_ends() {
        #[rustfmt::skip]
        let cases = [ // seen so far, reported, accepted
            (Assigned,  Accepted,  true),
            (Assigned,  Running,   true),
            (Running,   Running,   true),
            (Running,   Starting,  false),
            (Running,   Failed,    true),
            (Preparing, Rejected,  true),
            (Failed,    Complete,  false),
            (Failed,    Failed,    true),
            (Shutdown,  Failed,    false),
            (Running,   Remove,    false),
            (Running,   Orphaned,  true),
            (Orphaned,  Running,   false),
        ];
        for (from, to, accepted) in cases {
            assert_eq!(from.advance(to).is_ok(), accepted, "{from} to {to}");
        }
    }
}
