//! A service: what people want run, in every version that its tasks still use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::container::{ContainerSpec, Driver};
use super::placement::Placement;
use super::policy::{RestartPolicy, UpdateConfig};
use super::ports::{EndpointMode, EndpointSpec, Port};
use super::resources::Requirements;
use super::sensitive::Sensitive;
use super::words::words;
use super::{Meta, NetworkId, ServiceId};
use crate::time::Timestamp;

/// One service. Removed services stay, out of sight, until their last task is gone: who stops a task has to know
/// how it is to be stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub id: ServiceId,
    pub meta: Meta,
    /// The spec that holds now.
    pub current: SpecVersion,
    /// Earlier ones, by number: every one that a task uses, and the newest few.
    pub earlier: BTreeMap<u64, SpecVersion>,
    /// Number of the spec that `current` took the place of, which a rollback without a number goes to.
    pub previous: Option<u64>,
    /// The update under way, or the last one.
    pub update: Option<UpdateStatus>,
    pub job: Option<JobStatus>,
    /// Ports as given out: a `published` of 0 in the spec has a number here.
    pub ports: Vec<Port>,
    /// Where it is reached as one, on each network of its tasks; of endpoint mode `vip`. In the networks' order.
    pub virtual_ips: Vec<(NetworkId, IpAddr)>,
    /// Counts the requests to spread the tasks anew (`service rebalance`).
    pub rebalance: u64,
    /// The last of these requests that has been carried out.
    pub rebalanced: u64,
    pub removed: bool,
}

impl Service {
    /// A service as it begins.
    pub fn new(id: ServiceId, spec: ServiceSpec, at: Timestamp) -> Self {
        let is_job = spec.mode.is_job();
        Self {
            id,
            meta: Meta::default(),
            current: SpecVersion { number: 1, spec: Arc::new(spec), at, worked: false },
            earlier: BTreeMap::new(),
            previous: None,
            update: None,
            job: is_job.then_some(JobStatus { iteration: 0, last_execution: at }),
            ports: Vec::new(),
            virtual_ips: Vec::new(),
            rebalance: 0,
            rebalanced: 0,
            removed: false,
        }
    }

    /// The spec that holds now.
    pub fn spec(&self) -> &Arc<ServiceSpec> {
        &self.current.spec
    }

    pub fn name(&self) -> &str {
        &self.current.spec.name
    }

    /// The spec with that number, while it is kept.
    pub fn spec_at(&self, number: u64) -> Option<&Arc<ServiceSpec>> {
        self.version_at(number).map(|version| &version.spec)
    }

    pub fn version_at(&self, number: u64) -> Option<&SpecVersion> {
        if number == self.current.number { Some(&self.current) } else { self.earlier.get(&number) }
    }

    /// Puts `spec` in place of the current one, which is kept; the new one has the next number.
    pub fn replace_spec(&mut self, spec: Arc<ServiceSpec>, at: Timestamp) {
        let number = self.newest_number().saturating_add(1);
        let next = SpecVersion { number, spec, at, worked: false };
        let before = std::mem::replace(&mut self.current, next);
        self.previous = Some(before.number);
        self.earlier.insert(before.number, before);
    }

    /// Makes a kept spec the current one again, under its own number; false when it is not kept.
    pub fn return_to(&mut self, number: u64, at: Timestamp) -> bool {
        let Some(mut next) = self.earlier.remove(&number) else { return false };
        next.at = at;
        let before = std::mem::replace(&mut self.current, next);
        self.previous = Some(before.number);
        self.earlier.insert(before.number, before);
        true
    }

    fn newest_number(&self) -> u64 {
        self.earlier.keys().next_back().copied().unwrap_or_default().max(self.current.number)
    }
}

/// One version of a service's spec. Numbers grow and are never given twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecVersion {
    pub number: u64,
    pub spec: Arc<ServiceSpec>,
    /// When it became the wanted one.
    pub at: Timestamp,
    /// Whether the service once stood with it: what an automatic rollback goes back to.
    pub worked: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub task: TaskSpec,
    pub mode: ServiceMode,
    pub update: Option<UpdateConfig>,
    pub rollback: Option<UpdateConfig>,
    pub endpoint: Option<EndpointSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    Replicated { replicas: u64 },
    Global,
    ReplicatedJob { concurrent_max: u64, completions: u64 },
    GlobalJob,
}

