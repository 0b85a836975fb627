//! `swarm audit`: who did what to the cluster.

use common::engine_api::access::{AuditAnswer, AuditRecord};
use common::limits::{AUDIT_FOLLOW_PERIOD, AUDIT_RECORDS_DEFAULT};
use common::time::{Clock, SystemClock};
use serde_json::Value;

use crate::client::{Client, escape};
use crate::exit::Failure;
use crate::output::listing::{Format, Listing};
use crate::output::{note, print};
use crate::parse::moment;

/// Show who did what to the cluster, from where, when, and with which outcome
///
/// Every manager keeps a record of what it was asked; this shows the records of all of them as one. A worker has
/// its own alone. Needs the local socket of a node, or a client certificate with the role admin.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Columns for --format:
  .Time .ID .Node .Who .Role .From .Action .Object .Outcome .Status .Error .Duration, and all members of `json`

Examples:
  swarm audit --since 24h --outcome refused
  swarm audit --user alice --object web
  swarm audit --follow --format json")]
pub struct Args {
    /// Begin there: 42m, 2026-11-20T08:00:00Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,

    /// End there
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with = "follow")]
    pub until: Option<String>,

    /// Only what this user, certificate or node did: a name, a user's number, a serial number, a node's id
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub user: String,

    /// Only what was done to this: a name, the start of an id, or a kind such as service
    #[arg(long, value_name = "OBJECT", default_value = "", hide_default_value = true)]
    pub object: String,

    /// Only what ended so
    #[arg(long, value_enum)]
    pub outcome: Option<Outcome>,

    /// The newest so many
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = AUDIT_RECORDS_DEFAULT)]
    pub limit: usize,

    /// Go on and show what is done from now on
    #[arg(short, long)]
    pub follow: bool,

    /// Only the record of the node that is asked
    #[arg(long)]
    pub local: bool,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each record
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Outcome {
    Done,
    /// The caller may not do it
    Refused,
    Failed,
    /// The caller went away before the answer; it may have been done
    Abandoned,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("Time", "TIME"),
        ("ID", "ID"),
        ("Node", "NODE"),
        ("Who", "WHO"),
        ("Role", "ROLE"),
        ("From", "FROM"),
        ("Action", "ACTION"),
        ("Object", "OBJECT"),
        ("Outcome", "OUTCOME"),
        ("Status", "STATUS"),
        ("Error", "ERROR"),
        ("Duration", "DURATION"),
    ],
    table: "{{.Time}}\t{{.Who}}\t{{.Role}}\t{{.Action}}\t{{.Object}}\t{{.Outcome}}\t{{.Error}}",
};

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let read = |text: &Option<String>| match text {
        None => Ok(String::new()),
        Some(text) => moment::parse(text, now).map_err(Failure::usage),
    };
    let (mut since, until) = (read(&args.since)?, read(&args.until)?);
    let mut seen: Vec<String> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    loop {
        let answer: AuditAnswer = client.get(&path(&args, &since, &until)).await?;
        for missing in answer.missing.iter().filter(|missing| !told.contains(missing)) {
            note(&format!("WARNING: {missing}"));
        }
        told = answer.missing;
        let fresh: Vec<&AuditRecord> =
            answer.records.iter().filter(|record| !seen.contains(&key(record))).collect();
        if !fresh.is_empty() || seen.is_empty() {
            let rows: anyhow::Result<Vec<Value>> =
                fresh.iter().map(|record| row(record, &args.format)).collect();
            print(&LISTING.show(&args.format, false, &rows?)?)?;
        }
        if !args.follow {
            return Ok(());
        }
        if let Some(last) = answer.records.last() {
            since.clone_from(&last.time);
            seen = answer.records.iter().filter(|record| record.time == last.time).map(key).collect();
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(AUDIT_FOLLOW_PERIOD) => {}
        }
    }
}

fn key(record: &AuditRecord) -> String {
    format!("{} {} {}", record.time, record.node, record.id)
}

fn path(args: &Args, since: &str, until: &str) -> String {
    let mut path = format!("/swarm/x/audit?limit={}", args.limit);
    let outcome = args.outcome.map_or("", Outcome::as_str);
    let local = if args.local { "1" } else { "" };
    let all = [
        ("since", since),
        ("until", until),
        ("user", &args.user),
        ("object", &args.object),
        ("outcome", outcome),
        ("local", local),
    ];
    for (name, value) in all.into_iter().filter(|(_, value)| !value.is_empty()) {
        path.push_str(&format!("&{name}={}", escape(value)));
    }
    path
}

/// The record as it is, and for a template with short words for who and what.
fn row(record: &AuditRecord, format: &Format) -> anyhow::Result<Value> {
    let mut row = serde_json::to_value(record)?;
    if matches!(format, Format::Json) {
        return Ok(row);
    }
    let (who, object) = (&record.who, &record.object);
    let name = if who.name.is_empty() { &who.kind } else { &who.name };
    row["Who"] = name.as_str().into();
    row["Role"] = who.role.as_str().into();
    let named = if object.name.is_empty() { &object.id } else { &object.name };
    row["Object"] = named.as_str().into();
    row["Error"] = record.error.as_str().into();
    row["Duration"] = format!("{:.1}ms", record.duration).into();
    Ok(row)
}
