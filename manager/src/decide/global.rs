//! Global services: one task on each node that takes it.
//!
//! Pure. A slot is a node. Looked at when the service changes, and for one node when that node does.

use std::collections::BTreeSet;

use common::object::{Availability, Node, NodeId, NodeState, Slot, TaskState};

use super::pass::{Beginning, Hold, Pass, Seat};
use super::up_to_date::Site;
use super::{place, restart, slot};

/// What a node is to a global service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has a task, and is updated.
    Takes,
    /// Keeps what it has: nothing new, no update.
    Paused,
    /// Must not have one now.
    Refuses,
    /// Not in the cluster any more.
    Gone,
}

pub(super) fn standing(pass: &Pass, site: &Site, node: NodeId) -> Standing {
    match pass.tables().nodes.get(node) {
        None => Standing::Gone,
        Some(node) => standing_of(site, node),
    }
}

fn standing_of(site: &Site, node: &Node) -> Standing {
    let away = node.status.state == NodeState::Down || node.spec.availability == Availability::Drain;
    if away || place::fits(node, site.service.spec()).is_err() {
        Standing::Refuses
    } else if node.spec.availability == Availability::Pause {
        Standing::Paused
    } else {
        Standing::Takes
    }
}

/// Looks at every node, and at every slot that has tasks.
pub(super) fn look(pass: &mut Pass, site: &mut Site) {
    for slot in slots(pass, site) {
        slot::look(pass, site, slot);
    }
}

pub(super) fn slots(pass: &Pass, site: &Site) -> BTreeSet<Slot> {
    let nodes = pass.tables().nodes.iter().map(|node| Slot::Node(node.id));
    nodes.chain(pass.tables().tasks_of_service(site.service.id).map(|task| task.slot)).collect()
}

/// Makes the tasks of one node what the node's standing asks for; those that have ended are `restart`'s.
pub(super) fn settle(pass: &mut Pass, site: &mut Site, node: NodeId) {
    let slot = Slot::Node(node);
    let tasks = pass.slot(site.service.id, slot);
    match standing(pass, site, node) {
        Standing::Gone => tasks.iter().for_each(|task| pass.forget(task.id)),
        Standing::Refuses => {
            tasks.iter().filter(|task| task.is_wanted()).for_each(|task| pass.stop(task.id));
        }
        Standing::Paused => {
            let ended = tasks.iter().filter(|task| task.is_wanted() && task.status.state.is_final());
            ended.for_each(|task| pass.stop(task.id));
        }
        Standing::Takes => {
            if tasks.iter().any(|task| task.is_wanted()) {
                return;
            }
            let begins = tasks.first().is_none_or(|newest| {
                // It was stopped because of its node, which is well again; or it ended by itself.
                let stopped = match newest.status.state {
                    TaskState::Shutdown | TaskState::Orphaned => true,
                    state => !state.is_final(),
                };
                let outdated = !site.is_paused()
                    && !site.is_up_to_date(newest, pass.tables().nodes.get(node).map(|node| &**node));
                stopped || outdated || !restart::is_over(site, newest, pass.now)
            });
            if begins {
                let alive = tasks.iter().any(|task| pass.seat(task) != Seat::Nowhere && pass.is_alive(task));
                let hold = if alive { Hold::Predecessor } else { Hold::Nothing };
                let spec = site.service.current.number;
                pass.create(site, slot, Beginning { spec, hold, restarts: None });
            }
        }
    }
}
