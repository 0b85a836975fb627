//! A slot has one task that is wanted, or two where the new one starts first: otherwise a service runs more copies
//! than asked for, and two processes may write where one is expected. One that is held back for its predecessor, or
//! for its restart delay, is wanted too; the one before it is not any more.

use std::collections::BTreeSet;

use common::object::ServiceId;
use common::object::policy::UpdateOrder;
use manager::store::{Change, Tables, Write};

/// Knows which services may have two: an order that was asked for once may still be under way.
#[derive(Debug, Default)]
pub struct OneTaskPerSlot {
    start_first: BTreeSet<ServiceId>,
}

impl OneTaskPerSlot {
    pub fn check(&mut self, after: &Tables, changes: &[Change]) -> Result<(), String> {
        for service in after.services.iter() {
            let configs = [&service.spec().update, &service.spec().rollback];
            if configs.into_iter().flatten().any(|config| config.order() == UpdateOrder::StartFirst) {
                self.start_first.insert(service.id);
            }
        }
        for change in changes {
            let Change::Task(Write::Create(task) | Write::Update { value: task, .. }) = change else {
                continue;
            };
            let most = if self.start_first.contains(&task.service) { 2 } else { 1 };
            let in_slot = after.tasks_of_slot(task.service, task.slot);
            // A job's task that has succeeded is wanted as it is.
            let wanted = in_slot.filter(|task| task.is_wanted() && !task.status.state.is_final()).count();
            if wanted > most {
                return Err(format!("{wanted} tasks are wanted in slot {} of {}", task.slot, task.service));
            }
        }
        Ok(())
    }
}
