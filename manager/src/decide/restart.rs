//! A task that has ended or is lost: replace it now, later, or not.
//!
//! Pure. All bookkeeping is in `Task::restarts` and `Task::start_at` of the successor, so that a new leader counts on.
//!
//! Failures in a row, each soon after its start, make the pause grow from the policy's delay to its bound: a task that
//! cannot run must not keep its node and its image's registry busy for ever. A success, a life of some length, and a
//! new spec begin anew. A lost node is no failure of the task: its successor starts at once, and nothing is counted.

use std::time::Duration;

use common::limits::{RESTART_PAUSE_MIN, RESTART_SETTLED, RESTART_TIMES_MAX};
use common::object::policy::{RestartCondition, RestartPolicy};
use common::object::task::Restarts;
use common::object::{Task, TaskState};
use common::time::Timestamp;

use super::pass::{Beginning, Hold, Pass};
use super::up_to_date::Site;
use super::update;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// By itself, or it was refused.
    Ended,
    /// Its node is gone or has to be left at once.
    Lost,
}

/// What a successor of the same spec begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Successor {
    pub start_at: Timestamp,
    pub restarts: Option<Box<Restarts>>,
}

/// Lets go of a wanted task that has ended or is lost, and puts a successor in its slot where there is to be one.
pub(super) fn restart(pass: &mut Pass, site: &mut Site, task: &Task, cause: Cause) {
    // An end not seen before may be the failure that stops the update or turns it back.
    if cause == Cause::Ended {
        update::note_failure(pass, site, task);
    }
    pass.stop(task.id);
    let node = task.node.and_then(|node| pass.tables().nodes.get(node)).cloned();
    let up_to_date = site.is_up_to_date(task, node.as_deref());
    let replaced = pass.slot(task.service, task.slot).into_iter().any(|other| {
        let stands = other.id != task.id && other.is_wanted() && !other.status.state.is_final();
        let newer = other.meta.created_at >= task.meta.created_at;
        stands && (newer || !up_to_date) && !pass.seat(&other).is_lost()
    });
    if replaced {
        return;
    }
    let policy = site.service.spec().task.restart.clone().unwrap_or_default();
    let beginning = if !up_to_date && !site.is_paused() {
        // Its time had come anyway, and the new spec begins with a clean record.
        if cause == Cause::Lost && policy.condition() == RestartCondition::None {
            return;
        }
        Beginning { spec: site.service.current.number, hold: Hold::Predecessor, restarts: None }
    } else {
        let life = pass.life(task);
        let Some(next) = successor(&policy, site.mode().is_job(), task, cause, life, pass.now) else {
            pass.because(task.service, Some(task.id), "ended, and is not started again");
            return;
        };
        let number = if up_to_date { site.service.current.number } else { task.spec };
        let same = number == task.spec;
        Beginning { spec: number, hold: Hold::Until(next.start_at), restarts: next.restarts.filter(|_| same) }
    };
    pass.create(site, task.slot, beginning);
}

/// Whether a task that is not wanted any more, the newest of its slot, was the last one there for good.
pub(super) fn is_over(site: &Site, task: &Task, now: Timestamp) -> bool {
    let policy = site.service.spec().task.restart.clone().unwrap_or_default();
    successor(&policy, site.mode().is_job(), task, Cause::Ended, Duration::ZERO, now).is_none()
}

