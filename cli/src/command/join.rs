//! `swarm join`: enters a cluster.

use common::engine_api::swarm::JoinRequest;
use serde_json::Value;

use super::cluster_flags::look;
use super::init::PlaceFlags;
use crate::client::Client;
use crate::output::print_line;

/// Join a cluster as worker or manager, whichever the token is for
///
/// Starts the daemon when none answers, and says so. `swarm join-token worker` on a manager prints the whole command.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm join --token SWMTKN-1-… 10.0.0.1:2377
  swarm join --token SWMTKN-1-… --advertise-addr eth1 --availability drain manager1:2377")]
pub struct Args {
    /// A manager of the cluster
    #[arg(value_name = "HOST:PORT")]
    pub remote: String,

    /// Token for entry into the cluster
    #[arg(long, value_name = "TOKEN")]
    pub token: String,

    #[command(flatten)]
    pub place: PlaceFlags,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    args.place.ensure_daemon(client).await?;
    let request = JoinRequest {
        availability: args.place.availability().into(),
        listen_addr: args.place.listen_addr,
        advertise_addr: args.place.advertise_addr,
        data_path_addr: args.place.data_path_addr,
        remote_addrs: vec![args.remote],
        join_token: args.token,
    };
    client.post("/swarm/join", &request).await?;
    let info: Value = client.get("/info").await?;
    let role = match look(&info, &["Swarm", "ControlAvailable"]).as_bool() {
        Some(true) => "manager",
        _ => "worker",
    };
    print_line(&format!("This node joined a swarm as a {role}."))?;
    Ok(())
}
