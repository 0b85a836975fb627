//! `swarm task …`: single runs of services.

mod inspect;
mod ls;

use clap::Subcommand;

use super::service;
use crate::client::Client;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Inspect(inspect::Args),
    /// Show what a task wrote
    Logs(service::LogsArgs),
}

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Ls(args) => ls::run(args, client).await,
        Command::Inspect(args) => inspect::run(args, client).await,
        Command::Logs(args) => service::show_logs(args, client).await,
    }
}
