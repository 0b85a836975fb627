//! What a task asks of a node: the parts of its spec that placing reads, parsed once.

use std::collections::BTreeSet;

use common::object::container::MountKind;
use common::object::node::Platform;
use common::object::placement::Constraint;
use common::object::ports::{Protocol, PublishMode};
use common::object::service::RuntimeKind;
use common::object::{Node, ServiceSpec};

/// Specs with equal needs share what is known about nodes (`index`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Needs {
    pub runtime: RuntimeKind,
    /// Reserved; 0 asks for nothing.
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    /// Kind and amount, of amounts above 0.
    pub generic: Vec<(Box<str>, u64)>,
    pub plugins: Vec<Plugin>,
    /// None where the text is no constraint: no node can satisfy it.
    pub constraints: Vec<Option<Constraint>>,
    pub platforms: Vec<PlatformNeed>,
    /// Fixed ports of the node itself.
    pub host_ports: BTreeSet<HostPort>,
    /// 0 means any number.
    pub replicas_max_per_node: u64,
    /// Volumes of the cluster itself, which it does not have yet.
    pub cluster_volumes: bool,
    pub spread_over: Vec<SpreadKey>,
}

pub type HostPort = (Protocol, u16);

/// A plugin of the node's engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plugin {
    /// `Volume` or `Log`, as engines say it.
    pub kind: &'static str,
    pub name: Box<str>,
}

/// Empty members mean any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformNeed {
    pub os: Box<str>,
    pub architecture: Box<str>,
}

/// The label whose values tasks are spread over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpreadKey {
    Node(Box<str>),
    Engine(Box<str>),
}

impl Needs {
    pub fn of(spec: &ServiceSpec) -> Self {
        let task = &spec.task;
        let reserved = &task.resources.reservations;
        let ports = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
        let fixed = ports.filter(|port| port.mode == PublishMode::Host && port.published != 0);
        Self {
            runtime: task.runtime,
            nano_cpus: reserved.nano_cpus.max(0),
            memory_bytes: reserved.memory_bytes.max(0),
            generic: reserved
                .generic
                .iter()
                .filter(|(_, amount)| **amount > 0)
                .map(|(kind, amount)| (kind.as_str().into(), *amount))
                .collect(),
            plugins: plugins(spec),
            constraints: task.placement.constraints.iter().map(|text| Constraint::parse(text).ok()).collect(),
            platforms: task.placement.platforms.iter().map(PlatformNeed::of).collect(),
            host_ports: fixed.map(|port| (port.protocol, port.published)).collect(),
            replicas_max_per_node: task.placement.replicas_max_per_node,
            cluster_volumes: task.container.mounts.iter().any(|mount| mount.kind == MountKind::Cluster),
            spread_over: task
                .placement
                .spread_over
                .iter()
                .filter_map(|text| SpreadKey::parse(text))
                .collect(),
        }
    }

    pub fn reserves(&self) -> bool {
        self.nano_cpus > 0 || self.memory_bytes > 0 || !self.generic.is_empty()
    }
}

/// Only what an engine has plugins for; every engine has the driver `local`, and every node logs by default.
fn plugins(spec: &ServiceSpec) -> Vec<Plugin> {
    let task = &spec.task;
    match task.runtime {
        RuntimeKind::Container => {}
        RuntimeKind::Process | RuntimeKind::Fake => return Vec::new(),
    }
    let volumes = task.container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume);
    let drivers = volumes.filter_map(|mount| mount.volume.as_ref()?.driver.as_ref());
    let drivers = drivers.filter(|driver| !matches!(driver.name.as_str(), "" | "local"));
    let loggers = task.log_driver.iter().filter(|driver| !matches!(driver.name.as_str(), "" | "none"));
    let volumes = drivers.map(|driver| Plugin { kind: "Volume", name: driver.name.as_str().into() });
    volumes.chain(loggers.map(|driver| Plugin { kind: "Log", name: driver.name.as_str().into() })).collect()
}

impl PlatformNeed {
    fn of(platform: &Platform) -> Self {
        Self { os: platform.os.as_str().into(), architecture: architecture(&platform.architecture).into() }
    }

    pub fn is_met_by(&self, found: &Platform) -> bool {
        (self.os.is_empty() || *self.os == *found.os)
            && (self.architecture.is_empty() || *self.architecture == *architecture(&found.architecture))
    }
}

/// Kernels and images have different names for the same thing.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl SpreadKey {
    /// None for what nothing is spread over, which is left out as Docker does.
    fn parse(text: &str) -> Option<Self> {
        let after = |prefix: &str| {
            let (head, name) = text.split_at_checked(prefix.len())?;
            (head.eq_ignore_ascii_case(prefix) && !name.is_empty()).then(|| name.into())
        };
        after("node.labels.").map(SpreadKey::Node).or_else(|| after("engine.labels.").map(SpreadKey::Engine))
    }

    /// A node without the label has the empty value.
    pub fn value<'a>(&self, node: &'a Node) -> &'a str {
        match self {
            SpreadKey::Node(name) => node.spec.labels.get(&**name).map_or("", |value| value),
            SpreadKey::Engine(name) => {
                let described = node.description.as_ref();
                described.and_then(|described| described.engine.labels.get(&**name)).map_or("", |value| value)
            }
        }
    }
}
