//! New versions of secrets and configs, and what follows for the services that use them. Pure.
//!
//! A rotation is one proposal: the new version, and for every service that names the old one a spec that names the
//! new one. The services then roll by their own update rules, and go back where that fails (`decide::update`).
//! References that are refreshed in place follow the newest version by themselves, and stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::engine_api::payload::PayloadVersion as Row;
use common::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_VERSIONS_KEPT, PROPOSAL_BYTES_MAX, PROPOSAL_CHANGES_MAX};
use common::object::payload::PayloadVersion;
use common::object::sensitive::SensitiveBytes;
use common::object::service::{UpdateState, UpdateStatus};
use common::object::{Payload, PayloadId, Service, ServiceId, ServiceSpec};
use common::time::Timestamp;
use common::wire::codec::encode;

use super::error::ApiError;
use super::payload_rules::{check_data, needed_specs, same_bytes};
use super::service_rules::make_fit;
use crate::store::{Change, Tables, Write};

/// What is around the changes of a proposal.
const ENVELOPE_BYTES: usize = 4 << 10;

/// How far a rotation is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Of the new version; 0 before the first step.
    pub number: u64,
    /// Services that roll, by name.
    pub rolled: BTreeMap<ServiceId, String>,
    /// All that one proposal cannot hold is left to the next step.
    pub whole: bool,
}

/// Makes the new version and moves services to it: all of them, or as many as one proposal holds. Data that is the
/// newest already makes no version; services that are behind are brought to it all the same.
pub fn step(
    tables: &Tables,
    payload: &Payload,
    data: &SensitiveBytes,
    before: &Rotation,
    now: Timestamp,
) -> Result<(Vec<Change>, Rotation), ApiError> {
    let mut rotation = Rotation { whole: true, ..before.clone() };
    let mut changes = Vec::new();
    if rotation.number == 0 {
        let rotated = rotated(tables, payload, data, now)?;
        rotation.number = rotated.newest().number;
        if rotation.number != payload.newest().number {
            changes.push(Change::Payload(Write::update(rotated)));
        }
    } else if rotation.number != payload.newest().number {
        // Somebody has rotated it once more, and has all services in hand.
        return Ok((changes, rotation));
    }
    let mut bytes = ENVELOPE_BYTES + encode(&changes).len();
    for service in tables.services.iter() {
        if service.removed || rotation.rolled.contains_key(&service.id) {
            continue;
        }
        let Some(value) = moved(tables, service, payload, rotation.number, now)? else { continue };
        bytes += encode(&value).len();
        // Alone every service fits.
        let full = bytes > PROPOSAL_BYTES_MAX || changes.len() == PROPOSAL_CHANGES_MAX;
        if full && !changes.is_empty() {
            rotation.whole = false;
            break;
        }
        rotation.rolled.insert(service.id, service.name().into());
        changes.push(Change::Service(Write::update(value)));
    }
    Ok((changes, rotation))
}

/// The payload with that data as its newest version.
fn rotated(
    tables: &Tables,
    payload: &Payload,
    data: &SensitiveBytes,
    now: Timestamp,
) -> Result<Payload, ApiError> {
    let (kind, name) = (payload.kind, &payload.spec.name);
    if let Some(driver) = &payload.spec.driver {
        return Err(ApiError::invalid(format!(
            "{kind} {name} has no value of its own: rotate it where its driver {} has it",
            driver.name
        )));
    }
    check_data(kind, data)?;
    let mut value = payload.clone();
    let newest = payload.newest();
    if same_bytes(newest.data.reveal(), data.reveal()) {
        return Ok(value);
    }
    let number = newest.number.saturating_add(1);
    value.versions.push(PayloadVersion { number, created_at: now, data: data.clone() });
    make_room(tables, &mut value)?;
    Ok(value)
}

