//! `swarm gossip members`: who is seen how, and by whom.

use clap::Subcommand;
use common::engine_api::system::GossipMember;
use serde_json::{Value, json};

use crate::client::Client;
use crate::output::listing::{Format, Listing};
use crate::output::{natural, print};

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Members(Args),
}

/// Show how this node sees the others: alive, suspect, down or left
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Columns for --format:
  .ID .Hostname .Address .State .Role .Generation .RoundTrip .SeenBy

Examples:
  swarm gossip members
  swarm gossip members --all     # views differ while a network is cut")]
pub struct Args {
    /// Ask every manager for what it sees
    #[arg(short, long)]
    pub all: bool,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each member
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Hostname", "HOSTNAME"),
    ("Address", "ADDRESS"),
    ("State", "STATE"),
    ("Role", "ROLE"),
    ("Generation", "GENERATION"),
    ("RoundTrip", "ROUND TRIP"),
    ("SeenBy", "SEEN BY"),
];

const ONE_VIEW: &str =
    "{{.ID}}\t{{.Hostname}}\t{{.Address}}\t{{.State}}\t{{.Role}}\t{{.Generation}}\t{{.RoundTrip}}";
const ALL_VIEWS: &str = "{{.SeenBy}}\t{{.ID}}\t{{.Hostname}}\t{{.Address}}\t{{.State}}\t{{.Role}}\t{{.Generation}}\t{{.RoundTrip}}";

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    let Command::Members(args) = command;
    let path = if args.all { "/swarm/x/gossip?all=1" } else { "/swarm/x/gossip" };
    let mut members: Vec<GossipMember> = client.get(path).await?;
    members.sort_by(|left, right| {
        natural::compare(&left.seen_by, &right.seen_by)
            .then_with(|| natural::compare(&left.hostname, &right.hostname))
            .then_with(|| left.node_id.cmp(&right.node_id))
    });
    let listing = Listing { columns: COLUMNS, table: if args.all { ALL_VIEWS } else { ONE_VIEW } };
    let rows: Vec<Value> = members.iter().map(row).collect();
    print(&listing.show(&args.format, false, &rows)?)?;
    Ok(())
}

fn row(member: &GossipMember) -> Value {
    json!({
        "ID": member.node_id,
        "Hostname": member.hostname,
        "Address": member.addr,
        "State": member.state,
        "Role": if member.manager { "manager" } else { "worker" },
        "Generation": member.generation,
        "RoundTrip": member.round_trip_ms.map_or_else(|| "-".to_owned(), |time| format!("{time:.2} ms")),
        "SeenBy": member.seen_by,
    })
}
