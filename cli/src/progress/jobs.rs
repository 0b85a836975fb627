//! Jobs: how many tasks are complete, and how many are at it.

use std::collections::BTreeMap;

use common::engine_api::task::Task;
use common::limits::CONVERGE_SAME_FAILURES_MAX;
use common::object::TaskState;

use super::assess::{ROWS_MAX, is_wanted, shown};
use super::hopeless::{is_given_up, task_name};
use super::watch::{View, Watch, state};
use super::{Overall, Progress, Row, Verdict};

pub fn assess(view: &View<'_>, watch: &Watch) -> Progress {
    let current = current_tasks(view);
    let count = |wanted: &dyn Fn(TaskState) -> bool| {
        current.values().filter(|task| state(task).is_some_and(wanted)).count() as u64
    };
    let complete = count(&|state| state == TaskState::Complete);
    let active = count(&|state| !state.is_final());
    let mode = &view.service.spec.mode;
    let (total, active_of) = match &mode.replicated_job {
        Some(job) => {
            let total = job.total_completions.unwrap_or(1);
            let concurrent = job.max_concurrent.unwrap_or(1);
            (total, Some((active, concurrent.min(total.saturating_sub(complete)))))
        }
        None => (current.len() as u64, None),
    };
    let nothing_yet = mode.global_job.is_some() && current.is_empty();
    let overall = match nothing_yet {
        true => Overall::WaitingForTasks,
        false => Overall::Job { complete, total, active: active_of },
    };
    let row = |(index, task): (usize, &&Task)| {
        let label = if active_of.is_some() { format!("{}/{total}", index + 1) } else { task.node_id.clone() };
        Row { label, shown: shown(task, 10) }
    };
    let rows = if total > ROWS_MAX { Vec::new() } else { current.values().enumerate().map(row).collect() };
    let verdict = match complete >= total && !nothing_yet {
        true => Verdict::JobComplete,
        false => missing(view, watch, &current, nothing_yet),
    };
    Progress { overall, rows, verdict }
}

fn missing(view: &View<'_>, watch: &Watch, current: &BTreeMap<String, &Task>, nothing_yet: bool) -> Verdict {
    let name = &view.service.spec.name;
    let unfinished = || current.values().filter(|task| state(task) != Some(TaskState::Complete));
    for task in unfinished() {
        let failures = watch.same_failures(task);
        let why = match is_given_up(view, task) {
            Some(why) => why,
            None if failures >= CONVERGE_SAME_FAILURES_MAX && state(task) != Some(TaskState::Running) => {
                format!("has failed {failures} times in a row")
            }
            None => continue,
        };
        let reason = format!("job {name} cannot complete: task {} {why}", task_name(name, task));
        return Verdict::Failed { reason, task: Some(task.id.clone()) };
    }
    if nothing_yet {
        return Verdict::Blocked { reason: "no node takes a task of this service".into() };
    }
    let waits = |task: &&Task| {
        state(task).is_some_and(|state| state <= TaskState::Pending) && !task.status.err.is_empty()
    };
    match unfinished().next() {
        Some(first) if unfinished().all(waits) => Verdict::Blocked { reason: first.status.err.clone() },
        _ => Verdict::Working,
    }
}

/// The task that stands for each slot or node in the job's present run: one that is complete, or is to be, or the
/// newest.
fn current_tasks<'a>(view: &View<'a>) -> BTreeMap<String, &'a Task> {
    let iteration = view.service.job_status.as_ref().map(|status| status.job_iteration.index);
    let mut current: BTreeMap<String, &Task> = BTreeMap::new();
    for task in view.tasks {
        let of_this_run = task.job_iteration.as_ref().map(|run| run.index) == iteration;
        let was_told_to_stop = matches!(state(task), Some(TaskState::Shutdown | TaskState::Orphaned) | None);
        if !of_this_run || was_told_to_stop {
            continue;
        }
        let is_global = view.service.spec.mode.global_job.is_some();
        let key = if is_global { task.node_id.clone() } else { format!("{:020}", task.slot) };
        let order = |task: &Task| {
            let complete = state(task) == Some(TaskState::Complete);
            (complete, is_wanted(task), task.created_at.clone())
        };
        match current.get(&key) {
            Some(other) if order(other) >= order(task) => {}
            _ => {
                current.insert(key, task);
            }
        }
    }
    current
}
