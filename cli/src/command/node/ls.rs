//! `swarm node ls`

use std::cmp::Ordering;

use common::engine_api::node::Node;
use common::engine_api::swarm::TlsInfo;
use common::engine_api::system::SwarmInfo;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::output::human::title;
use crate::output::listing::{Format, Listing};
use crate::output::{natural, print};
use crate::parse::filter::{Filter, with_filters};

/// List the nodes of the cluster
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Filters:
  id, name, label, node.label, role (worker|manager), membership (accepted|pending)

Columns for --format:
  .ID .Self .Hostname .Status .Availability .ManagerStatus .EngineVersion .TLSStatus

Examples:
  swarm node ls
  swarm node ls --filter role=manager -q
  swarm node ls --format 'table {{.Hostname}}\\t{{.Status}}'
  swarm node ls --format json")]
pub struct Args {
    /// Show only nodes that match; same key: any of the values, different keys: all of them
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each node
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,

    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("ID", "ID"),
        ("Self", ""),
        ("Hostname", "HOSTNAME"),
        ("Status", "STATUS"),
        ("Availability", "AVAILABILITY"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("EngineVersion", "ENGINE VERSION"),
        ("TLSStatus", "TLS STATUS"),
    ],
    table: "{{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t\
            {{.EngineVersion}}",
};

/// What this command reads of `/info`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Info {
    swarm: SwarmInfo,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut nodes: Vec<Node> = client.get(&with_filters("/nodes", &args.filters)).await?;
    let info = if nodes.is_empty() || args.quiet { Info::default() } else { client.get("/info").await? };
    nodes.sort_by(by_name);
    let rows: Vec<Value> = nodes.iter().map(|node| row(node, &info.swarm)).collect();
    print(&LISTING.show(&args.format, args.quiet, &rows)?)?;
    Ok(())
}

fn by_name(left: &Node, right: &Node) -> Ordering {
    natural::compare(&left.description.hostname, &right.description.hostname)
        .then_with(|| left.id.cmp(&right.id))
}

fn row(node: &Node, this: &SwarmInfo) -> Value {
    let manager_status = match &node.manager_status {
        None => "",
        Some(manager) if manager.leader => "leader",
        Some(manager) => &manager.reachability,
    };
    json!({
        "ID": node.id,
        "Self": node.id == this.node_id,
        "Hostname": node.description.hostname,
        "Status": title(&node.status.state),
        "Availability": title(&node.spec.availability),
        "ManagerStatus": title(manager_status),
        "EngineVersion": node.description.engine.engine_version,
        "TLSStatus": tls_status(&node.description.tls_info, this),
    })
}

/// Does the node's certificate come from the cluster's present root?
fn tls_status(node: &TlsInfo, this: &SwarmInfo) -> &'static str {
    let unknown = TlsInfo::default();
    match this.cluster.as_ref().map(|cluster| &cluster.tls_info) {
        Some(cluster) if *cluster != unknown && *node != unknown => {
            if node == cluster {
                "Ready"
            } else {
                "Needs Rotation"
            }
        }
        _ => "Unknown",
    }
}
