//! `/services`: list, make, look at, change and remove what people want run.
//!
//! What is ours of them, under `/swarm/x/services/`, is in `extras`; their logs are in `logs`.

use std::sync::Arc;

use common::engine_api::convert::{
    insert_defaults, service_spec_from_api, service_to_api, virtual_ip_to_api,
};
use common::engine_api::service::{
    Service as ApiService, ServiceCreated, ServiceSpec as ApiServiceSpec, ServiceStatus, ServiceUpdated,
};
use common::limits::{RANDOM_NAME_ATTEMPTS_MAX, REGISTRY_AUTH_BYTES_MAX};
use common::object::sensitive::Sensitive;
use common::object::{Service, ServiceId, ServiceMode, ServiceSpec, TaskState};
use common::random::SystemRandom;

use super::change::change;
use super::error::ApiError;
use super::exchange::{self, Answer, Call};
use super::filter::Filters;
use super::route::Edge;
use super::rules;
use super::service_rules::{self, Wanted, history};
use super::target::shortened;
use super::view::{View, control};
use super::{lookup, networks};
use crate::store::Tables;

const FILTER_KEYS: [&str; 5] = ["id", "label", "mode", "name", "runtime"];
const MODES: [&str; 4] = ["global", "global-job", "replicated", "replicated-job"];
/// What Docker's client sends where it has no credentials: an empty object in base64.
const NO_CREDENTIALS: &str = "e30=";

pub(super) async fn list(edge: &Edge, call: &Call) -> Answer {
    let filters = Filters::parse(call.query.get("filters"), &FILTER_KEYS)?;
    filters.check_words("mode", &MODES)?;
    let with_status = call.query.flag("status");
    let view = View::of(&*edge.host, &call.query).await?;
    let services =
        view.tables.services.iter().filter(|service| matches(&filters, service)).cloned().collect();
    let tables = view.tables.clone();
    Ok(view.mark(exchange::json_list(services, move |service: &Service| {
        let service_status = with_status.then(|| status(&tables, service));
        ApiService { service_status, ..shown(&tables, service) }
    })))
}

pub(super) async fn inspect(edge: &Edge, call: &Call, name: &str) -> Answer {
    let with_defaults = call.query.flag("insertDefaults");
    let view = View::of(&*edge.host, &call.query).await?;
    let mut service = shown(&view.tables, &*lookup::service(&view.tables, name)?);
    if with_defaults {
        insert_defaults(&mut service.spec);
        service.endpoint.spec = service.spec.endpoint_spec.clone().unwrap_or_default();
    }
    Ok(view.mark(exchange::json(&service)?))
}

pub(super) async fn create(edge: &Edge, call: &mut Call) -> Answer {
    let spec: ApiServiceSpec = call.json(&edge.large_bodies).await?;
    let mut spec = service_spec_from_api(spec)?;
    spec.task.registry_auth = registry_auth(call)?;
    let nameless = spec.name.is_empty();
    let control = control(&*edge.host)?;
    let id = ServiceId::generate(&mut SystemRandom);
    let mut warnings = service_rules::warnings(&spec);
    warnings.extend(service_rules::network_warning(&control.local(), &spec.task, None));
    let made = change(&*control, |tables| {
        if nameless {
            spec.name = free_name(tables);
        }
        Ok((vec![service_rules::create(tables, id, spec.clone(), control.now())?], ()))
    });
    if let Err(error) = made.await {
        return Err(networks::explain_unknown(edge, error).await);
    }
    exchange::created(&ServiceCreated { id: id.to_string(), warnings })
}

pub(super) async fn update(edge: &Edge, call: &mut Call, name: &str) -> Answer {
    let read_at = rules::version("service", call.query.get("version"))?;
    let auth = registry_auth(call)?;
    let auth_from = AuthFrom::parse(call.query.get("registryAuthFrom"))?;
    let back = call.query.get("rollback").to_owned();
    let spec: ApiServiceSpec = call.json(&edge.large_bodies).await?;
    // As in Docker the body has to be a spec even where a rollback does not use it.
    let spec = service_spec_from_api(spec)?;
    let wanted = wanted(&back, spec)?;
    let mut warnings = match &wanted {
        Wanted::Spec(spec) => service_rules::warnings(spec),
        Wanted::Previous | Wanted::Number(_) => Vec::new(),
    };
    let control = control(&*edge.host)?;
    if let Wanted::Spec(spec) = &wanted {
        let tables = control.local();
        let before = lookup::service(&tables, name).ok();
        let before = before.as_ref().map(|service| &service.spec().task);
        warnings.extend(service_rules::network_warning(&tables, &spec.task, before));
    }
    // Once the client's version was found to be the present one, only another spec is in its way: managers write
    // the rest of a service often while an update goes on.
    let mut seen: Option<(u64, usize)> = None;
    let made = change(&*control, |tables| {
        let service = lookup::service(tables, name)?;
        let version = (service.current.number, service.earlier.len());
        let read_at = (seen != Some(version)).then_some(read_at);
        let mut wanted = wanted.clone();
        if let Wanted::Spec(spec) = &mut wanted {
            Arc::make_mut(spec).task.registry_auth = match &auth {
                Some(auth) => Some(auth.clone()),
                None => kept_auth(&service, auth_from)?,
            };
        }
        let change = service_rules::update(tables, &service, read_at, wanted, control.now())?;
        seen = Some(version);
        Ok((vec![change], ()))
    });
    if let Err(error) = made.await {
        return Err(networks::explain_unknown(edge, error).await);
    }
    exchange::json(&ServiceUpdated { warnings })
}

