//! From one look at a service to what is to be said of it.

use std::collections::BTreeMap;
use std::time::Duration;

use common::engine_api::service::{Service, UpdateConfig};
use common::engine_api::task::Task;
use common::object::TaskState;
use common::object::service::UpdateState;
use common::time::Timestamp;

use super::watch::{View, Watch, desired, state};
use super::{Intent, Overall, Progress, Row, Shown, Verdict, hopeless, jobs};

/// More slots than this are only counted.
pub const ROWS_MAX: u64 = 20;
const MONITOR_DEFAULT: Duration = Duration::from_secs(5);

/// What holds of a service now. `watch` has taken note of this look already.
pub fn assess(view: &View<'_>, watch: &Watch, intent: Intent) -> Result<Progress, String> {
    let mode = &view.service.spec.mode;
    if mode.replicated_job.is_some() || mode.global_job.is_some() {
        return Ok(jobs::assess(view, watch));
    }
    let current = current_tasks(view);
    let (wanted, rows) = match (&mode.replicated, &mode.global) {
        (Some(replicated), _) => {
            let wanted = replicated.replicas.unwrap_or(1);
            (wanted, numbered_rows(&current, wanted))
        }
        (None, Some(_)) => {
            let wanted = current.len() as u64;
            let rows = if wanted > ROWS_MAX {
                Vec::new()
            } else {
                current.values().map(|task| node_row(task)).collect()
            };
            (wanted, rows)
        }
        (None, None) => return Err("unrecognized service mode".into()),
    };
    let update = update_state(view.service);
    let running = current.values().filter(|task| is_up(view.service, task)).count() as u64;
    let rolling_back = update.is_some_and(UpdateState::is_rollback);
    let nothing_yet = mode.global.is_some() && current.is_empty();
    let overall = match nothing_yet {
        true => Overall::WaitingForTasks,
        false => Overall::Tasks { running: running.min(wanted), wanted, rolling_back },
    };
    let all_up = !nothing_yet && running == wanted && current.len() as u64 == wanted;
    let verdict = match failed_update(view, update) {
        Some(verdict) => verdict,
        None if update.is_some_and(UpdateState::is_under_way) => Verdict::Working,
        None if all_up => up(view, watch, &current, intent),
        None => hopeless::missing(view, watch, &current, nothing_yet),
    };
    Ok(Progress { overall, rows, verdict })
}

/// An update that has stopped by itself.
fn failed_update(view: &View<'_>, update: Option<UpdateState>) -> Option<Verdict> {
    let message =
        view.service.update_status.as_ref().map(|status| status.message.as_str()).unwrap_or_default();
    let what = match update? {
        UpdateState::Paused => "update",
        UpdateState::RollbackPaused => "rollback",
        UpdateState::Updating
        | UpdateState::Completed
        | UpdateState::RollbackStarted
        | UpdateState::RollbackCompleted => return None,
    };
    let task = hopeless::newest_failure(view).map(|task| task.id.clone());
    Some(Verdict::Failed { reason: format!("service {what} paused: {message}"), task })
}

/// All tasks run: are they known to be well?
fn up(view: &View<'_>, watch: &Watch, current: &BTreeMap<String, &Task>, intent: Intent) -> Verdict {
    let left = current.values().map(|task| watched_yet(view, watch, task)).max().unwrap_or_default();
    if left > Duration::ZERO {
        return Verdict::Verifying { left };
    }
    let status = view.service.update_status.as_ref();
    let message = status.map(|status| status.message.clone()).unwrap_or_default();
    match (update_state(view.service), intent) {
        (Some(UpdateState::RollbackCompleted), Intent::Apply) => Verdict::RolledBack { message },
        (Some(UpdateState::RollbackCompleted), Intent::RollBack) => {
            Verdict::Converged { note: Some(message) }
        }
        _ => Verdict::Converged { note: None },
    }
}

/// How long one running task has to be watched yet.
///
/// Counted from its own start, so that a task that ran all along costs nothing. Managers have watched what ran
/// before they called an update complete. A check of the service's own that has passed says that it is well, unless
/// somebody has set how long to watch.
fn watched_yet(view: &View<'_>, watch: &Watch, task: &Task) -> Duration {
    let service = view.service;
    let config = match update_state(service).is_some_and(UpdateState::is_rollback) {
        true => &service.spec.rollback_config,
        false => &service.spec.update_config,
    };
    let set = config.as_ref().and_then(monitor);
    if set.is_none() && has_check(service) {
        return Duration::ZERO;
    }
    let completed = service.update_status.as_ref().and_then(|status| status.completed_at.as_deref());
    let completed = completed.and_then(Timestamp::from_rfc3339);
    let since = Timestamp::from_rfc3339(&task.status.timestamp);
    if completed.zip(since).is_some_and(|(completed, since)| since <= completed) {
        return Duration::ZERO;
    }
    set.unwrap_or(MONITOR_DEFAULT).saturating_sub(watch.running_for(task, view.now))
}

