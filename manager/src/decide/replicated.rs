//! Replicated services: as many slots as asked for.
//!
//! Pure. Looks at a whole service, which costs what it has; done when the service changes, and when a slot is found
//! that nobody fills. Ends of single tasks are `slot`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::object::{NodeId, ServiceId, Slot, Task, TaskState};

use super::pass::{Beginning, Hold, Pass, newest_first};
use super::slot;
use super::up_to_date::Site;

/// What choosing among slots goes by.
struct Filled {
    slot: Slot,
    runs: bool,
    /// Of a slot with one task that has a node.
    node: Option<NodeId>,
}

pub(super) fn look(pass: &mut Pass, site: &mut Site, replicas: u64) {
    let service = site.service.id;
    let mut tasks = by_slot(pass, service);
    let mut looked = false;
    for tasks in slots(&tasks) {
        if !slot::is_quiet(pass, site, tasks) {
            slot::look(pass, site, tasks[0].slot);
            looked = true;
        }
    }
    // Who is missing or too many is found out below, in this same look.
    pass.whole.remove(&service);
    if looked {
        tasks = by_slot(pass, service);
    }
    let (mut filled, mut dead) = (Vec::new(), BTreeSet::new());
    for tasks in slots(&tasks) {
        let slot = tasks[0].slot;
        if slot::counts(pass, site, tasks) {
            let runs = tasks.iter().any(|task| task.is_wanted() && task.status.state == TaskState::Running);
            let mut wanted = tasks.iter().filter(|task| task.is_wanted());
            let node = wanted.next().and_then(|task| task.node).filter(|_| wanted.next().is_none());
            filled.push(Filled { slot, runs, node });
        } else {
            dead.insert(slot);
        }
    }
    let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
    if filled.len() > wanted {
        for slot in superfluous(filled, wanted) {
            clear(pass, service, slot);
        }
    } else {
        let missing = (wanted - filled.len()) as u64;
        let taken: BTreeSet<Slot> = filled.iter().map(|filled| filled.slot).collect();
        let free = (1..).map(Slot::Number).filter(|slot| !taken.contains(slot));
        for slot in free.take(usize::try_from(missing).unwrap_or(usize::MAX)) {
            begin(pass, site, slot, dead.remove(&slot));
        }
    }
    for slot in dead {
        clear(pass, service, slot);
    }
}

fn begin(pass: &mut Pass, site: &mut Site, slot: Slot, used_before: bool) {
    let alive = used_before && pass.slot(site.service.id, slot).iter().any(|task| pass.is_alive(task));
    let hold = if alive { Hold::Predecessor } else { Hold::Nothing };
    let spec = site.service.current.number;
    pass.create(site, slot, Beginning { spec, hold, restarts: None });
}

/// Everything there was of a slot goes.
fn clear(pass: &mut Pass, service: ServiceId, slot: Slot) {
    for task in pass.slot(service, slot) {
        pass.forget(task.id);
    }
    let Some(service) = pass.tables().services.get(service).cloned() else { return };
    super::reap::slot(pass, &Site::new(service), slot);
}

/// All tasks of a service in order of slot, each slot's newest first.
pub(super) fn by_slot(pass: &Pass, service: ServiceId) -> Vec<Arc<Task>> {
    let mut tasks: Vec<Arc<Task>> = pass.tables().tasks_of_service(service).cloned().collect();
    let same = |a: &Arc<Task>, b: &Arc<Task>| a.slot == b.slot;
    for tasks in tasks.chunk_by_mut(same).filter(|tasks| tasks.len() > 1) {
        newest_first(tasks);
    }
    tasks
}

/// The same, slot by slot.
pub(super) fn slots(tasks: &[Arc<Task>]) -> impl Iterator<Item = &[Arc<Task>]> {
    tasks.chunk_by(|a, b| a.slot == b.slot)
}

/// The slots to give up so that `kept` remain: those without a node or with several tasks, then from the nodes with
/// most copies; those that do not run before those that do, and higher numbers first.
fn superfluous(mut filled: Vec<Filled>, kept: usize) -> Vec<Slot> {
    filled.sort_by_key(|filled| (!filled.runs, filled.slot));
    let mut copies: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, Slot)> = filled
        .iter()
        .map(|filled| match filled.node {
            None => (usize::MAX, filled.slot),
            Some(node) => {
                let copy = copies.entry(node).or_default();
                *copy += 1;
                (*copy, filled.slot)
            }
        })
        .collect();
    // Stable: among equal copies the order above holds.
    ranked.sort_by_key(|(copy, _)| *copy);
    ranked.into_iter().skip(kept).map(|(_, slot)| slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Slots = Vec<(u64, u128, bool)>;

    fn filled(slot: u64, node: u128, runs: bool) -> Filled {
        Filled { slot: Slot::Number(slot), runs, node: (node > 0).then_some(NodeId(node)) }
    }

    #[test]
    fn slots_go_from_crowded_nodes_first() {
        #[rustfmt::skip]
        let cases: [(&str, Slots, usize, Vec<u64>); 6] = [ // slots: number, node, runs; kept; given up
            ("highest number",       vec![(1, 1, true), (2, 2, true), (3, 3, true)], 2, vec![3]),
            ("two copies first",     vec![(1, 1, true), (2, 2, true), (3, 1, true), (4, 3, true)], 3, vec![3]),
            ("two of six over three", (1..=6).map(|n| (n, u128::from((n - 1) % 3) + 1, true)).collect(), 4, vec![5, 6]),
            ("not running first",    vec![(1, 1, false), (2, 2, true), (3, 3, true)], 2, vec![1]),
            ("unplaced first",       vec![(1, 0, false), (2, 1, true), (3, 1, true)], 2, vec![1]),
            ("all",                  vec![(1, 1, true), (2, 2, true)], 0, vec![1, 2]),
        ];
        for (what, slots, kept, expected) in cases {
            let filled = slots.into_iter().map(|(slot, node, runs)| filled(slot, node, runs)).collect();
            let given_up: Vec<Slot> = superfluous(filled, kept);
            assert_eq!(given_up, expected.into_iter().map(Slot::Number).collect::<Vec<_>>(), "{what}");
        }
    }
}
