//! Published ports: within one service, and against those of all others.
//!
//! A port published in ingress mode is the whole cluster's. Two services may publish the same port in host mode:
//! placing keeps their tasks apart.

use std::collections::{BTreeMap, BTreeSet};

use common::object::ports::{EndpointMode, EndpointSpec, Port, Protocol, PublishMode};
use common::object::{Service, ServiceId, ServiceSpec};

use super::super::error::ApiError;
use crate::store::Tables;

pub fn check(endpoint: Option<&EndpointSpec>) -> Result<(), ApiError> {
    let Some(EndpointSpec { mode, ports }) = endpoint else { return Ok(()) };
    let mut published = BTreeSet::new();
    for port in ports {
        if *mode == Some(EndpointMode::Dnsrr) && port.mode == PublishMode::Ingress {
            return Err(ApiError::invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.published != 0 && !published.insert((port.protocol, port.published)) {
            return Err(ApiError::invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}

/// Whether no other service has what `spec` publishes; `except` is the service whose spec it becomes.
pub fn check_free(tables: &Tables, spec: &ServiceSpec, except: Option<ServiceId>) -> Result<(), ApiError> {
    let wanted: BTreeMap<(Protocol, u16), PublishMode> = spec
        .endpoint
        .iter()
        .flat_map(|endpoint| &endpoint.ports)
        .filter(|port| port.published != 0)
        .map(|port| ((port.protocol, port.published), port.mode))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let others = tables.services.iter().filter(|other| !other.removed && Some(other.id) != except);
    for other in others {
        for port in taken(other) {
            match (wanted.get(&(port.protocol, port.published)), port.mode) {
                (None, _) | (Some(PublishMode::Host), PublishMode::Host) => {}
                (Some(_), mode) => return Err(in_use(port.published, other, mode)),
            }
        }
    }
    Ok(())
}

/// As asked for and as given out: a port that was not named has its number in the latter alone.
fn taken(service: &Service) -> impl Iterator<Item = &Port> {
    let asked = service.spec().endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    asked.chain(&service.ports).filter(|port| port.published != 0)
}

fn in_use(published: u16, service: &Service, mode: PublishMode) -> ApiError {
    let mode = match mode {
        PublishMode::Ingress => "an ingress port",
        PublishMode::Host => "a host-published port",
    };
    ApiError::invalid(format!(
        "port '{published}' is already in use by service '{}' ({}) as {mode}",
        service.name(),
        service.id
    ))
}
