//! `/swarm/x/…`: what we have and Docker has not.

use super::exchange::{self, Answer};
use super::host::Fault;
use super::route::Edge;
use super::view::control;

/// Answers from this manager's own view, so that it helps most when nothing else answers.
pub(super) fn raft(edge: &Edge) -> Answer {
    exchange::json(&control(&*edge.host)?.raft_status())
}

pub(super) fn gossip(edge: &Edge) -> Answer {
    exchange::json(&edge.host.gossip())
}

pub(super) fn fault(edge: &Edge, fault: Fault) -> Answer {
    edge.host.fault(fault)?;
    Ok(exchange::done())
}
