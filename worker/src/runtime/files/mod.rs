//! Secrets and configs as files in memory, one folder per task.
//!
//! - `layout`: PURE: where each file lies, and where the task sees it. `memory`: a folder that is on no disk.
//!
//! The daemon owns the folder, and nobody else gets into a task's: a container gets single files or folders of it
//! mounted, a process its own two. Nothing is made before the first task needs it. What lies here outlives the daemon,
//! because its tasks do, and goes with them.

mod layout;
mod memory;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::object::TaskId;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};

pub use self::layout::FileMount;
use self::layout::{Home, Spot, spots, what};
use super::process::make_dir;
use super::{RunError, TaskFile, TaskSetup, blocking};

/// Mode of what a file may have: no more than these bits.
const MODE_MASK: u32 = 0o7777;

/// Signals that a refresh has yet to send: kept until they are sent, so that none is lost with the daemon.
const SIGNALS: &str = "signals";

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
}

/// Who gets to the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The engine, which mounts them.
    Engine,
    /// A process: none: it is whoever we are.
    Process(Option<Owner>),
}

/// All tasks' files of one node.
#[derive(Debug)]
pub struct TaskFiles {
    root: PathBuf,
    written: AtomicU64,
}

impl TaskFiles {
    /// In that folder, which nobody else uses. It is made when it is needed.
    pub fn new(root: PathBuf) -> Arc<Self> {
        Arc::new(Self { root, written: AtomicU64::new(0) })
    }

    /// The folder of one task.
    pub fn folder(&self, task: TaskId) -> PathBuf {
        self.root.join(task.to_string())
    }

    /// What a container has to have mounted; sources are paths of this node.
    pub fn mounts(&self, setup: &TaskSetup) -> Result<Vec<FileMount>, RunError> {
        let folder = self.folder(setup.task);
        let mounts = layout::mounts(&setup.files).map_err(RunError::Fatal)?;
        let on_node = |mount: FileMount| FileMount { source: folder.join(&mount.source), ..mount };
        Ok(mounts.into_iter().map(on_node).collect())
    }

    /// The folders of a process's secrets and configs, where it has any.
    pub fn process_folders(&self, setup: &TaskSetup) -> Result<Vec<(&'static str, PathBuf)>, String> {
        let folder = self.folder(setup.task);
        let mut found = BTreeSet::new();
        for spot in spots(&setup.files)? {
            found.insert(match spot.home {
                Home::Secrets => "SWARM_SECRETS_DIR",
                Home::Configs => "SWARM_CONFIGS_DIR",
                // On the node that file would be everybody's, and on a disk.
                Home::At(_) => {
                    return Err(format!(
                        "{} has the target '{}': a process has no such place of its own. Give it a target that is not \
                         absolute, and read it from $SWARM_SECRETS_DIR or $SWARM_CONFIGS_DIR",
                        what(spot.file),
                        spot.file.target
                    ));
                }
            });
        }
        let path = |name| folder.join(if name == "SWARM_SECRETS_DIR" { "secrets" } else { "configs" });
        Ok(found.into_iter().map(|name| (name, path(name))).collect())
    }

    /// Has all files of a task in place. What is there with the same content stays as it is.
    pub async fn place(self: &Arc<Self>, setup: &TaskSetup, reader: Reader) -> Result<(), RunError> {
        if setup.files.is_empty() {
            return Ok(());
        }
        let (files, task, wanted) = (self.clone(), setup.task, setup.files.clone());
        blocking(move || files.place_now(task, &wanted, reader)).await
    }

    /// Puts newer content in place of what is there, for files that ask for it; gives the signals that are due. They
    /// stay due until `signalled`.
    pub async fn refresh(self: &Arc<Self>, setup: &TaskSetup) -> Result<Vec<String>, RunError> {
        let (files, task, wanted) = (self.clone(), setup.task, setup.files.clone());
        blocking(move || files.refresh_now(task, &wanted)).await
    }

