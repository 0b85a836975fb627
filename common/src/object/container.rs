//! What a task runs: an image or a program, and everything it is started with.
//!
//! One type for every runtime: a runtime names what of it it cannot do.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::words;
use super::{PayloadId, PayloadKind};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Image reference; of a process task, empty.
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// Instead of the image's entrypoint; of a process task, the program.
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub hostname: String,
    /// `NAME=value`; templates allowed in the value.
    pub env: Vec<String>,
    pub dir: String,
    pub user: String,
    pub groups: Vec<String>,
    pub privileges: Option<Privileges>,
    /// A small init as first process; none: as the engine is set up.
    pub init: Option<bool>,
    pub tty: bool,
    pub open_stdin: bool,
    pub read_only: bool,
    pub mounts: Vec<Mount>,
    pub stop_signal: String,
    pub stop_grace_period: Option<Duration>,
    pub health: Option<HealthCheck>,
    /// `IP name…`, as in a hosts file.
    pub hosts: Vec<String>,
    pub dns: Option<DnsConfig>,
    pub secrets: Vec<FileReference>,
    pub configs: Vec<FileReference>,
    pub isolation: String,
    pub sysctls: BTreeMap<String, String>,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub ulimits: Vec<Ulimit>,
    pub oom_score_adj: i64,
    pub extra: Extra,
}

/// What users of Docker's services ask for and Docker's services do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    pub privileged: bool,
    pub devices: Vec<Device>,
    /// As `docker run --gpus`: `all`, a count, or `device=…`.
    pub gpus: String,
    pub shm_bytes: i64,
    pub security_options: Vec<String>,
    pub cgroup_parent: String,
    pub cpuset_cpus: String,
    /// Whether the task may get connections now; apart from whether it lives.
    pub ready: Option<ReadyCheck>,
    /// Run before the stop signal is sent.
    pub pre_stop: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host: String,
    pub container: String,
    /// Of `r`, `w` and `m`.
    pub permissions: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges {
    pub no_new_privileges: bool,
    pub selinux: Option<Selinux>,
    /// `default`, `unconfined` or `custom` with its profile.
    pub seccomp: Option<Seccomp>,
    /// `default` or `disabled`.
    pub apparmor_mode: Option<String>,
    /// Of Windows: kept and shown, used nowhere.
    pub credential_spec: Option<CredentialSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selinux {
    pub disable: bool,
    pub user: String,
    pub role: String,
    pub kind: String,
    pub level: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seccomp {
    pub mode: String,
    pub profile: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialSpec {
    pub config: String,
    pub file: String,
    pub registry: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub kind: MountKind,
    pub source: String,
    pub target: String,
    pub read_only: bool,
    pub consistency: String,
    pub bind: Option<BindOptions>,
    pub volume: Option<VolumeOptions>,
    pub tmpfs: Option<TmpfsOptions>,
    pub image_subpath: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MountKind {
    Bind,
    #[default]
    Volume,
    Tmpfs,
    NamedPipe,
    Cluster,
    Image,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindOptions {
    pub propagation: String,
    pub non_recursive: bool,
    pub create_mountpoint: bool,
    pub read_only_non_recursive: bool,
    pub read_only_force_recursive: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeOptions {
    pub no_copy: bool,
    pub labels: BTreeMap<String, String>,
    pub driver: Option<Driver>,
    pub subpath: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsOptions {
    pub size_bytes: i64,
    pub mode: u32,
    pub options: Vec<Vec<String>>,
}

/// A driver of the engine, and what it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    pub name: String,
    pub options: BTreeMap<String, String>,
}

/// Whether the task lives: one that is unhealthy is stopped and counts as failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", program, args…]`, `["CMD-SHELL", line]`; empty: the image's.
    pub test: Vec<String>,
    /// Zero means: the engine's own default, here and below.
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub start_interval: Duration,
    pub retries: u32,
}

/// How readiness is found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyCheck {
    pub probe: ReadyProbe,
    /// Zero means 1 s, here and below.
    pub interval: Duration,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadyProbe {
    Command(Vec<String>),
    /// Ready when the answer's status is below 400.
    Http {
        port: u16,
        path: String,
    },
    Tcp {
        port: u16,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    pub nameservers: Vec<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// A secret or config as a file in the task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReference {
    pub id: String,
    pub name: String,
    /// None: not a file (a credential spec, say).
    pub target: Option<String>,
    pub uid: String,
    pub gid: String,
    pub mode: u32,
    /// Which version of the payload; 0 in a request: the one the service has, else the newest.
    pub version: u64,
    /// The file follows the newest version while the task runs, which gets this signal then (none if empty).
    /// None: a new version is a change of the service, and comes with new tasks.
    pub refresh: Option<String>,
}

impl FileReference {
    /// The payload it names; none where what it has is no id.
    pub fn payload(&self) -> Option<PayloadId> {
        self.id.parse().ok()
    }

    /// Which payload has to be on the task's node, and which version: none means the newest one. Nothing where it is
    /// no file, as credential specs of Windows are not.
    pub fn wanted(&self) -> Option<(PayloadId, Option<u64>)> {
        self.target.as_ref()?;
        let follows = self.version == 0 || self.refresh.is_some();
        Some((self.payload()?, (!follows).then_some(self.version)))
    }
}

impl ContainerSpec {
    /// Every secret and config it uses, each as often as it names it.
    pub fn references(&self) -> impl Iterator<Item = (PayloadKind, &FileReference)> {
        let secrets = self.secrets.iter().map(|reference| (PayloadKind::Secret, reference));
        secrets.chain(self.configs.iter().map(|reference| (PayloadKind::Config, reference)))
    }

    /// As `references`, to change them.
    pub fn references_mut(&mut self) -> impl Iterator<Item = (PayloadKind, &mut FileReference)> {
        let secrets = self.secrets.iter_mut().map(|reference| (PayloadKind::Secret, reference));
        secrets.chain(self.configs.iter_mut().map(|reference| (PayloadKind::Config, reference)))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

words!(
    MountKind,
    "mount type",
    "bind, volume, tmpfs, npipe, cluster or image",
    Bind = "bind",
    Volume = "volume",
    Tmpfs = "tmpfs",
    NamedPipe = "npipe",
    Cluster = "cluster",
    Image = "image",
);
