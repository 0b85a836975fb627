//! `swarm completion` and `swarm man`: what can be made from the command tree alone.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context;
use clap_complete::Shell as Completer;

use crate::arguments;
use crate::output::{print, print_line};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print the completions for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm completion bash > /usr/share/bash-completion/completions/swarm
  swarm completion zsh > \"${fpath[1]}/_swarm\"
  swarm completion fish > ~/.config/fish/completions/swarm.fish")]
pub struct CompletionArgs {
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Write the manual pages into a folder
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  swarm man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Folder for the pages; made when it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

pub fn completion(args: CompletionArgs) -> anyhow::Result<()> {
    let shell = match args.shell {
        Shell::Bash => Completer::Bash,
        Shell::Zsh => Completer::Zsh,
        Shell::Fish => Completer::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::tree(), "swarm", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(())
}

pub fn man(args: ManArgs) -> anyhow::Result<()> {
    let folder = &args.folder;
    match std::fs::create_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("make folder {}", folder.display()));
        }
        _ => {}
    }
    clap_mangen::generate_to(arguments::tree(), folder)
        .with_context(|| format!("write manual pages into {}", folder.display()))?;
    print_line(&format!("Manual pages written to {}.", folder.display()))?;
    Ok(())
}
