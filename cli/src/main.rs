//! `swarm`: one program that is the node (`swarm daemon`) and the command line that talks to it.
//!
//! - `arguments`: the tree of commands. `command/`: what each does. `output/`, `parse/`: how they show and read.
//! - `client`, `context`, `paths`, `start`, `exit`: reaching the daemon, finding it, starting it, saying how it went.
//!   `prompt`: asking a person for a secret.
//! - `daemon/`: the node. `lab/`: several of them on this machine.

mod arguments;
mod client;
mod command;
mod context;
mod daemon;
mod exit;
mod lab;
mod output;
mod parse;
mod paths;
mod progress;
mod prompt;
mod start;

use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use common::report::Report;

use arguments::{Arguments, ClusterCommand, Command, DaemonArgs};
use client::Client;
use context::endpoint::Address;
use exit::{Exit, Failure};
use output::note;
use paths::Host;

fn main() -> ExitCode {
    // Before all else: there is one of these per task, so it has to be small and quick.
    if let Some(code) = daemon::beside() {
        return code;
    }
    match arguments::parse() {
        Ok(arguments) => ended(run(arguments)),
        Err(error) => {
            // Help and version come this way too. When nobody reads them there is nobody to tell.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done.into(),
                _ => Exit::Usage.into(),
            }
        }
    }
}

fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            note(&Report(error.as_ref()).to_string());
            Exit::of(&error).into()
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let asked = arguments.asked();
    match arguments.command {
        Command::Daemon(args) => {
            let host = match asked.host {
                None => None,
                Some(Address::Socket(host)) => Some(host),
                Some(Address::Tcp(..)) => {
                    let text = "--host of the daemon is its local socket; `swarm daemon --api-addr HOST:PORT` serves the API on TCP";
                    return Err(Failure::usage(text).into());
                }
            };
            return run_daemon(args, host);
        }
        Command::Context { command } => command::context::run(command, &asked)?,
        Command::Lab(args) => return lab::run(args),
        Command::Completion(args) => command::documents::completion(args)?,
        Command::Man(args) => command::documents::man(args)?,
        command => {
            let client = Client::at(context::endpoint(&asked)?);
            return client::block_on(ask(command, &client));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(command: Command, client: &Client) -> anyhow::Result<ExitCode> {
    match command {
        Command::Cluster(command) | Command::Swarm { command } => match *command {
            ClusterCommand::Init(args) => command::init::run(args, client).await?,
            ClusterCommand::Join(args) => command::join::run(args, client).await?,
            ClusterCommand::JoinToken(args) => command::join_token::run(args, client).await?,
            ClusterCommand::Leave(args) => command::leave::run(args, client).await?,
            ClusterCommand::Backup(args) => command::backup::run(args, client).await?,
            ClusterCommand::Restore(args) => command::restore::run(args, client).await?,
            ClusterCommand::Unlock(args) => command::unlock::run(args, client).await?,
            ClusterCommand::UnlockKey(args) => command::unlock_key::run(args, client).await?,
            ClusterCommand::Update(args) if args.is_empty() => return Ok(usage(&["update"])),
            ClusterCommand::Update(args) => command::update::run(args, client).await?,
            ClusterCommand::Ca(args) => command::ca::run(args, client).await?,
        },
        Command::Info(args) => command::info::run(args, client).await?,
        Command::Node { command } => command::node::run(command, client).await?,
        Command::Service { command } => command::service::run(command, client).await?,
        Command::Task { command } => command::task::run(command, client).await?,
        Command::ClientCert { command } => command::client_cert::run(command, client).await?,
        Command::Audit(args) => command::audit::run(args, client).await?,
        Command::Secret { command } => command::payload::secret::run(*command, client).await?,
        Command::Config { command } => command::payload::config::run(*command, client).await?,
        Command::Network { command } => command::network::run(*command, client).await?,
        Command::Events(args) => command::events::run(args, client).await?,
        Command::Raft { command } => command::raft::run(command, client).await?,
        Command::Gossip { command } => command::gossip::run(command, client).await?,
        Command::Version(args) => command::version::run(args, client).await?,
        Command::Context { .. }
        | Command::Daemon(_)
        | Command::Lab(_)
        | Command::Completion(_)
        | Command::Man(_) => {
            unreachable!("these ask no daemon, and `run` has taken them")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The help of the command at `path`, for one that was told nothing to do.
fn usage(path: &[&str]) -> ExitCode {
    let mut root = arguments::tree();
    root.build();
    let command = path.iter().fold(&mut root, |command, name| {
        command.find_subcommand_mut(name).expect("only names of the tree above are asked for")
    });
    note(&command.render_help().to_string());
    Exit::Usage.into()
}

fn run_daemon(args: DaemonArgs, host: Option<Host>) -> anyhow::Result<ExitCode> {
    if args.new_session {
        nix::unistd::setsid().context("start a session of its own")?;
    }
    daemon::run(daemon::Args { host, ..args.daemon })
}