pub(super) async fn remove(edge: &Edge, name: &str) -> Answer {
    let control = control(&*edge.host)?;
    change(&*control, |tables| Ok((vec![service_rules::remove(&*lookup::service(tables, name)?)], ())))
        .await?;
    Ok(exchange::done())
}

/// `POST /swarm/x/services/{name}/rebalance`.
pub(super) async fn rebalance(edge: &Edge, name: &str) -> Answer {
    let control = control(&*edge.host)?;
    change(&*control, |tables| Ok((vec![service_rules::rebalance(&*lookup::service(tables, name)?)], ())))
        .await?;
    Ok(exchange::done())
}

/// `GET /swarm/x/services/{name}/history`.
pub(super) async fn history(edge: &Edge, call: &Call, name: &str) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    let service = lookup::service(&view.tables, name)?;
    Ok(view.mark(exchange::json(&history::rows(&view.tables, &service))?))
}

/// As the API shows it, with its addresses.
fn shown(tables: &Tables, service: &Service) -> ApiService {
    let virtual_ips = service.virtual_ips.iter().map(|(network, address)| {
        let object = tables.networks.get(*network).map(|network| &**network);
        virtual_ip_to_api(*network, *address, object)
    });
    let mut shown = service_to_api(service);
    shown.endpoint.virtual_ips = virtual_ips.collect();
    shown
}

fn matches(filters: &Filters, service: &Service) -> bool {
    let spec = service.spec();
    let mode = match spec.mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    };
    !service.removed
        && filters.prefix("id", &service.id.to_string())
        && filters.prefix("name", &spec.name)
        && filters.labels("label", &spec.labels)
        && filters.any("mode", |wanted| wanted == mode)
        && filters.any("runtime", |wanted| wanted == spec.task.runtime.to_string())
}

/// How many tasks run, are to, and have ended well; of a job those of its present run.
fn status(tables: &Tables, service: &Service) -> ServiceStatus {
    let iteration = service.job.as_ref().map(|job| job.iteration);
    let tasks = || {
        let tasks = tables.tasks_of_service(service.id);
        tasks.filter(move |task| iteration.is_none() || task.iteration == iteration)
    };
    let count = |state| tasks().filter(|task| task.status.state == state).count() as u64;
    let completed_tasks = if iteration.is_some() { count(TaskState::Complete) } else { 0 };
    let desired_tasks = match service.spec().mode {
        ServiceMode::Replicated { replicas } => replicas,
        ServiceMode::ReplicatedJob { concurrent_max, .. } => concurrent_max,
        ServiceMode::Global => tasks().filter(|task| task.desired == TaskState::Running).count() as u64,
        ServiceMode::GlobalJob => {
            let wanted = tasks().filter(|task| task.desired == TaskState::Complete);
            wanted.filter(|task| task.status.state != TaskState::Complete).count() as u64
        }
    };
    ServiceStatus { running_tasks: count(TaskState::Running), desired_tasks, completed_tasks }
}

fn free_name(tables: &Tables) -> String {
    let mut name = service_rules::random_name(&mut SystemRandom);
    for attempt in 1..RANDOM_NAME_ATTEMPTS_MAX {
        if tables.service_by_name(&name).is_none() {
            break;
        }
        name = format!("{}{attempt}", service_rules::random_name(&mut SystemRandom));
    }
    name
}

fn wanted(rollback: &str, spec: ServiceSpec) -> Result<Wanted, ApiError> {
    match rollback {
        "" | "none" => Ok(Wanted::Spec(Arc::new(spec))),
        "previous" => Ok(Wanted::Previous),
        number => match number.parse() {
            Ok(number) => Ok(Wanted::Number(number)),
            Err(_) => Err(ApiError::invalid(format!("unrecognized rollback option {}", shortened(rollback)))),
        },
    }
}

/// Whose credentials a service keeps when an update brings none.
#[derive(Clone, Copy)]
enum AuthFrom {
    Current,
    Previous,
}

impl AuthFrom {
    fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "" | "spec" => Ok(AuthFrom::Current),
            "previous-spec" => Ok(AuthFrom::Previous),
            _ => Err(ApiError::invalid("unsupported registryAuthFrom value")),
        }
    }
}

fn kept_auth(service: &Arc<Service>, from: AuthFrom) -> Result<Option<Sensitive>, ApiError> {
    let spec = match from {
        AuthFrom::Current => service.spec(),
        AuthFrom::Previous => service
            .previous
            .and_then(|number| service.spec_at(number))
            .ok_or_else(|| ApiError::invalid("service does not have a previous spec"))?,
    };
    Ok(spec.task.registry_auth.clone())
}

/// The credentials a request brings, kept as they came.
fn registry_auth(call: &Call) -> Result<Option<Sensitive>, ApiError> {
    let Some(header) = call.headers.get("x-registry-auth") else { return Ok(None) };
    let text = header.to_str().map_err(|_| ApiError::invalid("the header X-Registry-Auth is not text"))?;
    if text.len() > REGISTRY_AUTH_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "the header X-Registry-Auth is larger than {REGISTRY_AUTH_BYTES_MAX} bytes"
        )));
    }
    Ok((!matches!(text, "" | NO_CREDENTIALS)).then(|| Sensitive::new(text.into())))
}
