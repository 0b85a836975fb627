//! `swarm service rollback`

use std::cell::RefCell;

use serde_json::Value;

use super::flags::wait::WaitFlags;
use super::standing;
use crate::client::Client;
use crate::command::edit::{self, ServiceWrite};
use crate::exit::{Exit, Failure};
use crate::output::{note, print_line};
use crate::progress::Intent;

/// Go back to an earlier spec of a service
///
/// Without --to it is the spec before the present one; rolling back twice comes back to where it was. `swarm service
/// history` shows the specs that are kept and their numbers.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm service rollback web
  swarm service rollback --to 3 web")]
pub struct Args {
    /// Service by name, id, or start of an id
    pub service: String,

    /// Number of the spec to go back to
    #[arg(long, value_name = "NUMBER")]
    pub to: Option<u64>,

    #[command(flatten)]
    pub wait: WaitFlags,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    match args.to {
        None => to_previous(client, &args.service, &args.wait).await,
        Some(number) => to(client, &args.service, &number.to_string(), &args.wait).await,
    }
}

pub async fn to_previous(client: &Client, service: &str, wait: &WaitFlags) -> anyhow::Result<()> {
    to(client, service, "previous", wait).await
}

/// The daemon takes the spec it has kept; the one that is sent is only checked.
async fn to(client: &Client, service: &str, which: &str, wait: &WaitFlags) -> anyhow::Result<()> {
    let write = ServiceWrite { query: &format!("rollback={which}"), registry_auth: None };
    // Its status may change under way and is no reason to stop. But when somebody else's change came first, what
    // "previous" means has changed with it.
    let first = RefCell::new(None::<Value>);
    let unchanged = |spec: &mut Value| {
        if first.borrow_mut().get_or_insert_with(|| spec.clone()) != spec {
            let text = format!("service {service} has changed meanwhile: nothing was rolled back");
            return Err(Failure::new(Exit::Conflict, text).into());
        }
        Ok(())
    };
    let (id, warnings) = edit::service(client, service, write, unchanged).await?;
    for warning in warnings {
        note(&warning);
    }
    print_line(service)?;
    standing::wait(client, wait, &id, Intent::RollBack).await
}
