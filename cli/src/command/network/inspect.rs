//! `swarm network inspect`

use crate::client::{Client, escape};
use crate::command::inspected::Inspected;
use crate::output::inspect::Format;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// By name, id, or start of an id
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,

    /// With services, tasks and their addresses
    #[arg(short, long)]
    pub verbose: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let query = if args.verbose { "?verbose=true" } else { "" };
    let ask =
        async |network: &str| Ok(client.get_bytes(&format!("/networks/{}{query}", escape(network))).await?);
    let found = Inspected::ask(&args.networks, ask).await;
    found.show(args.format.as_ref(), |_| Ok(()))
}
