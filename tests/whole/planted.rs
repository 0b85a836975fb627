//! Broken decisions, planted between the leader and the log, so that it is seen that each invariant notices its own.

use common::object::{Task, TaskId, TaskState};
use manager::store::{Change, Tables, Write};

/// Changes what a decision proposes.
pub type Tamper = fn(&Tables, Vec<Change>) -> Vec<Change>;

pub fn nothing(_: &Tables, changes: Vec<Change>) -> Vec<Change> {
    changes
}

/// Every new task comes twice.
pub fn tasks_come_twice(_: &Tables, changes: Vec<Change>) -> Vec<Change> {
    let doubles: Vec<Change> = changes.iter().filter_map(created).map(|task| twin(task, task)).collect();
    changes.into_iter().chain(doubles).collect()
}

/// Where one serving task is replaced, all others of its service are too.
pub fn all_at_once(tables: &Tables, mut changes: Vec<Change>) -> Vec<Change> {
    let stopped = changes.iter().filter_map(updated).find(|task| task.desired == TaskState::Shutdown);
    let Some(service) = stopped.map(|task| task.service) else { return changes };
    let Some(model) = changes.iter().filter_map(created).find(|task| task.service == service).cloned() else {
        return changes;
    };
    let touched: Vec<TaskId> = changes.iter().filter_map(updated).map(|task| task.id).collect();
    let others =
        tables.tasks_of_service(service).filter(|task| task.is_wanted() && !touched.contains(&task.id));
    for other in others {
        let stop = Task { desired: TaskState::Shutdown, ..Task::clone(other) };
        changes.push(Change::Task(Write::update(stop)));
        changes.push(twin(&model, other));
    }
    changes
}

/// Everything is placed on one node.
pub fn all_on_one_node(tables: &Tables, mut changes: Vec<Change>) -> Vec<Change> {
    let first = tables.nodes.iter().next().map(|node| node.id);
    for change in &mut changes {
        if let Change::Task(Write::Create(task) | Write::Update { value: task, .. }) = change
            && tables.tasks.get(task.id).is_none_or(|before| before.status.state < TaskState::Assigned)
            && task.node.is_some()
        {
            task.node = first;
        }
    }
    changes
}

/// What runs is said to be preparing again.
pub fn tasks_go_back(tables: &Tables, mut changes: Vec<Change>) -> Vec<Change> {
    for change in &mut changes {
        if let Change::Task(Write::Update { value: task, .. }) = change
            && tables.tasks.get(task.id).is_some_and(|before| before.status.state == TaskState::Running)
        {
            task.status.state = TaskState::Preparing;
        }
    }
    changes
}

/// Successors of tasks that have ended are not written, though the leader is told so.
pub fn no_successors(_: &Tables, changes: Vec<Change>) -> Vec<Change> {
    let is_successor = |change: &Change| created(change).is_some_and(|task| task.restarts.is_some());
    changes.into_iter().filter(|change| !is_successor(change)).collect()
}

fn created(change: &Change) -> Option<&Task> {
    if let Change::Task(Write::Create(task)) = change { Some(task) } else { None }
}

fn updated(change: &Change) -> Option<&Task> {
    if let Change::Task(Write::Update { value, .. }) = change { Some(value) } else { None }
}

/// One like `task`, of its own id, in the slot of `place`.
fn twin(task: &Task, place: &Task) -> Change {
    let id = TaskId(place.id.0 ^ 1 << 64);
    Change::Task(Write::Create(Task { id, slot: place.slot, ..task.clone() }))
}