/// Forgets versions that no kept spec names, but for the newest few; and, where there is no room otherwise, those
/// that only a rollback by hand would need.
fn make_room(tables: &Tables, payload: &mut Payload) -> Result<(), ApiError> {
    let mut used = BTreeSet::new();
    let mut needed: BTreeSet<u64> =
        payload.versions.last().map(|version| version.number).into_iter().collect();
    for service in tables.services.iter() {
        let specs = service.earlier.values().chain([&service.current]);
        specs.for_each(|spec| used.extend(versions_named(&spec.spec, payload.id)));
        if !service.removed {
            let mut numbers = needed_specs(tables, service);
            numbers.extend(service.previous);
            numbers.extend(service.earlier.values().rfind(|spec| spec.worked).map(|spec| spec.number));
            let specs = numbers.iter().filter_map(|number| service.spec_at(*number));
            specs.for_each(|spec| needed.extend(versions_named(spec, payload.id)));
        }
    }
    let oldest_kept = payload.versions.len().saturating_sub(PAYLOAD_VERSIONS_KEPT);
    let recent: BTreeSet<u64> =
        payload.versions[oldest_kept..].iter().map(|version| version.number).collect();
    payload.versions.retain(|version| used.contains(&version.number) || recent.contains(&version.number));
    let bytes =
        |payload: &Payload| payload.versions.iter().map(|version| version.data.length()).sum::<usize>();
    while bytes(payload) > PAYLOAD_BYTES_MAX {
        let unneeded = payload.versions.iter().position(|version| !needed.contains(&version.number));
        let Some(oldest) = unneeded else {
            return Err(ApiError::invalid(format!(
                "the versions of {} {} that services use take {} bytes with the new one, and {PAYLOAD_BYTES_MAX} are allowed: wait for the updates under way",
                payload.kind,
                payload.spec.name,
                bytes(payload)
            )));
        };
        payload.versions.remove(oldest);
    }
    Ok(())
}

/// The service with a spec that names the new version; none where it names it already, or not at all.
fn moved(
    tables: &Tables,
    service: &Service,
    payload: &Payload,
    number: u64,
    now: Timestamp,
) -> Result<Option<Service>, ApiError> {
    if versions_named(service.spec(), payload.id).all(|named| named == number) {
        return Ok(None);
    }
    let mut spec = ServiceSpec::clone(service.spec());
    for (_, reference) in spec.task.container.references_mut() {
        if reference.payload() == Some(payload.id) && reference.refresh.is_none() {
            reference.version = number;
        }
    }
    let mut value = service.clone();
    value.replace_spec(Arc::new(spec), now);
    // A job does not run anew: what of it is still to come gets the new version.
    value.update = service.job.is_none().then(|| UpdateStatus {
        state: UpdateState::Updating,
        started_at: now,
        completed_at: None,
        message: format!("rotation of {} {} to version {number}", payload.kind, payload.spec.name),
        slots: 0,
        failed: 0,
        progress_at: now,
        rotation: true,
    });
    make_fit(tables, &mut value)?;
    Ok(Some(value))
}

/// The versions that a spec's references hold on to: those that are not refreshed in place.
fn versions_named(spec: &ServiceSpec, id: PayloadId) -> impl Iterator<Item = u64> {
    let references = spec.task.container.references().map(|(_, reference)| reference);
    let held =
        references.filter(move |reference| reference.payload() == Some(id) && reference.refresh.is_none());
    held.map(|reference| reference.version)
}

/// The versions that are kept, newest first, and who uses each.
pub fn history(tables: &Tables, payload: &Payload) -> Vec<Row> {
    let newest = payload.newest().number;
    // What a task of that spec has now.
    let has = |spec: &ServiceSpec, number: u64| {
        let mut references = spec.task.container.references().map(|(_, reference)| reference);
        references.any(|reference| {
            let its = if reference.refresh.is_some() { newest } else { reference.version };
            reference.payload() == Some(payload.id) && its == number
        })
    };
    let row = |version: &PayloadVersion| {
        let services = || tables.services.iter().filter(|service| !service.removed);
        let using = services().filter(|service| has(service.spec(), version.number));
        let mut names: Vec<String> = using.map(|service| service.name().into()).collect();
        names.sort();
        let tasks = services().flat_map(|service| {
            let wanted = tables.tasks_of_service(service.id).filter(|task| task.is_wanted());
            wanted.filter(|task| service.spec_at(task.spec).is_some_and(|spec| has(spec, version.number)))
        });
        Row {
            number: version.number,
            created_at: version.created_at.to_rfc3339(),
            newest: version.number == newest,
            bytes: version.data.length() as u64,
            services: names,
            tasks: tasks.count() as u64,
        }
    };
    payload.versions.iter().rev().map(row).collect()
}

#[cfg(test)]
#[path = "rotation_rules_test.rs"]
mod tests;
