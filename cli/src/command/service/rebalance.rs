//! `swarm service rebalance`

use serde_json::Value;

use super::flags::wait::WaitFlags;
use super::standing;
use crate::client::{Client, escape};
use crate::command::edit::text;
use crate::exit::join_errors;
use crate::output::print_line;
use crate::progress::Intent;

/// Spread the tasks of services anew over the nodes there are now
///
/// Moves as many tasks at a time as the service's update flags allow, and none that is well placed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  swarm service rebalance web")]
pub struct Args {
    /// Services by name, id, or start of an id
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,

    #[command(flatten)]
    pub wait: WaitFlags,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    let mut begun = Vec::new();
    for reference in &args.services {
        match client.post_nothing(&format!("/swarm/x/services/{}/rebalance", escape(reference))).await {
            Ok(()) => {
                print_line(reference)?;
                begun.push(reference);
            }
            Err(error) => errors.push(error.into()),
        }
    }
    for reference in begun {
        let service: Value = client.get(&format!("/services/{}", escape(reference))).await?;
        if let Err(error) = standing::wait(client, &args.wait, text(&service, &["ID"]), Intent::Apply).await {
            errors.push(error);
        }
    }
    join_errors(errors)
}
