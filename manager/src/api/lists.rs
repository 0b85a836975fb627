//! Kinds of object that this version does not hold yet: their lists are empty, and nothing can be added.
//!
//! The lists are needed now: Docker's client looks secrets and configs up before it makes a service.

use super::error::ApiError;
use super::exchange::{self, Answer, Call};
use super::filter::Filters;
use super::route::Edge;
use super::target::shortened;
use super::view::View;

pub(super) struct Kind {
    /// First segment of its paths.
    pub path: &'static str,
    name: &'static str,
    filter_keys: &'static [&'static str],
}

pub(super) const KINDS: [Kind; 2] = [
    Kind { path: "secrets", name: "secret", filter_keys: &["id", "label", "name", "names"] },
    Kind { path: "configs", name: "config", filter_keys: &["id", "label", "name", "names"] },
];

pub(super) async fn list(edge: &Edge, call: &Call, kind: &Kind) -> Answer {
    Filters::parse(call.query.get("filters"), kind.filter_keys)?;
    let view = View::of(&*edge.host, &call.query).await?;
    Ok(view.mark(exchange::json(&[(); 0])?))
}

/// There is none, so whatever is asked of it, it is not found.
pub(super) async fn missing(edge: &Edge, call: &Call, kind: &Kind, name: &str) -> Answer {
    View::of(&*edge.host, &call.query).await?;
    Err(ApiError::not_found(format!("{} {} not found", kind.name, shortened(name))))
}

pub(super) fn create(kind: &Kind) -> Answer {
    Err(ApiError::not_implemented(format!("{} are not in this version of Swarm yet", kind.path)))
}
