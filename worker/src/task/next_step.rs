//! What to do next for one task: what is wanted, what was said of it and what is there, in; one step, out.
//!
//! Pure. `runner` carries out the step and asks again. Every step may be taken again after a restart, so what is
//! there counts for more than what was done; only a task that was started once is never started again.
//!
//! Not here: how long a step may take and how many run at a time (`runner`), how tasks are checked (`ready`).

use std::time::Duration;

use common::limits::{STEP_RETRY_MAX, STEP_RETRY_MIN};
use common::object::task::ContainerStatus;
use common::object::{TaskState, TaskStatus};
use serde::{Deserialize, Serialize};

use crate::runtime::{Exit, Health, RunError, Seen};

/// All that the next step hangs on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the managers want.
    pub desired: TaskState,
    /// The managers have taken it off this node: end it, remove it, forget it.
    pub leaving: bool,
    /// What was said of it so far.
    pub status: &'a TaskStatus,
    /// None: not looked yet, or something was done since.
    pub seen: Option<&'a Seen>,
    /// Set once its end was begun from here.
    pub stopping: Option<&'a Stopping>,
    /// Connections it may have through the mesh are still to be waited for before it is stopped.
    pub drain: bool,
    /// A command is still to be run before it is stopped.
    pub pre_stop: bool,
    /// Why it cannot be run here at all.
    pub refusal: Option<&'a str>,
    /// Nobody on this node runs tasks of its kind.
    pub no_runtime: bool,
    /// Its spec is here without the credentials that were withheld from the disk.
    pub incomplete: bool,
    /// Which of its secrets and configs is not here, as people are told.
    pub missing: Option<&'a str>,
    /// Its files may be older than they should be.
    pub refresh_due: bool,
    /// Readiness is checked; otherwise it is ready as soon as it runs.
    pub has_ready_check: bool,
}

/// Why this node ended a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stopping {
    /// The managers want it.
    Wanted,
    Unhealthy {
        reason: String,
    },
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find out what is there.
    Look,
    /// Say what has become of it.
    Report(Box<News>),
    Prepare,
    Start,
    /// Bring its files up to date.
    Refresh,
    /// It runs, or is about to be well: wait for a change, and check meanwhile whether it is ready.
    Watch,
    /// From here on its end is this node's doing; it gets no more connections.
    BeginStop(Stopping),
    /// Lets the connections it has come to their end.
    Drain,
    PreStop,
    Stop,
    Remove,
    /// Nothing of it is left.
    Forget,
    /// Until something else is wanted.
    Wait,
}

/// What a report changes in a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub state: TaskState,
    /// Empty: what the state itself says.
    pub message: String,
    pub error: String,
    pub ready: bool,
    /// None keeps what was known.
    pub container: Option<ContainerStatus>,
    pub ports: Option<Vec<common::object::ports::Port>>,
}

/// What a step that failed leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The state stays; the text is shown until a later try succeeds.
    Retry {
        error: String,
    },
    Report(Box<News>),
}

pub fn next_step(facts: &Facts<'_>) -> Step {
    if facts.leaving {
        return leave(facts);
    }
    let state = facts.status.state;
    if state.is_final() {
        return Step::Wait;
    }
    if facts.desired >= TaskState::Shutdown {
        return shut_down(facts);
    }
    if state < TaskState::Accepted {
        return match facts.refusal {
            Some(reason) => Step::report(News::failed(TaskState::Rejected, reason.into())),
            None => Step::report(News::plain(TaskState::Accepted)),
        };
    }
    if facts.refusal.is_some() {
        // It was taken before, with everything there that is missing now: that may come back.
        return Step::Wait;
    }
    match facts.seen {
        None => Step::Look,
        Some(Seen::Absent) => absent(facts),
        Some(Seen::Prepared) => prepared(facts),
        Some(Seen::Running { container, ports, health }) => running(facts, container, ports, health),
        Some(Seen::Ended(exit)) => ended(facts, exit),
    }
}

