//! Policies of a service: when a finished task is started anew, and how an update rolls.
//!
//! A member that is none was not said; `or_default` gives what then holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::words;

/// When a finished task gets a successor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    pub condition: Option<RestartCondition>,
    pub delay: Option<Duration>,
    /// 0 means any number.
    pub attempts_max: Option<u64>,
    /// Attempts count within this time before the end; zero means since the spec came.
    pub window: Option<Duration>,
    /// Longest pause that repeated failures grow to. Ours.
    pub delay_max: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RestartCondition {
    None,
    OnFailure,
    #[default]
    Any,
}

pub const RESTART_DELAY_DEFAULT: Duration = Duration::from_secs(5);
pub const RESTART_DELAY_MAX_DEFAULT: Duration = Duration::from_secs(300);

impl RestartPolicy {
    pub fn condition(&self) -> RestartCondition {
        self.condition.unwrap_or_default()
    }

    pub fn delay(&self) -> Duration {
        self.delay.unwrap_or(RESTART_DELAY_DEFAULT)
    }

    pub fn attempts_max(&self) -> u64 {
        self.attempts_max.unwrap_or_default()
    }

    pub fn window(&self) -> Duration {
        self.window.unwrap_or_default()
    }

    pub fn delay_max(&self) -> Duration {
        self.delay_max.unwrap_or(RESTART_DELAY_MAX_DEFAULT).max(self.delay())
    }
}

/// How tasks are replaced when their spec changes; the same type says how a rollback does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// Slots replaced at a time; 0 means all. (A service without any update config replaces one at a time.)
    pub parallelism: u64,
    /// Between a slot done and the next.
    pub delay: Duration,
    pub failure_action: Option<FailureAction>,
    /// How long a new task is watched for failure.
    pub monitor: Option<Duration>,
    pub failure_ratio_max: Ratio,
    pub order: Option<UpdateOrder>,
    /// Without any slot done for this long, the update has failed. Ours; none: no deadline.
    pub progress_deadline: Option<Duration>,
    /// A new task counts as done when it was ready for this long. Ours.
    pub healthy_min: Option<Duration>,
}

pub const UPDATE_MONITOR_DEFAULT: Duration = Duration::from_secs(5);

impl UpdateConfig {
    /// What holds for a service that says nothing.
    pub fn when_absent() -> Self {
        Self { parallelism: 1, ..Self::default() }
    }

    pub fn failure_action(&self) -> FailureAction {
        self.failure_action.unwrap_or_default()
    }

    pub fn monitor(&self) -> Duration {
        self.monitor.unwrap_or(UPDATE_MONITOR_DEFAULT)
    }

    pub fn order(&self) -> UpdateOrder {
        self.order.unwrap_or_default()
    }

    pub fn healthy_min(&self) -> Duration {
        self.healthy_min.unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureAction {
    #[default]
    Pause,
    Continue,
    Rollback,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UpdateOrder {
    #[default]
    StopFirst,
    StartFirst,
}

/// A share between 0 and 1, in millionths, so that equal means equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ratio(u32);

impl Ratio {
    const ONE: u32 = 1_000_000;

    /// None outside 0 to 1.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then(|| Self((value * f64::from(Self::ONE)).round() as u32))
    }

    pub fn value(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE)
    }

    /// Whether `part` of `whole` is more than this share.
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Self::ONE) > u128::from(self.0) * u128::from(whole)
    }
}

words!(
    RestartCondition,
    "restart condition",
    "none, on-failure or any",
    None = "none",
    OnFailure = "on-failure",
    Any = "any"
);
words!(
    FailureAction,
    "failure action",
    "pause, continue or rollback",
    Pause = "pause",
    Continue = "continue",
    Rollback = "rollback"
);
words!(
    UpdateOrder,
    "update order",
    "stop-first or start-first",
    StopFirst = "stop-first",
    StartFirst = "start-first"
);
