//! `swarm secret history`, `swarm config history`

use common::engine_api::payload::PayloadVersion;
use common::object::PayloadKind;
use common::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::path;
use crate::client::{Client, escape};
use crate::output::listing::{Format, Listing};
use crate::output::{human, print};
use crate::parse::size;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// By name, id, or start of an id
    pub name: String,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each version
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("Number", "NUMBER"),
        ("State", "STATE"),
        ("Created", "CREATED"),
        ("At", "AT"),
        ("Size", "SIZE"),
        ("Bytes", "BYTES"),
        ("Services", "SERVICES"),
        ("Tasks", "TASKS"),
    ],
    table: "{{.Number}}\t{{.State}}\t{{.Created}}\t{{.Size}}\t{{.Tasks}}\t{{.Services}}",
};

pub async fn run(args: Args, kind: PayloadKind, client: &Client) -> anyhow::Result<()> {
    let path = format!("/swarm/x/{}/{}/history", path(kind), escape(&args.name));
    let versions: Vec<PayloadVersion> = client.get(&path).await?;
    let now = SystemClock.now();
    let rows: Vec<Value> = versions.iter().map(|version| row(version, now)).collect();
    print(&LISTING.show(&args.format, false, &rows)?)?;
    Ok(())
}

fn row(version: &PayloadVersion, now: Timestamp) -> Value {
    json!({
        "Number": version.number,
        "State": if version.newest { "newest" } else { "" },
        "Created": human::ago(&version.created_at, now),
        "At": version.created_at,
        "Size": size::show(i64::try_from(version.bytes).unwrap_or(i64::MAX)),
        "Bytes": version.bytes,
        "Services": version.services.join(", "),
        "Tasks": version.tasks,
    })
}
