//! A node's side of its tasks: moves each through its states, as fast and as well as its image says.

use std::collections::BTreeMap;
use std::time::Duration;

use common::object::{Task, TaskId, TaskState, TaskStatus};
use common::time::Timestamp;

/// How tasks of one image behave.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// From ready to running.
    pub start: Duration,
    /// From being told to stop to having stopped.
    pub stop: Duration,
    /// From running to ready for connections; none: never.
    pub ready: Option<Duration>,
    /// From running to the end, and the exit code of that.
    pub end: Option<(Duration, i64)>,
    /// Refused before it starts.
    pub rejected: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        let short = Duration::from_millis(100);
        Self { start: short, stop: short, ready: Some(Duration::ZERO), end: None, rejected: false }
    }
}

#[derive(Clone, Debug)]
struct Run {
    status: TaskStatus,
    since: Timestamp,
    stopping: Option<Timestamp>,
}

/// What runs on one node.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    runs: BTreeMap<TaskId, Run>,
}

impl Worker {
    /// Looks at one assigned task; answers what is new of it, and when to look again.
    pub fn step(
        &mut self,
        task: &Task,
        behaviour: &Behaviour,
        now: Timestamp,
    ) -> (Option<TaskStatus>, Option<Timestamp>) {
        let run = self.runs.entry(task.id).or_insert_with(|| Run {
            status: TaskStatus { state: TaskState::Accepted, at: now, ..TaskStatus::default() },
            since: now,
            stopping: None,
        });
        let mut next_at = None;
        while let Some((at, status)) = run.next(task.desired, behaviour, now) {
            if at > now {
                next_at = Some(at);
                break;
            }
            run.since = at;
            run.status = TaskStatus { at, ..status };
        }
        let news = run.status.state != task.status.state || run.status.ready != task.status.ready;
        (news.then(|| run.status.clone()), next_at)
    }

    /// Ends a task as if somebody had killed it.
    pub fn kill(&mut self, task: TaskId, now: Timestamp) {
        if let Some(run) = self.runs.get_mut(&task) {
            run.status = exited(137, now);
        }
    }

    /// What the managers know no more is stopped and forgotten.
    pub fn keep(&mut self, known: impl Fn(TaskId) -> bool) {
        self.runs.retain(|task, _| known(*task));
    }

    /// The node has lost everything that ran.
    pub fn crash(&mut self) {
        self.runs.values_mut().filter(|run| !run.status.state.is_final()).for_each(|run| {
            run.status.state = TaskState::Failed;
            run.status.ready = false;
        });
    }
}

impl Run {
    /// The next step and its time; none while there is nothing to do.
    fn next(
        &mut self,
        desired: TaskState,
        behaviour: &Behaviour,
        now: Timestamp,
    ) -> Option<(Timestamp, TaskStatus)> {
        let to = |state| TaskStatus { state, ..TaskStatus::default() };
        let state = self.status.state;
        if state.is_final() {
            return None;
        }
        if desired >= TaskState::Shutdown {
            let pause = if state < TaskState::Starting { Duration::ZERO } else { behaviour.stop };
            let began = *self.stopping.get_or_insert(now);
            return Some((began.plus(pause), to(TaskState::Shutdown)));
        }
        match state {
            TaskState::Accepted if behaviour.rejected => {
                let error = "No such image".into();
                Some((self.since, TaskStatus { error, ..to(TaskState::Rejected) }))
            }
            TaskState::Accepted => Some((self.since, to(TaskState::Ready))),
            TaskState::Ready if desired > TaskState::Ready => Some((now, to(TaskState::Starting))),
            TaskState::Ready => None,
            TaskState::Starting => {
                let ready = behaviour.ready == Some(Duration::ZERO);
                let status = TaskStatus { ready, ..to(TaskState::Running) };
                Some((self.since.plus(behaviour.start), status))
            }
            TaskState::Running => {
                let ready = behaviour.ready.filter(|_| !self.status.ready);
                let ready = ready.map(|pause| {
                    (self.since.plus(pause), TaskStatus { ready: true, ..to(TaskState::Running) })
                });
                let end = behaviour.end.map(|(life, code)| {
                    let at = self.since.plus(life);
                    (at, exited(code, at))
                });
                ready.into_iter().chain(end).min_by_key(|(at, _)| *at)
            }
            other => unreachable!("this worker has no state {other}"),
        }
    }
}

fn exited(code: i64, at: Timestamp) -> TaskStatus {
    let state = if code == 0 { TaskState::Complete } else { TaskState::Failed };
    let error = if code == 0 { String::new() } else { format!("task: non-zero exit ({code})") };
    TaskStatus { state, at, error: error.into(), ..TaskStatus::default() }
}
