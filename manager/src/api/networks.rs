//! `/networks`: the cluster's, which are ours, and those of this node's engine.
//!
//! A name or an id that is one of ours means ours; all else is the engine's, where the caller may ask the engine.
//! Networks that every node has are no objects of the cluster, and are known to services by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::engine_api::convert::{network_spec_from_api, network_to_api};
use common::engine_api::network::{
    CreateRequest, Network as ApiNetwork, NetworkAddresses, NetworkCreated, NetworkService, NetworkTask,
};
use common::limits::NETWORK_REASONS_MAX;
use common::object::network::DRIVER;
use common::object::{AccessRole, Network, NetworkId, Service, Task, TaskState};
use common::random::SystemRandom;
use common::report::Report;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use tracing::debug;

use super::caller::need;
use super::change::change;
use super::error::ApiError;
use super::exchange::{self, Answer, Body};
use super::filter::Filters;
use super::lookup;
use super::network_rules::{self, PREDEFINED_LABEL};
use super::route::Edge;
use super::serve::Slot;
use super::service_rules::NODE_NETWORKS;
use super::target::{Target, shortened};
use super::view::{View, control};
use crate::decide::allocate::Space;
use crate::store::Tables;

const FILTER_KEYS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// A request that may turn out to be the engine's.
pub(super) struct Asked {
    pub target: Target,
    pub request: Request<Body>,
    pub slot: Slot,
}

/// Whose role is not enough for the engine is told so; all others are answered by it.
pub(super) async fn hand_on(edge: &Edge, asked: Asked) -> Answer {
    may_ask_engine(&asked)?;
    let Asked { target, request, slot } = asked;
    edge.engine.hand_on(&target, request, slot).await
}

/// To look at one of the engine's networks is part of making a service; all else of the engine is its admins'.
fn may_ask_engine(asked: &Asked) -> Result<(), ApiError> {
    let Asked { target, request, slot } = asked;
    let looks = request.method() == Method::GET && target.segments.len() == 2;
    let least = if looks { AccessRole::Operator } else { AccessRole::Admin };
    need(&slot.caller, least, &format!("{} /{}", request.method(), shortened(&target.segments.join("/"))))
}

pub(super) async fn list(edge: &Edge, asked: Asked) -> Answer {
    let with_engine = edge.engine.is_configured() && may_ask_engine(&asked).is_ok();
    let target = asked.target;
    let filters = Filters::parse(target.query.get("filters"), &FILTER_KEYS)?;
    if let Some(word) = filters.values("type").find(|word| !matches!(*word, "custom" | "builtin")) {
        return Err(ApiError::invalid(format!("invalid filter: 'type'='{}'", shortened(word))));
    }
    let dangling = dangling(&filters)?;
    let view = View::of(&*edge.host, &target.query).await?;
    let tables = &view.tables;
    let unused =
        |network: &Network| !network.spec.ingress && network_rules::user(tables, network.id).is_none();
    let ours = tables.networks.iter().filter(|network| matches(&filters, network));
    let ours = ours.filter(|network| dangling.is_none_or(|dangling| unused(network) == dangling));
    let ours = ours.map(|network| serde_json::to_value(network_to_api(network)));
    let mut all =
        ours.collect::<Result<Vec<Value>, _>>().map_err(|error| ApiError::internal(error.to_string()))?;
    // The engine's are for those who may use the engine.
    if with_engine {
        match edge.engine.document::<Vec<Value>>(&target.raw).await {
            Ok(of_engine) => all.extend(of_engine.into_iter().filter(|network| network["Scope"] != "swarm")),
            Err(error) => debug!(error = %Report(&error), "the engine's networks are not listed"),
        }
    }
    Ok(view.mark(exchange::json(&all)?))
}

