//! A disk that is full when a test wants it to be: a small file system in memory, at the place of a state folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context;

use crate::run;
use crate::skip::skipped;

/// Mounted until it is dropped. Whoever uses it has to be gone by then, or keeps what is on it for a while longer.
pub struct SmallDisk {
    path: PathBuf,
}

/// Whether this machine lets us mount small disks; a loud line for `test` where it does not.
pub fn available(test: &str) -> bool {
    static AVAILABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let trial = || SmallDisk::mount(&run::folder().join("trial"), 1 << 20).map(drop);
    let available = AVAILABLE.get_or_init(|| trial().map_err(|error| format!("{error:#}")));
    if let Err(reason) = available {
        skipped(test, "mounts", reason);
    }
    available.is_ok()
}

impl SmallDisk {
    pub fn mount(path: &Path, bytes: u64) -> anyhow::Result<Self> {
        anyhow::ensure!(run::owns(path), "{} is not this run's", path.display());
        fs::create_dir_all(path)?;
        let size = format!("size={bytes},mode=0700");
        program(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path))?;
        Ok(Self { path: path.into() })
    }

    /// Takes all the space that is left, but for `spare` bytes.
    pub fn fill(&self, spare: u64) -> anyhow::Result<()> {
        let mut file = File::create(self.ballast())?;
        let block = [0x5a_u8; 4096];
        while file.write_all(&block).is_ok() {}
        let filled = file.metadata()?.len();
        file.set_len(filled.saturating_sub(spare)).context("leave a little")?;
        Ok(())
    }

    /// Gives back what `fill` took.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still has a file open does not keep the mount.
        let _ = program(Command::new("umount").arg("-l").arg(&self.path));
    }
}

fn program(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    let words = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {}", words.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_and_empty_and_gone() {
        if !available("it_is_full_and_empty_and_gone") {
            return;
        }
        let folder = run::folder().join("small");
        let disk = SmallDisk::mount(&folder, 1 << 20).unwrap();
        disk.fill(0).unwrap();
        let error = fs::write(folder.join("file"), [1; 8192]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        disk.free().unwrap();
        fs::write(folder.join("file"), [1; 8192]).unwrap();
        drop(disk);
        assert!(!folder.join("file").exists(), "the folder below is empty");
    }
}
