//! What a request may ask of services. Pure: tables and a spec in, a change or the reason against it out.
//!
//! Docker's sentences, word for word, where Docker has one. What follows from a change is `decide`'s.
//!
//! - `spec`: what can be judged of a spec alone. `image`, `name`, `ports`, `references`: parts of that.
//! - `history`: what differs between kept specs.

pub mod history;
mod image;
mod name;
mod ports;
mod references;
mod spec;
#[cfg(test)]
mod table_test;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::limits::SERVICE_BYTES_MAX;
use common::object::service::{UpdateState, UpdateStatus};
use common::object::{Service, ServiceId, ServiceSpec, Version};
use common::time::Timestamp;
use common::wire::codec::encode;

pub(super) use name::check as check_name;
pub use name::random_name;
pub(super) use references::NODE_NETWORKS;
pub use spec::{check, network_warning, warnings};

use super::error::{ApiError, OUT_OF_SEQUENCE};
use crate::store::{Change, Tables, Write};

/// A new service. That its name is free is the store's to say.
pub fn create(
    tables: &Tables,
    id: ServiceId,
    mut spec: ServiceSpec,
    now: Timestamp,
) -> Result<Change, ApiError> {
    check(&spec)?;
    references::resolve(tables, &mut spec.task, None)?;
    ports::check_free(tables, &spec, None)?;
    Ok(Change::Service(Write::Create(Service::new(id, spec, now))))
}

/// What `POST /services/{id}/update` asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    Spec(Arc<ServiceSpec>),
    /// The spec before the current one.
    Previous,
    /// A kept spec, by its number.
    Number(u64),
}

/// Replaces a service's spec, or returns to a kept one. `read_at` is none where the version was compared before.
pub fn update(
    tables: &Tables,
    service: &Service,
    read_at: Option<Version>,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Change, ApiError> {
    let mut value = service.clone();
    value.update = None;
    match wanted {
        Wanted::Spec(mut spec) => {
            check_replacement(tables, service, &spec)?;
            references::resolve(tables, &mut Arc::make_mut(&mut spec).task, Some(&service.spec().task))?;
            check_version(service, read_at)?;
            value.replace_spec(spec, now);
        }
        Wanted::Previous => {
            let number = service.previous.filter(|number| service.earlier.contains_key(number));
            let none = || ApiError::invalid(format!("service {} does not have a previous spec", service.id));
            let number = number.ok_or_else(none)?;
            check_version(service, read_at)?;
            check_references(tables, service, number)?;
            roll_back(&mut value, number, now);
        }
        Wanted::Number(number) => {
            check_kept(service, number)?;
            check_version(service, read_at)?;
            check_references(tables, service, number)?;
            roll_back(&mut value, number, now);
        }
    }
    if let Some(job) = &mut value.job {
        job.iteration = job.iteration.saturating_add(1);
        job.last_execution = now;
    }
    make_fit(tables, &mut value)?;
    Ok(Change::Service(Write::update(value)))
}

/// Takes a service out of sight. Its tasks are stopped by it, so the object stays until they are gone.
pub fn remove(service: &Service) -> Change {
    Change::Service(Write::update(Service { removed: true, ..service.clone() }))
}

/// Asks for the tasks to be spread anew.
pub fn rebalance(service: &Service) -> Change {
    let rebalance = service.rebalance.saturating_add(1);
    Change::Service(Write::update(Service { rebalance, ..service.clone() }))
}

fn check_version(service: &Service, read_at: Option<Version>) -> Result<(), ApiError> {
    match read_at {
        Some(read_at) if read_at != service.meta.version => Err(ApiError::internal(OUT_OF_SEQUENCE)),
        Some(_) | None => Ok(()),
    }
}

fn check_replacement(tables: &Tables, service: &Service, spec: &ServiceSpec) -> Result<(), ApiError> {
    check(spec)?;
    let current = service.spec();
    if spec.endpoint != current.endpoint {
        ports::check_free(tables, spec, Some(service.id))?;
    }
    if spec.name != current.name {
        return Err(ApiError::not_implemented("renaming services is not supported"));
    }
    if std::mem::discriminant(&spec.mode) != std::mem::discriminant(&current.mode) {
        return Err(ApiError::not_implemented("service mode change is not allowed"));
    }
    Ok(())
}

fn check_kept(service: &Service, number: u64) -> Result<(), ApiError> {
    if number == service.current.number {
        return Err(ApiError::invalid(format!("service {} has spec {number} already", service.id)));
    }
    if service.earlier.contains_key(&number) {
        return Ok(());
    }
    let kept: Vec<String> = service.earlier.keys().map(u64::to_string).collect();
    let kept = if kept.is_empty() { "none".into() } else { kept.join(", ") };
    Err(ApiError::invalid(format!(
        "service {} does not keep spec {number}; earlier specs kept: {kept}",
        service.id
    )))
}

/// What a kept spec uses may be gone by now.
fn check_references(tables: &Tables, service: &Service, number: u64) -> Result<(), ApiError> {
    service.spec_at(number).map_or(Ok(()), |spec| references::check_kept(tables, &spec.task))
}

fn roll_back(service: &mut Service, number: u64, now: Timestamp) {
    let returned = service.return_to(number, now);
    debug_assert!(returned, "checked to be kept");
    service.update = Some(UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at: now,
        completed_at: None,
        message: "manually requested rollback".into(),
        slots: 0,
        failed: 0,
        progress_at: now,
        rotation: false,
    });
}

/// Forgets the oldest specs that no task uses until the service can be written.
pub(super) fn make_fit(tables: &Tables, service: &mut Service) -> Result<(), ApiError> {
    if encode(service).len() <= SERVICE_BYTES_MAX {
        return Ok(());
    }
    let used: BTreeSet<u64> = tables.tasks_of_service(service.id).map(|task| task.spec).collect();
    let needed = |number: &u64| used.contains(number) || service.previous == Some(*number);
    let unused: Vec<u64> = service.earlier.keys().copied().filter(|number| !needed(number)).collect();
    for number in unused {
        service.earlier.remove(&number);
        if encode(service).len() <= SERVICE_BYTES_MAX {
            return Ok(());
        }
    }
    let bytes = encode(service).len();
    Err(ApiError::invalid(format!(
        "the specs of service {} that its tasks use take {bytes} bytes together, and {SERVICE_BYTES_MAX} are allowed: wait for the update under way",
        service.id
    )))
}
