//! What a request may ask of secrets and configs. Pure: tables and a spec in, a change or the reason against it out.
//!
//! Docker's sentences, word for word, where Docker has one.

use std::collections::BTreeSet;

use common::object::container::Driver;
use common::object::payload::PayloadSpec;
use common::object::sensitive::SensitiveBytes;
use common::object::{Payload, PayloadId, PayloadKind, Service, Version};
use common::time::Timestamp;

use super::error::{ApiError, OUT_OF_SEQUENCE};
use super::target::shortened;
use crate::store::{Change, Tables, Write};

const NAME_BYTES_MAX: usize = 64;
/// One more than the data may have.
const SECRET_BYTES_BELOW: usize = 512_000;
const CONFIG_BYTES_BELOW: usize = 1_024_000;
const NAME_RULE: &str =
    "only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]";
/// The one way to fill data in.
const TEMPLATING: &str = "golang";

/// A new secret or config.
pub fn create(
    tables: &Tables,
    id: PayloadId,
    kind: PayloadKind,
    (spec, data): (PayloadSpec, Option<SensitiveBytes>),
    now: Timestamp,
) -> Result<Change, ApiError> {
    let data = data.unwrap_or_else(|| SensitiveBytes::new(Vec::new()));
    check_name(&spec.name)?;
    match &spec.driver {
        Some(driver) => check_driver(kind, driver, &data)?,
        None => check_data(kind, &data)?,
    }
    if let Some(templating) = spec.templating.as_ref().filter(|templating| templating.name != TEMPLATING) {
        return Err(ApiError::invalid(format!(
            "unrecognized template type {:?}: only {TEMPLATING} is known",
            shortened(&templating.name)
        )));
    }
    if tables.payload_by_name(kind, &spec.name).is_some() {
        return Err(taken(kind, &spec.name));
    }
    Ok(Change::Payload(Write::Create(Payload::new(id, kind, spec, data, now))))
}

/// Replaces the labels. Name and data may be said again, and must be what they are; data of a new version is a
/// rotation's.
pub fn update(
    payload: &Payload,
    read_at: Version,
    (spec, data): (PayloadSpec, Option<SensitiveBytes>),
) -> Result<Change, ApiError> {
    let PayloadSpec { name, labels, driver, templating } = spec;
    let present = &payload.spec;
    let same = name == present.name
        && data.is_none_or(|data| same_bytes(data.reveal(), payload.newest().data.reveal()))
        && (driver.is_none() || driver == present.driver)
        && (templating.is_none() || templating == present.templating);
    if !same {
        return Err(ApiError::invalid("only updates to Labels are allowed"));
    }
    if payload.meta.version != read_at {
        return Err(ApiError::internal(OUT_OF_SEQUENCE));
    }
    let mut value = payload.clone();
    value.spec.labels = labels;
    Ok(Change::Payload(Write::update(value)))
}

/// Forgets a secret or config that nothing needs any more.
pub fn remove(tables: &Tables, payload: &Payload) -> Result<Change, ApiError> {
    let users = users(tables, payload.id);
    if !users.is_empty() {
        let services = if users.len() == 1 { "service" } else { "services" };
        let names: Vec<&str> = users.into_iter().collect();
        return Err(ApiError::invalid(format!(
            "{} '{}' is in use by the following {services}: {}",
            payload.kind,
            payload.spec.name,
            names.join(", ")
        )));
    }
    Ok(Change::Payload(Write::Remove { id: payload.id, read_at: payload.meta.version }))
}

/// That name is another's.
pub fn taken(kind: PayloadKind, name: &str) -> ApiError {
    ApiError::conflict(format!("{kind} {name} already exists"))
}

/// Names of the services that need it.
fn users(tables: &Tables, id: PayloadId) -> BTreeSet<&str> {
    let services = tables.services.iter().filter(|service| !service.removed);
    let using = services
        .filter(|service| needed_specs(tables, service).iter().any(|number| uses(service, *number, id)));
    using.map(|service| service.name()).collect()
}

/// The specs that tasks are or may be made of without anybody's asking: the current one, those of tasks that are to
/// go on, and while an update is under way the one it would go back to.
pub(super) fn needed_specs(tables: &Tables, service: &Service) -> BTreeSet<u64> {
    let going_on = tables.tasks_of_service(service.id).filter(|task| task.is_wanted());
    let mut numbers: BTreeSet<u64> = going_on.map(|task| task.spec).collect();
    numbers.insert(service.current.number);
    if service.update.as_ref().is_some_and(|update| update.state.is_under_way()) {
        numbers.extend(service.previous);
    }
    numbers
}

fn uses(service: &Service, number: u64, id: PayloadId) -> bool {
    service.spec_at(number).is_some_and(|spec| {
        spec.task.container.references().any(|(_, reference)| reference.payload() == Some(id))
    })
}

/// `^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`
fn check_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::invalid("name must be provided"));
    }
    if is_name(name) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("invalid name, {NAME_RULE}")))
}

fn is_name(name: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = name.as_bytes();
    bytes.len() <= NAME_BYTES_MAX
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().copied().all(within)
}

/// Whoever has the value: a name that is a file's, and nothing of the value here.
fn check_driver(kind: PayloadKind, driver: &Driver, data: &SensitiveBytes) -> Result<(), ApiError> {
    if driver.name.is_empty() {
        return Err(ApiError::invalid(format!("{kind} driver must have a name")));
    }
    if !is_name(&driver.name) {
        let name = shortened(&driver.name);
        return Err(ApiError::invalid(format!("invalid name of a {kind} driver {name:?}, {NAME_RULE}")));
    }
    if data.length() > 0 {
        return Err(ApiError::invalid(format!("{kind} data must be empty: its driver has the value")));
    }
    Ok(())
}

pub(crate) fn check_data(kind: PayloadKind, data: &SensitiveBytes) -> Result<(), ApiError> {
    let below = match kind {
        PayloadKind::Secret => SECRET_BYTES_BELOW,
        PayloadKind::Config => CONFIG_BYTES_BELOW,
    };
    if (1..below).contains(&data.length()) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("{kind} data must be larger than 0 and less than {below} bytes")))
}

/// In a time that does not tell how much of it is right.
pub(super) fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |seen, (one, other)| seen | (one ^ other)) == 0
}

#[cfg(test)]
#[path = "payload_rules_test.rs"]
mod tests;
