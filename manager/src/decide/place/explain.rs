//! Why a task has no node, in Docker's words; and node by node, in ours.

use common::object::{NodeId, Service};

use super::Board;
use super::filter::{self, Filter, Refusal};
use super::index::Index;
use super::needs::Needs;
use crate::store::Tables;

/// Each node's verdict on one more task of this service and spec, in order of node; empty where there is no such spec.
/// A board is made where the caller has none, which costs a look at every task.
pub fn explain(
    tables: &Tables,
    board: Option<&Board>,
    service: &Service,
    spec: u64,
) -> Vec<(NodeId, Option<Refusal>)> {
    let made;
    let board = match board {
        Some(board) => board,
        None => {
            made = Board::new(tables);
            &made
        }
    };
    let Some(spec) = service.spec_at(spec) else { return Vec::new() };
    let needs = Needs::of(spec);
    let number = board.service_number(service.id);
    let nodes = tables.nodes.iter().filter_map(|node| {
        let (index, entry) = board.nodes.find(node.id)?;
        let tasks = number.map_or(0, |number| board.tasks_of_service(number, index));
        Some((node.id, filter::refusal(&needs, entry, node, tasks)))
    });
    nodes.collect()
}

/// `no suitable node (insufficient resources on 2 nodes; unsupported platform on 1 node)`, the most frequent first.
pub fn no_suitable_node(index: &Index) -> Box<str> {
    let mut failing: Vec<(Filter, u32)> = index.failing().filter(|(_, nodes)| *nodes > 0).collect();
    failing.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
    let reasons: Vec<String> = failing.into_iter().map(|(filter, nodes)| words(filter, nodes)).collect();
    if reasons.is_empty() {
        return "no suitable node".into();
    }
    format!("no suitable node ({})", reasons.join("; ")).into()
}

/// What so many nodes fail.
pub fn words(filter: Filter, nodes: u32) -> String {
    let nodes = if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") };
    match filter {
        Filter::Ready => format!("{nodes} not available for new tasks"),
        Filter::Runtime => format!("no runtime for it on {nodes}"),
        Filter::Resources => format!("insufficient resources on {nodes}"),
        Filter::Plugins => format!("missing plugin on {nodes}"),
        Filter::Constraints => format!("scheduling constraints not satisfied on {nodes}"),
        Filter::Platform => format!("unsupported platform on {nodes}"),
        Filter::HostPorts => format!("host-mode port already in use on {nodes}"),
        Filter::ReplicasPerNode => "max replicas per node limit exceed".into(),
        Filter::Volumes => format!("cannot fulfill requested CSI volume mounts on {nodes}"),
    }
}