    /// The signals of the last refresh have been sent.
    pub fn signalled(&self, task: TaskId) {
        let _ = fs::remove_file(self.folder(task).join(SIGNALS)); // sent once more, at worst
    }

    /// Removes a task's files.
    pub async fn remove(self: &Arc<Self>, task: TaskId) -> Result<(), RunError> {
        let files = self.clone();
        blocking(move || match fs::remove_dir_all(files.folder(task)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(RunError::Temporary(format!("remove the secrets and configs of task {task}: {error}")))
            }
            _ => Ok(()),
        })
        .await
    }

    /// The tasks that have files here.
    pub fn tasks(&self) -> Vec<TaskId> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut tasks: Vec<TaskId> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        tasks.sort_unstable();
        tasks
    }

    /// This node has left its cluster: nothing stays.
    pub fn close(&self) {
        for task in self.tasks() {
            let _ = fs::remove_dir_all(self.folder(task)); // goes with the whole, or with the machine's next start
        }
        memory::forget(&self.root);
    }

    fn place_now(&self, task: TaskId, files: &[TaskFile], reader: Reader) -> Result<(), RunError> {
        let spots = spots(files).map_err(RunError::Fatal)?;
        memory::ensure(&self.root)?;
        let folder = self.folder(task);
        let (outer, inner) = match reader {
            Reader::Engine => (0o700, 0o755),
            Reader::Process(_) => (0o711, 0o700),
        };
        make_folder(&folder, outer)?;
        make_folder(&folder.join("new"), 0o700)?;
        for spot in &spots {
            let home = folder.join(spot.home.folder());
            if let Home::At(_) = spot.home {
                make_folders(&folder, &home)?;
            } else {
                make_folder(&home, inner)?;
            }
            if let Reader::Process(Some(owner)) = reader {
                std::os::unix::fs::chown(&home, Some(owner.user), Some(owner.group))
                    .map_err(|error| failed("give to its user", &home, &error))?;
            }
            let (place, name) = open_place(&home, spot, true)?;
            if !holds(&place, name, spot.file) {
                self.write(&folder, &place, name, spot.file)?;
            }
        }
        Ok(())
    }

    fn refresh_now(&self, task: TaskId, files: &[TaskFile]) -> Result<Vec<String>, RunError> {
        let folder = self.folder(task);
        let pending = fs::read_to_string(folder.join(SIGNALS)).unwrap_or_default();
        let mut signals: BTreeSet<String> = pending.lines().map(String::from).collect();
        let spots = spots(files).map_err(RunError::Fatal)?;
        let mut old = Vec::new();
        for spot in spots.iter().filter(|spot| spot.file.refresh.is_some()) {
            let (place, name) = open_place(&folder.join(spot.home.folder()), spot, false)?;
            if !holds(&place, name, spot.file) {
                old.push((place, name, spot.file));
            }
        }
        let asked = old.iter().filter_map(|(_, _, file)| file.refresh.clone());
        let asked = asked.filter(|signal| !signal.is_empty());
        signals.extend(asked);
        if !old.is_empty() && !signals.is_empty() {
            let lines: Vec<&str> = signals.iter().map(String::as_str).collect();
            let path = folder.join(SIGNALS);
            fs::write(&path, lines.join("\n")).map_err(|error| failed("write", &path, &error))?;
        }
        for (place, name, file) in old {
            self.write(&folder, &place, name, file)?;
        }
        Ok(signals.into_iter().collect())
    }

    /// Whole or not at all: whoever opens the file finds the old content or the new one, and whoever has it open goes
    /// on reading what it began with.
    fn write(&self, folder: &Path, place: &OwnedFd, name: &str, file: &TaskFile) -> Result<(), RunError> {
        let new = folder.join("new").join(self.written.fetch_add(1, Ordering::Relaxed).to_string());
        let written = write_new(&new, file).and_then(|()| {
            renameat(AT_FDCWD, &new, place, name).map_err(|error| failed("put in place", &new, &error.into()))
        });
        if written.is_err() {
            let _ = fs::remove_file(&new); // goes with its folder otherwise
        }
        written
    }
}

