//! A disposable cluster of real daemons on this machine, to try and to test.
//!
//! - `up`, `down`, `status`, `fault`: one file per verb.
//! - `hello`: the service a new lab starts with.
//! - `tasks`: what runs beside the daemons. `record`: what is where, on disk; `process`: which process is whose; `network`: loopback addresses.
//!
//! Every node of a lab is a daemon with its own loopback address, state folder and socket below the lab's folder.
//! A lab belongs to nobody's terminal: it runs until `down`, and `down` removes all of it, whatever has crashed.

mod down;
mod fault;
mod hello;
mod network;
mod process;
mod record;
mod status;
mod tasks;
mod up;

use std::process::ExitCode;

use record::LabName;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    /// Start a cluster of several daemons on this machine and leave it running in the background
    Up(up::Args),
    /// Show the nodes of a lab
    #[command(visible_alias = "ls")]
    Status(status::Args),
    /// Stop a lab and remove all of it; does nothing where there is none
    Down(down::Args),
    /// Cut a node off from all others, as if its cable were pulled
    Cut(fault::Args),
    /// Connect a node that was cut
    Heal(fault::Args),
    /// Kill a node's process without warning
    Kill(fault::Args),
    /// Stop the time of a node's process
    Pause(fault::Args),
    /// Let a paused process go on
    Resume(fault::Args),
    /// Stop a node in good order if it runs, and start it again with the state it has
    Restart(fault::Args),
    /// Be a task of the service that a lab starts with
    #[command(hide = true)]
    Hello,
}

/// Which lab.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    /// Name of the lab; labs of different names run beside each other
    #[arg(long, value_name = "NAME", default_value = "lab", env = "SWARM_LAB")]
    name: LabName,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.verb {
            Verb::Up(args) => up::run(args).await,
            Verb::Status(args) => status::run(args).await,
            Verb::Down(args) => down::run(args).await,
            Verb::Cut(args) => fault::cut(args).await,
            Verb::Heal(args) => fault::heal(args).await,
            Verb::Kill(args) => fault::kill(args).await,
            Verb::Pause(args) => fault::pause(args).await,
            Verb::Resume(args) => fault::resume(args).await,
            Verb::Restart(args) => fault::restart(args).await,
            Verb::Hello => hello::serve(),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
