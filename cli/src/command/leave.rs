//! `swarm leave`: takes this node out of its cluster.

use crate::client::Client;
use crate::output::print_line;

/// Take this node out of its cluster
///
/// Its state is removed. On a manager this needs --force, because the cluster may lose its quorum; demote it first
/// where you can.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Leave even as a manager, whatever that does to the cluster
    #[arg(short, long)]
    pub force: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let path = if args.force { "/swarm/leave?force=1" } else { "/swarm/leave" };
    client.post_nothing(path).await?;
    print_line("Node left the swarm.")?;
    Ok(())
}
