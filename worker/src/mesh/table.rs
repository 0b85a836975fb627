//! What this node knows of the mesh: services that can be reached from here, and where their tasks are.
//!
//! Pure. Changes come in, and with them a digest that has to agree; ports to listen on and a task to connect to come
//! out. It stays as it is while no manager is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::object::ports::Protocol;
use common::object::{NodeId, ServiceId, TaskId};
use common::wire::mesh::{MeshEndpoint, MeshService, MeshUpdate, endpoint_digest, service_digest};

/// A clone is cheap, and stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    services: BTreeMap<ServiceId, Arc<Known>>,
    digest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub service: MeshService,
    /// In order of tasks.
    pub endpoints: Vec<MeshEndpoint>,
}

/// What is to change, put together from the parts of an update; the later part wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    services: BTreeMap<ServiceId, Option<MeshService>>,
    endpoints: BTreeMap<TaskId, Option<MeshEndpoint>>,
}

impl Change {
    pub fn add(&mut self, update: MeshUpdate) {
        let MeshUpdate { services, services_removed, endpoints, endpoints_removed } = update;
        self.services.extend(services_removed.into_iter().map(|id| (id, None)));
        self.services.extend(services.into_iter().map(|service| (service.id, Some(service))));
        self.endpoints.extend(endpoints_removed.into_iter().map(|task| (task, None)));
        self.endpoints.extend(endpoints.into_iter().map(|endpoint| (endpoint.task, Some(endpoint))));
    }

    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.endpoints.is_empty()
    }

    /// Services and endpoints that it speaks of.
    pub fn items(&self) -> usize {
        self.services.len() + self.endpoints.len()
    }
}

/// What a published port leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub service: ServiceId,
    pub target: u16,
    pub protocol: Protocol,
}

/// How good a task looks from here, better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chance {
    Good,
    /// Its node is said to be dead: tried when there is nobody else.
    Slim,
}

impl Table {
    /// The table as it will be; a whole set begins with nothing. Endpoints of services that are not known are left out.
    pub fn with(&self, change: &Change, is_whole: bool) -> Self {
        let mut next = if is_whole { Self::default() } else { self.clone() };
        for (id, service) in &change.services {
            next.set_service(*id, service.clone());
        }
        for (task, endpoint) in &change.endpoints {
            next.set_endpoint(*task, endpoint.clone());
        }
        next
    }

    /// The sum of the shares of all that is known.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Services and endpoints that are known.
    pub fn items(&self) -> usize {
        self.services().map(|known| 1 + known.endpoints.len()).sum()
    }

    pub fn services(&self) -> impl Iterator<Item = &Known> {
        self.services.values().map(Arc::as_ref)
    }

    pub fn service(&self, service: ServiceId) -> Option<&Known> {
        self.services.get(&service).map(Arc::as_ref)
    }

    /// The ports to listen on.
    pub fn published(&self) -> BTreeSet<(Protocol, u16)> {
        let ports = self.services().flat_map(|known| &known.service.ports);
        ports.map(|port| (port.protocol, port.published)).collect()
    }

    /// What a published port leads to now.
    pub fn way(&self, protocol: Protocol, published: u16) -> Option<Way> {
        let ports =
            self.services().flat_map(|known| known.service.ports.iter().map(move |port| (known, port)));
        let mut found = ports.filter(|(_, port)| (port.protocol, port.published) == (protocol, published));
        found.next().map(|(known, port)| Way { service: known.service.id, target: port.target, protocol })
    }

    /// Whether a service publishes a port of its tasks.
    pub fn publishes(&self, way: Way) -> bool {
        let ports = self.service(way.service).into_iter().flat_map(|known| &known.service.ports);
        ports.into_iter().any(|port| (port.protocol, port.target) == (way.protocol, way.target))
    }

    /// The task to try next: of two taken by chance from the best there are, the less busy one. None when all were
    /// tried, or none serves.
    pub fn pick(
        &self,
        service: ServiceId,
        tried: &BTreeSet<TaskId>,
        chance: impl Fn(NodeId) -> Chance,
        busy: impl Fn(TaskId) -> usize,
        mut draw: impl FnMut() -> u64,
    ) -> Option<&MeshEndpoint> {
        let endpoints = &self.service(service)?.endpoints;
        let serving = endpoints.iter().filter(|one| !one.leaving && !tried.contains(&one.task));
        let mut candidates: Vec<(Chance, &MeshEndpoint)> =
            serving.map(|endpoint| (chance(endpoint.node), endpoint)).collect();
        let best = candidates.iter().map(|(chance, _)| *chance).min()?;
        candidates.retain(|(chance, _)| *chance == best);
        let mut one = || {
            let place = draw() % candidates.len().max(1) as u64;
            candidates.get(place as usize).map(|(_, endpoint)| *endpoint)
        };
        let (first, second) = (one()?, one()?);
        Some(if busy(second.task) < busy(first.task) { second } else { first })
    }

    fn set_service(&mut self, id: ServiceId, service: Option<MeshService>) {
        let Some(service) = service else {
            let Some(known) = self.services.remove(&id) else { return };
            let shares = known.endpoints.iter().map(endpoint_digest).chain([service_digest(&known.service)]);
            self.digest = shares.fold(self.digest, u64::wrapping_sub);
            return;
        };
        self.digest = self.digest.wrapping_add(service_digest(&service));
        match self.services.get_mut(&id) {
            Some(known) => {
                self.digest = self.digest.wrapping_sub(service_digest(&known.service));
                Arc::make_mut(known).service = service;
            }
            None => drop(self.services.insert(id, Arc::new(Known { service, endpoints: Vec::new() }))),
        }
    }

    fn service_of(&self, task: TaskId) -> Option<ServiceId> {
        let has = |known: &&Known| known.endpoints.binary_search_by_key(&task, |one| one.task).is_ok();
        self.services().find(has).map(|known| known.service.id)
    }

    fn set_endpoint(&mut self, task: TaskId, endpoint: Option<MeshEndpoint>) {
        let service = match &endpoint {
            Some(endpoint) => Some(endpoint.service),
            None => self.service_of(task),
        };
        let Some(known) = service.and_then(|service| self.services.get_mut(&service)) else { return };
        let known = Arc::make_mut(known);
        let found = known.endpoints.binary_search_by_key(&task, |known| known.task);
        if let Ok(place) = found {
            self.digest = self.digest.wrapping_sub(endpoint_digest(&known.endpoints[place]));
        }
        match (endpoint, found) {
            (Some(endpoint), found) => {
                self.digest = self.digest.wrapping_add(endpoint_digest(&endpoint));
                match found {
                    Ok(place) => known.endpoints[place] = endpoint,
                    Err(place) => known.endpoints.insert(place, endpoint),
                }
            }
            (None, Ok(place)) => {
                known.endpoints.remove(place);
            }
            (None, Err(_)) => {}
        }
    }
}

#[cfg(test)]
#[path = "table_test.rs"]
pub mod tests;
