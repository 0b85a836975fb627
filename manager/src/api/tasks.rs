//! `/tasks`: list and look at what services run. Nobody makes or changes a task by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::engine_api::convert::{task_network_to_api, task_to_api};
use common::engine_api::task::Task as ApiTask;
use common::object::{NodeId, Service, ServiceId, Task, TaskState};

use super::error::ApiError;
use super::exchange::{self, Answer, Call};
use super::filter::Filters;
use super::lookup::{self, name_of};
use super::route::Edge;
use super::target::shortened;
use super::view::View;
use crate::decide::is_up_to_date;
use crate::store::Tables;

const FILTER_KEYS: [&str; 8] =
    ["_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service"];

pub(super) async fn list(edge: &Edge, call: &Call) -> Answer {
    let filters = Filters::parse(call.query.get("filters"), &FILTER_KEYS)?;
    let states = desired_states(&filters)?;
    let up_to_date = up_to_date(&filters)?;
    let view = View::of(&*edge.host, &call.query).await?;
    let tables = view.tables.clone();
    let wanted = Wanted {
        services: services(&tables, &filters)?,
        nodes: nodes(&tables, &filters)?,
        states,
        up_to_date,
        filters,
    };
    let tasks = candidates(&tables, &wanted).filter(|task| wanted.matches(&tables, task)).collect();
    Ok(view.mark(exchange::json_list(tasks, move |task: &Task| shown(&tables, task))))
}

pub(super) async fn inspect(edge: &Edge, call: &Call, name: &str) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    let task = lookup::task(&view.tables, name)?;
    Ok(view.mark(exchange::json(&shown(&view.tables, &task))?))
}

/// As the API shows it, with its networks.
fn shown(tables: &Tables, task: &Task) -> ApiTask {
    let addresses = task.addresses.as_deref().unwrap_or_default().iter();
    let networks = addresses.filter_map(|(network, address)| {
        Some(task_network_to_api(&**tables.networks.get(*network)?, *address))
    });
    let networks_attachments = networks.collect();
    let service = tables.services.get(task.service).map(|service| &**service);
    ApiTask { networks_attachments, ..task_to_api(task, service) }
}

/// What a list asks for; none means anything.
struct Wanted {
    services: Option<BTreeSet<ServiceId>>,
    nodes: Option<BTreeSet<NodeId>>,
    states: Option<BTreeSet<TaskState>>,
    up_to_date: Option<bool>,
    filters: Filters,
}

impl Wanted {
    fn matches(&self, tables: &Tables, task: &Task) -> bool {
        let filters = &self.filters;
        let service = tables.services.get(task.service);
        let no_labels = Default::default();
        let labels = service.map_or(&no_labels, |service| &service.spec().labels);
        let runtime = || {
            let spec = service.and_then(|service| service.spec_at(task.spec));
            spec.map(|spec| spec.task.runtime.to_string()).unwrap_or_default()
        };
        let name = |start: &str| name_of(tables, task).is_some_and(|name| name.starts_with(start));
        let current =
            |wanted: bool| service.is_some_and(|service| is_current(tables, task, service)) == wanted;
        self.services.as_ref().is_none_or(|services| services.contains(&task.service))
            && self.nodes.as_ref().is_none_or(|nodes| task.node.is_some_and(|node| nodes.contains(&node)))
            && self.states.as_ref().is_none_or(|states| states.contains(&task.desired))
            && self.up_to_date.is_none_or(current)
            && filters.prefix("id", &task.id.to_string())
            && filters.any("name", name)
            && filters.labels("label", labels)
            && filters.any("runtime", |wanted| wanted == runtime())
    }
}

/// Whether a task is what its service wants now: what an update has to replace is not.
fn is_current(tables: &Tables, task: &Task, service: &Service) -> bool {
    let node = task.node.and_then(|node| tables.nodes.get(node));
    !service.removed && is_up_to_date(service, task, node.map(|node| &**node))
}

/// The tasks to look at: an index serves where services or nodes are named.
fn candidates<'a>(tables: &'a Tables, wanted: &Wanted) -> Box<dyn Iterator<Item = Arc<Task>> + 'a> {
    match (&wanted.services, &wanted.nodes) {
        (Some(services), _) => {
            let services: Vec<ServiceId> = services.iter().copied().collect();
            Box::new(services.into_iter().flat_map(|service| tables.tasks_of_service(service)).cloned())
        }
        (None, Some(nodes)) => {
            let nodes: Vec<NodeId> = nodes.iter().copied().collect();
            Box::new(nodes.into_iter().flat_map(|node| tables.tasks_on_node(node)).cloned())
        }
        (None, None) => Box::new(tables.tasks.iter().cloned()),
    }
}

/// By id, name or start of the id.
fn services(tables: &Tables, filters: &Filters) -> Result<Option<BTreeSet<ServiceId>>, ApiError> {
    let meant = |name: &str| {
        // A removed service is there until its tasks are gone, and whoever waits for that asks by its id.
        let removed = name.parse().ok().filter(|id| tables.services.get(*id).is_some());
        removed.map_or_else(|| lookup::service(tables, name).map(|service| service.id), Ok)
    };
    let services: BTreeSet<ServiceId> = filters.values("service").map(meant).collect::<Result<_, _>>()?;
    Ok((!services.is_empty()).then_some(services))
}

/// By id, host name or start of the id.
fn nodes(tables: &Tables, filters: &Filters) -> Result<Option<BTreeSet<NodeId>>, ApiError> {
    let meant = |name: &str| super::nodes::find(tables, name).map(|node| node.id);
    let nodes: BTreeSet<NodeId> = filters.values("node").map(meant).collect::<Result<_, _>>()?;
    Ok((!nodes.is_empty()).then_some(nodes))
}

fn desired_states(filters: &Filters) -> Result<Option<BTreeSet<TaskState>>, ApiError> {
    let read = |word: &str| {
        word.parse()
            .map_err(|_| ApiError::invalid(format!("Invalid desired-state filter: '{}'", shortened(word))))
    };
    let states: BTreeSet<TaskState> = filters.values("desired-state").map(read).collect::<Result<_, _>>()?;
    Ok((!states.is_empty()).then_some(states))
}

fn up_to_date(filters: &Filters) -> Result<Option<bool>, ApiError> {
    let mut wanted = None;
    for word in filters.values("_up-to-date") {
        wanted = Some(match word {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => {
                return Err(ApiError::invalid(format!("Invalid _up-to-date filter: '{}'", shortened(word))));
            }
        });
    }
    Ok(wanted)
}
