//! `/networks`, and the networks of services and tasks.

use std::collections::BTreeMap;

use super::ObjectVersion;
use super::document::document;

document! {
    pub struct Network {
        always:
        pub name: String,
        pub id: String,
        pub created: String,
        /// `swarm` for those of the cluster, `local` for those of a node.
        pub scope: String,
        pub driver: String,
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_from: ConfigFrom,
        pub config_only: bool,
        pub containers: BTreeMap<String, serde_json::Value>,
        pub options: BTreeMap<String, String>,
        pub labels: BTreeMap<String, String>,

        when_set:
        /// By name, with `verbose=true` only.
        pub services: BTreeMap<String, NetworkService>,
        /// Ours: how many addresses there are, and who waits for one.
        pub addresses: Option<NetworkAddresses>,
    }

    /// Who gives out addresses, and of what.
    pub struct Ipam {
        always:
        pub driver: String,
        pub options: BTreeMap<String, String>,
        pub config: Vec<IpamConfig>,
    }

    pub struct IpamConfig {
        when_set:
        pub subnet: String,
        #[serde(rename = "IPRange")]
        pub ip_range: String,
        pub gateway: String,
        pub auxiliary_addresses: BTreeMap<String, String>,
    }

    pub struct ConfigFrom {
        always:
        pub network: String,
    }

    /// `POST /networks/create`.
    pub struct CreateRequest {
        always:
        pub name: String,
        pub driver: String,
        pub scope: String,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_only: bool,
        pub options: BTreeMap<String, String>,
        pub labels: BTreeMap<String, String>,

        when_set:
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        pub config_from: Option<ConfigFrom>,
    }

    pub struct NetworkCreated {
        always:
        pub id: String,
        pub warning: String,
    }

    /// A service on a network.
    pub struct NetworkService {
        always:
        #[serde(rename = "VIP")]
        pub vip: String,
        pub ports: Vec<String>,
        #[serde(rename = "LocalLBIndex")]
        pub local_lb_index: i64,
        pub tasks: Vec<NetworkTask>,
    }

    pub struct NetworkTask {
        always:
        pub name: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        #[serde(rename = "EndpointIP")]
        pub endpoint_ip: String,
        pub info: BTreeMap<String, String>,
    }

    /// Ours.
    pub struct NetworkAddresses {
        always:
        pub total: u64,
        pub used: u64,

        when_set:
        /// Why tasks wait that have no address here, each reason once.
        pub waiting: Vec<String>,
    }

    /// A network of a task, with the task's addresses there.
    pub struct TaskNetwork {
        always:
        pub network: TaskNetworkObject,
        pub addresses: Vec<String>,
    }

    /// A network as tasks show it, which is not how `/networks` does.
    pub struct TaskNetworkObject {
        always:
        #[serde(rename = "ID")]
        pub id: String,
        pub version: ObjectVersion,
        pub created_at: String,
        pub updated_at: String,
        pub spec: TaskNetworkSpec,
        pub driver_state: TaskNetworkDriver,

        when_set:
        #[serde(rename = "IPAMOptions")]
        pub ipam_options: TaskNetworkIpam,
    }

    pub struct TaskNetworkSpec {
        always:
        pub name: String,
        pub labels: BTreeMap<String, String>,
        pub driver_configuration: TaskNetworkDriver,
        pub scope: String,

        when_set:
        #[serde(rename = "IPv6Enabled")]
        pub ipv6_enabled: bool,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
    }

    pub struct TaskNetworkDriver {
        when_set:
        pub name: String,
        pub options: BTreeMap<String, String>,
    }

    pub struct TaskNetworkIpam {
        when_set:
        pub driver: TaskNetworkDriver,
        pub configs: Vec<IpamConfig>,
    }
}