fn monitor(config: &UpdateConfig) -> Option<Duration> {
    config
        .monitor
        .and_then(|time| u64::try_from(time).ok())
        .filter(|time| *time > 0)
        .map(Duration::from_nanos)
}

/// Does the service itself say how to see that a task is well?
fn has_check(service: &Service) -> bool {
    let Some(container) = &service.spec.task_template.container_spec else { return false };
    let health = container.health_check.as_ref().map(|check| check.test.as_slice()).unwrap_or_default();
    let has_health = health.first().is_some_and(|kind| kind != "NONE");
    has_health || container.ready_check.is_some()
}

/// Runs, is to go on running, and may get connections.
fn is_up(service: &Service, task: &Task) -> bool {
    let container = service.spec.task_template.container_spec.as_ref();
    let is_checked = container.is_some_and(|container| container.ready_check.is_some());
    is_wanted(task) && state(task) == Some(TaskState::Running) && (task.status.ready || !is_checked)
}

pub fn is_wanted(task: &Task) -> bool {
    desired(task).is_some_and(|desired| desired <= TaskState::Complete)
}

pub fn update_state(service: &Service) -> Option<UpdateState> {
    service.update_status.as_ref()?.state.parse().ok()
}

/// The task that stands for each slot or node: of several the one that is wanted, and of those the one least far.
/// What is on a node that is down counts as gone; a slot that was only told to stop has none.
pub fn current_tasks<'a>(view: &View<'a>) -> BTreeMap<String, &'a Task> {
    let mut current: BTreeMap<String, &Task> = BTreeMap::new();
    for task in view.tasks {
        let (Some(wanted), Some(seen)) = (desired(task), state(task)) else { continue };
        if view.down.contains(&task.node_id) && !seen.is_final() {
            continue;
        }
        let was_told_to_stop = wanted > TaskState::Complete
            && !matches!(seen, TaskState::Failed | TaskState::Rejected | TaskState::Complete);
        if was_told_to_stop {
            continue;
        }
        let key = match task.slot {
            0 => task.node_id.clone(),
            // Numbers sort as numbers.
            slot => format!("{slot:020}"),
        };
        let order = |task: &Task| {
            // Among ended ones the newest counts: it is the one nothing came after.
            let ended = state(task).is_some_and(TaskState::is_final);
            let age = if ended {
                std::cmp::Reverse(task.created_at.clone())
            } else {
                std::cmp::Reverse(String::new())
            };
            (desired(task), ended, age, state(task), task.id.clone())
        };
        match current.get(&key) {
            Some(other) if order(other) <= order(task) => {}
            _ => {
                current.insert(key, task);
            }
        }
    }
    current
}

/// `1/3` to `3/3`: a slot has the row of its number, those beyond take the rows that are left.
fn numbered_rows(current: &BTreeMap<String, &Task>, wanted: u64) -> Vec<Row> {
    if wanted > ROWS_MAX {
        return Vec::new();
    }
    let mut rows: Vec<Option<&Task>> = vec![None; wanted as usize];
    let (own, beyond): (Vec<&&Task>, Vec<&&Task>) =
        current.values().partition(|task| (1..=wanted).contains(&task.slot));
    for task in own {
        rows[task.slot as usize - 1] = Some(task);
    }
    for task in beyond.into_iter().filter(|task| is_wanted(task)) {
        if let Some(free) = rows.iter_mut().find(|row| row.is_none()) {
            *free = Some(task);
        }
    }
    let label = |index: usize| format!("{}/{wanted}", index + 1);
    let shown = |task: Option<&Task>| task.map_or(Shown::Nothing, |task| shown(task, 9));
    rows.into_iter()
        .enumerate()
        .map(|(index, task)| Row { label: label(index), shown: shown(task) })
        .collect()
}

fn node_row(task: &Task) -> Row {
    Row { label: task.node_id.chars().take(12).collect(), shown: shown(task, 9) }
}

/// A task's error, or how far it is.
pub fn shown(task: &Task, steps: u32) -> Shown {
    if !task.status.err.is_empty() {
        return Shown::Error(task.status.err.clone());
    }
    match state(task).and_then(step) {
        Some(step) if step <= steps => Shown::State { state: task.status.state.clone(), step, steps },
        _ => Shown::Nothing,
    }
}

fn step(state: TaskState) -> Option<u32> {
    Some(match state {
        TaskState::New => 1,
        TaskState::Pending => 3,
        TaskState::Assigned => 4,
        TaskState::Accepted => 5,
        TaskState::Preparing => 6,
        TaskState::Ready => 7,
        TaskState::Starting => 8,
        TaskState::Running => 9,
        TaskState::Complete => 10,
        TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => return None,
    })
}
