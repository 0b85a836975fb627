//! `/nodes`: list, look at, change and remove machines of the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::engine_api::convert::{node_spec_from_api, node_to_api};
use common::engine_api::node::{ManagerStatus, Node as ApiNode, NodeSpec as ApiNodeSpec};
use common::object::{AccessRole, Node, NodeId};
use hyper::StatusCode;

use super::change::change;
use super::error::ApiError;
use super::exchange::{self, Answer, Call};
use super::filter::Filters;
use super::host::Control;
use super::lookup;
use super::route::Edge;
use super::rules;
use super::view::{View, control};
use crate::store::Tables;

const FILTER_KEYS: [&str; 6] = ["id", "label", "node.label", "membership", "name", "role"];

pub(super) async fn list(edge: &Edge, call: &Call) -> Answer {
    let filters = Filters::parse(call.query.get("filters"), &FILTER_KEYS)?;
    filters.check_words("role", &["worker", "manager"])?;
    filters.check_words("membership", &["accepted", "pending"])?;
    let view = View::of(&*edge.host, &call.query).await?;
    let nodes = view.tables.nodes.iter().filter(|node| matches(&filters, node)).cloned().collect();
    let control = view.control.clone();
    Ok(view.mark(exchange::json_list(nodes, move |node| shown(node, &*control))))
}

pub(super) async fn inspect(edge: &Edge, call: &Call, name: &str) -> Answer {
    let view = View::of(&*edge.host, &call.query).await?;
    let node = find(&view.tables, name)?;
    Ok(view.mark(exchange::json(&shown(&node, &*view.control))?))
}

pub(super) async fn update(edge: &Edge, call: &mut Call, name: &str) -> Answer {
    let read_at = rules::version("node", call.query.get("version"))?;
    let spec: ApiNodeSpec = call.json(&edge.large_bodies).await?;
    let spec = node_spec_from_api(spec)?;
    let control = control(&*edge.host)?;
    let role = call.role;
    change(&*control, |tables| {
        let node = find(tables, name)?;
        if spec.role != node.spec.role && role < AccessRole::Admin {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                format!("a change of the role of node {} needs the role admin", node.id),
            ));
        }
        let reachable = reachable(tables, &*control);
        Ok((rules::update_node(tables, &node, read_at, spec.clone(), &reachable)?, ()))
    })
    .await?;
    Ok(exchange::done())
}

pub(super) async fn remove(edge: &Edge, call: &Call, name: &str) -> Answer {
    let force = call.query.flag("force");
    let control = control(&*edge.host)?;
    change(&*control, |tables| {
        let node = find(tables, name)?;
        Ok((rules::remove_node(tables, &node, force, control.now())?, ()))
    })
    .await?;
    Ok(exchange::done())
}

/// By full id, else by host name or given name, else by the start of the id.
pub(super) fn find(tables: &Tables, text: &str) -> Result<Arc<Node>, ApiError> {
    let named = |node: &&Arc<Node>| hostname(node) == text || node.spec.name == text;
    lookup::find(&tables.nodes, text, || tables.nodes.iter().filter(named).cloned().collect())
}

fn hostname(node: &Node) -> &str {
    node.description.as_ref().map_or("", |description| &description.hostname)
}

fn matches(filters: &Filters, node: &Node) -> bool {
    let no_labels = Default::default();
    let engine_labels =
        node.description.as_ref().map_or(&no_labels, |description| &description.engine.labels);
    filters.prefix("id", &node.id.to_string())
        && filters.any("name", |start| hostname(node).starts_with(start) || named(node, start))
        && filters.labels("label", engine_labels)
        && filters.labels("node.label", &node.spec.labels)
        && filters.any("role", |role| role == node.spec.role.to_string())
        // A node is in the store once its certificate was issued: all are accepted.
        && filters.any("membership", |membership| membership == "accepted")
}

fn named(node: &Node, start: &str) -> bool {
    !node.spec.name.is_empty() && node.spec.name.starts_with(start)
}

fn shown(node: &Node, control: &dyn Control) -> ApiNode {
    let manager = node.manager.as_ref().map(|record| {
        let leader = control.leader() == Some(node.id);
        let reachable = leader || control.reachable(node.id);
        ManagerStatus {
            leader,
            reachability: if reachable { "reachable" } else { "unreachable" }.into(),
            addr: record.addr.clone(),
        }
    });
    node_to_api(node, manager)
}

/// The managers that gossip calls alive.
pub(super) fn reachable(tables: &Tables, control: &dyn Control) -> BTreeSet<NodeId> {
    let managers = tables.nodes.iter().filter(|node| node.manager.is_some()).map(|node| node.id);
    managers.filter(|id| control.reachable(*id)).collect()
}