pub(super) async fn inspect(edge: &Edge, asked: Asked, name: &str) -> Answer {
    let query = asked.target.query.clone();
    let scope = query.get("scope");
    if matches!(scope, "local" | "global") {
        return hand_on(edge, asked).await;
    }
    let view = View::of(&*edge.host, &query).await?;
    let shown = |network: &Network| {
        let verbose = query.flag("verbose");
        Ok(view.mark(exchange::json(&described(&view.tables, network, verbose))?))
    };
    if let Some(network) = named(&view.tables, name) {
        return shown(&network);
    }
    if scope == "swarm" {
        return match NODE_NETWORKS.contains(&name) {
            true => exchange::json(&of_every_node(name)),
            false => shown(&*lookup::network(&view.tables, name)?),
        };
    }
    // The start of one of our ids may be a name there.
    let found = lookup::network(&view.tables, name);
    match may_ask_engine(&asked) {
        Err(refused) => return shown(&*found.map_err(|_| refused)?),
        Ok(()) if !edge.engine.is_configured() && !NODE_NETWORKS.contains(&name) => return shown(&*found?),
        Ok(()) => {}
    }
    match hand_on(edge, asked).await {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => shown(&*found?),
        answer => answer,
    }
}

pub(super) async fn create(edge: &Edge, asked: Asked) -> Answer {
    let Asked { target, request, slot } = asked;
    let (head, body) = request.into_parts();
    let bytes = exchange::whole(body, &edge.large_bodies).await?;
    let wanted: CreateRequest = exchange::from_json(&bytes)?;
    if wanted.driver != DRIVER && wanted.scope != "swarm" && !wanted.ingress {
        let control = control(&*edge.host)?;
        if control.local().network_by_name(&wanted.name).is_some() {
            return Err(network_rules::taken(&wanted.name));
        }
        let request = Request::from_parts(head, exchange::full_body(bytes.to_vec()));
        return hand_on(edge, Asked { target, request, slot }).await;
    }
    if wanted.driver != DRIVER && !(wanted.driver.is_empty() && wanted.scope == "swarm") {
        return Err(ApiError::not_implemented(match wanted.ingress {
            true => "only overlay driver is currently supported for ingress network".into(),
            false => format!(
                "driver {:?} is not supported for a network of the cluster: use {DRIVER}",
                shortened(&wanted.driver)
            ),
        }));
    }
    let spec = network_spec_from_api(wanted)?;
    let control = control(&*edge.host)?;
    let id = NetworkId::generate(&mut SystemRandom);
    change(&*control, |tables| Ok((vec![network_rules::create(tables, id, spec.clone())?], ())))
        .await
        .map_err(|error| match error.message.starts_with("name conflicts") {
            true => network_rules::taken(&spec.name),
            false => error,
        })?;
    exchange::created(&NetworkCreated { id: id.to_string(), warning: String::new() })
}

pub(super) async fn remove(edge: &Edge, asked: Asked, name: &str) -> Answer {
    let control = control(&*edge.host)?;
    let tables = control.read().await?;
    let ours = match named(&tables, name) {
        Some(network) => Some(network.id),
        // Only what the engine does not know by that name is looked up by the start of its id.
        None if edge.engine.is_configured() && may_ask_engine(&asked).is_ok() => {
            let known = edge.engine.document::<Value>(&asked.target.raw).await.is_ok();
            if known { None } else { lookup::network(&tables, name).ok().map(|network| network.id) }
        }
        None => Some(lookup::network(&tables, name)?.id),
    };
    let Some(id) = ours else { return hand_on(edge, asked).await };
    change(&*control, |tables| {
        let network = lookup::network(tables, &id.to_string())?;
        Ok((vec![network_rules::remove(tables, &network)?], ()))
    })
    .await?;
    Ok(exchange::nothing())
}

/// By its whole id or name.
fn named(tables: &Tables, name: &str) -> Option<Arc<Network>> {
    let by_id = || tables.networks.get(name.parse().ok()?);
    by_id().or_else(|| tables.network_by_name(name)).cloned()
}

/// Docker mirrors these as networks in swarm scope, so that services can be on them.
fn of_every_node(name: &str) -> ApiNetwork {
    ApiNetwork {
        name: name.into(),
        // Its name is its id: nobody gave it another, and a service's target reads well.
        id: name.into(),
        // Nobody made it; clients want a time all the same.
        created: "0001-01-01T00:00:00Z".into(),
        scope: "swarm".into(),
        driver: if name == "none" { "null" } else { name }.into(),
        labels: [(PREDEFINED_LABEL.into(), "true".into())].into(),
        ..ApiNetwork::default()
    }
}

