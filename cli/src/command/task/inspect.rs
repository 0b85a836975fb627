//! `swarm task inspect`

use crate::client::{Client, escape};
use crate::command::inspected::Inspected;
use crate::output::inspect::Format;

/// Show everything about tasks
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm task inspect 4xab
  swarm task inspect --format '{{.Status.State}} {{.Status.Message}}' 4xab")]
pub struct Args {
    /// Tasks by id, name, or start of an id
    #[arg(required = true, value_name = "TASK")]
    pub tasks: Vec<String>,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let ask = async |reference: &str| Ok(client.get_bytes(&format!("/tasks/{}", escape(reference))).await?);
    Inspected::ask(&args.tasks, ask).await.show(args.format.as_ref(), |_| Ok(()))
}