/// The folder of a file, and its name in it. A process owns its folders and may put anything into them: no link is
/// followed, so that nothing is read or written elsewhere on its behalf.
fn open_place<'a>(home: &Path, spot: &'a Spot<'_>, make: bool) -> Result<(OwnedFd, &'a str), RunError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let error = |error: Errno| failed("open", home, &error.into());
    let mut place = nix::fcntl::open(home, flags, Mode::empty()).map_err(error)?;
    let (folders, name) = spot.path.rsplit_once('/').unwrap_or(("", &spot.path));
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        if make {
            match mkdirat(&place, folder, Mode::from_bits_truncate(0o755)) {
                Ok(()) => {
                    fchmodat(&place, folder, Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink)
                        .map_err(error)?
                }
                Err(Errno::EEXIST) => {}
                Err(cause) => return Err(error(cause)),
            }
        }
        place = openat(&place, folder, flags, Mode::empty()).map_err(error)?;
    }
    Ok((place, name))
}

fn write_new(path: &Path, file: &TaskFile) -> Result<(), RunError> {
    let _ = fs::remove_file(path); // left by an earlier life of the daemon
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut opened = opened.map_err(|error| failed("make", path, &error))?;
    opened.write_all(file.data.reveal()).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => RunError::Temporary(format!(
            "{} does not fit into the memory this node has for secrets and configs",
            what(file)
        )),
        _ => failed("write", path, &error),
    })?;
    give(&opened, file)?;
    // After the owner: a change of owner takes bits away.
    let mode = fs::Permissions::from_mode(file.mode & MODE_MASK);
    opened.set_permissions(mode).map_err(|error| failed("set the mode of", path, &error))
}

/// Only root gives files away. Others keep what is asked to be root's: in a container of their own engine, root is
/// who they are; a process of theirs reads it as its owner.
fn give(opened: &File, file: &TaskFile) -> Result<(), RunError> {
    let (us, ours) = (nix::unistd::geteuid(), nix::unistd::getegid());
    if (file.uid, file.gid) == (us.as_raw(), ours.as_raw())
        || (!us.is_root() && (file.uid, file.gid) == (0, 0))
    {
        return Ok(());
    }
    fchown(opened, Some(file.uid), Some(file.gid)).map_err(|error| {
        let (uid, gid) = (file.uid, file.gid);
        RunError::Fatal(format!(
            "{} cannot be given to user {uid} and group {gid} by user {us}: {error}",
            what(file)
        ))
    })
}

/// Whether the file is there with that content.
fn holds(place: &OwnedFd, name: &str, file: &TaskFile) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let Ok(opened) = openat(place, name, flags, Mode::empty()) else { return false };
    let (opened, wanted) = (File::from(opened), file.data.reveal());
    if !opened.metadata().is_ok_and(|found| found.is_file() && found.len() == wanted.len() as u64) {
        return false;
    }
    let mut found = zeroize::Zeroizing::new(Vec::with_capacity(wanted.len() + 1));
    let read = opened.take(wanted.len() as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found.as_slice() == wanted
}

fn make_folder(path: &Path, mode: u32) -> Result<(), RunError> {
    make_dir(path, mode).map_err(|error| RunError::Temporary(common::report::Report(&error).to_string()))
}

/// All folders from `top`, which is there, down to `path`.
fn make_folders(top: &Path, path: &Path) -> Result<(), RunError> {
    let Ok(below) = path.strip_prefix(top) else { return Ok(()) };
    let mut folder = top.to_path_buf();
    for name in below {
        folder.push(name);
        make_folder(&folder, 0o755)?;
    }
    Ok(())
}

fn failed(action: &str, path: &Path, error: &io::Error) -> RunError {
    RunError::Temporary(format!("{action} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
