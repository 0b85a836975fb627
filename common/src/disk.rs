//! State files: written whole or not at all, and checked when read.
//!
//! A file is one line of header (`swarm <kind> <format> <sha256> <length>`) and its content. A torn or
//! changed file is an error that names it; it is never taken for an empty or an older one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::limits::STATE_FILE_BYTES_MAX;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
}

impl DiskError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        let path = path.to_path_buf();
        move |source| DiskError::Io { action, path, source }
    }
}

/// Makes a folder, and those above it, that only its owner may enter.
pub fn create_private_dir(path: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DiskError::io("create", path))
}

/// Replaces the file in one step: after a crash there is the old content or the new, never a mixture.
pub fn save(path: &Path, kind: &str, format: u32, content: &[u8]) -> Result<(), DiskError> {
    let folder = path.parent().expect("state files lie in the state folder");
    create_private_dir(folder)?;
    replace(path, kind, format, content, Sync::Disk).and_then(|()| sync_dir(folder))
}

/// Like `save` into a folder that is there, for what means nothing once the machine has stopped: it outlives every
/// process, and costs no wait for the disk. After a power cut the file may be torn, which `load` then says.
pub fn save_until_power_off(path: &Path, kind: &str, format: u32, content: &[u8]) -> Result<(), DiskError> {
    replace(path, kind, format, content, Sync::Never)
}

/// Whether a written file has to have reached the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    Disk,
    Never,
}

fn replace(path: &Path, kind: &str, format: u32, content: &[u8], sync: Sync) -> Result<(), DiskError> {
    let next = next_of(path);
    let header = format!("swarm {kind} {format} {} {}\n", checksum(kind, format, content), content.len());
    let written = write(&next, &[header.as_bytes(), content], sync)
        .and_then(|()| fs::rename(&next, path).map_err(DiskError::io("replace", path)));
    if written.is_err() {
        let _ = fs::remove_file(&next); // half of it helps nobody, and a full disk has no room for it
    }
    written
}

/// What a file is written as before it takes its place; a name that no other file of the folder has.
fn next_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

fn write(path: &Path, parts: &[&[u8]], sync: Sync) -> Result<(), DiskError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(DiskError::io("create", path))?;
    parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| if sync == Sync::Disk { file.sync_all() } else { Ok(()) })
        .map_err(DiskError::io("write", path))
}

/// Reads a file that `save` wrote: its format and content. None where there is no file.
pub fn load(path: &Path, kind: &str) -> Result<Option<(u32, Vec<u8>)>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(STATE_FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(DiskError::io("read", path))?;
    parse(&bytes, kind).map(Some).map_err(|reason| DiskError::Damaged { path: path.to_path_buf(), reason })
}

/// Removes a file, and what a save of it left that did not come to its end; nothing where there is none.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    for path in [path, &next_of(path)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DiskError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes renames and removals in a folder survive a power cut.
pub fn sync_dir(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(DiskError::io("sync", folder))
}

fn parse(bytes: &[u8], kind: &str) -> Result<(u32, Vec<u8>), String> {
    if bytes.len() > STATE_FILE_BYTES_MAX {
        return Err(format!("it has more than {STATE_FILE_BYTES_MAX} bytes"));
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("its first line is cut off")?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| "its first line is not text")?;
    let content = &bytes[end + 1..];
    let ["swarm", found, format, sum, length] = header.split(' ').collect::<Vec<_>>()[..] else {
        return Err("its first line is not one of swarm's".into());
    };
    if found != kind {
        return Err(format!("it holds '{found}' where '{kind}' was expected"));
    }
    if length.parse() != Ok(content.len()) {
        return Err(format!("it has {} bytes of content, its first line says {length}", content.len()));
    }
    let format = format.parse().map_err(|_| "its format is not a number")?;
    if sum != checksum(kind, format, content) {
        return Err("it does not match its checksum".into());
    }
    Ok((format, content.to_vec()))
}

fn checksum(kind: &str, format: u32, content: &[u8]) -> String {
    let sum = digest(&SHA256, &[format!("{kind} {format} ").as_bytes(), content].concat());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_saved_file_loads_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/node.json");
        assert!(load(&path, "node").unwrap().is_none());
        save(&path, "node", 3, b"content\nof two lines").unwrap();
        save(&path, "node", 4, b"newer").unwrap();
        assert_eq!(load(&path, "node").unwrap(), Some((4, b"newer".to_vec())));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_save_that_fails_leaves_nothing_and_touches_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let names = || {
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
        };
        // A folder that is not empty is not replaced by a file.
        fs::create_dir_all(folder.path().join("node.json/full")).unwrap();
        let error = save(&folder.path().join("node.json"), "node", 1, b"content").unwrap_err();
        assert!(error.to_string().contains("replace"), "{error}");
        assert_eq!(names(), ["node.json"]);
        // `raft.id` lies beside `raft`, whose next state is built in `raft.next`.
        fs::create_dir(folder.path().join("raft.next")).unwrap();
        save(&folder.path().join("raft.id"), "raft-id", 1, b"content").unwrap();
        // What a crash in the middle leaves goes with the file.
        fs::write(folder.path().join("raft.id.next"), b"half").unwrap();
        remove(&folder.path().join("raft.id")).unwrap();
        assert!(!names().iter().any(|name| name.starts_with("raft.id")), "{:?}", names());
    }

    #[test]
    fn every_torn_or_changed_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.json");
        save(&path, "node", 1, b"some content").unwrap();
        let whole = fs::read(&path).unwrap();
        let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|end| whole[..end].to_vec()).collect();
        damaged.extend((0..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            bytes
        }));
        for bytes in damaged {
            fs::write(&path, &bytes).unwrap();
            let error = load(&path, "node").expect_err("damage is noticed");
            assert!(error.to_string().contains("node.json"), "{error}");
        }
    }
}