/// It is not this node's any more. Nobody hears of it again, and nothing may stay.
fn leave(facts: &Facts<'_>) -> Step {
    match facts.seen {
        None if facts.no_runtime => Step::Forget,
        None => Step::Look,
        Some(Seen::Absent) => Step::Forget,
        Some(Seen::Prepared | Seen::Ended(_)) => Step::Remove,
        Some(Seen::Running { .. }) => stop(facts, Stopping::Wanted),
    }
}

fn shut_down(facts: &Facts<'_>) -> Step {
    match facts.seen {
        // Refused before it was taken: nothing can be there.
        None if facts.refusal.is_some() && facts.status.state < TaskState::Accepted => {
            Step::report(News::plain(TaskState::Shutdown))
        }
        None => Step::Look,
        Some(Seen::Absent | Seen::Prepared) => Step::report(News::plain(TaskState::Shutdown)),
        Some(Seen::Running { .. }) => stop(facts, Stopping::Wanted),
        Some(Seen::Ended(exit)) => ended(facts, exit),
    }
}

fn absent(facts: &Facts<'_>) -> Step {
    match facts.status.state {
        TaskState::Accepted => accepted(facts),
        TaskState::Preparing => prepare(facts),
        // Somebody removed it before its start.
        TaskState::Ready if facts.desired > TaskState::Ready => prepare(facts),
        TaskState::Ready => Step::Wait,
        TaskState::Starting => Step::report(News::failed(
            TaskState::Failed,
            "starting container failed: nothing is left of it on this node".into(),
        )),
        _ => Step::report(News::failed(
            TaskState::Failed,
            "task: nothing is left of it on this node: somebody removed it".into(),
        )),
    }
}

fn prepared(facts: &Facts<'_>) -> Step {
    match facts.status.state {
        TaskState::Accepted => accepted(facts),
        // It may be half of it: preparing goes on where it was left, and says when all is there.
        TaskState::Preparing => prepare(facts),
        TaskState::Ready if facts.desired <= TaskState::Ready => Step::Wait,
        TaskState::Ready => Step::report(News::plain(TaskState::Starting)),
        TaskState::Starting => complete(facts).unwrap_or(Step::Start),
        _ => Step::report(News::failed(
            TaskState::Failed,
            "task: it ended, and somebody made it anew on this node".into(),
        )),
    }
}

/// Taken on, and nothing done yet.
fn accepted(facts: &Facts<'_>) -> Step {
    if facts.desired <= TaskState::Accepted {
        Step::Wait
    } else {
        Step::report(News::plain(TaskState::Preparing))
    }
}

fn prepare(facts: &Facts<'_>) -> Step {
    // Without credentials a pull would fail for good; with the next session they come.
    if facts.incomplete { Step::Wait } else { complete(facts).unwrap_or(Step::Prepare) }
}

/// What to do first where a secret or config is missing: say so, and wait for the session that brings it.
fn complete(facts: &Facts<'_>) -> Option<Step> {
    let missing = facts.missing?;
    let said = News { error: missing.into(), ..News::plain(facts.status.state) };
    Some(if *facts.status.error == *missing { Step::Wait } else { Step::report(said) })
}

fn running(
    facts: &Facts<'_>,
    container: &ContainerStatus,
    ports: &[common::object::ports::Port],
    health: &Health,
) -> Step {
    if let Some(stopping) = facts.stopping {
        return stop(facts, stopping.clone());
    }
    let known = |state| {
        facts.status.state >= state
            && facts.status.container.as_deref() == Some(container)
            && facts.status.ports.as_deref().unwrap_or_default() == ports
    };
    let say = |state| {
        let already = facts.status.state == TaskState::Running;
        Step::report(News {
            ready: if facts.has_ready_check { already && facts.status.ready } else { true },
            container: Some(container.clone()),
            ports: Some(ports.to_vec()),
            ..News::plain(state)
        })
    };
    match health {
        Health::Unhealthy { reason } => stop(facts, Stopping::Unhealthy { reason: reason.clone() }),
        Health::Starting if known(TaskState::Starting) && facts.refresh_due => Step::Refresh,
        Health::Unchecked | Health::Healthy if known(TaskState::Running) && facts.refresh_due => {
            Step::Refresh
        }
        Health::Starting if known(TaskState::Starting) => Step::Watch,
        // Its check began anew while it ran: that takes nothing back.
        Health::Starting if facts.status.state == TaskState::Running => say(TaskState::Running),
        Health::Starting => match say(TaskState::Starting) {
            Step::Report(mut news) => {
                news.ready = false;
                Step::Report(news)
            }
            other => other,
        },
        Health::Unchecked | Health::Healthy if known(TaskState::Running) => Step::Watch,
        Health::Unchecked | Health::Healthy => say(TaskState::Running),
    }
}

