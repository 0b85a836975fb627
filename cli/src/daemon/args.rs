//! The flags of `swarm daemon`.

use std::path::PathBuf;
use std::str::FromStr;

use crate::paths::{self, Host};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder that holds everything this node must not forget [default: /var/lib/swarm for root, else
    /// $XDG_STATE_HOME/swarm]
    #[arg(long, value_name = "DIR", env = "SWARM_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,

    /// Docker Engine of this node: `auto` uses the one at /var/run/docker.sock when there is one
    #[arg(
        long,
        value_name = "auto|none|unix:///PATH",
        default_value = "auto",
        env = "SWARM_ENGINE",
        hide_env_values = true
    )]
    pub engine: Engine,

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

    /// Where to serve the API: the program's global `--host`, put here by `main`
    #[arg(skip)]
    pub host: Option<Host>,
}

impl Args {
    pub fn host(&self) -> Host {
        self.host.clone().unwrap_or_else(Host::default_for_this_user)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(paths::default_state_dir)
    }
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
