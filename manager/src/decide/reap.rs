//! What to forget: finished tasks beyond the history, tasks and services that were removed, specs nobody uses.
//!
//! Pure. Of each slot the newest task stays whatever the limit, because what became of it is what the slot stands for.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::limits::{SPEC_VERSIONS_KEPT, SPEC_VERSIONS_MAX};
use common::object::{ClusterSpec, Service, Slot, Task, TaskState};

use super::pass::Pass;
use super::up_to_date::Site;

/// Forgets tasks of one slot, and its service with the last of them.
pub(super) fn slot(pass: &mut Pass, site: &Site, slot: Slot) {
    let tasks = pass.slot(site.service.id, slot);
    let (gone, rest): (Vec<_>, Vec<_>) = tasks.into_iter().partition(is_forgotten);
    for task in &gone {
        pass.draft.remove_task(task.id);
    }
    // More than one task in a slot is the only case in which there is anything to count.
    if rest.len() > 1
        && let Some(kept) = kept_per_slot(pass, &site.service)
    {
        let ended = rest.iter().skip(1).filter(|task| !task.is_wanted() && task.status.state.is_final());
        let old: Vec<_> = ended.skip(kept).map(|task| task.id).collect();
        old.into_iter().for_each(|task| pass.draft.remove_task(task));
    }
    if site.service.removed && !gone.is_empty() {
        service(pass, site);
    }
}

/// Takes a removed service out with its last task: who stops a task has to know how.
pub(super) fn service(pass: &mut Pass, site: &Site) {
    if site.service.removed && pass.tables().tasks_of_service(site.service.id).next().is_none() {
        pass.draft.remove_service(site.service.id);
    }
}

fn is_forgotten(task: &Arc<Task>) -> bool {
    task.desired == TaskState::Remove
        && (task.status.state.is_final() || task.status.state < TaskState::Assigned)
}

/// Ended tasks that stay beside the newest of a slot; none: all of them.
fn kept_per_slot(pass: &Pass, service: &Service) -> Option<usize> {
    let attempts = service.spec().task.restart.as_ref().map_or(0, |policy| policy.attempts_max());
    let limit = match pass.tables().cluster() {
        Some(cluster) => cluster.spec.task_history_limit,
        None => ClusterSpec::default().task_history_limit,
    };
    match attempts {
        0 => usize::try_from(limit).ok(),
        attempts => Some(usize::try_from(attempts).unwrap_or(usize::MAX).saturating_add(1)),
    }
}

/// Drops the specs that no task uses, but for the newest few and the one that a rollback goes to.
pub(super) fn specs(pass: &mut Pass, site: &mut Site) {
    let service = &site.service;
    if service.earlier.len() <= SPEC_VERSIONS_KEPT {
        return;
    }
    let (mut used, mut used_by_live) = (BTreeSet::new(), BTreeSet::new());
    for task in pass.tables().tasks_of_service(service.id) {
        used.insert(task.spec);
        if !task.status.state.is_final() {
            used_by_live.insert(task.spec);
        }
    }
    let newest: BTreeSet<u64> = service.earlier.keys().rev().take(SPEC_VERSIONS_KEPT - 1).copied().collect();
    let target = service.earlier.values().rev().find(|version| version.worked).map(|version| version.number);
    let keep = |number: u64, used: &BTreeSet<u64>| {
        used.contains(&number)
            || newest.contains(&number)
            || service.previous == Some(number)
            || target == Some(number)
    };
    let mut drop: Vec<u64> = service.earlier.keys().copied().filter(|number| !keep(*number, &used)).collect();
    let excess = (service.earlier.len() - drop.len() + 1).saturating_sub(SPEC_VERSIONS_MAX);
    // A task that has ended can be shown without its spec; one that runs cannot be stopped as it asks.
    let shown = service
        .earlier
        .keys()
        .copied()
        .filter(|number| keep(*number, &used) && !keep(*number, &used_by_live));
    drop.extend(shown.take(excess));
    if !drop.is_empty() {
        pass.draft.edit_service(service.id, |service| {
            service.earlier.retain(|number, _| !drop.contains(number));
        });
        site.refresh(&pass.draft);
    }
}
