//! How fast a cluster of each kind beats: what the leader expects of sessions, beside gossip's own numbers.

use std::time::Duration;

use common::limits::STOPPED_NODE_WAIT;
use common::object::LivenessPreset;

use crate::decide::liveness::Patience;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How often a node says that it is there.
    pub heartbeat_period: Duration,
    pub patience: Patience,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Pace {
    pub fn of(preset: LivenessPreset) -> Self {
        let (heartbeat_period, session_silence, reconnect) = match preset {
            LivenessPreset::Local => (ms(200), ms(700), ms(2_000)),
            LivenessPreset::Lan => (ms(300), ms(1_000), ms(3_000)),
            LivenessPreset::Wan => (ms(1_000), ms(4_000), ms(10_000)),
        };
        let unknown = ms(15_000);
        let patience = Patience { session_silence, reconnect, unknown, stopped: STOPPED_NODE_WAIT };
        Self { heartbeat_period, patience }
    }
}