/// The rule itself. `life` is how long the task ran.
pub(super) fn successor(
    policy: &RestartPolicy,
    is_job: bool,
    task: &Task,
    cause: Cause,
    life: Duration,
    now: Timestamp,
) -> Option<Successor> {
    let succeeded = task.status.state == TaskState::Complete;
    match policy.condition() {
        RestartCondition::None => return None,
        RestartCondition::OnFailure if succeeded && cause == Cause::Ended => return None,
        RestartCondition::Any if is_job && succeeded && cause == Cause::Ended => return None,
        RestartCondition::OnFailure | RestartCondition::Any => {}
    }
    let mut restarts = task.restarts.as_deref().cloned().unwrap_or_default();
    if cause == Cause::Lost {
        // A pause that was under way goes on elsewhere.
        let start_at = task.start_at.unwrap_or_default().max(now);
        return Some(Successor { start_at, restarts: task.restarts.clone() });
    }
    let end = task.status.applied_at;
    if policy.attempts_max() > 0 && attempts(policy, &restarts, end) >= policy.attempts_max() {
        return None;
    }
    let quick = life < RESTART_SETTLED;
    restarts.in_a_row = if quick && !succeeded { restarts.in_a_row.saturating_add(1) } else { 0 };
    restarts.count += 1;
    if policy.window() > Duration::ZERO {
        restarts.times.retain(|at| within(*at, policy.window(), end));
        restarts.times.push(end);
        let excess = restarts.times.len().saturating_sub(RESTART_TIMES_MAX);
        restarts.times.drain(..excess);
    }
    let pause = pause(policy, restarts.in_a_row, quick && succeeded);
    // One that was refused while it was still held had its pause all the same.
    let from = end.max(task.start_at.unwrap_or_default());
    Some(Successor { start_at: from.plus(pause), restarts: Some(Box::new(restarts)) })
}

/// Restarts so far that count against the policy's attempts.
fn attempts(policy: &RestartPolicy, restarts: &Restarts, end: Timestamp) -> u64 {
    match policy.window() {
        Duration::ZERO => restarts.count,
        window => restarts.times.iter().filter(|at| within(**at, window, end)).count() as u64,
    }
}

fn within(at: Timestamp, window: Duration, end: Timestamp) -> bool {
    end.since(at) < window
}

