//! Tables of tasks: names from services and slots, newest first within a slot, older ones indented.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use common::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::cluster_flags::look;
use super::edit::text;
use super::node;
use crate::client::{Client, ClientError, escape};
use crate::exit::Exit;
use crate::output::human;
use crate::output::listing::{Format, Listing};
use crate::output::natural;
use crate::parse::filter::Filter;
use crate::parse::image;

/// What every command that lists tasks takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ListFlags {
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

impl ListFlags {
    pub fn shown(&self) -> Shown<'_> {
        Shown {
            format: &self.format,
            quiet: self.quiet,
            resolve: !self.no_resolve,
            truncate: !self.no_trunc && !self.quiet,
        }
    }

    /// The filters, with nodes by the ids that the daemon knows them by.
    pub async fn filters(&self, client: &Client) -> anyhow::Result<Vec<Filter>> {
        let mut filters = self.filters.clone();
        for filter in filters.iter_mut().filter(|filter| filter.key == "node") {
            filter.value = node::resolve(client, &filter.value).await?;
        }
        Ok(filters)
    }
}

/// How a list of tasks is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub format: &'a Format,
    pub quiet: bool,
    pub resolve: bool,
    pub truncate: bool,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Image", "IMAGE"),
        ("Node", "NODE"),
        ("DesiredState", "DESIRED STATE"),
        ("CurrentState", "CURRENT STATE"),
        ("Error", "ERROR"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Image}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}\t{{.Ports}}",
};

pub async fn show(client: &Client, tasks: Vec<Value>, shown: Shown<'_>) -> anyhow::Result<String> {
    let mut names = Names { client, resolve: shown.resolve, known: BTreeMap::new() };
    let mut named = Vec::with_capacity(tasks.len());
    for task in tasks {
        let name = names.task(&task).await?;
        let node = names.get("nodes", text(&task, &["NodeID"]), &["Description", "Hostname"]).await?;
        named.push(Named { name, node, task });
    }
    named.sort_by(order);
    let rows = rows(&named, shown.truncate, SystemClock.now());
    Ok(LISTING.show(shown.format, shown.quiet, &rows)?)
}

/// A task with what its ids stand for.
struct Named {
    name: String,
    node: String,
    task: Value,
}

fn order(left: &Named, right: &Named) -> Ordering {
    let changed = |named: &Named| text(&named.task, &["Status", "Timestamp"]).to_owned();
    natural::compare(&left.name, &right.name).then_with(|| changed(right).cmp(&changed(left)))
}

fn rows(tasks: &[Named], truncate: bool, now: Timestamp) -> Vec<Value> {
    let mut name_before = None;
    tasks
        .iter()
        .map(|Named { name, node, task }| {
            // What ran in the same slot before hangs below what runs there now.
            let indent = if name_before == Some(name) { " \\_ " } else { "" };
            name_before = Some(name);
            let id = text(task, &["ID"]);
            let written = text(task, &["Spec", "ContainerSpec", "Image"]);
            json!({
                "ID": if truncate { &id[..id.len().min(12)] } else { id },
                "Name": format!("{indent}{name}"),
                "Image": if truncate { image::shown(written) } else { written.to_owned() },
                "Node": node,
                "DesiredState": human::title(text(task, &["DesiredState"])),
                "CurrentState": current_state(task, now),
                "Error": error(text(task, &["Status", "Err"]), truncate),
                "Ports": ports(task),
            })
        })
        .collect()
}

/// `Running 5 minutes ago`
fn current_state(task: &Value, now: Timestamp) -> String {
    let state = human::title(text(task, &["Status", "State"]));
    match Timestamp::from_rfc3339(text(task, &["Status", "Timestamp"])) {
        Some(since) => format!("{state} {} ago", human::duration(now.since(since)).to_lowercase()),
        None => state,
    }
}

