//! Which tasks cannot stay where they are, after their node or their service has changed.

use common::object::{Availability, Node, ServiceSpec, Task, TaskId, TaskState};

use super::filter::{Filter, Refusal, fact_detail, unfit};
use super::needs::Needs;
use super::nodes::NodeEntry;
use crate::store::Tables;

/// Whether a node is one for tasks of this spec by what it is, and not by what it has left: constraints, platform.
pub fn fits(node: &Node, spec: &ServiceSpec) -> Result<(), Refusal> {
    fits_needs(node, &Needs::of(spec))
}

/// The tasks that a node cannot keep, and why: for constraints and platform of their service's current spec, and for
/// what the node no longer has of what they reserved. The newest tasks lose. Only a node that is active is looked at:
/// others keep or lose all their tasks.
pub fn misfits(tables: &Tables, node: &Node) -> Vec<(TaskId, Refusal)> {
    match node.spec.availability {
        Availability::Active => {}
        Availability::Pause | Availability::Drain => return Vec::new(),
    }
    let mut tasks: Vec<&Task> =
        tables.tasks_on_node(node.id).map(|task| &**task).filter(|task| runs(task)).collect();
    tasks.sort_by_key(|task| (task.meta.created_at, task.id));
    let mut entry = NodeEntry::of(node);
    let mut misfits = Vec::new();
    for task in tasks {
        let Some(service) = tables.services.get(task.service) else { continue };
        let Some(spec) = service.spec_at(task.spec) else { continue };
        let reserved = Needs::of(spec);
        let wanted = if task.spec == service.current.number { &reserved } else { &Needs::of(service.spec()) };
        let granted = task.granted.as_deref().unwrap_or_default();
        let verdict = fits_needs(node, wanted).and_then(|()| entry.keeps(&reserved, granted));
        match verdict {
            Ok(()) => entry.load.add(Some(&reserved), granted, true),
            Err(refusal) => misfits.push((task.id, refusal)),
        }
    }
    misfits
}

fn runs(task: &Task) -> bool {
    task.is_on_node() && task.is_wanted() && task.desired >= TaskState::Assigned
}

fn fits_needs(node: &Node, needs: &Needs) -> Result<(), Refusal> {
    match unfit(needs, node) {
        None => Ok(()),
        Some(filter) => Err(Refusal { filter, detail: fact_detail(filter, needs, node) }),
    }
}

impl NodeEntry {
    /// Whether there is room for what a task already has.
    fn keeps(
        &self,
        needs: &Needs,
        granted: &[common::object::resources::GenericGrant],
    ) -> Result<(), Refusal> {
        let amounts = Needs { generic: Vec::new(), ..needs.clone() };
        let detail =
            if self.has_room(&amounts) { self.missing(granted) } else { Some(self.shortage(&amounts)) };
        detail.map_or(Ok(()), |detail| Err(Refusal { filter: Filter::Resources, detail }))
    }
}
