//! `swarm network ls`

use common::engine_api::network::Network;
use common::object::id::SHORT_ID_LENGTH;
use serde_json::{Value, json};

use crate::client::Client;
use crate::output::listing::{Format, Listing};
use crate::output::{human, natural, print};
use crate::parse::filter::{Filter, with_filters};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Show only those that match; same key: any of the values, different keys: all of them
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,

    /// Print whole IDs
    #[arg(long)]
    pub no_trunc: bool,

    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Subnets", "SUBNETS"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut networks: Vec<Network> = client.get(&with_filters("/networks", &args.filters)).await?;
    networks.sort_by(|left, right| natural::compare(&left.name, &right.name));
    let rows: Vec<Value> = networks.iter().map(|network| row(network, args.no_trunc)).collect();
    print(&LISTING.show(&args.format, args.quiet, &rows)?)?;
    Ok(())
}

fn row(network: &Network, whole: bool) -> Value {
    let length = if whole { usize::MAX } else { SHORT_ID_LENGTH };
    let subnets: Vec<&str> = network.ipam.config.iter().map(|config| config.subnet.as_str()).collect();
    json!({
        "ID": network.id.chars().take(length).collect::<String>(),
        "Name": network.name,
        "Driver": network.driver,
        "Scope": network.scope,
        "IPv4": network.enable_ipv4.to_string(),
        "IPv6": network.enable_ipv6.to_string(),
        "Internal": network.internal.to_string(),
        "Subnets": subnets.join(", "),
        "Labels": human::labels(&network.labels),
        "CreatedAt": network.created,
    })
}
