//! What a task may use, and what is kept free for it.

use serde_json::Value;

use super::{container_member, put};
use crate::parse::members::member;
use crate::parse::service_value::swap;
use crate::parse::{cpus, size};

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Resources")]
pub struct ResourceFlags {
    /// Processors a task may use, as 0.5; 0 means any
    #[arg(long, value_name = "N", value_parser = cpus::parse)]
    pub limit_cpu: Option<i64>,

    /// Memory a task may use, as 512M; 0 means any
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub limit_memory: Option<i64>,

    /// Processes and threads a task may have; 0 means any
    #[arg(long, value_name = "N", visible_alias = "pids-limit", allow_negative_numbers = true)]
    pub limit_pids: Option<i64>,

    /// Processors kept free for each task
    #[arg(long, value_name = "N", value_parser = cpus::parse)]
    pub reserve_cpu: Option<i64>,

    /// Memory kept free for each task
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub reserve_memory: Option<i64>,

    /// Swap a task may use; -1 means any
    #[arg(long, value_name = "SIZE", value_parser = swap, allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,

    /// How readily memory is swapped, 0 to 100; -1 means the host's setting
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(-1..=100), allow_negative_numbers = true)]
    pub memory_swappiness: Option<i64>,

    /// Who goes first when memory runs out, -1000 to 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(-1000..=1000), allow_negative_numbers = true)]
    pub oom_score_adj: Option<i64>,
}

impl ResourceFlags {
    pub fn apply(&self, spec: &mut Value) {
        #[rustfmt::skip]
        let amounts: [(&[&str], Option<i64>); 7] = [
            (&["Limits", "NanoCPUs"],           self.limit_cpu),
            (&["Limits", "MemoryBytes"],        self.limit_memory),
            (&["Limits", "Pids"],               self.limit_pids),
            (&["Reservations", "NanoCPUs"],     self.reserve_cpu),
            (&["Reservations", "MemoryBytes"],  self.reserve_memory),
            (&["SwapBytes"],                    self.memory_swap),
            (&["MemorySwappiness"],             self.memory_swappiness.filter(|value| *value >= 0)),
        ];
        for (path, amount) in amounts {
            if let Some(amount) = amount {
                *member(member(spec, &["TaskTemplate", "Resources"]), path) = amount.into();
            }
        }
        if self.memory_swappiness == Some(-1) {
            put(member(spec, &["TaskTemplate", "Resources"]), "MemorySwappiness", Value::Null);
        }
        if let Some(score) = self.oom_score_adj {
            *container_member(spec, "OomScoreAdj") = score.into();
        }
    }
}
