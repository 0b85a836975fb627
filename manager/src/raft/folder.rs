//! What of raft lies where on disk, and whether this manager may go on with it.
//!
//! A raft id stands for one log, for ever: a member that comes back without its log has forgotten for whom it
//! voted and what it acknowledged, and could help to lose a write. So the id in use is also noted beside the
//! folder, and an id that was used before does not start again from nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::disk::{self, DiskError};
use common::object::ClusterId;

use super::log_file::Owner;

const KIND: &str = "raft-id";
const FORMAT: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} does not name a raft id", path.display())]
    Note { path: PathBuf },
    #[error(
        "the raft data in {} is gone, but raft id {raft_id} was in use here: \
         this manager has to be demoted and promoted again",
        path.display()
    )]
    Lost { path: PathBuf, raft_id: u64 },
    #[error(
        "the raft data in {} belongs to raft id {} of cluster {}, not to raft id {} of cluster {}",
        path.display(), found.raft_id, found.cluster, wanted.raft_id, wanted.cluster
    )]
    OtherOwner { path: PathBuf, found: Owner, wanted: Owner },
}

impl FolderError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
        let path = path.to_path_buf();
        move |source| FolderError::Io { action, path, source }
    }
}

pub fn log_path(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Whether there is raft data to go on with. An empty log is none: a first start ended early, or the data is lost.
pub fn has_state(folder: &Path) -> bool {
    let holds_data = |folder: &Path| fs::metadata(log_path(folder)).is_ok_and(|log| log.len() > 0);
    holds_data(folder) || holds_data(&aside(folder, "old"))
}

/// Removes this manager's raft data: it has left the group. Its raft id stays noted as used.
pub fn wipe(folder: &Path) -> Result<(), FolderError> {
    for folder in [folder, &aside(folder, "next"), &aside(folder, "old")] {
        remove_folder(folder)?;
    }
    match folder.parent() {
        Some(parent) if parent.exists() => Ok(disk::sync_dir(parent)?),
        _ => Ok(()),
    }
}

/// Makes the folder ready for `owner`; fails where that owner has lost what it had.
pub fn prepare(folder: &Path, owner: Owner) -> Result<(), FolderError> {
    settle(folder)?;
    if !has_state(folder) {
        may_begin(folder, owner)?;
    }
    Ok(disk::create_private_dir(folder)?)
}

/// Fails where `owner` has had a log before: without it, its id is not to be used again.
pub fn may_begin(folder: &Path, owner: Owner) -> Result<(), FolderError> {
    match used(folder)? {
        Some(used) if used.cluster == owner.cluster && used.raft_id >= owner.raft_id => {
            Err(FolderError::Lost { path: folder.to_path_buf(), raft_id: owner.raft_id })
        }
        _ => Ok(()),
    }
}

/// Checks that the log is `wanted`'s, and notes that its id is in use.
pub fn claim(folder: &Path, found: Owner, wanted: Owner) -> Result<(), FolderError> {
    if found != wanted {
        return Err(FolderError::OtherOwner { path: folder.to_path_buf(), found, wanted });
    }
    match used(folder)? {
        Some(used) if used.cluster == wanted.cluster && used.raft_id >= wanted.raft_id => Ok(()),
        _ => {
            let note = format!("{} {}", wanted.cluster, wanted.raft_id);
            Ok(disk::save(&note_path(folder), KIND, FORMAT, note.as_bytes())?)
        }
    }
}

/// The highest raft id that was ever in use here.
pub fn used(folder: &Path) -> Result<Option<Owner>, FolderError> {
    let path = note_path(folder);
    let Some((FORMAT, content)) = disk::load(&path, KIND)? else { return Ok(None) };
    let parse = || -> Option<Owner> {
        let (cluster, raft_id) = std::str::from_utf8(&content).ok()?.split_once(' ')?;
        Some(Owner { cluster: cluster.parse::<ClusterId>().ok()?, raft_id: raft_id.parse().ok()? })
    };
    parse().map(Some).ok_or(FolderError::Note { path })
}

/// An empty folder to build another state in, beside the present one.
pub fn prepare_next(folder: &Path) -> Result<PathBuf, FolderError> {
    settle(folder)?;
    let next = aside(folder, "next");
    disk::create_private_dir(&next)?;
    Ok(next)
}

/// Puts the state built in `prepare_next`'s folder in place of the present one, in one step.
pub fn replace(folder: &Path) -> Result<(), FolderError> {
    let (next, old) = (aside(folder, "next"), aside(folder, "old"));
    disk::sync_dir(&next)?;
    fs::rename(folder, &old).map_err(FolderError::io("set aside", folder))?;
    settle(folder)
}

/// Finishes or undoes a `replace` that was interrupted.
fn settle(folder: &Path) -> Result<(), FolderError> {
    let (next, old) = (aside(folder, "next"), aside(folder, "old"));
    let Some(parent) = folder.parent().filter(|parent| parent.exists()) else { return Ok(()) };
    // The present state is set aside only once the next one is whole.
    if !folder.exists() && old.exists() {
        fs::rename(&next, folder).map_err(FolderError::io("put in place", folder))?;
        disk::sync_dir(parent)?;
    }
    remove_folder(&next)?;
    remove_folder(&old)
}

fn remove_folder(folder: &Path) -> Result<(), FolderError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FolderError::io("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

fn aside(folder: &Path, name: &str) -> PathBuf {
    folder.with_extension(name)
}

fn note_path(folder: &Path) -> PathBuf {
    folder.with_extension("id")
}
