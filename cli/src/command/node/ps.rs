//! `swarm node ps`

use std::collections::BTreeMap;

use serde_json::Value;

use super::resolve;
use crate::client::{Client, escape};
use crate::command::edit::text;
use crate::command::task_list::{self, ListFlags, Shown};
use crate::exit::join_errors;
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

    #[command(flatten)]
    pub list: ListFlags,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut errors = Vec::new();
    // By id, so that a node named twice shows its tasks once.
    let mut tasks: BTreeMap<String, Value> = BTreeMap::new();
    for reference in &args.nodes {
        match tasks_of(client, reference, &args.list.filters).await {
            Ok(found) => tasks.extend(found.into_iter().map(|task| (text(&task, &["ID"]).to_owned(), task))),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() || !tasks.is_empty() {
        // As in Docker: here IDs alone are cut short too.
        let shown = Shown { truncate: !args.list.no_trunc, ..args.list.shown() };
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
