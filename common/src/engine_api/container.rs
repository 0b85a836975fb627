//! `ContainerSpec` of a service: what a task runs and what it is started with.
//!
//! Durations are nanoseconds. Members that Docker does not have are marked as ours.

use std::collections::BTreeMap;

use super::document::document;

document! {
    pub struct ContainerSpec {
        when_set:
        pub image: String,
        pub labels: BTreeMap<String, String>,
        /// Instead of the image's entrypoint.
        pub command: Vec<String>,
        pub args: Vec<String>,
        pub hostname: String,
        pub env: Vec<String>,
        pub dir: String,
        pub user: String,
        pub groups: Vec<String>,
        pub privileges: Option<Privileges>,
        pub init: Option<bool>,
        pub stop_signal: String,
        #[serde(rename = "TTY")]
        pub tty: bool,
        pub open_stdin: bool,
        pub read_only: bool,
        pub mounts: Vec<Mount>,
        pub stop_grace_period: Option<i64>,
        #[serde(rename = "Healthcheck", alias = "HealthCheck")]
        pub health_check: Option<HealthCheck>,
        /// `IP name…`.
        pub hosts: Vec<String>,
        #[serde(rename = "DNSConfig")]
        pub dns_config: Option<DnsConfig>,
        pub secrets: Vec<SecretReference>,
        pub configs: Vec<ConfigReference>,
        pub isolation: String,
        pub sysctls: BTreeMap<String, String>,
        pub capability_add: Vec<String>,
        pub capability_drop: Vec<String>,
        pub ulimits: Vec<Ulimit>,
        pub oom_score_adj: i64,
        /// Ours, here and below.
        pub privileged: bool,
        pub devices: Vec<Device>,
        /// As `docker run --gpus`.
        pub gpus: String,
        /// Bytes.
        pub shm_size: i64,
        pub security_opt: Vec<String>,
        pub cgroup_parent: String,
        pub cpuset_cpus: String,
        pub ready_check: Option<ReadyCheck>,
        /// A command run in the task before its stop signal is sent.
        pub pre_stop: Vec<String>,
    }

    pub struct Device {
        when_set:
        pub path_on_host: String,
        pub path_in_container: String,
        pub cgroup_permissions: String,
    }

    /// Ours: when a task may get connections. Exactly one of `test`, `http` and `tcp`.
    pub struct ReadyCheck {
        when_set:
        /// A program and its arguments, run in the task.
        pub test: Vec<String>,
        pub http: Option<HttpProbe>,
        pub tcp: Option<TcpProbe>,
        pub interval: i64,
        pub timeout: i64,
    }

    pub struct HttpProbe {
        when_set:
        pub port: i64,
        pub path: String,
    }

    pub struct TcpProbe {
        when_set:
        pub port: i64,
    }

    pub struct Privileges {
        always:
        pub credential_spec: Option<CredentialSpec>,
        #[serde(rename = "SELinuxContext")]
        pub selinux_context: Option<SelinuxContext>,

        when_set:
        pub seccomp: Option<Seccomp>,
        pub app_armor: Option<AppArmor>,
        pub no_new_privileges: bool,
    }

    pub struct CredentialSpec {
        always:
        pub config: String,
        pub file: String,
        pub registry: String,
    }

    pub struct SelinuxContext {
        always:
        pub disable: bool,
        pub user: String,
        pub role: String,
        #[serde(rename = "Type")]
        pub kind: String,
        pub level: String,
    }

    pub struct Seccomp {
        when_set:
        pub mode: String,
        /// Base64.
        pub profile: String,
    }

    pub struct AppArmor {
        when_set:
        pub mode: String,
    }

    pub struct Mount {
        when_set:
        #[serde(rename = "Type")]
        pub kind: String,
        pub source: String,
        pub target: String,
        pub read_only: bool,
        pub consistency: String,
        pub bind_options: Option<BindOptions>,
        pub volume_options: Option<VolumeOptions>,
        pub image_options: Option<ImageOptions>,
        pub tmpfs_options: Option<TmpfsOptions>,
    }

    pub struct BindOptions {
        when_set:
        pub propagation: String,
        pub non_recursive: bool,
        pub create_mountpoint: bool,
        pub read_only_non_recursive: bool,
        pub read_only_force_recursive: bool,
    }

    pub struct VolumeOptions {
        when_set:
        pub no_copy: bool,
        pub labels: BTreeMap<String, String>,
        pub subpath: String,
        pub driver_config: Option<Driver>,
    }

    pub struct ImageOptions {
        when_set:
        pub subpath: String,
    }

    pub struct TmpfsOptions {
        when_set:
        pub size_bytes: i64,
        pub mode: u32,
        pub options: Vec<Vec<String>>,
    }

    /// A driver and what it is told; of volumes and of logs.
    pub struct Driver {
        when_set:
        pub name: String,
        pub options: BTreeMap<String, String>,
    }

    pub struct HealthCheck {
        when_set:
        pub test: Vec<String>,
        pub interval: i64,
        pub timeout: i64,
        pub start_period: i64,
        pub start_interval: i64,
        pub retries: i64,
    }

    pub struct DnsConfig {
        when_set:
        pub nameservers: Vec<String>,
        pub search: Vec<String>,
        pub options: Vec<String>,
    }

    pub struct SecretReference {
        always:
        pub file: Option<FileTarget>,
        #[serde(rename = "SecretID")]
        pub secret_id: String,
        pub secret_name: String,

        when_set:
        /// Ours, here and below: which version of it, and the signal that tells a task of a newer one.
        pub version: u64,
        pub refresh: Option<String>,
    }

    pub struct ConfigReference {
        always:
        #[serde(rename = "ConfigID")]
        pub config_id: String,
        pub config_name: String,

        when_set:
        pub version: u64,
        pub refresh: Option<String>,
        pub file: Option<FileTarget>,
        /// Not a file: a credential spec uses it.
        pub runtime: Option<RuntimeTarget>,
    }

    pub struct FileTarget {
        always:
        pub name: String,
        #[serde(rename = "UID")]
        pub uid: String,
        #[serde(rename = "GID")]
        pub gid: String,
        pub mode: u32,
    }

    pub struct RuntimeTarget {}

    pub struct Ulimit {
        always:
        pub name: String,
        pub hard: i64,
        pub soft: i64,
    }
}
