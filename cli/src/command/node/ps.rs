//! `swarm node ps`

use std::collections::BTreeMap;

use serde_json::Value;

use super::resolve;
use crate::client::{Client, escape};
use crate::command::edit::text;
use crate::command::task_list::{self, Shown};
use crate::exit::join_errors;
use crate::output::listing::Format;
use crate::output::print;
use crate::parse::filter::{Filter, with_filters};

/// List the tasks of nodes, of this one by default
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Filters:
  id, name, label, desired-state (running|shutdown|accepted)

Columns for --format:
  .ID .Name .Image .Node .DesiredState .CurrentState .Error .Ports

Examples:
  swarm node ps
  swarm node ps node1 --filter desired-state=running")]
pub struct Args {
    /// Nodes by id, hostname, or start of an id
    #[arg(value_name = "self|NODE", default_value = "self")]
    pub nodes: Vec<String>,

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
    let mut errors = Vec::new();
    // By id, so that a node named twice shows its tasks once.
    let mut tasks: BTreeMap<String, Value> = BTreeMap::new();
    for reference in &args.nodes {
        match tasks_of(client, reference, &args.filters).await {
            Ok(found) => tasks.extend(found.into_iter().map(|task| (text(&task, &["ID"]).to_owned(), task))),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() || !tasks.is_empty() {
        let shown = Shown {
            format: &args.format,
            quiet: args.quiet,
            resolve: !args.no_resolve,
            truncate: !args.no_trunc,
        };
        print(&task_list::show(client, tasks.into_values().collect(), shown).await?)?;
    }
    join_errors(errors)
}

async fn tasks_of(client: &Client, reference: &str, filters: &[Filter]) -> anyhow::Result<Vec<Value>> {
    let node = resolve(client, reference).await?;
    let node: Value = client.get(&format!("/nodes/{}", escape(&node))).await?;
    let mut filters = filters.to_vec();
    filters.push(Filter { key: "node".into(), value: text(&node, &["ID"]).into() });
    Ok(client.get(&with_filters("/tasks", &filters)).await?)
}
