//! The tree of commands and their global flags.
//!
//! The verbs of the cluster have two shapes, `swarm init` and `swarm swarm init`: the second is what fingers type
//! that have learnt `docker swarm init`.

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::command::{
    audit, backup, ca, client_cert, context, documents, events, gossip, info, init, join, join_token, leave,
    network, node, payload, raft, restore, service, task, unlock, unlock_key, update, version,
};
use crate::context::Asked;
use crate::context::endpoint::{Address, TlsFiles};
use crate::{daemon, exit, lab};

/// A cluster of machines that runs services: managers agree, workers run, any of them may fail
///
/// `swarm init` makes a cluster of this machine, `swarm join` adds another one, `swarm node ls` shows them.
#[derive(Clone, Debug, Parser)]
#[command(name = "swarm", version, after_help = exit::HELP, subcommand_required = true, arg_required_else_help = true)]
#[command(infer_long_args = false, disable_help_subcommand = true, max_term_width = 120)]
pub struct Arguments {
    /// Where the daemon to ask is [default: this user's own socket, or what the context says]
    #[arg(
        short = 'H',
        long,
        env = "SWARM_HOST",
        hide_env_values = true,
        value_name = "unix:///PATH|tcp://HOST:PORT",
        display_order = 900
    )]
    pub host: Option<Address>,

    #[arg(skip)]
    pub host_is_given: bool,

    /// Name of the context to use (see `swarm context`); goes before SWARM_HOST and SWARM_CONTEXT
    #[arg(short, long, value_name = "CONTEXT", display_order = 901)]
    pub context: Option<String>,

    #[command(flatten)]
    pub tls: TlsFiles,

    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// What is said of the daemon to ask.
    pub fn asked(&self) -> Asked {
        Asked {
            host: self.host.clone(),
            host_is_given: self.host_is_given,
            context: self.context.clone(),
            tls: self.tls.clone(),
        }
    }
}

/// The whole tree. `--host` stands at every command, except at the one that has a flag of its own under that name:
/// `service create --host NAME:ADDRESS` is Docker's, and there the socket is `-H` alone.
pub fn tree() -> clap::Command {
    let root = Arguments::command();
    let host = root.get_arguments().find(|argument| argument.get_id() == "host");
    let host = host.expect("it is the first of the flags above").clone();
    root.mut_subcommands(|command| with_host(command, &host))
}

fn with_host(command: clap::Command, host: &clap::Arg) -> clap::Command {
    let is_taken = command.get_arguments().any(|argument| argument.get_long() == Some("host"));
    let own = if is_taken { host.clone().long(None) } else { host.clone() };
    command.arg(own).mut_subcommands(|command| with_host(command, host))
}

/// Reads the command line. `--help` and `--version` are errors too, as clap has it.
pub fn parse() -> Result<Arguments, clap::Error> {
    let matches = tree().try_get_matches()?;
    let mut arguments = Arguments::from_arg_matches(&matches)?;
    let given = innermost_host(&matches);
    arguments.host_is_given = given.is_some();
    arguments.host = given.or(arguments.host);
    Ok(arguments)
}

/// The host that was named closest to the end of the command line.
fn innermost_host(matches: &ArgMatches) -> Option<Address> {
    let inner = matches.subcommand().and_then(|(_, matches)| innermost_host(matches));
    inner.or_else(|| match matches.value_source("host") {
        Some(ValueSource::CommandLine) => matches.get_one::<Address>("host").cloned(),
        _ => None,
    })
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Cluster(Box<ClusterCommand>),

    /// The cluster's own verbs in Docker's shape: `swarm swarm init` is `swarm init`
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Swarm {
        #[command(subcommand)]
        command: Box<ClusterCommand>,
    },

    Info(info::Args),

    /// Manage the machines of the cluster
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Node {
        #[command(subcommand)]
        command: node::Command,
    },

    /// Manage what runs
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Service {
        #[command(subcommand)]
        command: service::Command,
    },

    /// Look at single runs of services
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Task {
        #[command(subcommand)]
        command: task::Command,
    },

    /// Manage what tasks get as files that nobody else sees
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Secret {
        #[command(subcommand)]
        command: Box<payload::secret::Command>,
    },

    /// Manage what tasks get as files
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Config {
        #[command(subcommand)]
        command: Box<payload::config::Command>,
    },

    /// Manage who may talk to whom
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Network {
        #[command(subcommand)]
        command: Box<network::Command>,
    },

    Events(events::Args),

    /// Look into the managers' agreement
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Raft {
        #[command(subcommand)]
        command: raft::Command,
    },

    /// Look into who is seen alive
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Gossip {
        #[command(subcommand)]
        command: gossip::Command,
    },

    /// Manage who may use the API on TCP
    #[command(subcommand_required = true, arg_required_else_help = true)]
    ClientCert {
        #[command(subcommand)]
        command: client_cert::Command,
    },

    Audit(audit::Args),

    /// Manage the daemons that commands ask, by name
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Context {
        #[command(subcommand)]
        command: context::Command,
    },

    Daemon(DaemonArgs),

    /// A disposable cluster of several nodes on this one machine, to try and to test
    Lab(lab::Args),

    Version(version::Args),

    Completion(documents::CompletionArgs),

    Man(documents::ManArgs),
}

#[derive(Clone, Debug, Subcommand)]
pub enum ClusterCommand {
    Init(init::Args),
    Join(join::Args),
    JoinToken(join_token::Args),
    Leave(leave::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Unlock(unlock::Args),
    UnlockKey(unlock_key::Args),
    Update(update::Args),
    Ca(ca::Args),
}

/// Run this machine as a node
///
/// One UDP port to other nodes, one Unix socket (--host) to people, and TCP for those with a client certificate where
/// --api-addr says so. It runs until SIGTERM or SIGINT, and comes back
/// as the same node when it is started again on the same state.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm daemon
  swarm --host unix:///tmp/n1/swarm.sock daemon --state-dir /tmp/n1 --engine none --node-name n1
  SWARM_LOG=debug swarm daemon --log-format json")]
pub struct DaemonArgs {
    #[command(flatten)]
    pub daemon: daemon::Args,

    /// Become leader of a session of its own, so that the end of the terminal does not end the daemon
    #[arg(long, hide = true)]
    pub new_session: bool,
}
