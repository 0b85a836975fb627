//! Which secrets and configs a node has to have, so that a value goes nowhere else.
//!
//! Pure. A version is used by a task from its placing until it has ended or is to end. A reference has the version its
//! spec names; one that refreshes in place has the newest.
//!
//! Not here: the difference to what the node has (`assignments`).

use std::collections::BTreeSet;
use std::sync::Arc;

use common::limits::ASSIGNMENT_PAYLOAD_BYTES_MAX;
use common::object::container::FileReference;
use common::object::{NodeId, PayloadId, ServiceId, ServiceSpec, Task, TaskState};
use common::wire::assignment::{AssignedPayload, PayloadKey};

use crate::store::Tables;

/// Whether a task has to have its files, if it has any.
pub fn is_user(task: &Task) -> bool {
    let state = task.status.state;
    task.desired < TaskState::Shutdown && state >= TaskState::Assigned && state <= TaskState::Running
}

/// Whether a task's spec names any secret or config.
pub fn has_references(tables: &Tables, task: &Task) -> bool {
    spec(tables, (task.service, task.spec))
        .is_some_and(|spec| spec.task.container.references().next().is_some())
}

/// What the tasks of a node use. A payload or version that is not there is left out: its tasks wait, and say so.
pub fn used(tables: &Tables, node: NodeId) -> BTreeSet<PayloadKey> {
    let users = tables.tasks_on_node(node).filter(|task| is_user(task));
    // Tasks of one spec use the same ones.
    let specs: BTreeSet<(ServiceId, u64)> = users.map(|task| (task.service, task.spec)).collect();
    let specs = specs.into_iter().filter_map(|key| spec(tables, key));
    let of_spec = |spec: Arc<ServiceSpec>| {
        spec.task.container.references().filter_map(|(_, one)| key(tables, one)).collect()
    };
    specs.flat_map::<Vec<PayloadKey>, _>(of_spec).collect()
}

/// The nodes whose tasks use any version of a payload.
pub fn users(tables: &Tables, payload: PayloadId) -> BTreeSet<NodeId> {
    let uses = |spec: &ServiceSpec| {
        spec.task.container.references().any(|(_, one)| one.wanted().is_some_and(|(id, _)| id == payload))
    };
    let services = tables.services.iter().filter(|service| {
        uses(service.spec()) || service.earlier.values().any(|version| uses(&version.spec))
    });
    let tasks = services.flat_map(|service| tables.tasks_of_service(service.id));
    tasks.filter(|task| is_user(task)).filter_map(|task| task.node).collect()
}

/// A payload as a node is told of it.
pub fn assigned(tables: &Tables, (id, version): PayloadKey) -> Option<AssignedPayload> {
    let payload = tables.payloads.get(id)?;
    Some(AssignedPayload {
        id,
        version,
        kind: payload.kind,
        templated: payload.spec.templating.is_some(),
        data: payload.version(version)?.data.clone(),
    })
}

/// Splits them so that each part fits in a message.
pub fn in_parts(payloads: Vec<AssignedPayload>) -> Vec<Vec<AssignedPayload>> {
    let mut parts: Vec<Vec<AssignedPayload>> = Vec::new();
    let mut bytes = 0;
    for payload in payloads {
        bytes += payload.data.length();
        match parts.last_mut() {
            Some(part) if bytes <= ASSIGNMENT_PAYLOAD_BYTES_MAX => part.push(payload),
            _ => {
                bytes = payload.data.length();
                parts.push(vec![payload]);
            }
        }
    }
    parts
}

fn spec(tables: &Tables, (service, number): (ServiceId, u64)) -> Option<Arc<ServiceSpec>> {
    tables.services.get(service)?.spec_at(number).cloned()
}

fn key(tables: &Tables, reference: &FileReference) -> Option<PayloadKey> {
    let (id, version) = reference.wanted()?;
    // Where a driver has the value there is nothing to send yet; an empty file would be taken for it.
    let payload = tables.payloads.get(id).filter(|payload| payload.spec.driver.is_none())?;
    match version {
        Some(number) => payload.version(number).map(|version| (id, version.number)),
        None => Some((id, payload.newest().number)),
    }
}
