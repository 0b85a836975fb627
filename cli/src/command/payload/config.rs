//! `swarm config …`

use clap::Subcommand;
use common::object::PayloadKind;

use super::{create, history, inspect, ls, rm, rotate};
use crate::client::Client;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make a config of a file, of standard input (-), or of chance
    #[command(after_help = "\
Examples:
  swarm config create nginx.conf ./nginx.conf
  swarm config create motd - < motd.txt
  swarm config create --template-driver golang site ./site.tmpl
  swarm service create --config source=nginx.conf,target=/etc/nginx/nginx.conf --name web nginx")]
    Create(create::Args),

    /// Give a config a new version under the same name
    ///
    /// Services that use it roll to it by their own update rules, and go back where the new content does not work, whatever
    /// their failure action says. Those that ask for `refresh` get it in place.
    #[command(after_help = "\
Examples:
  swarm config rotate nginx.conf ./nginx.conf
  swarm config rotate --detach motd - < motd.txt")]
    Rotate(rotate::Args),

    /// Show the versions of a config that are kept, newest first, and which services use them
    #[command(after_help = "\
Columns for --format:
  .Number .State .Created .At .Size .Bytes .Services .Tasks")]
    History(history::Args),

    /// List configs
    #[command(
        visible_alias = "list",
        after_help = "\
Filters:
  id, name, names (the whole name), label

Columns for --format:
  .ID .Name .CreatedAt .UpdatedAt .Labels .Version

Examples:
  swarm config ls --filter label=team=web -q
  swarm config ls --format 'table {{.Name}}\\t{{.UpdatedAt}}'"
    )]
    Ls(ls::Args),

    /// Show everything about configs
    #[command(after_help = "\
Examples:
  swarm config inspect --pretty nginx.conf
  swarm config inspect --format '{{.VersionNumber}}' nginx.conf")]
    Inspect(inspect::Args),

    /// Remove configs that no service uses
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    let kind = PayloadKind::Config;
    match command {
        Command::Create(args) => create::run(args, None, PayloadKind::Config, client).await,
        Command::Rotate(args) => rotate::run(args, kind, client).await,
        Command::History(args) => history::run(args, kind, client).await,
        Command::Ls(args) => ls::run(args, kind, client).await,
        Command::Inspect(args) => inspect::run(args, kind, client).await,
        Command::Rm(args) => rm::run(args, kind, client).await,
    }
}
