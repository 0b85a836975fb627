//! `swarm node inspect`

use std::collections::BTreeMap;
use std::fmt::Write;

use common::engine_api::node::{ManagerStatus, Node};
use serde_json::{Value, json};

use super::resolve;
use crate::client::{Client, escape};
use crate::command::inspected::Inspected;
use crate::output::human::{as_go_prints, title};
use crate::output::inspect::{self, Format};
use crate::output::print;
use crate::parse::size;

/// Show everything about nodes
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm node inspect self --pretty
  swarm node inspect node1 --format '{{.Status.Addr}}'
  swarm node inspect node1 --format '{{json .Spec.Labels}}'")]
pub struct Args {
    /// Nodes by id, hostname, or start of an id
    #[arg(required = true, value_name = "self|NODE")]
    pub nodes: Vec<String>,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,

    /// Show in a form for people
    #[arg(long, conflicts_with = "format")]
    pub pretty: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let ask = async |reference: &str| {
        let id = resolve(client, reference).await?;
        Ok(client.get_bytes(&format!("/nodes/{}", escape(&id))).await?)
    };
    let found = Inspected::ask(&args.nodes, ask).await;
    if !args.pretty {
        return found.show(args.format.as_ref(), fill);
    }
    let texts: Result<Vec<String>, serde_json::Error> =
        found.bodies.iter().map(|body| serde_json::from_slice(body).map(|node| pretty(&node))).collect();
    print(&texts?.concat())?;
    found.end()
}

fn fill(node: &mut Value) -> Result<(), serde_json::Error> {
    let mut defaults = serde_json::to_value(Node::default())?;
    defaults["Spec"]["Name"] = "".into();
    defaults["Status"]["Message"] = "".into();
    defaults["Description"]["Engine"]["Labels"] = json!({});
    defaults["Description"]["Engine"]["Plugins"] = json!([]);
    if node.get("ManagerStatus").is_some_and(Value::is_object) {
        defaults["ManagerStatus"] = serde_json::to_value(ManagerStatus::default())?;
        defaults["ManagerStatus"]["Leader"] = false.into();
    } else {
        defaults["ManagerStatus"] = Value::Null;
    }
    inspect::fill(node, &defaults);
    Ok(())
}

fn pretty(node: &Node) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write_pretty(&mut text, node);
    text
}

fn write_pretty(out: &mut String, node: &Node) -> std::fmt::Result {
    writeln!(out, "ID:\t\t\t{}", node.id)?;
    if !node.spec.name.is_empty() {
        writeln!(out, "Name:\t\t\t{}", node.spec.name)?;
    }
    write_labels(out, "Labels", &node.spec.labels)?;
    let description = &node.description;
    writeln!(out, "Hostname:              \t{}", description.hostname)?;
    writeln!(out, "Joined at:             \t{}", as_go_prints(&node.created_at))?;
    writeln!(out, "Status:")?;
    writeln!(out, " State:\t\t\t{}", title(&node.status.state))?;
    if !node.status.message.is_empty() {
        writeln!(out, " Message:              \t{}", title(&node.status.message))?;
    }
    writeln!(out, " Availability:         \t{}", title(&node.spec.availability))?;
    if !node.status.addr.is_empty() {
        writeln!(out, " Address:\t\t{}", node.status.addr)?;
    }
    if let Some(manager) = &node.manager_status {
        writeln!(out, "Manager Status:")?;
        writeln!(out, " Address:\t\t{}", manager.addr)?;
        writeln!(out, " Raft Status:\t\t{}", title(&manager.reachability))?;
        writeln!(out, " Leader:\t\t{}", if manager.leader { "Yes" } else { "No" })?;
    }
    writeln!(out, "Platform:")?;
    writeln!(out, " Operating System:\t{}", description.platform.os)?;
    writeln!(out, " Architecture:\t\t{}", description.platform.architecture)?;
    writeln!(out, "Resources:")?;
    writeln!(out, " CPUs:\t\t\t{}", description.resources.nano_cpus / 1_000_000_000)?;
    writeln!(out, " Memory:\t\t{}", size::show(description.resources.memory_bytes))?;
    if !description.runtimes.is_empty() {
        writeln!(out, "Runtimes:\t\t{}", description.runtimes.join(", "))?;
    }
    let mut plugins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in &description.engine.plugins {
        plugins.entry(&plugin.kind).or_default().push(&plugin.name);
    }
    if !plugins.is_empty() {
        writeln!(out, "Plugins:")?;
    }
    for (kind, names) in plugins {
        writeln!(out, " {kind}:\t\t{}", names.join(", "))?;
    }
    writeln!(out, "Engine Version:\t\t{}", description.engine.engine_version)?;
    write_labels(out, "Engine Labels", &description.engine.labels)?;
    let tls = &description.tls_info;
    if !tls.trust_root.is_empty() {
        writeln!(out, "TLS Info:")?;
        writeln!(out, " TrustRoot:\n{}", tls.trust_root)?;
        writeln!(out, " Issuer Subject:\t{}", tls.cert_issuer_subject)?;
        writeln!(out, " Issuer Public Key:\t{}", tls.cert_issuer_public_key)?;
    }
    Ok(())
}

fn write_labels(out: &mut String, heading: &str, labels: &BTreeMap<String, String>) -> std::fmt::Result {
    if !labels.is_empty() {
        writeln!(out, "{heading}:")?;
    }
    for (key, value) in labels {
        let equals = if value.is_empty() { "" } else { "=" };
        writeln!(out, " - {key}{equals}{value}")?;
    }
    Ok(())
}
