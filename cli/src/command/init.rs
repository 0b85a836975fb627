//! `swarm init`: makes a cluster with this node as its first manager.

use std::path::PathBuf;

use common::engine_api::node::Node;
use common::engine_api::swarm::Swarm;
use serde_json::{Value, json};

use super::Availability;
use super::cluster_flags::ClusterFlags;
use super::edit::text;
use crate::client::{Client, ClientError, escape};
use crate::output::print;
use crate::parse::address;
use crate::paths;
use crate::start::{self, Launch};

/// Make a cluster with this node as its first manager
///
/// Starts the daemon when none answers, and says so. Prints the command with which other nodes join.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm init
  swarm init --advertise-addr 10.0.0.1
  swarm init --advertise-addr eth0:2377 --availability drain
  swarm init --force-new-cluster        # on the survivor, when most managers are lost for good")]
pub struct Args {
    #[command(flatten)]
    pub place: PlaceFlags,

    /// Port for data path traffic (1024 - 49151); 0 means the default, 4789
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub data_path_port: u32,

    /// Address pool for networks, in CIDR form; may be repeated [default: 10.0.0.0/8]
    #[arg(long = "default-addr-pool", value_name = "CIDR", value_delimiter = ',')]
    pub default_addr_pools: Vec<String>,

    /// Length of the mask of subnets taken from the pools
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub default_addr_pool_mask_length: u32,

    /// Keep managers locked after a restart until the unlock key is given
    #[arg(long)]
    pub autolock: bool,

    /// Make a new cluster of this manager alone, with everything the old one held
    #[arg(long)]
    pub force_new_cluster: bool,

    #[command(flatten)]
    pub cluster: ClusterFlags,
}

/// What `init` and `join` ask about this node.
#[derive(Clone, Debug, clap::Args)]
pub struct PlaceFlags {
    /// Address that other nodes use for this one [default: this machine's, when it has but one]
    #[arg(long, value_name = "IP|INTERFACE[:PORT]", default_value = "", hide_default_value = true)]
    pub advertise_addr: String,

    /// Address to listen on
    #[arg(long, value_name = "IP|INTERFACE[:PORT]", value_parser = address::listen, default_value = address::LISTEN_DEFAULT)]
    pub listen_addr: String,

    /// Address or interface for data path traffic [default: the advertised address]
    #[arg(long, value_name = "IP|INTERFACE", default_value = "", hide_default_value = true)]
    pub data_path_addr: String,

    /// Whether this node takes tasks [default: active]
    #[arg(long, value_enum)]
    pub availability: Option<Availability>,

    /// Where a daemon started by this command keeps its state [default: /var/lib/swarm for root, else
    /// $XDG_STATE_HOME/swarm]
    #[arg(long, value_name = "DIR", env = "SWARM_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
}

impl PlaceFlags {
    /// Empty means the default, or what the node had when it starts anew on old state.
    pub fn availability(&self) -> &'static str {
        self.availability.map_or("", Availability::as_str)
    }

    pub async fn ensure_daemon(&self, client: &Client) -> anyhow::Result<()> {
        let Some(host) = client.host().socket() else {
            // One that is far away is not ours to start.
            return Ok(client.ping().await?);
        };
        let state_dir = self.state_dir.clone().unwrap_or_else(paths::default_state_dir);
        start::ensure_daemon(client, &Launch::this_program(host, &state_dir)?).await
    }
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    args.place.ensure_daemon(client).await?;
    let id: String = client.post_for("/swarm/init", &request(&args)).await?;
    print(&format!("Swarm initialized: current node ({id}) is now a manager.\n\n"))?;
    let swarm = client.get("/swarm").await?;
    print(&join_command(client, swarm, &id, "worker").await?)?;
    print("To add a manager to this swarm, run 'swarm join-token manager' and follow the instructions.\n")?;
    if args.autolock {
        print(&unlock_text(client).await?)?;
    }
    Ok(())
}

fn request(args: &Args) -> Value {
    let mut spec = json!({
        "Labels": null,
        "Orchestration": {},
        "Raft": {"ElectionTick": 0, "HeartbeatTick": 0},
        "Dispatcher": {},
        "CAConfig": {},
        "TaskDefaults": {},
        "EncryptionConfig": {"AutoLockManagers": args.autolock},
    });
    args.cluster.apply(&mut spec);
    json!({
        "ListenAddr": args.place.listen_addr,
        "AdvertiseAddr": args.place.advertise_addr,
        "DataPathAddr": args.place.data_path_addr,
        "DataPathPort": args.data_path_port,
        "DefaultAddrPool": args.default_addr_pools,
        "SubnetSize": args.default_addr_pool_mask_length,
        "ForceNewCluster": args.force_new_cluster,
        "AutoLockManagers": args.autolock,
        "Availability": args.place.availability(),
        "Spec": spec,
    })
}

/// How to join as `role` through manager `id`; nothing when that node is no manager.
pub async fn join_command(
    client: &Client,
    swarm: Swarm,
    id: &str,
    role: &str,
) -> Result<String, ClientError> {
    let node: Node = client.get(&format!("/nodes/{}", escape(id))).await?;
    let tokens = swarm.join_tokens.unwrap_or_default();
    let token = if role == "manager" { tokens.manager } else { tokens.worker };
    Ok(node.manager_status.map_or_else(String::new, |manager| {
        format!(
            "To add a {role} to this swarm, run the following command:\n\n    swarm join --token {token} {}\n\n",
            manager.addr
        )
    }))
}

/// The key that unlocks a manager, and what to do with it.
pub async fn unlock_text(client: &Client) -> anyhow::Result<String> {
    let answer: Value = client.get("/swarm/unlockkey").await?;
    Ok(format!(
        "To unlock a swarm manager after it restarts, run the `swarm unlock`\ncommand and provide the following key:\n\n    \
         {}\n\nRemember to store this key in a password manager, since without it you\nwill not be able to restart the manager.\n",
        text(&answer, &["UnlockKey"])
    ))
}
