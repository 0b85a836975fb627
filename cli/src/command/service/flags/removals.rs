//! `--label-rm` and its like: what an update takes away.

use std::net::IpAddr;

use crate::parse::publish::Port;
use crate::parse::{csv, publish};

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Removals, each may be repeated")]
pub struct Removals {
    /// Label of the service
    #[arg(id = "label-rm", long, value_name = "KEY")]
    pub labels: Vec<String>,

    /// Label of its containers
    #[arg(id = "container-label-rm", long, value_name = "KEY")]
    pub container_labels: Vec<String>,

    /// Environment variable
    #[arg(id = "env-rm", long, value_name = "NAME")]
    pub env: Vec<String>,

    /// Port, by where the task listens
    #[arg(id = "publish-rm", long, value_name = "TARGET[/PROTOCOL]", value_parser = PortRemoval::parse)]
    pub ports: Vec<PortRemoval>,

    /// Mount, by its target
    #[arg(id = "mount-rm", long, value_name = "TARGET")]
    pub mounts: Vec<String>,

    /// Network
    #[arg(id = "network-rm", long, value_name = "NETWORK")]
    pub networks: Vec<String>,

    /// Secret
    #[arg(id = "secret-rm", long, value_name = "SECRET")]
    pub secrets: Vec<String>,

    /// Config
    #[arg(id = "config-rm", long, value_name = "CONFIG")]
    pub configs: Vec<String>,

    /// Constraint, exactly as it stands
    #[arg(id = "constraint-rm", long, value_name = "CONSTRAINT")]
    pub constraints: Vec<String>,

    /// Placement preference
    #[arg(id = "placement-pref-rm", long, value_name = "PREFERENCE", value_parser = crate::parse::service_value::placement_preference)]
    pub preferences: Vec<String>,

    /// Resource that nodes declare
    #[arg(id = "generic-resource-rm", long, value_name = "KIND")]
    pub generic_resources: Vec<String>,

    /// Name in the hosts file, of one address or of all
    #[arg(id = "host-rm", long, value_name = "NAME[:ADDRESS]")]
    pub hosts: Vec<String>,

    /// Address of a DNS server
    #[arg(id = "dns-rm", long, value_name = "ADDRESS")]
    pub dns: Vec<IpAddr>,

    /// Option of the resolver
    #[arg(id = "dns-option-rm", long, value_name = "OPTION")]
    pub dns_options: Vec<String>,

    /// Domain in which names are looked up
    #[arg(id = "dns-search-rm", long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,

    /// Further group of the task's user
    #[arg(id = "group-rm", long, value_name = "GROUP")]
    pub groups: Vec<String>,

    /// Kernel parameter of the task
    #[arg(id = "sysctl-rm", long, value_name = "KEY")]
    pub sysctls: Vec<String>,

    /// Limit of the task's processes
    #[arg(id = "ulimit-rm", long, value_name = "NAME")]
    pub ulimits: Vec<String>,

    /// Device, by its path on the node or in the task
    #[arg(id = "device-rm", long, value_name = "PATH")]
    pub devices: Vec<String>,

    /// Security option of the engine
    #[arg(id = "security-opt-rm", long, value_name = "OPTION")]
    pub security_options: Vec<String>,
}

/// Ports of this target and protocol; the mode counts only when it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRemoval {
    pub ports: Vec<Port>,
    pub mode_counts: bool,
}

impl PortRemoval {
    fn parse(text: &str) -> Result<Self, String> {
        let mode_counts = csv::is_long_form(text) && text.to_lowercase().contains("mode=");
        publish::parse(text).map(|ports| Self { ports: ports.0, mode_counts })
    }
}