impl Default for ServiceMode {
    fn default() -> Self {
        ServiceMode::Replicated { replicas: 1 }
    }
}

impl ServiceMode {
    pub fn is_job(self) -> bool {
        matches!(self, ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob)
    }

    pub fn is_global(self) -> bool {
        matches!(self, ServiceMode::Global | ServiceMode::GlobalJob)
    }
}

/// What each task of a service is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub runtime: RuntimeKind,
    pub container: ContainerSpec,
    pub resources: Requirements,
    pub restart: Option<RestartPolicy>,
    pub placement: Placement,
    pub networks: Vec<NetworkAttachment>,
    pub log_driver: Option<Driver>,
    /// Counts `--force`: a changed number replaces every task.
    pub force_update: u64,
    /// Credentials for the image's registry, as the client sent them.
    pub registry_auth: Option<Sensitive>,
}

/// Who runs a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RuntimeKind {
    /// The node's container engine.
    #[default]
    Container,
    /// The node itself, as a process of its own.
    Process,
    /// Nobody: it answers like a real one. For tests and for scale.
    Fake,
}

impl RuntimeKind {
    /// The word by which a node says that it has this runtime.
    pub fn offered_as(self) -> &'static str {
        match self {
            RuntimeKind::Container => "docker",
            RuntimeKind::Process => "process",
            RuntimeKind::Fake => "fake",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// Name of a network that every node has, or id of one of the cluster.
    pub target: String,
    pub aliases: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
}

impl NetworkAttachment {
    /// The cluster's network that is meant; none for those that nodes have of their own.
    pub fn network(&self) -> Option<NetworkId> {
        self.target.parse().ok()
    }
}

impl TaskSpec {
    /// The cluster's networks that its tasks are on, each once.
    pub fn cluster_networks(&self) -> impl Iterator<Item = NetworkId> {
        let ids = || self.networks.iter().filter_map(NetworkAttachment::network);
        ids()
            .enumerate()
            .filter(move |(at, id)| !ids().take(*at).any(|before| before == *id))
            .map(|(_, id)| id)
    }
}

impl ServiceSpec {
    pub fn endpoint_mode(&self) -> EndpointMode {
        self.endpoint.as_ref().and_then(|endpoint| endpoint.mode).unwrap_or_default()
    }
}

/// How far an update is. Progress lives here and in the tasks, so that a new leader goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    pub state: UpdateState,
    pub started_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub message: String,
    /// Slots that were out of date when it began.
    pub slots: u64,
    /// New tasks that failed; each once.
    pub failed: u64,
    /// When a slot was last done, or the update began.
    pub progress_at: Timestamp,
    /// Begun by the rotation of a secret or config: where it fails it goes back, whatever the failure action says.
    pub rotation: bool,
}

/// ```text
/// Updating ─▶ Completed          RollbackStarted ─▶ RollbackCompleted
///    ├─▶ Paused                       └─▶ RollbackPaused
///    └─▶ RollbackStarted
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UpdateState {
    Updating,
    Paused,
    Completed,
    RollbackStarted,
    RollbackPaused,
    RollbackCompleted,
}

impl UpdateState {
    pub fn is_rollback(self) -> bool {
        matches!(
            self,
            UpdateState::RollbackStarted | UpdateState::RollbackPaused | UpdateState::RollbackCompleted
        )
    }

    pub fn is_under_way(self) -> bool {
        matches!(self, UpdateState::Updating | UpdateState::RollbackStarted)
    }

    /// Stopped half-way, until somebody changes the service.
    pub fn is_paused(self) -> bool {
        matches!(self, UpdateState::Paused | UpdateState::RollbackPaused)
    }
}

/// A job runs anew with every update of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    pub iteration: u64,
    pub last_execution: Timestamp,
}

words!(
    RuntimeKind,
    "runtime",
    "container, process or fake",
    Container = "container",
    Process = "process",
    Fake = "fake"
);
words!(
    UpdateState,
    "update state",
    "updating, paused, completed, rollback_started, rollback_paused or rollback_completed",
    Updating = "updating",
    Paused = "paused",
    Completed = "completed",
    RollbackStarted = "rollback_started",
    RollbackPaused = "rollback_paused",
    RollbackCompleted = "rollback_completed",
);
