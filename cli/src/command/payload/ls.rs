//! `swarm secret ls`, `swarm config ls`

use common::engine_api::payload::Payload;
use common::object::PayloadKind;
use common::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use super::path;
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

    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
}

const SECRETS: Listing<'_> = Listing {
    columns: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
        ("Version", "VERSION"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
};

const CONFIGS: Listing<'_> = Listing {
    columns: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
        ("Version", "VERSION"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
};

pub async fn run(args: Args, kind: PayloadKind, client: &Client) -> anyhow::Result<()> {
    let all = with_filters(&format!("/{}", path(kind)), &args.filters);
    let mut payloads: Vec<Payload> = client.get(&all).await?;
    payloads.sort_by(|left, right| natural::compare(&left.spec.name, &right.spec.name));
    let now = SystemClock.now();
    let rows: Vec<Value> = payloads.iter().map(|payload| row(payload, kind, now)).collect();
    let listing = match kind {
        PayloadKind::Secret => SECRETS,
        PayloadKind::Config => CONFIGS,
    };
    print(&listing.show(&args.format, args.quiet, &rows)?)?;
    Ok(())
}

fn row(payload: &Payload, kind: PayloadKind, now: Timestamp) -> Value {
    let mut row = json!({
        "ID": payload.id,
        "Name": payload.spec.name,
        "CreatedAt": human::ago(&payload.created_at, now),
        "UpdatedAt": human::ago(&payload.updated_at, now),
        "Labels": human::labels(&payload.spec.labels),
        "Version": payload.version_number,
    });
    if kind == PayloadKind::Secret {
        let driver = payload.spec.driver.as_ref().map_or("", |driver| &driver.name);
        row["Driver"] = driver.into();
    }
    row
}
