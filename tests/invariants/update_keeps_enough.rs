//! Decisions take no more slots out of service at a time than the update rules allow: people choose the rules so that
//! what remains can carry the load.
//!
//! A slot is in replacement from the moment its serving task is stopped for a successor. It is that no more once the
//! successor serves, or has ended or is stuck: what breaks by itself is not the update's doing.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::limits::MOVES_SHARE_PERCENT;
use common::object::policy::UpdateConfig;
use common::object::service::UpdateState;
use common::object::{NodeState, Service, ServiceId, Slot, Task, TaskState};
use manager::store::{Change, Tables, Write};

#[derive(Debug, Default)]
pub struct UpdateKeepsEnough {
    in_replacement: BTreeSet<(ServiceId, Slot)>,
}

impl UpdateKeepsEnough {
    pub fn check(&mut self, before: &Tables, after: &Tables, changes: &[Change]) -> Result<(), String> {
        self.in_replacement.retain(|(service, slot)| is_in_replacement(after, *service, *slot));
        let mut widened = BTreeSet::new();
        for change in changes {
            let Change::Task(Write::Update { value, .. }) = change else { continue };
            let (Some(old), Some(new)) = (before.tasks.get(value.id), after.tasks.get(value.id)) else {
                continue;
            };
            let place = (new.service, new.slot);
            let ended_by_itself = new.status.state.is_final();
            let is_stopped = old.is_wanted() && new.desired == TaskState::Shutdown && !ended_by_itself;
            if is_stopped && serves(before, old) && is_in_replacement(after, place.0, place.1) {
                self.in_replacement.insert(place);
                widened.insert(new.service);
            }
        }
        for id in widened {
            let Some(service) = after.services.get(id).filter(|service| !service.spec().mode.is_job()) else {
                continue;
            };
            let slots: BTreeSet<Slot> = after.tasks_of_service(id).map(|task| task.slot).collect();
            let allowed = width(service, slots.len())
                .max(before.services.get(id).map_or(0, |service| width(service, slots.len())));
            let out: Vec<String> = self
                .in_replacement
                .iter()
                .filter(|(service, _)| *service == id)
                .map(|(_, slot)| slot.to_string())
                .collect();
            if out.len() > allowed {
                return Err(format!(
                    "{} slots of {} are out of service, {allowed} may be: {}",
                    out.len(),
                    service.name(),
                    out.join(", ")
                ));
            }
        }
        Ok(())
    }
}

/// Slots that may be out of service at a time.
fn width(service: &Service, slots: usize) -> usize {
    let state = service.update.as_ref().map(|update| update.state);
    let config = match state {
        Some(UpdateState::RollbackStarted) => &service.spec().rollback,
        Some(_) | None => &service.spec().update,
    };
    match config {
        Some(UpdateConfig { parallelism: 0, .. }) => usize::MAX,
        Some(UpdateConfig { parallelism, .. }) => *parallelism as usize,
        None if matches!(state, Some(UpdateState::Updating | UpdateState::RollbackStarted)) => 1,
        None => (slots * MOVES_SHARE_PERCENT).div_ceil(100).max(1),
    }
}

fn is_in_replacement(tables: &Tables, service: ServiceId, slot: Slot) -> bool {
    let tasks: Vec<&Arc<Task>> =
        tables.tasks_of_slot(service, slot).filter(|task| task.is_wanted()).collect();
    let is_stuck = |task: &Task| {
        let lost = task.node.is_some() && !is_up(tables, task);
        let waits = task.status.state < TaskState::Assigned && !task.status.error.is_empty();
        lost || waits || task.status.state.is_final() || task.restarts.is_some()
    };
    !tasks.is_empty() && !tasks.iter().any(|task| serves(tables, task) || is_stuck(task))
}

fn serves(tables: &Tables, task: &Task) -> bool {
    task.is_serving() && is_up(tables, task)
}

fn is_up(tables: &Tables, task: &Task) -> bool {
    let node = task.node.and_then(|node| tables.nodes.get(node));
    node.is_some_and(|node| node.status.state != NodeState::Down)
}
