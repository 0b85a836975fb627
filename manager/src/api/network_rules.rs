//! What a request may ask of the cluster's networks. Pure: tables and a spec in, a change or the reason against it out.
//!
//! Docker's sentences, word for word, where Docker has one.

use common::limits::{NETWORK_SPEC_BYTES_MAX, NETWORKS_MAX};
use common::object::ports::PublishMode;
use common::object::{Network, NetworkId, NetworkSpec, Service};
use common::wire::codec::encode;
use hyper::StatusCode;

use super::error::ApiError;
use super::lookup::name_of;
use super::payload_rules::needed_specs;
use super::service_rules::{NODE_NETWORKS, check_name};
use crate::decide::allocate::{SubnetError, subnets};
use crate::store::{Change, Tables, Write};

/// What Docker marks those networks with that every node has.
pub const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";

/// A new network, with its subnets.
pub fn create(tables: &Tables, id: NetworkId, spec: NetworkSpec) -> Result<Change, ApiError> {
    check(tables, &spec)?;
    let subnets = subnets(tables, &spec).map_err(refused)?;
    Ok(Change::Network(Write::Create(Network::new(id, spec, subnets))))
}

fn check(tables: &Tables, spec: &NetworkSpec) -> Result<(), ApiError> {
    if NODE_NETWORKS.contains(&spec.name.as_str()) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            format!("operation is not permitted on predefined {} network", spec.name),
        ));
    }
    check_name(&spec.name)?;
    if spec.labels.contains_key(PREDEFINED_LABEL) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            format!(
                "label {PREDEFINED_LABEL} is for internally created predefined networks and cannot be applied by users"
            ),
        ));
    }
    if spec.ingress && spec.attachable {
        return Err(ApiError::invalid("ingress network cannot be attachable"));
    }
    let bytes = encode(spec).len();
    if bytes > NETWORK_SPEC_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "the network takes {bytes} bytes, and {NETWORK_SPEC_BYTES_MAX} are allowed"
        )));
    }
    if tables.network_by_name(&spec.name).is_some() {
        return Err(taken(&spec.name));
    }
    if let Some(other) = tables.networks.iter().find(|other| spec.ingress && other.spec.ingress) {
        return Err(ApiError::conflict(format!("ingress network ({}) is already present", other.id)));
    }
    if tables.networks.len() >= NETWORKS_MAX {
        return Err(ApiError::invalid(format!(
            "{NETWORKS_MAX} networks are there, and more are not allowed: remove those that nobody uses"
        )));
    }
    Ok(())
}

/// That name is another's.
pub fn taken(name: &str) -> ApiError {
    ApiError::conflict(format!("network with name {name} already exists"))
}

fn refused(error: SubnetError) -> ApiError {
    let status = match error {
        SubnetError::Overlap { .. } => StatusCode::FORBIDDEN,
        SubnetError::NoFamily
        | SubnetError::Family(_)
        | SubnetError::TooMany(_)
        | SubnetError::Outside { .. }
        | SubnetError::TooSmall(_)
        | SubnetError::Exhausted { .. } => StatusCode::BAD_REQUEST,
    };
    ApiError::new(status, error.to_string())
}

/// Takes a network away that nobody needs any more.
pub fn remove(tables: &Tables, network: &Network) -> Result<Change, ApiError> {
    let name = &network.spec.name;
    if network.spec.ingress
        && let Some(service) = services(tables).find(|service| publishes(service))
    {
        return Err(ApiError::invalid(format!(
            "ingress network cannot be removed because service {} depends on it",
            service.name()
        )));
    }
    match user(tables, network.id) {
        Some(user) => Err(ApiError::invalid(format!("network {name} is in use by {user}"))),
        None => Ok(Change::Network(Write::Remove { id: network.id, read_at: network.meta.version })),
    }
}

/// `service web`, or of a service that has another spec by now `task web.1.…`.
pub fn user(tables: &Tables, network: NetworkId) -> Option<String> {
    let uses = |service: &Service, number: u64| {
        let spec = service.spec_at(number);
        spec.is_some_and(|spec| spec.task.cluster_networks().any(|other| other == network))
    };
    if let Some(service) = services(tables).find(|service| uses(service, service.current.number)) {
        return Some(format!("service {}", service.name()));
    }
    services(tables).find_map(|service| {
        let number = needed_specs(tables, service).into_iter().find(|number| uses(service, *number))?;
        let mut tasks = tables.tasks_of_service(service.id);
        let task = tasks.find(|task| task.spec == number && task.is_wanted());
        match task.and_then(|task| name_of(tables, task)) {
            Some(task) => Some(format!("task {task}")),
            None => Some(format!("service {}", service.name())),
        }
    })
}

fn services(tables: &Tables) -> impl Iterator<Item = &Service> {
    tables.services.iter().map(|service| &**service).filter(|service| !service.removed)
}

fn publishes(service: &Service) -> bool {
    let mut ports = service.spec().endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.any(|port| port.mode == PublishMode::Ingress)
}

#[cfg(test)]
#[path = "network_rules_test.rs"]
mod tests;
