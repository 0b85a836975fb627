//! `swarm service ps`

use serde_json::Value;

use crate::client::Client;
use crate::command::edit::text;
use crate::command::task_list::{self, ListFlags};
use crate::exit::{Exit, Failure};
use crate::output::print;
use crate::parse::filter::{Filter, with_filters};

/// List the tasks of services, those that have ended below what took their place
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Filters:
  id, name, node, label, desired-state (running|shutdown|accepted)

Columns for --format:
  .ID .Name .Image .Node .DesiredState .CurrentState .Error .Ports

Examples:
  swarm service ps web
  swarm service ps --no-trunc --filter desired-state=running web
  swarm service ps --filter node=self --format '{{.Name}} {{.CurrentState}}' web api")]
pub struct Args {
    /// Services by name, id, or start of an id
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,

    #[command(flatten)]
    pub list: ListFlags,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let (ids, missing) = find(client, &args.services).await?;
    let missing = (!missing.is_empty()).then(|| Failure::new(Exit::NotFound, missing.join("\n")));
    if ids.is_empty() {
        return missing.map_or(Ok(()), |missing| Err(missing.into()));
    }
    let mut filters = args.list.filters(client).await?;
    filters.extend(ids.into_iter().map(|id| Filter { key: "service".into(), value: id }));
    let tasks: Vec<Value> = client.get(&with_filters("/tasks", &filters)).await?;
    print(&task_list::show(client, tasks, args.list.shown()).await?)?;
    missing.map_or(Ok(()), |missing| Err(missing.into()))
}

/// Ids of services by id, name, or start of an id; and what to say of those that are not there.
async fn find(client: &Client, references: &[String]) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let ask = async |key: &str| {
        let filters: Vec<Filter> =
            references.iter().map(|reference| Filter { key: key.into(), value: reference.clone() }).collect();
        client.get::<Vec<Value>>(&with_filters("/services", &filters)).await
    };
    let (by_id, by_name) = (ask("id").await?, ask("name").await?);
    let (mut ids, mut missing) = (Vec::new(), Vec::new());
    for reference in references {
        let exact_id = by_id.iter().find(|service| text(service, &["ID"]) == reference);
        let exact =
            exact_id.or_else(|| by_name.iter().find(|service| text(service, &["Spec", "Name"]) == reference));
        let mut starting =
            by_id.iter().filter(|service| text(service, &["ID"]).starts_with(reference.as_str()));
        match (exact, starting.next(), starting.next()) {
            (Some(service), ..) | (None, Some(service), None) => ids.push(text(service, &["ID"]).to_owned()),
            (None, Some(_), Some(_)) => {
                let error = format!("multiple services found with provided prefix: {reference}");
                return Err(Failure::new(Exit::Failed, error).into());
            }
            (None, None, _) => missing.push(format!("no such service: {reference}")),
        }
    }
    Ok((ids, missing))
}
