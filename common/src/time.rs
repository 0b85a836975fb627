//! Time as the program sees it: a trait, so that tests bring their own.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nanoseconds since 1970, UTC. For people and for the store; never subtracted to time something.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Zero when `earlier` is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// `2026-11-20T08:00:00.123456789Z`, as the Engine API writes times.
    pub fn to_rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp_nanos(self.0.into())
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_else(|| "0001-01-01T00:00:00Z".into())
    }

    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let nanoseconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
        u64::try_from(nanoseconds).ok().map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_rfc3339())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// A point on a clock that never jumps. Only differences mean something, and only on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// Zero when `earlier` is not earlier.
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

pub trait Clock: Send + Sync + 'static {
    /// Wall time: may jump, so it is shown and compared across nodes, but times nothing.
    fn now(&self) -> Timestamp;
    /// What delays and deadlines are measured on.
    fn monotonic(&self) -> Monotonic;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's wall clock")]
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Monotonic {
        // Tokio's clock, so that tests with paused time move this one too.
        static START: std::sync::OnceLock<tokio::time::Instant> = std::sync::OnceLock::new();
        Monotonic(START.get_or_init(tokio::time::Instant::now).elapsed())
    }
}

/// A clock that moves only when told.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<(Timestamp, Monotonic)>,
}

impl ManualClock {
    pub fn starting_at(now: Timestamp) -> Self {
        Self { now: Mutex::new((now, Monotonic::default())) }
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().expect("no holder panics");
        *now = (now.0.plus(by), now.1.plus(by));
    }

    /// Moves the wall clock alone, as an administrator or a bad time server would.
    pub fn jump_to(&self, wall: Timestamp) {
        self.now.lock().expect("no holder panics").0 = wall;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.now.lock().expect("no holder panics").0
    }

    fn monotonic(&self) -> Monotonic {
        self.now.lock().expect("no holder panics").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_keeps_nanoseconds() {
        let time = Timestamp(1_795_161_600_123_456_789);
        assert_eq!(time.to_rfc3339(), "2026-11-20T08:00:00.123456789Z");
        assert_eq!(Timestamp::from_rfc3339(&time.to_rfc3339()), Some(time));
        assert_eq!(Timestamp::from_rfc3339("yesterday"), None);
    }
}