/// A network with what uses it.
fn described(tables: &Tables, network: &Network, verbose: bool) -> ApiNetwork {
    let on_it = |service: &&Arc<Service>| {
        let mut specs = service.earlier.values().chain([&service.current]);
        specs.any(|version| version.spec.task.cluster_networks().any(|id| id == network.id))
    };
    let services: Vec<&Arc<Service>> = tables.services.iter().filter(on_it).collect();
    let total = u64::try_from(Space::of(&network.subnets).capacity()).unwrap_or(u64::MAX);
    let tasks = services.iter().flat_map(|service| tables.tasks_of_service(service.id));
    let waiting = tasks.filter(|task| task.status.state == TaskState::New && !task.status.error.is_empty());
    let reasons: BTreeSet<String> = waiting.map(|task| task.status.error.to_string()).collect();
    let mut services_shown = BTreeMap::new();
    if verbose {
        let there = services.iter().filter(|service| !service.removed);
        services_shown
            .extend(there.map(|service| (service.name().to_owned(), shown(tables, service, network.id))));
    }
    ApiNetwork {
        services: services_shown,
        addresses: Some(NetworkAddresses {
            total,
            used: tables.addresses().count(network.id),
            waiting: reasons.into_iter().take(NETWORK_REASONS_MAX).collect(),
        }),
        ..network_to_api(network)
    }
}

fn shown(tables: &Tables, service: &Service, network: NetworkId) -> NetworkService {
    let vip = service.virtual_ips.iter().find(|(id, _)| *id == network);
    let port =
        |port: &common::object::ports::Port| format!("Target: {}, Publish: {}", port.target, port.published);
    let task = |task: &Arc<Task>| {
        let addresses = task.addresses.as_deref().unwrap_or_default();
        let (_, address) = addresses.iter().find(|(id, _)| *id == network)?;
        let node = task.node.and_then(|node| tables.nodes.get(node));
        Some(NetworkTask {
            name: lookup::name_of(tables, task).unwrap_or_default(),
            endpoint_id: task.id.to_string(),
            endpoint_ip: address.to_string(),
            info: node.map(|node| ("Host IP".into(), node.status.addr.clone())).into_iter().collect(),
        })
    };
    let alive = tables.tasks_of_service(service.id).filter(|task| !task.status.state.is_final());
    NetworkService {
        vip: vip.map(|(_, address)| address.to_string()).unwrap_or_default(),
        ports: service.ports.iter().map(port).collect(),
        local_lb_index: 0,
        tasks: alive.filter_map(task).collect(),
    }
}

fn matches(filters: &Filters, network: &Network) -> bool {
    filters.prefix("id", &network.id.to_string())
        && filters.any("name", |part| network.spec.name.contains(part))
        && filters.any("driver", |driver| driver == DRIVER)
        && filters.any("scope", |scope| scope == "swarm")
        && filters.any("type", |kind| kind == "custom")
        && filters.labels("label", &network.spec.labels)
}

fn dangling(filters: &Filters) -> Result<Option<bool>, ApiError> {
    let mut wanted = None;
    for word in filters.values("dangling") {
        wanted = Some(match word {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => return Err(ApiError::invalid(format!("invalid filter 'dangling={}'", shortened(word)))),
        });
    }
    Ok(wanted)
}

/// Of a network that the cluster does not have: whether this node's engine has it, which services cannot use.
pub(super) async fn explain_unknown(edge: &Edge, error: ApiError) -> ApiError {
    let name = error.message.strip_prefix("network ").and_then(|rest| rest.strip_suffix(" not found"));
    let Some(name) = name.filter(|_| error.status == StatusCode::NOT_FOUND && edge.engine.is_configured())
    else {
        return error;
    };
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if is_plain && edge.engine.document::<Value>(&format!("/networks/{name}")).await.is_ok() {
        return ApiError::new(
            StatusCode::FORBIDDEN,
            format!(
                "The network {name} cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver."
            ),
        );
    }
    error
}
