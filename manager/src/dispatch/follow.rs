//! Wakes the sessions of nodes that something has changed for: beside the control loop, so that what was decided
//! reaches its node while the next decision is still being written.

use common::object::{NodeId, Task};

use super::Sessions;
use crate::store::{Changed, FeedError, Store};

/// Runs as long as the lead does.
pub async fn follow(store: Store, sessions: Sessions) {
    let mut version = store.feed().reached();
    // What was written before the first look.
    sessions.nudge_all();
    loop {
        match store.feed().after(version).await {
            Ok((changes, next)) => {
                version = next;
                changes.iter().for_each(|change| wake(&sessions, change));
            }
            Err(FeedError::Behind { resume_at }) => {
                version = resume_at;
                sessions.nudge_all();
            }
        }
    }
}

fn wake(sessions: &Sessions, change: &Changed) {
    match change {
        Changed::Task { before, after } => {
            let node = |task: &std::sync::Arc<Task>| task.node;
            let nodes = [before.as_ref().and_then(node), after.as_ref().and_then(node)];
            // Its worker knows what it has itself reported: only what managers want is news.
            let wanted = |task: &std::sync::Arc<Task>| (task.node, task.desired, task.spec, told(task));
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
        Changed::Service { .. } | Changed::Payload { .. } => {}
    }
}

/// Whether assignments speak of a task in that state.
fn told(task: &Task) -> bool {
    use common::object::TaskState::{Assigned, Orphaned};
    task.status.state >= Assigned && task.status.state != Orphaned
}
