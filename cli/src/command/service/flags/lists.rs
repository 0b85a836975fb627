//! Flags that may be repeated. On create `--label`, on update `--label-add`: the same flags under two names.

use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches};
use serde_json::Value;

use crate::parse::device::{self, Device};
use crate::parse::network::{self, Network};
use crate::parse::publish::{self, Ports};
use crate::parse::secret_reference::{self, Reference};
use crate::parse::service_value::{domain, generic_resource, host, ip, option, placement_preference};
use crate::parse::ulimit::{self, Ulimit};
use crate::parse::{environment, mount, pair};

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Lists, each may be repeated")]
pub struct Items {
    /// Label of the service
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair::label)]
    pub labels: Vec<(String, String)>,

    /// Label of its containers
    #[arg(long = "container-label", value_name = "KEY=VALUE", value_parser = pair::label)]
    pub container_labels: Vec<(String, String)>,

    /// Environment variable; NAME alone takes the value of this shell
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = environment::variable)]
    pub env: Vec<String>,

    /// Publish a port: [PUBLISHED:]TARGET[/PROTOCOL], or published=,target=,protocol=,mode=ingress|host
    #[arg(short, long = "publish", value_name = "PORT", value_parser = publish::parse)]
    pub ports: Vec<Ports>,

    /// Mount: type=volume|bind|tmpfs|npipe|cluster|image,source=,target=,readonly,…
    #[arg(long = "mount", value_name = "MOUNT", value_parser = mount::parse)]
    pub mounts: Vec<Value>,

    /// Network: NAME, or name=,alias=,driver-opt=KEY=VALUE
    #[arg(long = "network", value_name = "NETWORK", value_parser = network::parse)]
    pub networks: Vec<Network>,

    /// Secret as a file: NAME, or source=,target=,uid=,gid=,mode=,version=N,refresh=SIGNAL (follow new versions in place)
    #[arg(long = "secret", value_name = "SECRET", value_parser = secret_reference::secret)]
    pub secrets: Vec<Reference>,

    /// Config as a file: NAME, or source=,target=,uid=,gid=,mode=,version=N,refresh=SIGNAL (follow new versions in place)
    #[arg(long = "config", value_name = "CONFIG", value_parser = secret_reference::config)]
    pub configs: Vec<Reference>,

    /// Only nodes for which this holds: node.role==manager, node.labels.disk!=hdd, …
    #[arg(long = "constraint", value_name = "CONSTRAINT")]
    pub constraints: Vec<String>,

    /// Spread tasks over the values of a label: spread=node.labels.rack
    #[arg(long = "placement-pref", value_name = "PREFERENCE", value_parser = placement_preference)]
    pub preferences: Vec<String>,

    /// Amount of a resource that nodes declare
    #[arg(long = "generic-resource", value_name = "KIND=N", value_parser = generic_resource)]
    pub generic_resources: Vec<(String, i64)>,

    /// Line of the task's hosts file
    #[arg(long = "host", value_name = "NAME:ADDRESS", value_parser = host)]
    pub hosts: Vec<String>,

    /// Address of a DNS server
    #[arg(long, value_name = "ADDRESS", value_parser = ip)]
    pub dns: Vec<String>,

    /// Option of the resolver
    #[arg(long = "dns-option", value_name = "OPTION")]
    pub dns_options: Vec<String>,

    /// Domain in which names are looked up
    #[arg(long = "dns-search", value_name = "DOMAIN", value_parser = domain)]
    pub dns_search: Vec<String>,

    /// Further group of the task's user
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,

    /// Kernel parameter of the task
    #[arg(long = "sysctl", value_name = "KEY=VALUE", value_parser = option)]
    pub sysctls: Vec<(String, String)>,

    /// Limit of the task's processes: nofile=1024:2048
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = ulimit::parse)]
    pub ulimits: Vec<Ulimit>,

    /// Device of the node (not of Docker's services): HOST[:TASK[:rwm]]
    #[arg(long = "device", value_name = "DEVICE", value_parser = device::parse)]
    pub devices: Vec<Device>,

    /// Security option of the engine (not of Docker's services): no-new-privileges, seccomp=…, …
    #[arg(long = "security-opt", value_name = "OPTION")]
    pub security_options: Vec<String>,
}

/// Files of variables; only a new service takes them.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct EnvFiles {
    /// File of environment variables, one NAME=VALUE in a line; may be repeated
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
}

/// `Items` as update has them: each name ends in `-add`, and none has a letter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Added(pub Items);

impl Args for Added {
    fn augment_args(command: clap::Command) -> clap::Command {
        let items = Items::augment_args(clap::Command::new("items"));
        items.get_arguments().fold(command, |command, item| {
            let long = format!("{}-add", item.get_long().expect("each item has a long name"));
            command.arg(item.clone().long(long).short(None).help_heading("Additions, each may be repeated"))
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Added {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Items::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}
