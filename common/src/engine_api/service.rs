//! `/services`, and what is ours of them under `/swarm/x/services/`. Durations are nanoseconds.

use std::collections::BTreeMap;

use super::ObjectVersion;
use super::document::document;
use super::task::{NetworkAttachment, TaskSpec};

document! {
    pub struct Service {
        always:
        #[serde(rename = "ID")]
        pub id: String,
        pub version: ObjectVersion,
        pub created_at: String,
        pub updated_at: String,
        pub spec: ServiceSpec,
        pub endpoint: Endpoint,

        when_set:
        pub previous_spec: Option<ServiceSpec>,
        pub update_status: Option<UpdateStatus>,
        /// In lists with `status=true` only.
        pub service_status: Option<ServiceStatus>,
        pub job_status: Option<JobStatus>,
        /// Ours: number of the spec among those kept.
        pub spec_number: u64,
    }

    pub struct ServiceSpec {
        always:
        pub name: String,
        pub labels: BTreeMap<String, String>,
        pub task_template: TaskSpec,
        pub mode: Mode,

        when_set:
        pub update_config: Option<UpdateConfig>,
        pub rollback_config: Option<UpdateConfig>,
        /// Deprecated; those of the task template count.
        pub networks: Vec<NetworkAttachment>,
        pub endpoint_spec: Option<EndpointSpec>,
    }

    /// One of them; none means one replica.
    pub struct Mode {
        when_set:
        pub replicated: Option<Replicated>,
        pub global: Option<Nothing>,
        pub replicated_job: Option<ReplicatedJob>,
        pub global_job: Option<Nothing>,
    }

    pub struct Nothing {}

    pub struct Replicated {
        when_set:
        pub replicas: Option<u64>,
    }

    pub struct ReplicatedJob {
        when_set:
        pub max_concurrent: Option<u64>,
        pub total_completions: Option<u64>,
    }

    pub struct UpdateConfig {
        always:
        /// 0 means all at once.
        pub parallelism: u64,
        pub max_failure_ratio: f64,

        when_set:
        pub delay: i64,
        /// `pause`, `continue` or `rollback`.
        pub failure_action: String,
        pub monitor: Option<i64>,
        /// `stop-first` or `start-first`.
        pub order: String,
        /// Ours, here and below.
        pub progress_deadline: Option<i64>,
        pub min_healthy: Option<i64>,
    }

    pub struct EndpointSpec {
        when_set:
        /// `vip` or `dnsrr`.
        pub mode: String,
        pub ports: Vec<Port>,
    }

    pub struct Endpoint {
        always:
        pub spec: EndpointSpec,

        when_set:
        pub ports: Vec<Port>,
        #[serde(rename = "VirtualIPs")]
        pub virtual_ips: Vec<VirtualIp>,
    }

    pub struct Port {
        when_set:
        pub name: String,
        /// `tcp`, `udp` or `sctp`.
        pub protocol: String,
        pub target_port: u32,
        pub published_port: u32,
        /// `ingress` or `host`.
        pub publish_mode: String,
    }

    pub struct VirtualIp {
        when_set:
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        pub addr: String,
    }

    pub struct UpdateStatus {
        when_set:
        pub state: String,
        pub started_at: Option<String>,
        pub completed_at: Option<String>,
        pub message: String,
    }

    pub struct ServiceStatus {
        always:
        pub running_tasks: u64,
        pub desired_tasks: u64,
        pub completed_tasks: u64,
    }

    pub struct JobStatus {
        always:
        pub job_iteration: ObjectVersion,

        when_set:
        pub last_execution: String,
    }

    /// Answer to `POST /services/create`.
    pub struct ServiceCreated {
        always:
        #[serde(rename = "ID")]
        pub id: String,

        when_set:
        pub warnings: Vec<String>,
    }

    /// Answer to `POST /services/{id}/update`.
    pub struct ServiceUpdated {
        always:
        pub warnings: Vec<String>,
    }

    /// One row of `GET /swarm/x/services/{id}/history`, newest number first.
    pub struct SpecVersion {
        always:
        pub number: u64,
        /// When it became the wanted one.
        pub at: String,
        pub current: bool,
        /// What a rollback without a number goes to.
        pub previous: bool,
        /// Whether the service once stood with it.
        pub worked: bool,
        pub image: String,
        /// In words: what differs from the next lower number that is kept.
        pub changes: Vec<String>,
        /// Tasks of it that run, or are to.
        pub tasks: u64,
    }

    /// `GET /swarm/x/services/{id}/explain`: where tasks of the service could go now, and why others wait.
    pub struct Explanation {
        always:
        pub nodes: Vec<NodeVerdict>,
        pub waiting: Vec<WaitingTask>,
        /// Whether an update goes on, waits or is paused, in words.
        pub summary: Vec<String>,
    }

    pub struct NodeVerdict {
        always:
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub hostname: String,
        /// Whether one more task could go there.
        pub suitable: bool,
        /// Tasks of the service that are there.
        pub tasks: u64,
        /// Why not.
        pub reasons: Vec<String>,
    }

    pub struct WaitingTask {
        always:
        #[serde(rename = "ID")]
        pub id: String,
        pub slot: u64,
        pub state: String,
        pub reason: String,
    }
}
