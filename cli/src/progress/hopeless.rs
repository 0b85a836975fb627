//! When a service cannot stand, however long one waits.
//!
//! Three reasons: a slot has ended and its policy starts it no more; a slot fails again and again in the same way;
//! everything that is missing waits for something outside of the cluster's power. While an update is under way its
//! own rules decide instead.

use std::collections::BTreeMap;

use common::engine_api::task::Task;
use common::limits::CONVERGE_SAME_FAILURES_MAX;
use common::object::TaskState;

use super::Verdict;
use super::assess::is_wanted;
use super::watch::{View, Watch, state};

/// Some task is missing: is there hope?
pub fn missing(
    view: &View<'_>,
    watch: &Watch,
    current: &BTreeMap<String, &Task>,
    nothing_yet: bool,
) -> Verdict {
    let name = &view.service.spec.name;
    for task in current.values() {
        let cannot = |why: String| Verdict::Failed {
            reason: format!("service {name} cannot converge: task {} {why}", task_name(name, task)),
            task: culprit(view, task).map(|task| task.id.clone()),
        };
        if let Some(why) = is_given_up(view, task) {
            return cannot(why);
        }
        let failures = watch.same_failures(task);
        if failures >= CONVERGE_SAME_FAILURES_MAX && state(task) != Some(TaskState::Running) {
            let error = culprit(view, task).map(|task| task.status.err.as_str()).unwrap_or_default();
            return cannot(format!("has failed {failures} times in a row: {error}"));
        }
    }
    if nothing_yet {
        return Verdict::Blocked { reason: "no node takes a task of this service".into() };
    }
    let mut missing = current.values().filter(|task| state(task) != Some(TaskState::Running)).peekable();
    let waits_outside = |task: &&&Task| state(task).is_some_and(|state| state <= TaskState::Pending);
    let reason = missing.peek().map(|task| task.status.err.clone()).unwrap_or_default();
    if !reason.is_empty() && missing.all(|task| waits_outside(&task) && !task.status.err.is_empty()) {
        return Verdict::Blocked { reason };
    }
    Verdict::Working
}

/// Why nothing follows this ended task; none when something does or may.
///
/// A successor is written together with the end of the task before it, so a slot without one has none coming, as
/// far as its policy allows that.
pub fn is_given_up(view: &View<'_>, task: &Task) -> Option<String> {
    let seen = state(task)?;
    if is_wanted(task) || !matches!(seen, TaskState::Failed | TaskState::Rejected | TaskState::Complete) {
        return None;
    }
    let policy = view.service.spec.task_template.restart_policy.as_ref();
    let condition = policy.map(|policy| policy.condition.as_str()).unwrap_or_default();
    let attempts = policy.and_then(|policy| policy.max_attempts).unwrap_or_default();
    let why = match condition {
        "none" => "restart condition none".to_owned(),
        "on-failure" if seen == TaskState::Complete => "restart condition on-failure".to_owned(),
        _ if attempts > 0 => format!("at most {attempts} restarts"),
        _ => return None,
    };
    let error = if task.status.err.is_empty() { String::new() } else { format!(": {}", task.status.err) };
    Some(format!("is {seen} and not started again ({why}){error}"))
}

pub fn task_name(service: &str, task: &Task) -> String {
    if task.slot > 0 { format!("{service}.{}", task.slot) } else { format!("{service}.{}", task.node_id) }
}

/// The newest failed task of the same slot, itself included: the one whose log tells why.
fn culprit<'a>(view: &View<'a>, task: &Task) -> Option<&'a Task> {
    let same = |other: &&Task| (other.slot, slot_node(other)) == (task.slot, slot_node(task));
    newest(view.tasks.iter().filter(same))
}

fn slot_node(task: &Task) -> &str {
    if task.slot > 0 { "" } else { &task.node_id }
}

pub fn newest_failure<'a>(view: &View<'a>) -> Option<&'a Task> {
    newest(view.tasks.iter())
}

fn newest<'a>(tasks: impl Iterator<Item = &'a Task>) -> Option<&'a Task> {
    let ended = |task: &&Task| {
        matches!(state(task), Some(TaskState::Failed | TaskState::Rejected | TaskState::Complete))
    };
    tasks.filter(ended).max_by(|left, right| left.created_at.cmp(&right.created_at))
}
