//! What of the mesh a node is told: which services it can connect to, and where their tasks are.
//!
//! Pure. Every service with a port published in ingress mode is told to every node, with the tasks that serve and
//! those that are about to leave. What a node was told is kept as digests, and only the difference is sent. A look at
//! one task or one service costs as much as it has to do with, so that a change costs what it changes on each node.
//!
//! Not here: what goes with it in a message (`assignments`), who is to look (`follow`).

use std::collections::{BTreeMap, BTreeSet};

use common::limits::{ASSIGNMENT_MESH_MAX, MESH_LOOKS_MAX};
use common::object::ports::{Port, PublishMode};
use common::object::{NodeId, Service, ServiceId, Task, TaskId, TaskState};
use common::wire::mesh::{MeshEndpoint, MeshService, MeshUpdate, endpoint_digest, service_digest};

use crate::store::Tables;

/// What may be other than nodes were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    pub everything: bool,
    /// These, with all their tasks.
    services: BTreeSet<ServiceId>,
    tasks: BTreeSet<(ServiceId, TaskId)>,
}

impl Look {
    pub fn at_everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        !self.everything && self.services.is_empty() && self.tasks.is_empty()
    }

    pub fn at_service(&mut self, service: ServiceId) {
        self.services.insert(service);
        self.bound();
    }

    pub fn at_task(&mut self, service: ServiceId, task: TaskId) {
        self.tasks.insert((service, task));
        self.bound();
    }

    pub fn add(&mut self, other: &Look) {
        self.everything |= other.everything;
        self.services.extend(&other.services);
        self.tasks.extend(&other.tasks);
        self.bound();
    }

    fn bound(&mut self) {
        if self.everything || self.services.len() + self.tasks.len() > MESH_LOOKS_MAX {
            *self = Self::at_everything();
        }
    }
}

/// What one node was told in its session.
#[derive(Debug, Default)]
pub struct Told {
    services: BTreeMap<ServiceId, ToldService>,
    digest: u64,
}

#[derive(Debug, Default)]
struct ToldService {
    digest: u64,
    endpoints: BTreeMap<TaskId, u64>,
}

impl Told {
    /// The sum of the shares of all that the node was told.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What has to be sent so that the node has what `tables` say of what is looked at.
    pub fn update(&mut self, tables: &Tables, node: NodeId, look: &Look) -> MeshUpdate {
        let mut update = MeshUpdate::default();
        if look.everything {
            let known = self.services.keys().copied();
            let all: BTreeSet<ServiceId> =
                known.chain(tables.services.iter().map(|service| service.id)).collect();
            all.into_iter().for_each(|service| self.look_at_service(tables, node, service, &mut update));
        } else {
            for service in &look.services {
                self.look_at_service(tables, node, *service, &mut update);
            }
            let others = look.tasks.iter().filter(|(service, _)| !look.services.contains(service));
            for (service, task) in others {
                let endpoint = tables.tasks.get(*task).and_then(|task| endpoint(task));
                self.tell(*service, *task, endpoint, &mut update);
            }
        }
        update
    }

    fn look_at_service(&mut self, tables: &Tables, node: NodeId, id: ServiceId, update: &mut MeshUpdate) {
        let service = tables.services.get(id).and_then(|service| service_for(service, node));
        let Some(service) = service else {
            if let Some(told) = self.services.remove(&id) {
                let shares = told.endpoints.values().fold(told.digest, |sum, share| sum.wrapping_add(*share));
                self.digest = self.digest.wrapping_sub(shares);
                update.services_removed.push(id);
            }
            return;
        };
        let told = self.services.entry(id).or_default();
        let share = service_digest(&service);
        if told.digest != share {
            self.digest = self.digest.wrapping_sub(told.digest).wrapping_add(share);
            told.digest = share;
            update.services.push(service);
        }
        let known: Vec<TaskId> = told.endpoints.keys().copied().collect();
        let endpoints: Vec<MeshEndpoint> =
            tables.tasks_of_service(id).filter_map(|task| endpoint(task)).collect();
        let wanted: BTreeSet<TaskId> = endpoints.iter().map(|endpoint| endpoint.task).collect();
        let gone = known.into_iter().filter(|task| !wanted.contains(task));
        endpoints.into_iter().for_each(|endpoint| self.tell(id, endpoint.task, Some(endpoint), update));
        gone.for_each(|task| self.tell(id, task, None, update));
    }

