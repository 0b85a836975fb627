//! A process task's folder: what lies in it, and its records.
//!
//! ```text
//! <tasks>/<id>/setup     how to run it: written before it starts, never changed
//!              lock      held by its supervisor
//!              alive     a pipe that its supervisor holds open: it ends with the supervisor
//!              control   a pipe by which the supervisor is told to stop the task
//!              stopped   says that it must not start any more
//!              running   which process it is
//!              exit      how it ended
//!              health    what the checks last said
//!              log/      what it wrote
//!              work/     its own folder, if it has no other
//! ```
//!
//! Records outlive every process and mean nothing after a restart of the machine, so they are whole but not synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::disk::{self, DiskError};
use common::object::container::HealthCheck;
use common::object::ports::Port;
use common::time::Timestamp;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cgroup::Group;
use super::log::Bounds;
use super::procfs::Process;
use super::program::Program;

const FORMAT: u32 = 1;

/// How to run a task: all its supervisor has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub program: Program,
    pub groups: Vec<Group>,
    /// None: what it writes is not kept.
    pub log: Option<Bounds>,
    /// Number of the signal that asks it to end, and how long it then has.
    pub stop_signal: i32,
    pub stop_grace: Duration,
    /// Host-mode ports, the dynamic ones given out.
    pub ports: Vec<Port>,
    pub health: Option<HealthCheck>,
}

/// Which process a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningRecord {
    pub process: Process,
    pub supervisor: Process,
    /// Of the machine's boot; after another one all pids mean something else.
    pub boot: String,
    pub at: Timestamp,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub pid: i32,
    pub code: i64,
    pub reason: String,
    pub at: Timestamp,
}

/// What the health checks last said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRecord {
    /// Why it is not well; none: it is.
    pub unhealthy: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFolder(PathBuf);

impl TaskFolder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Makes the folder with all but its records; what is there already stays.
    pub fn create(&self) -> Result<(), DiskError> {
        // The task's user has to get through to its own folder, and to see nothing on the way.
        make_dir(&self.0, 0o711)?;
        make_dir(&self.work(), 0o700)?;
        make_dir(&self.log(), 0o700)?;
        for name in ["alive", "control"] {
            make_pipe(&self.0.join(name))?;
        }
        let lock = self.0.join("lock");
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock);
        made.map(drop).map_err(error("create", &lock))
    }

    pub fn launch(&self) -> Result<Option<Launch>, DiskError> {
        self.load("setup")
    }

    pub fn save_launch(&self, launch: &Launch) -> Result<(), DiskError> {
        self.save("setup", launch)
    }

    pub fn running(&self) -> Result<Option<RunningRecord>, DiskError> {
        self.load("running")
    }

    pub fn save_running(&self, running: &RunningRecord) -> Result<(), DiskError> {
        self.save("running", running)
    }

    pub fn exit(&self) -> Result<Option<ExitRecord>, DiskError> {
        self.load("exit")
    }

    pub fn save_exit(&self, exit: &ExitRecord) -> Result<(), DiskError> {
        self.save("exit", exit)
    }

    pub fn health(&self) -> Result<Option<HealthRecord>, DiskError> {
        self.load("health")
    }

    pub fn save_health(&self, health: &HealthRecord) -> Result<(), DiskError> {
        self.save("health", health)
    }

    /// From now on it does not start any more; one that is starting sees it before its program runs.
    pub fn forbid_start(&self) -> Result<(), DiskError> {
        let path = self.0.join("stopped");
        let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        made.map(drop).map_err(error("create", &path))
    }

    pub fn may_start(&self) -> bool {
        !self.0.join("stopped").exists()
    }

    /// The lock that one supervisor holds; none while another one does.
    pub fn lock(&self) -> Result<Option<File>, DiskError> {
        let path = self.0.join("lock");
        let file = File::open(&path).map_err(error("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(cause)) => Err(error("lock", &path)(cause)),
        }
    }

    /// Whether this is still the folder of that lock. One that cannot be looked at counts as there.
    pub fn holds(&self, lock: &File) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (fs::metadata(self.0.join("lock")), lock.metadata()) {
            (Ok(there), Ok(held)) => identity(there) == identity(held),
            (Err(error), _) => {
                !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            }
            (Ok(_), Err(_)) => true,
        }
    }

    /// The supervisor's end of a pipe. It reads and writes, so that opening never waits for the other side.
    pub fn hold(&self, name: &'static str) -> Result<File, DiskError> {
        let path = self.0.join(name);
        let opened =
            OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
        opened.map_err(error("open", &path))
    }

    /// A pipe that ends with the supervisor; none when it has ended.
    pub fn watch_alive(&self) -> Result<Option<File>, DiskError> {
        let path = self.0.join("alive");
        let nonblock = OFlag::O_NONBLOCK.bits();
        let mut pipe = match OpenOptions::new().read(true).custom_flags(nonblock).open(&path) {
            Ok(pipe) => pipe,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(error("open", &path)(cause)),
        };
        // A pipe that nobody has ever written to does not say so by an event, so it is asked once.
        match pipe.read(&mut [0; 1]) {
            Ok(_) => Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(Some(pipe)),
            Err(cause) => Err(error("read", &path)(cause)),
        }
    }

    /// Sends the supervisor an order; false when there is none any more.
    pub fn order(&self, order: &str) -> Result<bool, DiskError> {
        let path = self.0.join("control");
        let nonblock = OFlag::O_NONBLOCK.bits();
        match OpenOptions::new().write(true).custom_flags(nonblock).open(&path) {
            // One write of a few bytes into a pipe is never split.
            Ok(mut pipe) => io::Write::write_all(&mut pipe, order.as_bytes())
                .map(|()| true)
                .map_err(error("write", &path)),
            Err(cause) if cause.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32) => Ok(false),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(error("open", &path)(cause)),
        }
    }

    fn load<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, DiskError> {
        let path = self.0.join(name);
        let Some((format, content)) = disk::load(&path, &kind(name))? else { return Ok(None) };
        let damaged = |reason: String| DiskError::Damaged { path: path.clone(), reason };
        if format != FORMAT {
            return Err(damaged(format!("it has format {format}, this program knows {FORMAT}")));
        }
        serde_json::from_slice(&content).map(Some).map_err(|error| damaged(error.to_string()))
    }

    fn save<T: Serialize>(&self, name: &'static str, record: &T) -> Result<(), DiskError> {
        let content = serde_json::to_vec(record).expect("records have text keys and no failing parts");
        disk::save_until_power_off(&self.0.join(name), &kind(name), FORMAT, &content)
    }
}

fn kind(name: &str) -> String {
    format!("process-{name}")
}

/// Makes a folder with just that mode, whatever the daemon's umask.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), DiskError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(error("create", path)),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(error("create", path)(cause)),
    }
}

fn make_pipe(path: &Path) -> Result<(), DiskError> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(cause) => Err(error("create", path)(cause.into())),
    }
}

fn error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_path_buf();
    move |source| DiskError::Io { action, path, source }
}
