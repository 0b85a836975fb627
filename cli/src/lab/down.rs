//! `swarm lab down`: no process, no file, nothing of a lab is left.
//!
//! It does not ask the record what runs, but the machine: every process whose state folder lies in the lab's
//! folder. So it is as thorough after a crash, with a damaged record, and in the middle of `up`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use common::limits::LAB_STOP_TIME_MAX;
use nix::sys::signal::Signal;

use super::Which;
use super::process::daemons_within;
use super::record::{self, Lab, LabName};
use super::tasks;
use crate::output;

/// Looks at all processes, in case one was being started at the time of the look before.
const LOOKS_MAX: usize = 5;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Remove every lab of this user
    #[arg(long)]
    all: bool,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let names = if args.all { record::all() } else { vec![args.which.name] };
    for name in names {
        down(&name).await?;
    }
    Ok(())
}

async fn down(name: &LabName) -> anyhow::Result<()> {
    match Lab::open(name)? {
        Some(lab) => {
            remove(lab).await?;
            output::note(&format!("Lab {name} is gone."));
        }
        None => output::note(&format!("There is no lab {name}.")),
    }
    Ok(())
}

/// Kills what runs of a lab and removes its folder.
pub async fn remove(lab: Lab) -> anyhow::Result<()> {
    for _ in 0..LOOKS_MAX {
        let daemons = daemons_within(&lab.folder).context("look at the machine's processes")?;
        if daemons.is_empty() {
            tasks::end_all(&lab).await?;
            state_folders(&lab.folder).for_each(|state| crate::daemon::forget_files(&state));
            return lab.remove();
        }
        // A lab's state is thrown away: there is nothing that a stop in good order would save.
        for (process, state_dir) in &daemons {
            process
                .signal(state_dir, Signal::SIGKILL)
                .with_context(|| format!("kill process {}", process.pid))?;
        }
        for (process, state_dir) in &daemons {
            let gone = process.gone_within(state_dir, LAB_STOP_TIME_MAX).await;
            anyhow::ensure!(gone, "process {} of lab {} does not end after SIGKILL", process.pid, lab.name);
        }
    }
    anyhow::bail!("something starts daemons of lab {} as fast as they are killed", lab.name)
}

/// Of all nodes that have one, whatever the record says.
fn state_folders(lab: &Path) -> impl Iterator<Item = PathBuf> {
    let nodes = std::fs::read_dir(lab).into_iter().flatten().flatten();
    nodes.map(|node| node.path().join("state")).filter(|state| state.is_dir())
}
