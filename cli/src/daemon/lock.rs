//! One daemon per state folder: two would write the same files.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use common::disk;
use nix::fcntl::{Flock, FlockArg};

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another swarm daemon{} already uses {folder}", pid(.holder))]
    Held { folder: String, holder: String },
    #[error("lock {folder}")]
    Io {
        folder: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Folder(#[from] disk::DiskError),
}

fn pid(holder: &str) -> String {
    if holder.is_empty() { String::new() } else { format!(" (process {holder})") }
}

/// Held for as long as it lives; the kernel lets go of it however the process ends.
pub struct StateLock(#[expect(dead_code, reason = "holding it is its use")] Flock<File>);

/// Makes the state folder where there is none, and takes it.
pub fn lock(folder: &Path, file: &Path) -> Result<StateLock, LockError> {
    disk::create_private_dir(folder)?;
    let name = || folder.display().to_string();
    let failed = |source| LockError::Io { folder: name(), source };
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file);
    match Flock::lock(open.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
        Ok(mut held) => {
            held.set_len(0).map_err(failed)?;
            held.rewind().map_err(failed)?;
            write!(held, "{}", std::process::id()).map_err(failed)?;
            Ok(StateLock(held))
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            Err(LockError::Held { folder: name(), holder: holder.trim().into() })
        }
        Err((_, error)) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lock");
        let first = lock(folder.path(), &file).unwrap();
        let error = lock(folder.path(), &file).err().expect("it is taken").to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        lock(folder.path(), &file).unwrap();
    }
}
