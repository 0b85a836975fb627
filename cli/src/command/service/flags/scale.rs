//! How many tasks, and how many on one node.

use serde_json::{Value, json};

use super::refused;
use crate::parse::members::{look, member};

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Tasks")]
pub struct ScaleFlags {
    /// Number of tasks; of a job, how many are to complete [default: 1]
    #[arg(long, value_name = "N")]
    pub replicas: Option<u64>,

    /// Tasks of a job that run at the same time [default: as many as --replicas]
    #[arg(long, value_name = "N")]
    pub max_concurrent: Option<u64>,

    /// Tasks of the service on one node at most; 0 means any number
    #[arg(long, value_name = "N")]
    pub replicas_max_per_node: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// A number of tasks
    #[default]
    Replicated,
    /// One task on every node that fits
    Global,
    /// A number of tasks that run until they complete
    ReplicatedJob,
    /// One task on every node that fits, each until it completes
    GlobalJob,
}

impl ScaleFlags {
    /// `Mode` of a new service.
    pub fn new_mode(&self, mode: Mode) -> anyhow::Result<Value> {
        let is_global = matches!(mode, Mode::Global | Mode::GlobalJob);
        if is_global && self.replicas.is_some() {
            return Err(refused("replicas can only be used with replicated or replicated-job mode"));
        }
        if is_global && self.replicas_max_per_node.is_some_and(|count| count > 0) {
            return Err(refused(
                "replicas-max-per-node can only be used with replicated or replicated-job mode",
            ));
        }
        if mode != Mode::ReplicatedJob && self.max_concurrent.is_some() {
            return Err(refused("max-concurrent can only be used with replicated-job mode"));
        }
        Ok(match mode {
            Mode::Replicated => json!({"Replicated": {"Replicas": self.replicas.unwrap_or(1)}}),
            Mode::Global => json!({"Global": {}}),
            Mode::ReplicatedJob => {
                let total = self.replicas.unwrap_or(1);
                let concurrent = self.max_concurrent.unwrap_or(total);
                json!({"ReplicatedJob": {"MaxConcurrent": concurrent, "TotalCompletions": total}})
            }
            Mode::GlobalJob => json!({"GlobalJob": {}}),
        })
    }

    pub fn apply(&self, spec: &mut Value) -> anyhow::Result<()> {
        if let Some(count) = self.replicas {
            match kind(spec) {
                Some("Replicated") => *member(spec, &["Mode", "Replicated", "Replicas"]) = count.into(),
                Some("ReplicatedJob") => {
                    *member(spec, &["Mode", "ReplicatedJob", "TotalCompletions"]) = count.into()
                }
                _ => return Err(refused("replicas can only be used with replicated mode")),
            }
        }
        if let Some(count) = self.max_concurrent {
            if kind(spec) != Some("ReplicatedJob") {
                return Err(refused("max-concurrent can only be used with replicated-job mode"));
            }
            *member(spec, &["Mode", "ReplicatedJob", "MaxConcurrent"]) = count.into();
        }
        if let Some(count) = self.replicas_max_per_node {
            if count > 0 && matches!(kind(spec), Some("Global" | "GlobalJob")) {
                let text = "replicas-max-per-node can only be used with replicated or replicated-job mode";
                return Err(refused(text));
            }
            *member(spec, &["TaskTemplate", "Placement", "MaxReplicas"]) = count.into();
        }
        Ok(())
    }
}

/// The number of tasks of a service that has one, for `service scale`.
pub fn scale(spec: &mut Value, count: u64) -> anyhow::Result<()> {
    match kind(spec) {
        Some("Replicated") => *member(spec, &["Mode", "Replicated", "Replicas"]) = count.into(),
        Some("ReplicatedJob") => *member(spec, &["Mode", "ReplicatedJob", "TotalCompletions"]) = count.into(),
        _ => return Err(refused("scale can only be used with replicated or replicated-job mode")),
    }
    Ok(())
}

/// Which mode a spec has, by its JSON name.
pub fn kind(spec: &Value) -> Option<&'static str> {
    let modes = ["Replicated", "Global", "ReplicatedJob", "GlobalJob"];
    modes.into_iter().find(|mode| look(spec, &["Mode", mode]).is_object())
}

pub fn is_job(spec: &Value) -> bool {
    matches!(kind(spec), Some("ReplicatedJob" | "GlobalJob"))
}
