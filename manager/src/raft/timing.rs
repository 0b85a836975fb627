//! How fast raft beats.

use std::time::Duration;

use common::object::cluster::LivenessPreset;

/// A follower that hears nothing stands for election after a random time between the two bounds, counted from
/// when the last leader's lease ran out, which is the longer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
}

impl Timing {
    pub fn of(preset: LivenessPreset) -> Self {
        let (heartbeat, election_min, election_max) = match preset {
            LivenessPreset::Local => (50, 150, 300),
            LivenessPreset::Lan => (100, 250, 450),
            LivenessPreset::Wan => (500, 1_500, 3_000),
        };
        Self {
            heartbeat: Duration::from_millis(heartbeat),
            election_min: Duration::from_millis(election_min),
            election_max: Duration::from_millis(election_max),
        }
    }
}
