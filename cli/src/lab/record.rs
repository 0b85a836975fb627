//! What a lab consists of, and where: one folder per lab, with a record of its nodes.
//!
//! `<labs>/<name>/lab.json` and per node `<labs>/<name>/<node>/` with `swarm.sock`, `daemon.log` and `state/`.
//! The folder itself is the lock: who changes a lab holds it.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use common::disk;
use common::object::Role;
use serde::{Deserialize, Serialize};

use super::process::{ProcessId, ProcessState};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::paths::{self, Host};

const KIND: &str = "lab";
const FORMAT: u32 = 1;
const NAME_BYTES_MAX: usize = 32;
/// Where labs are kept, instead of the usual place.
const FOLDER: &str = "SWARM_LAB_DIR";

/// A name that is safe as a folder's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabName(String);

impl LabName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fine = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(allowed);
        if fine && !text.starts_with('-') {
            Ok(Self(text.into()))
        } else {
            Err(format!("the name of a lab is 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -, not starting with -"))
        }
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub nodes: Vec<LabNode>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabNode {
    pub name: String,
    /// Given when it joined; empty before.
    pub id: String,
    /// What it joined as; the cluster may have changed it since.
    pub manager: bool,
    pub addr: SocketAddr,
    /// `<lab>/<node>`.
    pub folder: PathBuf,
    /// The newest process of this node, running or not.
    pub process: Option<ProcessId>,
    /// This process was told to cut itself off; a new one starts connected.
    pub cut: Option<ProcessId>,
}

impl LabNode {
    pub fn role(&self) -> Role {
        if self.manager { Role::Manager } else { Role::Worker }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("swarm.sock")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }

    pub fn host(&self) -> Host {
        Host::from_socket(self.socket())
    }

    pub fn client(&self) -> Client {
        Client::new(self.host())
    }

    pub fn process_state(&self) -> ProcessState {
        self.process.map_or(ProcessState::Gone, |process| process.state(&self.state_dir()))
    }

    pub fn is_cut(&self) -> bool {
        self.cut.is_some() && self.cut == self.process
    }
}

/// A lab's folder, held: nobody else changes this lab meanwhile.
pub struct Lab {
    pub name: LabName,
    pub folder: PathBuf,
    _lock: File,
}

impl Lab {
    /// Makes the folder of a new lab; fails with a conflict where there is one already.
    pub fn create(name: &LabName) -> anyhow::Result<Self> {
        let labs = labs_folder();
        paths::ensure_private_dir(&labs)
            .with_context(|| format!("make the folder of labs {}", labs.display()))?;
        // Asked again, because only a folder that exists has its links followed.
        let folder = labs_folder().join(name.as_str());
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(name)),
            Err(error) => {
                return Err(error).with_context(|| format!("make the lab's folder {}", folder.display()));
            }
        }
        match Self::hold(name, folder)? {
            Some(lab) => Ok(lab),
            None => Err(exists(name)),
        }
    }

    /// Holds the folder of a lab, after whoever holds it now. None where there is no such lab.
    pub fn open(name: &LabName) -> anyhow::Result<Option<Self>> {
        Self::hold(name, labs_folder().join(name.as_str()))
    }

    fn hold(name: &LabName, folder: PathBuf) -> anyhow::Result<Option<Self>> {
        let what = || format!("open the lab's folder {}", folder.display());
        let lock = match File::open(&folder) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(what),
        };
        paths::check_private_dir(&folder).with_context(what)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                crate::output::note(&format!("Another command is changing lab {name}: waiting for it."));
                lock.lock().with_context(what)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        // Whoever held it may have removed it, or removed it and made a new one.
        let still_it = match fs::metadata(&folder) {
            Ok(now) => lock.metadata().with_context(what)?.ino() == now.ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(what),
        };
        if still_it { Ok(Some(Self { name: name.clone(), folder, _lock: lock })) } else { Self::open(name) }
    }

    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        let content = serde_json::to_vec_pretty(record)?;
        Ok(disk::save(&record_path(&self.folder), KIND, FORMAT, &content)?)
    }

    pub fn load(&self) -> anyhow::Result<Option<Record>> {
        load(&self.folder)
    }

    /// Removes the folder, and that of all labs when this was the last.
    pub fn remove(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("remove the lab's folder {}", self.folder.display()))?;
        if let Some(labs) = self.folder.parent() {
            // Not empty while there are other labs.
            let _ = fs::remove_dir(labs);
        }
        Ok(())
    }
}

