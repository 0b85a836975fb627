//! Which secrets and configs a node has to have, so that a value goes nowhere else.
//!
//! Pure. A version is used by a task from its placing until it has ended or is to end. A reference has the version its
//! spec names; one that refreshes in place has the newest.
//!
//! Where a driver has the value it is asked anew for each task, and what it gives is that task's alone.
//!
//! Not here: the difference to what the node has (`assignments`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::engine_api::convert::{Wanted, secret_request};
use common::engine_api::secret_provider::SecretRequest;
use common::limits::ASSIGNMENT_PAYLOAD_BYTES_MAX;
use common::object::container::FileReference;
use common::object::sensitive::SensitiveBytes;
use common::object::{NodeId, PayloadId, ServiceId, ServiceSpec, Task, TaskId, TaskState};
use common::wire::assignment::{AssignedPayload, PayloadKey};

use crate::store::Tables;

/// A value that a driver has and one task uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driven {
    pub secret: PayloadKey,
    pub task: TaskId,
    /// The task cannot do without it, and not only has it.
    pub is_due: bool,
}

/// What a driver is to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub driver: String,
    pub request: SecretRequest,
}

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
    specs.flat_map(|spec| keys(tables, &spec, false)).collect()
}

/// What the tasks of a node use of drivers, each under the key that the node knows it by.
pub fn driven(tables: &Tables, node: NodeId) -> BTreeMap<PayloadKey, Driven> {
    let mut specs = BTreeMap::new();
    let mut found = BTreeMap::new();
    for task in tables.tasks_on_node(node).filter(|task| is_user(task)) {
        let (keys, refreshes) = specs.entry((task.service, task.spec)).or_insert_with_key(|key| {
            let Some(spec) = spec(tables, *key) else { return (Vec::new(), false) };
            let mut references = spec.task.container.references();
            (keys(tables, &spec, true), references.any(|(_, one)| one.refresh.is_some()))
        });
        // What runs has its files, and reads them again only where any of them may change.
        let is_due = task.status.state < TaskState::Running || *refreshes;
        found.extend(keys.iter().map(|secret| {
            let (id, version) = *secret;
            ((id.of_task(task.id), version), Driven { secret: *secret, task: task.id, is_due })
        }));
    }
    found
}

/// What its driver is asked for.
pub fn question(tables: &Tables, driven: &Driven) -> Option<Question> {
    let secret = tables.payloads.get(driven.secret.0)?;
    let task = tables.tasks.get(driven.task)?;
    let service = tables.services.get(task.service)?;
    let node = task.node.and_then(|node| tables.nodes.get(node)).map(|node| &**node);
    let spec = service.spec_at(task.spec)?;
    let request = secret_request(Wanted { secret, service, spec, task, node });
    Some(Question { driver: secret.spec.driver.as_ref()?.name.clone(), request })
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

/// A value that a driver gave, as its node is told of it.
pub fn given(
    tables: &Tables,
    (id, version): PayloadKey,
    driven: &Driven,
    data: SensitiveBytes,
) -> Option<AssignedPayload> {
    Some(AssignedPayload { id, version, data, ..assigned(tables, driven.secret)? })
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

/// The versions that a spec uses, of those whose value a driver has or of all others.
fn keys(tables: &Tables, spec: &ServiceSpec, driven: bool) -> Vec<PayloadKey> {
    let key = |(_, reference): (_, &FileReference)| {
        let (id, version) = reference.wanted()?;
        let payload = tables.payloads.get(id).filter(|payload| payload.spec.driver.is_some() == driven)?;
        match version {
            Some(number) => payload.version(number).map(|version| (id, version.number)),
            None => Some((id, payload.newest().number)),
        }
    };
    spec.task.container.references().filter_map(key).collect()
}
