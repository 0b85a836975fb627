//! What a node's change means for the tasks on it: lost, to be moved, or given up.
//!
//! Pure. Costs what the node holds. A node that is down loses its tasks at once; from one that is drained, or that no
//! longer is what its tasks need, they are moved by `update`, under the rules of their service and never all at once.

use std::collections::BTreeSet;

use common::limits::NODE_GIVEN_UP_AFTER;
use common::object::{Availability, NodeId, NodeState, ServiceId, ServiceMode, Slot, Task, TaskState};

use super::pass::{Item, Pass, ended};
use super::place;
use super::roll::Marks;

/// What has to be looked at because of a node.
#[derive(Debug, Default)]
pub(super) struct Concerned {
    pub slots: BTreeSet<(ServiceId, Slot)>,
    /// Tasks of theirs are to be moved, which takes a view of all of their slots.
    pub services: BTreeSet<ServiceId>,
}

/// Looks at one node. `returned`: it was down until now.
pub(super) fn node(pass: &mut Pass, id: NodeId, returned: bool, marks: &mut Marks) -> Concerned {
    let mut concerned = Concerned::default();
    let tasks: Vec<_> = pass.tables().tasks_on_node(id).cloned().collect();
    for task in &tasks {
        marks.misfit.remove(&task.id);
    }
    let Some(node) = pass.tables().nodes.get(id).cloned() else {
        concerned.slots.extend(tasks.iter().map(|task| (task.service, task.slot)));
        return concerned;
    };
    let wanted = || tasks.iter().filter(|task| task.is_wanted());
    if node.status.state == NodeState::Down {
        concerned.slots.extend(wanted().map(|task| (task.service, task.slot)));
        give_up(pass, id, node.status.since.plus(NODE_GIVEN_UP_AFTER), &mut concerned);
        return concerned;
    }
    match node.spec.availability {
        Availability::Active => {
            for (task, refusal) in place::misfits(pass.tables(), &node) {
                let Some(task) = pass.tables().tasks.get(task).cloned() else { continue };
                pass.because(task.service, Some(task.id), format!("to be moved: {}", refusal));
                marks.misfit.insert(task.id);
                move_away(pass, &task, &mut concerned);
            }
        }
        Availability::Pause => {}
        Availability::Drain => wanted().for_each(|task| move_away(pass, task, &mut concerned)),
    }
    if returned {
        let left = tasks.iter().filter(|task| task.desired == TaskState::Shutdown);
        concerned.services.extend(left.filter(|task| is_replicated(pass, task)).map(|task| task.service));
    }
    concerned
}

fn move_away(pass: &Pass, task: &Task, concerned: &mut Concerned) {
    match is_replicated(pass, task) {
        true => drop(concerned.services.insert(task.service)),
        false => drop(concerned.slots.insert((task.service, task.slot))),
    }
}

fn is_replicated(pass: &Pass, task: &Task) -> bool {
    let service = pass.tables().services.get(task.service);
    service.is_some_and(|service| matches!(service.spec().mode, ServiceMode::Replicated { .. }))
}

/// After a long time down nobody waits for the end of what ran there.
fn give_up(pass: &mut Pass, node: NodeId, at: common::time::Timestamp, concerned: &mut Concerned) {
    let alive = |task: &&std::sync::Arc<Task>| task.is_on_node();
    let alive: Vec<_> = pass.tables().tasks_on_node(node).filter(alive).cloned().collect();
    if alive.is_empty() {
        return;
    }
    if pass.now < at {
        pass.wake(at, Item::Node(node));
        return;
    }
    let now = pass.now;
    for task in alive {
        pass.draft.edit_task(task.id, |task| ended(task, TaskState::Orphaned, now));
        concerned.slots.insert((task.service, task.slot));
    }
}
