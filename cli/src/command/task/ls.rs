//! `swarm task ls`

use serde_json::Value;

use crate::client::Client;
use crate::command::node;
use crate::command::task_list::{self, Shown};
use crate::output::listing::Format;
use crate::output::print;
use crate::parse::filter::{Filter, with_filters};

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
    /// Show only tasks that match; same key: any of the values, different keys: all of them
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each task
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,

    /// Show IDs in place of names
    #[arg(long)]
    pub no_resolve: bool,

    /// Show IDs and errors in full
    #[arg(long)]
    pub no_trunc: bool,

    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut filters = Vec::with_capacity(args.filters.len());
    for filter in args.filters {
        match filter.key.as_str() {
            "node" => filters.push(Filter { value: node::resolve(client, &filter.value).await?, ..filter }),
            _ => filters.push(filter),
        }
    }
    let tasks: Vec<Value> = client.get(&with_filters("/tasks", &filters)).await?;
    let shown = Shown {
        format: &args.format,
        quiet: args.quiet,
        resolve: !args.no_resolve,
        truncate: !args.no_trunc && !args.quiet,
    };
    print(&task_list::show(client, tasks, shown).await?)?;
    Ok(())
}
