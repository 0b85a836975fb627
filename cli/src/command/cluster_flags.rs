//! The cluster's settings as flags: the same for `init` and `update`.

use serde_json::{Value, json};

use crate::parse::duration::Nanoseconds;
use crate::parse::external_ca;
pub use crate::parse::members::{look, member};

#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Cluster settings")]
pub struct ClusterFlags {
    /// How long a node's certificate is valid (ns|us|ms|s|m|h) [default: 2160h]
    #[arg(long, value_name = "DURATION")]
    pub cert_expiry: Option<Nanoseconds>,

    /// Time between two heartbeats of a node (ns|us|ms|s|m|h) [default: 5s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub dispatcher_heartbeat: Option<Nanoseconds>,

    /// Endpoint that signs certificates instead of this cluster; may be repeated
    #[arg(long = "external-ca", value_name = "protocol=cfssl,url=URL[,cacert=FILE]", value_parser = external_ca::parse)]
    pub external_cas: Vec<Value>,

    /// How patient the cluster is with silent nodes: one machine, one site, or several sites [default: lan]
    #[arg(long, value_enum)]
    pub liveness: Option<Liveness>,

    /// Raft snapshots kept beside the newest [default: 0]
    #[arg(long, value_name = "N")]
    pub max_snapshots: Option<u64>,

    /// Entries of the raft log between two snapshots [default: 10000]
    #[arg(long, value_name = "N")]
    pub snapshot_interval: Option<u64>,

    /// Finished tasks remembered per slot [default: 5]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub task_history_limit: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Liveness {
    Local,
    Lan,
    Wan,
}

impl ClusterFlags {
    pub fn any(&self) -> bool {
        self.cert_expiry.is_some()
            || self.dispatcher_heartbeat.is_some()
            || !self.external_cas.is_empty()
            || self.liveness.is_some()
            || self.max_snapshots.is_some()
            || self.snapshot_interval.is_some()
            || self.task_history_limit.is_some()
    }

    /// Puts what was asked for into a cluster's spec, as JSON: members this program does not know stay as they are.
    pub fn apply(&self, spec: &mut Value) {
        if let Some(Nanoseconds(expiry)) = self.cert_expiry {
            *member(spec, &["CAConfig", "NodeCertExpiry"]) = expiry.into();
        }
        if let Some(Nanoseconds(period)) = self.dispatcher_heartbeat {
            *member(spec, &["Dispatcher", "HeartbeatPeriod"]) = period.into();
        }
        if !self.external_cas.is_empty() {
            *member(spec, &["CAConfig", "ExternalCAs"]) = json!(self.external_cas);
        }
        if let Some(liveness) = self.liveness {
            *member(spec, &["Liveness"]) = liveness.as_str().into();
        }
        if let Some(count) = self.max_snapshots {
            *member(spec, &["Raft", "KeepOldSnapshots"]) = count.into();
        }
        if let Some(entries) = self.snapshot_interval {
            *member(spec, &["Raft", "SnapshotInterval"]) = entries.into();
        }
        if let Some(limit) = self.task_history_limit {
            *member(spec, &["Orchestration", "TaskHistoryRetentionLimit"]) = limit.into();
        }
    }
}

impl Liveness {
    fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_changes() {
        let mut spec = json!({
            "Name": "default", "FromTheFuture": 1, "CAConfig": {"NodeCertExpiry": 1, "ForceRotate": 2}, "Raft": null,
        });
        let flags = ClusterFlags {
            cert_expiry: Some(Nanoseconds(3)),
            max_snapshots: Some(4),
            liveness: Some(Liveness::Wan),
            ..ClusterFlags::default()
        };
        assert!(flags.any() && !ClusterFlags::default().any());
        ClusterFlags::default().apply(&mut spec);
        flags.apply(&mut spec);
        assert_eq!(
            spec,
            json!({
                "Name": "default", "FromTheFuture": 1, "CAConfig": {"NodeCertExpiry": 3, "ForceRotate": 2},
                "Raft": {"KeepOldSnapshots": 4}, "Liveness": "wan",
            })
        );
    }
}
