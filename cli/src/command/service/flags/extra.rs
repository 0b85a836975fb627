//! What users of Docker's services ask for and Docker's services do not have.

use serde_json::Value;

use super::{container_member, put_text};
use crate::parse::device::gpus;
use crate::parse::members::member;
use crate::parse::number::boolean;
use crate::parse::size;

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Beyond Docker's services")]
pub struct ExtraFlags {
    /// Who runs the tasks [default: container]
    #[arg(long, value_enum)]
    pub runtime: Option<Runtime>,

    /// Give the task all rights over its node
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub privileged: Option<bool>,

    /// Graphics processors: all, a count, or device=ID[,ID…]
    #[arg(long, value_name = "GPUS", value_parser = gpus)]
    pub gpus: Option<String>,

    /// Size of /dev/shm, as 64M
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub shm_size: Option<i64>,

    /// Control group that the task's own is made in
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,

    /// Processors the task may run on: 0-3 or 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    /// The node's container engine
    Container,
    /// The node itself, as a process of its own: the first argument is the program
    Process,
    /// Nobody: it answers like a real one, for tests and for scale
    Fake,
}

impl Runtime {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Process => "process",
            Self::Fake => "fake",
        }
    }
}

impl ExtraFlags {
    pub fn apply(&self, spec: &mut Value) {
        if let Some(runtime) = self.runtime {
            *member(spec, &["TaskTemplate", "Runtime"]) = runtime.as_str().into();
        }
        if let Some(privileged) = self.privileged {
            *container_member(spec, "Privileged") = privileged.into();
        }
        if let Some(bytes) = self.shm_size {
            *container_member(spec, "ShmSize") = bytes.into();
        }
        let container = member(spec, &["TaskTemplate", "ContainerSpec"]);
        put_text(container, "Gpus", self.gpus.as_ref());
        put_text(container, "CgroupParent", self.cgroup_parent.as_ref());
        put_text(container, "CpusetCpus", self.cpuset_cpus.as_ref());
    }
}
