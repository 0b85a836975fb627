//! A disposable cluster of several daemons on this machine.

use std::process::ExitCode;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(hide = true, trailing_var_arg = true)]
    rest: Vec<String>,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no lab (asked for: {})", args.rest.join(" "))
}
