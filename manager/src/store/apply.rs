//! Applies a proposal to the tables.
//!
//! Pure and the same on every manager: uses the entry and the tables, nothing else. A bad entry gets a
//! rejection; nothing panics, and nothing is half done.

use std::sync::Arc;

use common::limits::PROPOSAL_CHANGES_MAX;
use common::object::container::FileReference;
use common::object::{Network, NetworkId, ObjectKind, Payload, PayloadId, PayloadKind, Service, Version};
use common::time::Timestamp;

use super::addresses::{Address, Holder, of_service, of_task};
use super::change::{Change, Proposal, Rejection, Write};
use super::feed::Changed;
use super::table::{Object, Table};
use super::{Outcome, Tables};

/// Applies all of `proposal` as version `version`, or none of it.
pub fn apply(tables: &mut Tables, version: Version, proposal: &Proposal) -> (Outcome, Vec<Changed>) {
    if let Some(before) = applied_before(tables, proposal) {
        tables.version = version;
        return (Ok(before), Vec::new());
    }
    let mut next = tables.clone();
    match apply_all(&mut next, version, proposal) {
        Ok(changed) => {
            next.version = version;
            next.newest = next.newest.max(proposal.at);
            *tables = next;
            (Ok(version), changed)
        }
        Err(rejection) => {
            tables.version = version;
            (Err(rejection), Vec::new())
        }
    }
}

/// The version this proposal was written at, if it was applied before: its first change left its mark.
fn applied_before(tables: &Tables, proposal: &Proposal) -> Option<Version> {
    fn mark<T: Object>(table: &Table<T>, write: &Write<T>, id: u64) -> Option<Version> {
        let (Write::Create(value) | Write::Update { value, .. }) = write else { return None };
        let meta = table.get(value.id())?.meta();
        (meta.written_by == id).then_some(meta.version)
    }
    match proposal.changes.first()? {
        Change::Cluster(write) => mark(&tables.clusters, write, proposal.id),
        Change::Node(write) => mark(&tables.nodes, write, proposal.id),
        Change::Service(write) => mark(&tables.services, write, proposal.id),
        Change::Task(write) => mark(&tables.tasks, write, proposal.id),
        Change::Payload(write) => mark(&tables.payloads, write, proposal.id),
        Change::Network(write) => mark(&tables.networks, write, proposal.id),
    }
}

fn apply_all(tables: &mut Tables, version: Version, proposal: &Proposal) -> Result<Vec<Changed>, Rejection> {
    let invalid = |reason: &str| Rejection::Invalid { reason: reason.into() };
    match proposal.changes.len() {
        0 => return Err(invalid("it changes nothing")),
        changes if changes > PROPOSAL_CHANGES_MAX => return Err(invalid("it has too many changes")),
        _ if proposal.id == 0 => return Err(invalid("it has no id")),
        _ => {}
    }
    // Time in the store never runs backwards, whichever manager's clock a proposal was made by.
    let mark = Mark { version, at: proposal.at.max(tables.newest), by: proposal.id };
    proposal
        .changes
        .iter()
        .map(|change| match change {
            Change::Cluster(write) => {
                let (id, before, after) = write_one(&tables.clusters, write, &mark)?;
                tables.clusters.set(id, after.clone());
                Ok(Changed::Cluster { before, after })
            }
            Change::Node(write) => {
                let (id, before, after) = write_one(&tables.nodes, write, &mark)?;
                tables.nodes.set(id, after.clone());
                Ok(Changed::Node { before, after })
            }
            Change::Service(write) => {
                let (id, before, after) = write_one(&tables.services, write, &mark)?;
                if let Some(service) = &after {
                    check_name(tables, service)?;
                    check_references(tables, service, before.as_deref())?;
                }
                check_addresses(tables, Holder::Service(id), of_service(after.as_deref()))?;
                tables.set_service(id, after.clone());
                Ok(Changed::Service { before, after })
            }
            Change::Task(write) => {
                let (id, before, after) = write_one(&tables.tasks, write, &mark)?;
                check_addresses(tables, Holder::Task(id), of_task(after.as_deref()))?;
                tables.set_task(id, after.clone());
                Ok(Changed::Task { before, after })
            }
            Change::Payload(write) => {
                let (id, before, after) = write_one(&tables.payloads, write, &mark)?;
                match &after {
                    Some(payload) => check_payload(tables, payload)?,
                    None => check_unused(tables, id)?,
                }
                tables.set_payload(id, after.clone());
                Ok(Changed::Payload { before, after })
            }
            Change::Network(write) => {
                let (id, before, after) = write_one(&tables.networks, write, &mark)?;
                match &after {
                    Some(network) => check_network(tables, network)?,
                    None => check_unattached(tables, id)?,
                }
                tables.set_network(id, after.clone());
                Ok(Changed::Network { before, after })
            }
        })
        .collect()
}

struct Mark {
    version: Version,
    at: Timestamp,
    by: u64,
}

/// The object's id, what was there, and what is to be there.
type Written<T> = (<T as Object>::Id, Option<Arc<T>>, Option<Arc<T>>);

