//! `swarm secret …`

use clap::Subcommand;
use common::object::PayloadKind;

use super::{create, history, inspect, ls, rm, rotate};
use crate::client::Client;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make a secret of a file, of standard input (-), or of chance
    #[command(after_help = "\
Examples:
  swarm secret create db-password password.txt
  openssl rand -hex 32 | swarm secret create token -
  swarm secret create db-password --generate --length 24 --alphabet hex
  swarm secret create --driver vault db-password
  swarm service create --secret db-password --name db postgres")]
    Create(create::SecretArgs),

    /// Give a secret a new version under the same name
    ///
    /// Services that use it roll to it by their own update rules, and go back where the new value does not work, whatever
    /// their failure action says. Those that ask for `refresh` get it in place.
    #[command(after_help = "\
Examples:
  swarm secret rotate db-password password.txt
  swarm secret rotate db-password --generate
  swarm secret rotate --detach tls-key key.pem")]
    Rotate(rotate::Args),

    /// Show the versions of a secret that are kept, newest first, and which services use them
    #[command(after_help = "\
Columns for --format:
  .Number .State .Created .At .Size .Bytes .Services .Tasks")]
    History(history::Args),

    /// List secrets
    #[command(
        visible_alias = "list",
        after_help = "\
Filters:
  id, name, names (the whole name), label

Columns for --format:
  .ID .Name .Driver .CreatedAt .UpdatedAt .Labels .Version

Examples:
  swarm secret ls --filter label=team=web -q
  swarm secret ls --format 'table {{.Name}}\\t{{.UpdatedAt}}'"
    )]
    Ls(ls::Args),

    /// Show everything about secrets but their values
    #[command(after_help = "\
Examples:
  swarm secret inspect --pretty db-password
  swarm secret inspect --format '{{.VersionNumber}}' db-password")]
    Inspect(inspect::Args),

    /// Remove secrets that no service uses
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    let kind = PayloadKind::Secret;
    match command {
        Command::Create(args) => {
            create::run(args.common, args.driver.as_deref(), PayloadKind::Secret, client).await
        }
        Command::Rotate(args) => rotate::run(args, kind, client).await,
        Command::History(args) => history::run(args, kind, client).await,
        Command::Ls(args) => ls::run(args, kind, client).await,
        Command::Inspect(args) => inspect::run(args, kind, client).await,
        Command::Rm(args) => rm::run(args, kind, client).await,
    }
}
