//! `swarm service history`

use common::engine_api::service::SpecVersion;
use common::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};

use crate::client::{Client, escape};
use crate::output::listing::{Format, Listing};
use crate::output::{human, print};

/// Show the specs of a service that are kept, newest first
///
/// `swarm service rollback --to NUMBER` goes back to one of them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Columns for --format:
  .Number .State .Since .At .Worked .Tasks .Image .Changes

Examples:
  swarm service history web
  swarm service history --format '{{.Number}} {{.Image}}' web")]
pub struct Args {
    /// Service by name, id, or start of an id
    pub service: String,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each spec
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("Number", "NUMBER"),
        ("State", "STATE"),
        ("Since", "SINCE"),
        ("At", "AT"),
        ("Worked", "WORKED"),
        ("Tasks", "TASKS"),
        ("Image", "IMAGE"),
        ("Changes", "CHANGES"),
    ],
    table: "{{.Number}}\t{{.State}}\t{{.Since}}\t{{.Worked}}\t{{.Tasks}}\t{{.Image}}\t{{.Changes}}",
};

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let path = format!("/swarm/x/services/{}/history", escape(&args.service));
    let versions: Vec<SpecVersion> = client.get(&path).await?;
    let now = SystemClock.now();
    let rows: Vec<Value> = versions.iter().map(|version| row(version, now)).collect();
    print(&LISTING.show(&args.format, false, &rows)?)?;
    Ok(())
}

fn row(version: &SpecVersion, now: Timestamp) -> Value {
    let since = Timestamp::from_rfc3339(&version.at);
    let state = match (version.current, version.previous) {
        (true, _) => "current",
        (false, true) => "previous",
        (false, false) => "",
    };
    json!({
        "Number": version.number,
        "State": state,
        "Since": since.map_or_else(String::new, |since| format!("{} ago", human::duration(now.since(since)))),
        "At": version.at,
        "Worked": if version.worked { "yes" } else { "no" },
        "Tasks": version.tasks,
        "Image": version.image.split('@').next().unwrap_or_default(),
        "Changes": version.changes.join("; "),
    })
}