/// A lab's record as it is now, without holding the lab; an error with exit code 4 where there is no lab.
pub fn read(name: &LabName) -> anyhow::Result<Record> {
    load(&labs_folder().join(name.as_str()))?.ok_or_else(|| no_such_lab(name))
}

pub fn no_such_lab(name: &LabName) -> anyhow::Error {
    Failure::new(Exit::NotFound, format!("there is no lab {name}: start it with {}", command("up", name)))
        .into()
}

fn exists(name: &LabName) -> anyhow::Error {
    let text = format!(
        "lab {name} is there already: see {}, or remove it with {}",
        command("status", name),
        command("down", name)
    );
    Failure::new(Exit::Conflict, text).into()
}

/// How to do something with a lab, as a person would type it.
pub fn command(verb: &str, name: &LabName) -> String {
    let program = program();
    match name.as_str() {
        "lab" => format!("`{program} lab {verb}`"),
        name => format!("`{program} lab {verb} --name {name}`"),
    }
}

/// `swarm` where that is this program, else its path: it may have been started by cargo.
pub fn program() -> String {
    let Ok(this) = std::env::current_exe() else { return "swarm".into() };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("swarm")).find(|file| file.is_file());
    if found.and_then(|file| file.canonicalize().ok()).is_some_and(|file| file == this) {
        return "swarm".into();
    }
    let below =
        std::env::current_dir().ok().and_then(|folder| Some(this.strip_prefix(folder).ok()?.to_path_buf()));
    below.unwrap_or(this).display().to_string()
}

/// All labs that have a folder, by name.
pub fn all() -> Vec<LabName> {
    let entries = fs::read_dir(labs_folder()).into_iter().flatten().flatten();
    let mut names: Vec<LabName> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    names
}

fn load(folder: &Path) -> anyhow::Result<Option<Record>> {
    match disk::load(&record_path(folder), KIND)? {
        None => Ok(None),
        Some((FORMAT, content)) => Ok(Some(
            serde_json::from_slice(&content)
                .with_context(|| format!("read {}", record_path(folder).display()))?,
        )),
        Some((format, _)) => {
            anyhow::bail!("{} has format {format}, not {FORMAT}", record_path(folder).display())
        }
    }
}

fn record_path(folder: &Path) -> PathBuf {
    folder.join("lab.json")
}

/// Absolute, and without symbolic links where it exists: daemons are recognised by the paths in their arguments.
fn labs_folder() -> PathBuf {
    let folder = match std::env::var_os(FOLDER) {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => {
            let state = paths::default_state_dir();
            let name = state.file_name().unwrap_or_default().to_string_lossy().into_owned() + "-lab";
            state.with_file_name(name)
        }
    };
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    fs::canonicalize(&folder).unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_folders() {
        for good in ["lab", "a", "my-lab-2", "0"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "-a", "A", "a b", "a.b", "ü", &"x".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_is_cut_as_long_as_its_process_lives() {
        let first = ProcessId { pid: 10, started: 1 };
        let second = ProcessId { pid: 10, started: 2 };
        let node = |process, cut| LabNode {
            name: "manager1".into(),
            id: String::new(),
            manager: true,
            addr: "127.0.0.1:1".parse().expect("address"),
            folder: "/x".into(),
            process,
            cut,
        };
        assert!(node(Some(first), Some(first)).is_cut());
        assert!(!node(Some(second), Some(first)).is_cut());
        assert!(!node(None, None).is_cut());
    }
}
