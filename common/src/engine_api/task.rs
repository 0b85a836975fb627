//! `/tasks`, and `TaskTemplate` of a service. Durations are nanoseconds.

use std::collections::BTreeMap;

use super::ObjectVersion;
use super::container::{ContainerSpec, Driver};
use super::document::document;
use super::network::TaskNetwork;
use super::node::Platform;
use super::service::Port;

document! {
    pub struct Task {
        always:
        #[serde(rename = "ID")]
        pub id: String,
        pub version: ObjectVersion,
        pub created_at: String,
        pub updated_at: String,

        when_set:
        /// `<service>.<slot>.<id>`; of a global service the node's id stands for the slot.
        pub name: String,
        /// Those of the service.
        pub labels: BTreeMap<String, String>,
        pub spec: TaskSpec,
        #[serde(rename = "ServiceID")]
        pub service_id: String,
        pub slot: u64,
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub status: TaskStatus,
        pub desired_state: String,
        pub networks_attachments: Vec<TaskNetwork>,
        /// What the task was given.
        pub generic_resources: Vec<GenericResource>,
        pub job_iteration: Option<ObjectVersion>,
        /// Ours: number of its spec among the service's.
        pub spec_number: u64,
    }

    pub struct TaskStatus {
        when_set:
        pub timestamp: String,
        pub state: String,
        pub message: String,
        /// Why it waits or failed.
        pub err: String,
        pub container_status: Option<ContainerStatus>,
        pub port_status: PortStatus,
        /// Ours: whether it may get connections.
        pub ready: bool,
    }

    pub struct ContainerStatus {
        always:
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        #[serde(rename = "PID")]
        pub pid: i64,
        pub exit_code: i64,
    }

    pub struct PortStatus {
        when_set:
        pub ports: Vec<Port>,
    }

    /// `TaskTemplate` of a service, `Spec` of a task.
    pub struct TaskSpec {
        always:
        pub force_update: u64,

        when_set:
        pub container_spec: Option<ContainerSpec>,
        /// A plugin as a service; refused.
        pub plugin_spec: Option<serde_json::Value>,
        /// Of tasks that attach a container to a network; refused.
        pub network_attachment_spec: Option<serde_json::Value>,
        pub resources: Option<Resources>,
        pub restart_policy: Option<RestartPolicy>,
        pub placement: Option<Placement>,
        pub networks: Vec<NetworkAttachment>,
        pub log_driver: Option<Driver>,
        /// `container`; ours beside Docker's: `process` and `fake`.
        pub runtime: String,
    }

    pub struct Resources {
        when_set:
        pub limits: Option<Limits>,
        pub reservations: Option<Reservations>,
        pub swap_bytes: Option<i64>,
        pub memory_swappiness: Option<i64>,
    }

    pub struct Limits {
        when_set:
        #[serde(rename = "NanoCPUs")]
        pub nano_cpus: i64,
        pub memory_bytes: i64,
        pub pids: i64,
    }

    pub struct Reservations {
        when_set:
        #[serde(rename = "NanoCPUs")]
        pub nano_cpus: i64,
        pub memory_bytes: i64,
        pub generic_resources: Vec<GenericResource>,
    }

    /// One of the two.
    pub struct GenericResource {
        when_set:
        pub named_resource_spec: Option<NamedResource>,
        pub discrete_resource_spec: Option<DiscreteResource>,
    }

    pub struct NamedResource {
        when_set:
        pub kind: String,
        pub value: String,
    }

    pub struct DiscreteResource {
        when_set:
        pub kind: String,
        pub value: i64,
    }

    pub struct RestartPolicy {
        when_set:
        /// `none`, `on-failure` or `any`.
        pub condition: String,
        pub delay: Option<i64>,
        pub max_attempts: Option<u64>,
        pub window: Option<i64>,
        /// Ours: the longest pause that repeated failures grow to.
        pub max_delay: Option<i64>,
    }

    pub struct Placement {
        when_set:
        pub constraints: Vec<String>,
        pub preferences: Vec<Preference>,
        pub max_replicas: u64,
        pub platforms: Vec<Platform>,
    }

    pub struct Preference {
        when_set:
        pub spread: Option<Spread>,
    }

    pub struct Spread {
        when_set:
        pub spread_descriptor: String,
    }

    pub struct NetworkAttachment {
        when_set:
        pub target: String,
        pub aliases: Vec<String>,
        pub driver_opts: BTreeMap<String, String>,
    }
}
