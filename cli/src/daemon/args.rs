//! The flags of `swarm daemon`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use common::object::resources::GenericStock;
use common::object::service::RuntimeKind;

use crate::parse::duration::Nanoseconds;
use crate::paths::{self, Host};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder that holds everything this node must not forget [default: /var/lib/swarm for root, else
    /// $XDG_STATE_HOME/swarm]
    #[arg(long, value_name = "DIR", env = "SWARM_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,

    /// Serve the API on TCP too, to holders of client certificates (`swarm client-cert create`); Docker's port for it
    /// is 2376
    #[arg(long, value_name = "HOST:PORT", env = "SWARM_API_ADDR", hide_env_values = true)]
    pub api_addr: Option<String>,

    /// One more name or address by which clients reach the API on TCP; repeat for several
    #[arg(long = "api-name", value_name = "NAME|IP")]
    pub api_names: Vec<String>,

    /// Group whose members may use the local socket, beside its owner [default: swarm, where there is such a group]
    #[arg(long, value_name = "GROUP", env = "SWARM_GROUP", hide_env_values = true)]
    pub group: Option<String>,

    /// Folder in memory (on a tmpfs) for the secrets and configs of this node's tasks, for this daemon alone; one that
    /// is on a disk gets a tmpfs mounted, where that is allowed [default: below /run/swarm for root, else
    /// $XDG_RUNTIME_DIR/swarm]
    #[arg(long, value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,

    /// Docker Engine of this node: `auto` uses the one at /var/run/docker.sock when there is one
    #[arg(
        long,
        value_name = "auto|none|unix:///PATH",
        default_value = "auto",
        env = "SWARM_ENGINE",
        hide_env_values = true
    )]
    pub engine: Engine,

    /// What runs tasks here: container, process or fake; repeat for several [default: container where there is an
    /// engine, and process]
    #[arg(
        long = "runtime",
        value_name = "RUNTIME",
        env = "SWARM_RUNTIMES",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub runtimes: Vec<RuntimeKind>,

    /// Label of this node that constraints find as `engine.labels.KEY`; repeat for several
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<KeyValue>,

    /// What tasks may reserve beside processor and memory: `KIND=3` for an amount, `KIND=NAME`, repeated, for single
    /// things with names
    #[arg(long = "generic-resource", value_name = "KIND=VALUE")]
    pub generic_resources: Vec<KeyValue>,

    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "SWARM_LOG_FORMAT", hide_env_values = true)]
    pub log_format: LogFormat,

    /// Which log lines are written: error, warn, info, debug, trace, or rules such as `info,manager=debug`
    #[arg(long, value_name = "RULES", default_value = "info", env = "SWARM_LOG", hide_env_values = true)]
    pub log_level: String,

    /// Name of this node in the cluster [default: the machine's host name]
    #[arg(long, value_name = "NAME", env = "SWARM_NODE_NAME", hide_env_values = true)]
    pub node_name: Option<String>,

    /// Serve the paths that make faults for `swarm lab`
    #[arg(long, hide = true)]
    pub lab: bool,

    /// With `--lab` alone: how long certificates of a cluster made here are valid, which may be seconds. The API
    /// allows no less than an hour
    #[arg(long, hide = true, requires = "lab", value_name = "DURATION")]
    pub lab_cert_expiry: Option<Nanoseconds>,

    /// Where to serve the API: the program's global `--host`, put here by `main`
    #[arg(skip)]
    pub host: Option<Host>,
}

impl Args {
    pub fn host(&self) -> Host {
        self.host.clone().unwrap_or_else(Host::default_for_this_user)
    }

    pub fn secrets_dir(&self) -> PathBuf {
        self.secrets_dir.clone().unwrap_or_else(|| paths::secrets_dir(&self.state_dir()))
    }

    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(paths::default_state_dir)
    }
}

/// `KEY=VALUE`; without `=` the value is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not KEY=VALUE: the key is missing")]
pub struct NoKey {
    text: String,
}

impl FromStr for KeyValue {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match key.trim() {
            "" => Err(NoKey { text: text.into() }),
            key => Ok(Self { key: key.into(), value: value.into() }),
        }
    }
}

/// What this node has of each kind: an amount, or things with names.
pub fn generic_stock(given: &[KeyValue]) -> anyhow::Result<BTreeMap<String, GenericStock>> {
    let mut stock = BTreeMap::new();
    for KeyValue { key, value } in given {
        anyhow::ensure!(!value.is_empty(), "generic resource {key} has no value");
        let next = match (stock.remove(key), value.parse::<u64>()) {
            (None, Ok(amount)) => GenericStock::Count(amount),
            (None, Err(_)) => GenericStock::Named([value.clone()].into()),
            (Some(GenericStock::Named(mut names)), Err(_)) => {
                names.insert(value.clone());
                GenericStock::Named(names)
            }
            (Some(_), _) => anyhow::bail!("generic resource {key} is given both an amount and more"),
        };
        stock.insert(key.clone(), next);
    }
    Ok(stock)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The usual socket, when something is there.
    Auto,
    /// This node runs no containers.
    None,
    Socket(Host),
}

impl FromStr for Engine {
    type Err = paths::HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            address => address.parse().map(Self::Socket),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(given: &[&str]) -> Result<BTreeMap<String, GenericStock>, String> {
        let given: Vec<KeyValue> = given.iter().map(|text| text.parse().expect("key and value")).collect();
        generic_stock(&given).map_err(|error| error.to_string())
    }

    #[test]
    fn generic_resources_are_amounts_or_names() {
        let names = |names: &[&str]| GenericStock::Named(names.iter().map(|name| name.to_string()).collect());
        assert_eq!(stock(&["ssd=3"]), Ok([("ssd".into(), GenericStock::Count(3))].into()));
        assert_eq!(stock(&["gpu=a", "gpu=b"]), Ok([("gpu".into(), names(&["a", "b"]))].into()));
        for wrong in [&["gpu=a", "gpu=2"][..], &["ssd=3", "ssd=4"], &["ssd"]] {
            assert!(stock(wrong).is_err(), "{wrong:?}");
        }
        assert!("=x".parse::<KeyValue>().is_err());
    }
}
