//! What is wanted of a task, and when it is something else.

use std::sync::Arc;

use common::object::TaskState;
use common::wire::assignment::{AssignedSpec, AssignedTask};
use tokio::sync::watch;

use crate::payloads::Given;

/// What is wanted of a task, as the agent tells its runner.
#[derive(Clone, Debug)]
pub struct Order {
    pub assigned: AssignedTask,
    pub spec: Arc<AssignedSpec>,
    /// The spec comes from the disk, and had credentials.
    pub is_incomplete: bool,
    pub is_leaving: bool,
    /// Its secrets and configs, as far as they are here.
    pub given: Given,
}

impl Order {
    pub fn is_same(&self, other: &Order) -> bool {
        self.intent() == other.intent()
            && self.is_incomplete == other.is_incomplete
            && Arc::ptr_eq(&self.spec, &other.spec)
            && self.given == other.given
    }

    /// What a step has to be dropped for when it changes.
    pub fn intent(&self) -> (TaskState, bool) {
        (self.assigned.desired, self.is_leaving)
    }
}

/// Returns once something else is wanted.
pub async fn other_intent(orders: &mut watch::Receiver<Order>, intent: (TaskState, bool)) {
    let _ = orders.wait_for(|order| order.intent() != intent).await;
}

/// Returns once something else is wanted, or its secrets and configs are others.
pub async fn other_wish(orders: &mut watch::Receiver<Order>, intent: (TaskState, bool), given: &Given) {
    let _ = orders.wait_for(|order| order.intent() != intent || order.given != *given).await;
}