/// Ends what runs, in order: no more connections, the end of those it has, the command that goes before, the signal.
fn stop(facts: &Facts<'_>, why: Stopping) -> Step {
    match facts.stopping {
        None => Step::BeginStop(why),
        // Of one that is not well, connections have nothing to wait for.
        Some(Stopping::Wanted) if facts.drain => Step::Drain,
        Some(_) if facts.pre_stop => Step::PreStop,
        Some(_) => Step::Stop,
    }
}

fn ended(facts: &Facts<'_>, exit: &Exit) -> Step {
    let code = exit.code;
    let container = ContainerStatus { exit_code: Some(code), ..exit.container.clone() };
    let news = match facts.stopping {
        Some(Stopping::Wanted) if facts.desired >= TaskState::Shutdown => News::plain(TaskState::Shutdown),
        Some(Stopping::Unhealthy { reason }) => News {
            message: if reason.is_empty() { String::new() } else { format!("unhealthy: {reason}") },
            ..News::failed(
                TaskState::Failed,
                format!("task: non-zero exit ({code}): dockerexec: unhealthy container"),
            )
        },
        _ if code == 0 => News::plain(TaskState::Complete),
        _ if exit.reason.is_empty() => {
            News::failed(TaskState::Failed, format!("task: non-zero exit ({code})"))
        }
        _ => News::failed(TaskState::Failed, format!("task: non-zero exit ({code}): {}", exit.reason)),
    };
    Step::report(News { container: Some(container), ..news })
}

/// What follows a step that was carried out, where that is not for `next_step` to see.
pub fn after_success(step: &Step, state: TaskState) -> Option<News> {
    let prepared = *step == Step::Prepare && state == TaskState::Preparing;
    prepared.then(|| News::plain(TaskState::Ready))
}

/// What follows a step that failed.
pub fn after_failure(step: &Step, error: RunError, facts: &Facts<'_>) -> Failure {
    let state = facts.status.state;
    let text = match error {
        RunError::Temporary(error) => return Failure::Retry { error },
        RunError::Fatal(text) => text,
    };
    let given_up = || {
        if state < TaskState::Starting {
            Failure::Report(Box::new(News::failed(TaskState::Rejected, text.clone())))
        } else {
            let error = format!("starting container failed: {text}");
            Failure::Report(Box::new(News::failed(TaskState::Failed, error)))
        }
    };
    match step {
        Step::Prepare | Step::Start if !facts.leaving => given_up(),
        // To say that it has ended would give away what it may still hold.
        _ => Failure::Retry { error: text },
    }
}

/// The pause before the next try, after so many failures in a row.
pub fn retry_pause(failures: u32) -> Duration {
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(16));
    STEP_RETRY_MIN.saturating_mul(doubled).min(STEP_RETRY_MAX)
}

impl Step {
    fn report(news: News) -> Self {
        Step::Report(Box::new(news))
    }
}

impl News {
    fn plain(state: TaskState) -> Self {
        Self {
            state,
            message: String::new(),
            error: String::new(),
            ready: false,
            container: None,
            ports: None,
        }
    }

    fn failed(state: TaskState, error: String) -> Self {
        Self { error, ..Self::plain(state) }
    }
}

#[cfg(test)]
#[path = "next_step_test.rs"]
mod tests;