fn error(error: &str, truncate: bool) -> String {
    const CHARS_MAX: usize = 30;
    match error {
        "" => String::new(),
        long if truncate && long.chars().count() > CHARS_MAX => {
            let start: String = long.chars().take(CHARS_MAX - 1).collect();
            format!("\"{start}…\"")
        }
        error => format!("\"{error}\""),
    }
}

/// The task's own ports: `*:8080->80/tcp`.
fn ports(task: &Value) -> String {
    let ports = look(task, &["Status", "PortStatus", "Ports"]).as_array();
    let shown = ports.into_iter().flatten().map(|port| {
        let number = |key| look(port, &[key]).as_u64().unwrap_or_default();
        let protocol = text(port, &["Protocol"]);
        format!("*:{}->{}/{protocol}", number("PublishedPort"), number("TargetPort"))
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Asks for each name once.
struct Names<'a> {
    client: &'a Client,
    resolve: bool,
    known: BTreeMap<String, String>,
}

impl Names<'_> {
    /// `web.3`; for a global service `web.` and the node's id.
    async fn task(&mut self, task: &Value) -> Result<String, ClientError> {
        let service = text(task, &["ServiceID"]);
        if service.is_empty() {
            return Ok(text(task, &["ID"]).into());
        }
        let service = self.get("services", service, &["Spec", "Name"]).await?;
        Ok(match look(task, &["Slot"]).as_u64() {
            Some(slot) if slot > 0 => format!("{service}.{slot}"),
            _ => format!("{service}.{}", text(task, &["NodeID"])),
        })
    }

    /// The name of what has this id; the id itself when that is gone.
    async fn get(&mut self, kind: &str, id: &str, name: &[&str]) -> Result<String, ClientError> {
        if !self.resolve || id.is_empty() {
            return Ok(id.into());
        }
        let path = format!("/{kind}/{}", escape(id));
        if let Some(known) = self.known.get(&path) {
            return Ok(known.clone());
        }
        let found = match self.client.get::<Value>(&path).await {
            Ok(object) => match text(&object, name) {
                "" => id.to_owned(),
                name => name.to_owned(),
            },
            Err(error) if error.exit() == Exit::NotFound => id.to_owned(),
            Err(error) => return Err(error),
        };
        self.known.insert(path, found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_tasks_of_a_slot_hang_below_the_newest() {
        let task = |id: &str, state: &str, seconds: u64, error: &str| {
            json!({
                "ID": format!("{id:0>25}"), "Slot": 1, "DesiredState": "running", "NodeID": "n",
                "Spec": {"ContainerSpec": {"Image": "nginx:1@sha256:abc"}},
                "Status": {
                    "State": state, "Timestamp": Timestamp(seconds * 1_000_000_000).to_rfc3339(), "Err": error,
                    "PortStatus": {"Ports": [{"PublishedPort": 8080, "TargetPort": 80, "Protocol": "tcp"}]},
                },
            })
        };
        let named = |name: &str, task| Named { name: name.into(), node: "node1".into(), task };
        let mut tasks = vec![
            named("web.10", task("a", "running", 60, "")),
            named("web.2", task("b", "failed", 10, "task: non-zero exit (1) and then some")),
            named("web.2", task("c", "running", 20, "")),
        ];
        tasks.sort_by(order);
        let rows = rows(&tasks, true, Timestamp(120_000_000_000));
        let shown = LISTING.show(&Format::Table, false, &rows).expect("shown");
        let expected = "\
ID             NAME        IMAGE     NODE      DESIRED STATE   CURRENT STATE                ERROR                              PORTS
000000000000   web.2       nginx:1   node1     Running         Running about a minute ago                                      *:8080->80/tcp
000000000000    \\_ web.2   nginx:1   node1     Running         Failed about a minute ago    \"task: non-zero exit (1) and t…\"   *:8080->80/tcp
000000000000   web.10      nginx:1   node1     Running         Running about a minute ago                                      *:8080->80/tcp
";
        assert_eq!(shown, expected);
    }
}
