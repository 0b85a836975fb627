//! Whether a node may take a task, and what is in the way.
//!
//! The filters have an order, and the first that a node fails is the one that is named and counted. Those that ask
//! what a node is (`facts`) are apart from those that ask what it has left, because the first change rarely.

use std::fmt;

use common::object::service::RuntimeKind;
use common::object::{Availability, Node, NodeState};

use super::needs::{Needs, Plugin};
use super::nodes::NodeEntry;

/// What can be in the way, in the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    Ready,
    Runtime,
    Resources,
    Plugins,
    Constraints,
    Platform,
    HostPorts,
    ReplicasPerNode,
    Volumes,
}

impl Filter {
    pub const ALL: [Filter; 9] = [
        Filter::Ready,
        Filter::Runtime,
        Filter::Resources,
        Filter::Plugins,
        Filter::Constraints,
        Filter::Platform,
        Filter::HostPorts,
        Filter::ReplicasPerNode,
        Filter::Volumes,
    ];
}

/// Why one node does not take a task; its text says what exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub filter: Filter,
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.filter {
            Filter::Ready => "not available for new tasks",
            Filter::Runtime => "no runtime for it",
            Filter::Resources => "insufficient resources",
            Filter::Plugins => "missing plugin",
            Filter::Constraints => "scheduling constraints not satisfied",
            Filter::Platform => "unsupported platform",
            Filter::HostPorts => "host-mode port already in use",
            Filter::ReplicasPerNode => "max replicas per node limit exceed",
            Filter::Volumes => "cannot fulfill requested CSI volume mounts",
        };
        write!(f, "{what}: {}", self.detail)
    }
}

/// What of `needs` a node fails by what it is; `Resources` and those after `Platform` are not for here to say.
pub fn facts(needs: &Needs, node: &Node) -> Option<Filter> {
    let failing = [
        (Filter::Ready, is_ready(node)),
        (Filter::Runtime, has_runtime(needs.runtime, node)),
        (Filter::Plugins, needs.plugins.iter().all(|plugin| has_plugin(plugin, node))),
    ];
    let first = failing.into_iter().find(|(_, passes)| !passes).map(|(filter, _)| filter);
    first.or_else(|| unfit(needs, node))
}

/// The part of it that also asks a task to leave.
pub fn unfit(needs: &Needs, node: &Node) -> Option<Filter> {
    let satisfied =
        needs.constraints.iter().all(|constraint| constraint.as_ref().is_some_and(|it| it.matches(node)));
    if !satisfied {
        return Some(Filter::Constraints);
    }
    let supported = needs.platforms.is_empty()
        || node.description.as_ref().is_some_and(|described| {
            needs.platforms.iter().any(|platform| platform.is_met_by(&described.platform))
        });
    (!supported).then_some(Filter::Platform)
}

/// The first filter that the node fails, given its `facts` and how many tasks of the service it has.
pub fn verdict(
    needs: &Needs,
    facts: Option<Filter>,
    entry: &NodeEntry,
    tasks_of_service: u32,
) -> Option<Filter> {
    if let Some(first @ (Filter::Ready | Filter::Runtime)) = facts {
        return Some(first);
    }
    if needs.reserves() && !entry.has_room(needs) {
        return Some(Filter::Resources);
    }
    if facts.is_some() {
        return facts;
    }
    if needs.host_ports.iter().any(|port| entry.load.uses_port(port)) {
        return Some(Filter::HostPorts);
    }
    let most = needs.replicas_max_per_node;
    if most > 0 && u64::from(tasks_of_service) >= most {
        return Some(Filter::ReplicasPerNode);
    }
    needs.cluster_volumes.then_some(Filter::Volumes)
}

fn is_ready(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

fn has_runtime(runtime: RuntimeKind, node: &Node) -> bool {
    let offered = node.description.iter().flat_map(|described| &described.runtimes);
    offered.into_iter().any(|offered| offered == runtime.offered_as())
}

/// By its exact name, or with the tag that installing gives it. An engine that lists no log drivers at all does not
/// say which it has: that is no reason to refuse.
fn has_plugin(wanted: &Plugin, node: &Node) -> bool {
    let mut says_kind = false;
    let found =
        node.description.iter().flat_map(|described| &described.engine.plugins).any(|(kind, name)| {
            says_kind |= kind == wanted.kind;
            kind == wanted.kind
                && name.strip_prefix(&*wanted.name).is_some_and(|rest| matches!(rest, "" | ":latest"))
        });
    found || (wanted.kind == "Log" && !says_kind)
}

/// `verdict` in words that say what exactly.
pub fn refusal(needs: &Needs, entry: &NodeEntry, node: &Node, tasks_of_service: u32) -> Option<Refusal> {
    let filter = verdict(needs, facts(needs, node), entry, tasks_of_service)?;
    let detail = match filter {
        Filter::Resources => entry.shortage(needs),
        Filter::HostPorts => {
            let taken = needs.host_ports.iter().filter(|port| entry.load.uses_port(port));
            joined(taken.map(|(protocol, port)| format!("{port}/{protocol}")))
        }
        Filter::ReplicasPerNode => {
            format!("{tasks_of_service} of {}", needs.replicas_max_per_node)
        }
        Filter::Ready
        | Filter::Runtime
        | Filter::Plugins
        | Filter::Constraints
        | Filter::Platform
        | Filter::Volumes => fact_detail(filter, needs, node),
    };
    Some(Refusal { filter, detail })
}

/// What exactly of a node's facts is in the way.
pub fn fact_detail(filter: Filter, needs: &Needs, node: &Node) -> String {
    match filter {
        Filter::Ready if node.status.state != NodeState::Ready => format!("it is {}", node.status.state),
        Filter::Ready => format!("its availability is {}", node.spec.availability),
        Filter::Runtime => needs.runtime.offered_as().into(),
        Filter::Plugins => {
            let missing = needs.plugins.iter().filter(|plugin| !has_plugin(plugin, node));
            joined(missing.map(|plugin| format!("{} {}", plugin.kind, plugin.name)))
        }
        Filter::Constraints => {
            let failing = needs.constraints.iter().filter_map(|constraint| match constraint {
                Some(constraint) => (!constraint.matches(node)).then(|| constraint.to_string()),
                None => Some("one that cannot be read".into()),
            });
            joined(failing)
        }
        Filter::Platform => {
            let platform = node.description.as_ref().map(|described| &described.platform);
            platform.map_or("unknown".into(), |found| format!("{}/{}", found.os, found.architecture))
        }
        Filter::Volumes => "there are no cluster volumes".into(),
        Filter::Resources | Filter::HostPorts | Filter::ReplicasPerNode => String::new(),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