fn write_one<T: Object>(table: &Table<T>, write: &Write<T>, mark: &Mark) -> Result<Written<T>, Rejection> {
    let (id, before) = match write {
        Write::Create(value) => (value.id(), None),
        Write::Update { value, read_at } => (value.id(), Some(*read_at)),
        Write::Remove { id, read_at } => (*id, Some(*read_at)),
    };
    let present = table.get(id).cloned();
    match (&present, before) {
        (None, None) => {}
        (Some(_), None) => return Err(Rejection::Exists { kind: T::KIND, id: id.to_string() }),
        (None, Some(_)) => return Err(Rejection::Missing { kind: T::KIND, id: id.to_string() }),
        (Some(object), Some(read_at)) => {
            let found = object.meta().version;
            // An earlier change of this same group may have written it already: that is one view, not a conflict.
            if found != read_at && found != mark.version {
                return Err(Rejection::Conflict { kind: T::KIND, id: id.to_string(), read_at, found });
            }
        }
    }
    let after = match write {
        Write::Remove { .. } => None,
        Write::Create(value) | Write::Update { value, .. } => {
            let mut value = value.clone();
            let created_at = present.as_ref().map_or(mark.at, |object| object.meta().created_at);
            let meta = value.meta_mut();
            meta.version = mark.version;
            meta.created_at = created_at;
            meta.updated_at = mark.at;
            meta.written_by = mark.by;
            Some(Arc::new(value))
        }
    };
    Ok((id, present, after))
}

/// No two services that are there have one name.
fn check_name(tables: &Tables, service: &Service) -> Result<(), Rejection> {
    let name = service.name();
    match tables.service_by_name(name) {
        Some(other) if other.id != service.id && !service.removed => {
            Err(Rejection::NameTaken { kind: ObjectKind::Service, name: name.into() })
        }
        _ => Ok(()),
    }
}

/// No two secrets have one name, nor two configs; and none is without a version.
fn check_payload(tables: &Tables, payload: &Payload) -> Result<(), Rejection> {
    let name = &payload.spec.name;
    if payload.versions.is_empty() {
        return Err(Rejection::Invalid { reason: format!("{} {name} has no version", payload.kind) });
    }
    match tables.payload_by_name(payload.kind, name) {
        Some(other) if other.id != payload.id => {
            Err(Rejection::NameTaken { kind: ObjectKind::Payload, name: name.clone() })
        }
        _ => Ok(()),
    }
}

/// A new spec uses what is there. What was removed after its writer had looked is a conflict: it looks again.
fn check_references(tables: &Tables, service: &Service, before: Option<&Service>) -> Result<(), Rejection> {
    if before.is_some_and(|before| before.spec_at(service.current.number).is_some()) {
        return Ok(());
    }
    let gone = |(_, reference): &(PayloadKind, &FileReference)| {
        let payload = reference.payload().and_then(|id| tables.payloads.get(id));
        payload.is_none_or(|payload| payload.version(reference.version).is_none())
    };
    match service.spec().task.container.references().find(gone) {
        Some((_, reference)) => Err(Rejection::Conflict {
            kind: ObjectKind::Payload,
            id: reference.id.clone(),
            read_at: tables.version,
            found: Version::default(),
        }),
        None => check_networks(tables, service),
    }
}

fn check_networks(tables: &Tables, service: &Service) -> Result<(), Rejection> {
    match service.spec().task.cluster_networks().find(|network| tables.networks.get(*network).is_none()) {
        Some(network) => Err(Rejection::Conflict {
            kind: ObjectKind::Network,
            id: network.to_string(),
            read_at: tables.version,
            found: Version::default(),
        }),
        None => Ok(()),
    }
}

/// No two networks have one name, and no two subnets overlap. Where another one came to have them after its writer
/// had looked, that is a conflict: it looks again, and finds others.
fn check_network(tables: &Tables, network: &Network) -> Result<(), Rejection> {
    let name = &network.spec.name;
    if tables.network_by_name(name).is_some_and(|other| other.id != network.id) {
        return Err(Rejection::NameTaken { kind: ObjectKind::Network, name: name.clone() });
    }
    let overlaps = |other: &Network| {
        let pairs =
            network.subnets.iter().flat_map(|one| other.subnets.iter().map(move |other| (one, other)));
        pairs.into_iter().any(|(one, other)| one.subnet.overlaps(&other.subnet))
    };
    let others = tables.networks.iter().filter(|other| other.id != network.id);
    match others.into_iter().find(|other| overlaps(other) || (other.spec.ingress && network.spec.ingress)) {
        Some(other) => Err(Rejection::Conflict {
            kind: ObjectKind::Network,
            id: other.id.to_string(),
            read_at: tables.version,
            found: other.meta.version,
        }),
        None => Ok(()),
    }
}

/// No address is given twice, whatever has become of who gave it out.
fn check_addresses(tables: &Tables, holder: Holder, held: &[Address]) -> Result<(), Rejection> {
    let others =
        |address: &&Address| tables.addresses().holder(**address).is_some_and(|other| other != holder);
    match held.iter().find(others) {
        Some((network, _)) => Err(Rejection::Conflict {
            kind: ObjectKind::Network,
            id: network.to_string(),
            read_at: tables.version,
            found: tables.version,
        }),
        None => Ok(()),
    }
}

/// Nobody came to be on it after who removes it had looked.
fn check_unattached(tables: &Tables, id: NetworkId) -> Result<(), Rejection> {
    let is_on = |service: &&Arc<Service>| {
        !service.removed && service.spec().task.cluster_networks().any(|network| network == id)
    };
    match tables.services.iter().find(is_on) {
        Some(service) => Err(Rejection::Conflict {
            kind: ObjectKind::Network,
            id: id.to_string(),
            read_at: tables.version,
            found: service.meta.version,
        }),
        None => Ok(()),
    }
}

/// Nobody came to use it after who removes it had looked.
fn check_unused(tables: &Tables, id: PayloadId) -> Result<(), Rejection> {
    let uses = |service: &&Arc<Service>| {
        let mut references = service.spec().task.container.references();
        !service.removed && references.any(|(_, reference)| reference.payload() == Some(id))
    };
    match tables.services.iter().find(uses) {
        Some(service) => Err(Rejection::Conflict {
            kind: ObjectKind::Payload,
            id: id.to_string(),
            read_at: tables.version,
            found: service.meta.version,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "apply_test.rs"]
mod tests;
