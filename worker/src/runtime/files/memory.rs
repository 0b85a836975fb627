//! A folder that is in memory and never on a disk: one that is there already, or one made for it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::limits::TASK_FILES_BYTES_MAX;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};

use crate::runtime::RunError;
use crate::runtime::process::make_dir;

/// What nix has no name for: the other file system without a disk.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Makes `folder`, in memory: as part of what is there, or as a file system of its own.
pub fn ensure(folder: &Path) -> Result<(), RunError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        RunError::Temporary(format!("{what} {} for secrets and configs: {error}", folder.display()))
    };
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above).map_err(|error| failed("make", &error))?;
    }
    // Users of process tasks have to get through to their own folders, and to see nothing on the way.
    make_dir(folder, 0o711).map_err(|error| failed("make", &common::report::Report(&error)))?;
    check_owner(folder)?;
    if is_in_memory(folder).map_err(|error| failed("look at", &error))? {
        return Ok(());
    }
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let plain = format!("mode=0711,size={TASK_FILES_BYTES_MAX}");
    // Memory that is swapped out is on a disk; older kernels cannot do without.
    let kept = format!("{plain},noswap");
    let make = |options: &str| mount(Some("swarm"), folder, Some("tmpfs"), flags, Some(options));
    let made = match make(&kept) {
        Err(Errno::EINVAL) => make(&plain),
        made => made,
    };
    made.map_err(|error| {
        let reason = match error {
            Errno::EPERM | Errno::EACCES => "this daemon may not mount one there".into(),
            other => format!("mounting one there failed: {other}"),
        };
        RunError::Fatal(format!(
            "secrets and configs are kept in memory alone: {} is on a disk, and {reason}. Start the daemon with \
             --secrets-dir and a folder on a tmpfs, such as one below $XDG_RUNTIME_DIR or /dev/shm",
            folder.display()
        ))
    })
}

/// Takes away the file system that `ensure` made, with all that is in it.
pub fn forget(folder: &Path) {
    let _ = umount(folder); // there is none, or somebody looks at it still: then its folders are empty
    let _ = std::fs::remove_dir(folder); // the same
}

fn is_in_memory(folder: &Path) -> nix::Result<bool> {
    let kind = statfs(folder)?.filesystem_type();
    Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
}

/// In a place where everybody may make folders somebody else could have made it first, and would see what is in it; or
/// could put another one in its place.
fn check_owner(folder: &Path) -> Result<(), RunError> {
    const STICKY: u32 = 0o1000;
    let us = nix::unistd::geteuid().as_raw();
    let is_ours = std::fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == us && found.mode() & 0o022 == 0);
    let is_kept = folder.parent().and_then(|above| std::fs::metadata(above).ok()).is_some_and(|above| {
        [us, 0].contains(&above.uid()) && (above.mode() & 0o022 == 0 || above.mode() & STICKY != 0)
    });
    if is_ours && is_kept {
        return Ok(());
    }
    Err(RunError::Fatal(format!(
        "{} belongs to somebody else, or others may write there: secrets would not be safe there. Remove it, or \
         start the daemon with another --secrets-dir",
        folder.display()
    )))
}
