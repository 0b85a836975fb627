//! The daemon: a node of the cluster.

mod args;

pub use args::Args;

use std::process::ExitCode;

/// Runs until a signal ends it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no daemon to serve {} from {}", args.host(), args.state_dir().display())
}