    /// Tells of one task, where its service was told.
    fn tell(
        &mut self,
        service: ServiceId,
        task: TaskId,
        endpoint: Option<MeshEndpoint>,
        update: &mut MeshUpdate,
    ) {
        let Some(told) = self.services.get_mut(&service) else { return };
        let share = endpoint.as_ref().map(endpoint_digest);
        let before = match share {
            Some(share) => told.endpoints.insert(task, share),
            None => told.endpoints.remove(&task),
        };
        if before == share {
            return;
        }
        let without = self.digest.wrapping_sub(before.unwrap_or_default());
        self.digest = without.wrapping_add(share.unwrap_or_default());
        match endpoint {
            Some(endpoint) => update.endpoints.push(endpoint),
            None => update.endpoints_removed.push(task),
        }
    }
}

/// A service as a node is told of it; none when it is not to know it.
fn service_for(service: &Service, _node: NodeId) -> Option<MeshService> {
    let ports = published(service);
    (!ports.is_empty()).then(|| MeshService {
        id: service.id,
        name: service.name().into(),
        mode: service.spec().endpoint.as_ref().and_then(|endpoint| endpoint.mode).unwrap_or_default(),
        ports,
        networks: Vec::new(),
    })
}

/// The ports that all nodes listen on for a service.
fn published(service: &Service) -> Vec<Port> {
    if service.removed {
        return Vec::new();
    }
    let is_published = |port: &&Port| port.mode == PublishMode::Ingress && port.published != 0;
    service.ports.iter().filter(is_published).cloned().collect()
}

/// A task as one that connections may go to; none when they may not.
pub fn endpoint(task: &Task) -> Option<MeshEndpoint> {
    let is_running = task.status.state == TaskState::Running;
    let leaving = !task.is_wanted();
    (is_running && (leaving || task.status.ready)).then_some(MeshEndpoint {
        task: task.id,
        service: task.service,
        slot: task.slot,
        node: task.node?,
        addresses: Vec::new(),
        leaving,
    })
}

/// Whether any node may have been told something else of a service before.
pub fn is_other(before: Option<&Service>, after: Option<&Service>) -> bool {
    let seen = |service: &Service| service_for(service, NodeId::default());
    before.and_then(seen) != after.and_then(seen)
}

/// Whether any node is told of a service.
pub fn is_in_mesh(tables: &Tables, service: ServiceId) -> bool {
    tables.services.get(service).is_some_and(|service| service_for(service, NodeId::default()).is_some())
}

/// Splits an update so that each part fits in a message; none of nothing.
pub fn in_parts(update: MeshUpdate) -> Vec<MeshUpdate> {
    let MeshUpdate { services, services_removed, endpoints, endpoints_removed } = update;
    let empty = MeshUpdate::default;
    // Services go before their endpoints.
    let removed = services_removed.chunks(ASSIGNMENT_MESH_MAX);
    let removed = removed.map(|chunk| MeshUpdate { services_removed: chunk.to_vec(), ..empty() });
    let services = services.chunks(ASSIGNMENT_MESH_MAX);
    let services = services.map(|chunk| MeshUpdate { services: chunk.to_vec(), ..empty() });
    let gone = endpoints_removed.chunks(ASSIGNMENT_MESH_MAX);
    let gone = gone.map(|chunk| MeshUpdate { endpoints_removed: chunk.to_vec(), ..empty() });
    let endpoints = endpoints.chunks(ASSIGNMENT_MESH_MAX);
    let endpoints = endpoints.map(|chunk| MeshUpdate { endpoints: chunk.to_vec(), ..empty() });
    let mut parts: Vec<MeshUpdate> = Vec::new();
    for part in removed.chain(services).chain(gone).chain(endpoints) {
        match parts.last_mut() {
            Some(last) if items(last) + items(&part) <= ASSIGNMENT_MESH_MAX => merge(last, part),
            _ => parts.push(part),
        }
    }
    parts
}

fn items(update: &MeshUpdate) -> usize {
    update.services.len()
        + update.services_removed.len()
        + update.endpoints.len()
        + update.endpoints_removed.len()
}

fn merge(into: &mut MeshUpdate, part: MeshUpdate) {
    into.services.extend(part.services);
    into.services_removed.extend(part.services_removed);
    into.endpoints.extend(part.endpoints);
    into.endpoints_removed.extend(part.endpoints_removed);
}

#[cfg(test)]
#[path = "mesh_test.rs"]
mod tests;
