//! `swarm service wait`

use super::flags::health::positive;
use super::flags::wait::WaitFlags;
use super::standing;
use crate::client::{Client, escape};
use crate::command::edit::text;
use crate::parse::duration::Nanoseconds;
use crate::progress::Intent;
use serde_json::Value;

/// Wait until services stand: every task runs, is ready, and is known to be well; jobs until they are complete
///
/// Ends with 0 when they do, with 2 when the last update was rolled back, with 3 when --timeout has passed, and with
/// 1 as soon as it is clear that one cannot.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm service wait web
  swarm service wait --timeout 2m --quiet web api")]
pub struct Args {
    /// Services by name, id, or start of an id
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,

    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,

    /// Give up after this long, for each service (ms|s|m|h) [default: while there is hope]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub timeout: Option<Nanoseconds>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let flags = WaitFlags { quiet: args.quiet, timeout: args.timeout, ..WaitFlags::default() };
    for reference in &args.services {
        let service: Value = client.get(&format!("/services/{}", escape(reference))).await?;
        standing::wait(client, &flags, text(&service, &["ID"]), Intent::Apply).await?;
    }
    Ok(())
}
