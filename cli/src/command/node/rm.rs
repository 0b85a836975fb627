//! `swarm node rm`

use crate::client::{Client, escape};
use crate::exit::join_errors;
use crate::output::print_line;

/// Remove nodes from the cluster
///
/// A manager must be demoted first. A node that is not down needs --force; its certificate is refused from then on.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Nodes by id, hostname, or start of an id
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,

    /// Remove nodes that are not down
    #[arg(short, long)]
    pub force: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    for reference in &args.nodes {
        let force = if args.force { "?force=1" } else { "" };
        match client.delete(&format!("/nodes/{}{force}", escape(reference))).await {
            Ok(()) => print_line(reference)?,
            Err(error) => errors.push(error.into()),
        }
    }
    join_errors(errors)
}
