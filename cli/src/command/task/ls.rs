//! `swarm task ls`

use serde_json::Value;

use crate::client::Client;
use crate::command::task_list::{self, ListFlags};
use crate::output::print;
use crate::parse::filter::with_filters;

/// List the tasks of all services
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Filters:
  id, name, node, service, label, desired-state (running|shutdown|accepted)

Columns for --format:
  .ID .Name .Image .Node .DesiredState .CurrentState .Error .Ports

Examples:
  swarm task ls --filter desired-state=running
  swarm task ls --filter node=self --filter service=web -q")]
pub struct Args {
    #[command(flatten)]
    pub list: ListFlags,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let filters = args.list.filters(client).await?;
    let tasks: Vec<Value> = client.get(&with_filters("/tasks", &filters)).await?;
    print(&task_list::show(client, tasks, args.list.shown()).await?)?;
    Ok(())
}
