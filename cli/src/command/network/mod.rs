//! `swarm network …`: networks of the cluster, and those of this node's engine.

mod create;
mod inspect;
mod ls;
mod rm;

use clap::Subcommand;

use crate::client::Client;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make a network
    ///
    /// One of driver overlay is the cluster's: it has a subnet that no other one overlaps, and every service and task on
    /// it has an address there. Any other driver is for this node's Docker Engine.
    #[command(after_help = "\
Examples:
  swarm network create front
  swarm network create --subnet 10.20.0.0/16 --ip-range 10.20.1.0/24 --gateway 10.20.0.1 back
  swarm network create --ipv6 --label team=web front
  swarm network create -d bridge local")]
    Create(create::Args),

    /// List networks
    #[command(
        visible_alias = "list",
        after_help = "\
Filters:
  id, name (a part of it), label, driver, scope (swarm, local), type (custom, builtin), dangling (true: nobody uses it)

Columns for --format:
  .ID .Name .Driver .Scope .IPv4 .IPv6 .Internal .Subnets .Labels .CreatedAt

Examples:
  swarm network ls --filter scope=swarm
  swarm network ls --format 'table {{.Name}}\\t{{.Subnets}}'"
    )]
    Ls(ls::Args),

    /// Show everything about networks
    #[command(after_help = "\
Examples:
  swarm network inspect front
  swarm network inspect --verbose front     # with services, tasks and their addresses
  swarm network inspect --format '{{.Addresses.Used}} of {{.Addresses.Total}}' front")]
    Inspect(inspect::Args),

    /// Remove networks that no service uses
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create::run(args, client).await,
        Command::Ls(args) => ls::run(args, client).await,
        Command::Inspect(args) => inspect::run(args, client).await,
        Command::Rm(args) => rm::run(args, client).await,
    }
}
