//! Wakes the sessions of nodes that something has changed for: beside the control loop, so that what was decided
//! reaches its node while the next decision is still being written.

use common::object::{NodeId, Task};

use super::{Sessions, mesh, payloads};
use crate::store::{Changed, FeedError, Store, Tables};

/// Runs as long as the lead does.
pub async fn follow(store: Store, sessions: Sessions) {
    let mut version = store.feed().reached();
    // What was written before the first look.
    sessions.nudge_all();
    sessions.look_at_mesh(&mesh::Look::at_everything());
    loop {
        match store.feed().after(version).await {
            Ok((changes, next)) => {
                version = next;
                let tables = store.snapshot();
                changes.iter().for_each(|change| wake(&sessions, &tables, change));
                let mut look = mesh::Look::default();
                changes.iter().for_each(|change| look_at(&mut look, &tables, change));
                sessions.look_at_mesh(&look);
            }
            Err(FeedError::Behind { resume_at }) => {
                version = resume_at;
                sessions.nudge_all();
                sessions.look_at_mesh(&mesh::Look::at_everything());
            }
        }
    }
}

fn wake(sessions: &Sessions, tables: &Tables, change: &Changed) {
    match change {
        Changed::Task { before, after } => {
            let node = |task: &std::sync::Arc<Task>| task.node;
            let nodes = [before.as_ref().and_then(node), after.as_ref().and_then(node)];
            // Its worker knows what it has itself reported: only what managers want is news.
            // And that nobody uses its secrets and configs any more.
            let uses = |task: &Task| payloads::is_user(task) && payloads::has_references(tables, task);
            let wanted =
                |task: &std::sync::Arc<Task>| (task.node, task.desired, task.spec, told(task), uses(task));
            if before.as_ref().map(wanted) != after.as_ref().map(wanted) {
                nodes.into_iter().flatten().for_each(|node: NodeId| sessions.nudge(node));
            }
        }
        Changed::Node { before, after } => {
            let Some(node) = after.as_ref().or(before.as_ref()) else { return };
            let place = |node: &std::sync::Arc<common::object::Node>| (node.role, node.manager.clone());
            if before.as_ref().map(place) != after.as_ref().map(place) {
                // The list of managers has changed, for everybody.
                sessions.nudge_all();
            } else {
                sessions.nudge(node.id);
            }
        }
        Changed::Cluster { .. } => sessions.nudge_all(),
        Changed::Payload { before, after } => {
            // A new one is used by nobody yet: the tasks that will be come with changes of their own.
            let is_changed = before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| {
                before.newest().number != after.newest().number
                    || before.versions.len() != after.versions.len()
            });
            if let Some(payload) = after.as_ref().filter(|_| is_changed) {
                payloads::users(tables, payload.id).into_iter().for_each(|node| sessions.nudge(node));
            }
        }
        Changed::Service { .. } | Changed::Network { .. } => {}
    }
}

/// Notes what a change means for the mesh of all nodes.
fn look_at(look: &mut mesh::Look, tables: &Tables, change: &Changed) {
    match change {
        Changed::Task { before, after } => {
            let Some(task) = after.as_ref().or(before.as_ref()) else { return };
            let seen = |task: &std::sync::Arc<Task>| mesh::endpoint(task);
            let is_other = before.as_ref().and_then(seen) != after.as_ref().and_then(seen);
            // A service that comes into the mesh, or leaves it, is a change of its own.
            if is_other && mesh::is_in_mesh(tables, task.service) {
                look.at_task(task.service, task.id);
            }
        }
        Changed::Service { before, after } => {
            let Some(service) = after.as_ref().or(before.as_ref()) else { return };
            if mesh::is_other(before.as_deref(), after.as_deref()) {
                look.at_service(service.id);
            }
        }
        Changed::Node { .. }
        | Changed::Cluster { .. }
        | Changed::Payload { .. }
        | Changed::Network { .. } => {}
    }
}

/// Whether assignments speak of a task in that state.
fn told(task: &Task) -> bool {
    use common::object::TaskState::{Assigned, Orphaned};
    task.status.state >= Assigned && task.status.state != Orphaned
}