/// The first failure waits for the policy's delay, each further one twice as long as the one before.
fn pause(policy: &RestartPolicy, in_a_row: u32, ends_at_once: bool) -> Duration {
    if in_a_row <= 1 {
        // Even one that always succeeds must not run in a tight circle.
        return if ends_at_once { policy.delay().max(RESTART_PAUSE_MIN) } else { policy.delay() };
    }
    let doublings = (in_a_row - 1).min(30);
    policy.delay().max(RESTART_PAUSE_MIN).saturating_mul(1 << doublings).min(policy.delay_max())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::{ServiceId, Slot, TaskId};
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default().plus(SECOND * seconds as u32)
    }

    fn ended(state: TaskState, restarts: Restarts, end: Timestamp) -> Task {
        let mut task = Task::new(TaskId(1), ServiceId(1), Slot::Number(1), 1, TaskState::Running);
        task.status.state = state;
        task.status.applied_at = end;
        task.restarts = Some(Box::new(restarts));
        task
    }

    fn policy(condition: RestartCondition, attempts_max: u64, window: u64) -> RestartPolicy {
        RestartPolicy {
            condition: Some(condition),
            attempts_max: Some(attempts_max),
            window: Some(SECOND * window as u32),
            ..RestartPolicy::default()
        }
    }

    #[test]
    fn who_gets_a_successor() {
        use Cause::*;
        use RestartCondition::{Any, None, OnFailure};
        use TaskState::{Complete, Failed, Rejected, Running, Shutdown};
        #[rustfmt::skip]
        let cases = [ // condition, attempts max, restarts so far, job, cause, state, successor
            (Any,       0, 0, false, Ended, Failed,   true),
            (Any,       0, 9, false, Ended, Complete, true),
            (Any,       3, 2, false, Ended, Failed,   true),
            (Any,       3, 3, false, Ended, Failed,   false),
            (Any,       3, 3, false, Lost,  Running,  true),  // a lost node is no attempt of the task
            (OnFailure, 0, 0, false, Ended, Complete, false),
            (OnFailure, 0, 0, false, Ended, Failed,   true),
            (OnFailure, 0, 0, false, Ended, Rejected, true),
            (OnFailure, 0, 0, false, Ended, Shutdown, true),
            (OnFailure, 0, 0, false, Lost,  Running,  true),
            (None,      0, 0, false, Ended, Failed,   false),
            (None,      0, 0, false, Lost,  Running,  false),
            (Any,       0, 0, true,  Ended, Complete, false), // a job's task that has succeeded is done
            (Any,       0, 0, true,  Ended, Failed,   true),
            (None,      0, 0, true,  Ended, Failed,   false),
        ];
        for (condition, attempts_max, count, is_job, cause, state, expected) in cases {
            let task = ended(state, Restarts { count, ..Restarts::default() }, at(100));
            let next =
                successor(&policy(condition, attempts_max, 0), is_job, &task, cause, SECOND * 60, at(100));
            assert_eq!(
                next.is_some(),
                expected,
                "{condition} {attempts_max} {count} {is_job} {cause:?} {state}"
            );
        }
    }

    #[test]
    fn attempts_count_within_their_window() {
        #[rustfmt::skip]
        let cases = [ // ends of earlier ones, end now, allowed at 2 attempts in 30 s
            (vec![],           100, true),
            (vec![90],         100, true),
            (vec![80, 90],     100, false),
            (vec![60, 90],     100, true),
            (vec![70, 90],     100, true), // exactly 30 s ago is outside
        ];
        for (times, end, expected) in cases {
            let restarts =
                Restarts { count: 50, in_a_row: 0, times: times.iter().copied().map(at).collect() };
            let task = ended(TaskState::Failed, restarts, at(end));
            let policy = policy(RestartCondition::Any, 2, 30);
            let next = successor(&policy, false, &task, Cause::Ended, SECOND, at(end));
            assert_eq!(next.is_some(), expected, "{times:?}");
            if let Some(next) = next {
                let kept = next.restarts.unwrap().times;
                assert!(kept.iter().all(|time| at(end).since(*time) < SECOND * 30), "{kept:?}");
            }
        }
    }

    #[test]
    fn the_pause_grows_with_quick_failures_and_begins_anew_after_a_long_life() {
        use TaskState::{Complete, Failed};
        #[rustfmt::skip]
        let cases = [ // delay ms, failures before, state, life s, pause ms
            (5_000, 0, Failed,   1,  5_000),
            (5_000, 1, Failed,   1,  10_000),
            (5_000, 2, Failed,   1,  20_000),
            (5_000, 9, Failed,   1,  300_000), // the bound
            (5_000, 9, Failed,   60, 5_000),   // it has lived
            (5_000, 9, Complete, 1,  5_000),   // it has succeeded
            (0,     0, Failed,   1,  0),       // first failure: at once, as asked
            (0,     0, Failed,   60, 0),
            (0,     1, Failed,   1,  200),
            (0,     3, Failed,   1,  800),
            (0,     0, Complete, 1,  100),
            (0,     0, Complete, 60, 0),
        ];
        for (delay, in_a_row, state, life, pause) in cases {
            let task = ended(state, Restarts { in_a_row, ..Restarts::default() }, at(100));
            let policy =
                RestartPolicy { delay: Some(Duration::from_millis(delay)), ..RestartPolicy::default() };
            let next = successor(&policy, false, &task, Cause::Ended, SECOND * life, at(100)).unwrap();
            let expected = at(100).plus(Duration::from_millis(pause));
            assert_eq!(next.start_at, expected, "{delay} ms, {in_a_row} before, {state} after {life} s");
        }
    }

    proptest! {
        /// Nothing shortens the pause below the delay or lengthens it beyond the bound, and nothing overflows.
        #[test]
        fn a_pause_is_within_its_bounds(delay in 0u64..u64::MAX / 4, bound: Option<u64>, in_a_row: u32) {
            let policy = RestartPolicy {
                delay: Some(Duration::from_nanos(delay)),
                delay_max: bound.map(Duration::from_nanos),
                ..RestartPolicy::default()
            };
            let pause = pause(&policy, in_a_row, false);
            prop_assert!(pause >= policy.delay() && pause <= policy.delay_max());
        }
    }
}
