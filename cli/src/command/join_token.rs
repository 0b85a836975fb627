//! `swarm join-token`: shows or renews what new nodes need to join.

use common::engine_api::swarm::Swarm;
use serde_json::Value;

use super::Role;
use super::edit::{self, Rotate, text};
use super::init::join_command;
use crate::client::Client;
use crate::output::{print, print_line};

/// Show or renew the token with which nodes join
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm join-token worker
  swarm join-token -q manager
  swarm join-token --rotate worker      # the old one lets nobody in any more")]
pub struct Args {
    /// What the node joins as
    #[arg(value_enum)]
    pub role: Role,

    /// Make a new token first
    #[arg(long)]
    pub rotate: bool,

    /// Print the token alone
    #[arg(short, long)]
    pub quiet: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let role = args.role.as_str();
    if args.rotate {
        let rotate = Rotate {
            worker_token: args.role == Role::Worker,
            manager_token: args.role == Role::Manager,
            unlock_key: false,
        };
        edit::cluster(client, rotate, |_| {}).await?;
        if !args.quiet {
            print(&format!("Successfully rotated {role} join token.\n\n"))?;
        }
    }
    let swarm: Swarm = client.get("/swarm").await?;
    if args.quiet {
        let tokens = swarm.join_tokens.unwrap_or_default();
        print_line(if args.role == Role::Worker { &tokens.worker } else { &tokens.manager })?;
        return Ok(());
    }
    let info: Value = client.get("/info").await?;
    print(&join_command(client, swarm, text(&info, &["Swarm", "NodeID"]), role).await?)?;
    Ok(())
}
