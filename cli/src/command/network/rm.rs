//! `swarm network rm`

use crate::client::{Client, escape};
use crate::exit::{Exit, join_errors};
use crate::output::print_line;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// By name, id, or start of an id
    #[arg(required = true, value_name = "NETWORK")]
    pub networks: Vec<String>,

    /// Say nothing of networks that are not there
    #[arg(short, long)]
    pub force: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    for network in &args.networks {
        match client.delete(&format!("/networks/{}", escape(network))).await {
            Ok(()) => print_line(network)?,
            Err(error) if args.force && error.exit() == Exit::NotFound => {}
            Err(error) => errors.push(error.into()),
        }
    }
    join_errors(errors)
}
