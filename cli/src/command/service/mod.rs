//! `swarm service …`: what people want run.

mod create;
mod explain;
pub mod flags;
mod frames;
mod history;
mod image_flags;
mod inspect;
mod logs;
mod lookups;
mod ls;
mod pretty;
mod ps;
mod rebalance;
mod registry_auth;
mod rm;
mod rollback;
mod scale;
mod standing;
mod update;
mod wait;

pub use logs::Args as LogsArgs;
pub use logs::run as show_logs;
pub use standing::wait as wait_until_it_stands;

use clap::Subcommand;

use crate::client::Client;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Create(Box<create::Args>),
    Update(Box<update::Args>),
    Scale(scale::Args),
    Rollback(rollback::Args),
    History(history::Args),
    Explain(explain::Args),
    Rebalance(rebalance::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Ps(ps::Args),
    Inspect(inspect::Args),
    Logs(logs::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    Wait(wait::Args),
}

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create::run(*args, client).await,
        Command::Update(args) => update::run(*args, client).await,
        Command::Scale(args) => scale::run(args, client).await,
        Command::Rollback(args) => rollback::run(args, client).await,
        Command::History(args) => history::run(args, client).await,
        Command::Explain(args) => explain::run(args, client).await,
        Command::Rebalance(args) => rebalance::run(args, client).await,
        Command::Ls(args) => ls::run(args, client).await,
        Command::Ps(args) => ps::run(args, client).await,
        Command::Inspect(args) => inspect::run(args, client).await,
        Command::Logs(args) => logs::run(args, client).await,
        Command::Rm(args) => rm::run(args, client).await,
        Command::Wait(args) => wait::run(args, client).await,
    }
}
