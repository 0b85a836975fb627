//! `swarm node …`: the machines of the cluster.

mod inspect;
mod ls;
mod ps;
mod rm;
mod roles;
mod update;

use clap::Subcommand;
use serde_json::Value;

use super::edit::text;
use crate::client::Client;
use crate::exit::{Exit, Failure};

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Inspect(inspect::Args),
    Ps(ps::Args),
    Update(update::Args),
    /// Make workers into managers
    Promote(roles::Args),
    /// Make managers into workers
    Demote(roles::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Ls(args) => ls::run(args, client).await,
        Command::Inspect(args) => inspect::run(args, client).await,
        Command::Ps(args) => ps::run(args, client).await,
        Command::Update(args) => update::run(args, client).await,
        Command::Promote(args) => roles::run(args, roles::Direction::Promote, client).await,
        Command::Demote(args) => roles::run(args, roles::Direction::Demote, client).await,
        Command::Rm(args) => rm::run(args, client).await,
    }
}

/// `self` is this node; anything else is looked up by the daemon.
pub async fn resolve(client: &Client, reference: &str) -> anyhow::Result<String> {
    if reference != "self" {
        return Ok(reference.into());
    }
    let info: Value = client.get("/info").await?;
    match text(&info, &["Swarm", "NodeID"]) {
        "" => {
            // The daemon says in its own words why this node is none of a cluster.
            client.get_bytes("/nodes").await?;
            Err(Failure::new(Exit::Failed, "this node has no id in the cluster").into())
        }
        id => Ok(id.into()),
    }
}
