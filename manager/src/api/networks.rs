//! The networks that services of this version may use: those that every node has of its own.
//!
//! Docker's client looks a network up, in swarm scope, before it makes a service with it. All else that is asked of
//! networks is the engine's.

use common::engine_api::service::NetworkSummary;

use super::error::ApiError;
use super::exchange::{self, Answer};
use super::route::Edge;
use super::service_rules::NODE_NETWORKS;
use super::target::{Query, shortened};

/// Whether it is the cluster's network that is asked for.
pub(super) fn is_ours(edge: &Edge, query: &Query) -> bool {
    query.get("scope") == "swarm" && edge.host.manager().is_some()
}

pub(super) fn inspect(name: &str) -> Answer {
    if !NODE_NETWORKS.contains(&name) {
        return Err(ApiError::not_found(format!("network {} not found", shortened(name))));
    }
    exchange::json(&NetworkSummary {
        name: name.into(),
        // Its name is its id: nobody gave it another, and a service's target reads well.
        id: name.into(),
        scope: "swarm".into(),
        driver: if name == "none" { "null" } else { name }.into(),
        labels: [("com.docker.swarm.predefined".into(), "true".into())].into(),
    })
}
