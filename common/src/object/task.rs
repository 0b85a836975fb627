//! A task: one run of a service's spec, on one node, once.
//!
//! Small on purpose: it points at its service's spec by number. A million of them fit in a manager's memory.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::ports::Port;
use super::resources::GenericGrant;
use super::{Meta, NetworkId, NodeId, ServiceId, TaskId, TaskState};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub meta: Meta,
    pub service: ServiceId,
    pub slot: Slot,
    /// Number of its spec in `Service::specs`.
    pub spec: u64,
    /// Set once, when it is placed; of a global service from the beginning.
    pub node: Option<NodeId>,
    /// What managers want of it.
    pub desired: TaskState,
    /// What was seen of it.
    pub status: TaskStatus,
    /// Held at `Ready` until then; none while nothing holds it. Compared with managers' time.
    pub start_at: Option<Timestamp>,
    /// Restarts that led to this task.
    pub restarts: Option<Box<Restarts>>,
    /// Of a job: which run of it.
    pub iteration: Option<u64>,
    pub granted: Option<Box<[GenericGrant]>>,
    /// Its own on each network of its spec; its until it has ended. Until it has them it is `New`.
    pub addresses: Option<Box<[(NetworkId, IpAddr)]>>,
}

impl Task {
    pub fn new(id: TaskId, service: ServiceId, slot: Slot, spec: u64, desired: TaskState) -> Self {
        Self {
            id,
            meta: Meta::default(),
            service,
            slot,
            spec,
            node: match slot {
                Slot::Number(_) => None,
                Slot::Node(node) => Some(node),
            },
            desired,
            status: TaskStatus::default(),
            start_at: None,
            restarts: None,
            iteration: None,
            granted: None,
            addresses: None,
        }
    }

    /// Whether it runs, or will.
    pub fn is_wanted(&self) -> bool {
        self.desired <= TaskState::Complete
    }

    /// Whether it may hold resources of its node: it was placed and has not ended.
    pub fn is_on_node(&self) -> bool {
        self.node.is_some() && self.status.state >= TaskState::Assigned && !self.status.state.is_final()
    }

    /// Whether it does its work: runs, and is ready for connections.
    pub fn is_serving(&self) -> bool {
        self.status.state == TaskState::Running && self.status.ready
    }
}

/// Which of a service's places a task fills: a number, or for global services a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    Number(u64),
    Node(NodeId),
}

impl Slot {
    /// As the API shows it: 0 for a global service.
    pub fn number(self) -> u64 {
        match self {
            Slot::Number(number) => number,
            Slot::Node(_) => 0,
        }
    }
}

impl std::fmt::Display for Slot {
    /// The middle of a task's name: `web.<slot>.<task>`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Slot::Number(number) => number.fmt(f),
            Slot::Node(node) => node.fmt(f),
        }
    }
}

/// What was seen of a task. The managers' until it is assigned, then its worker's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    pub state: TaskState,
    /// The worker's time of the last change, for people.
    pub at: Timestamp,
    /// The managers' time at which `state` was last written: what delays are counted from.
    pub applied_at: Timestamp,
    /// Empty where it is the state's own `default_message`.
    pub message: Box<str>,
    /// Why it waits or failed.
    pub error: Box<str>,
    /// Whether it may get connections. Always true while running where nothing checks it.
    pub ready: bool,
    pub container: Option<Box<ContainerStatus>>,
    /// Ports of the node that lead to it, of those published in host mode.
    pub ports: Option<Box<[Port]>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The container's id; of a process task `process-<pid>`.
    pub id: String,
    pub pid: i64,
    pub exit_code: Option<i64>,
}

/// What a restart has to know of those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// Since this spec version came.
    pub count: u64,
    /// Failures in a row, each soon after its start: what the pause grows with.
    pub in_a_row: u32,
    /// When the last ones were, newest last; kept where the policy counts within a window.
    pub times: Vec<Timestamp>,
}
