//! Health checks by command: when to run one, and what its results mean.
//!
//! `Checks` is pure; the loop around it is the module's.

use std::time::Duration;

use common::object::container::HealthCheck;

use crate::runtime::Health;

/// The engine's own defaults, which a zero in the spec asks for.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// How a check went; with the reason when it did not go well.
pub type Outcome = Result<(), String>;

/// The checks of one task so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
    /// It was well once: from then on every failure counts.
    was_well: bool,
    failures: u32,
    health: Health,
}

impl Checks {
    pub fn new(check: &HealthCheck, known: Health) -> Self {
        let or = |asked: Duration, default: Duration| if asked.is_zero() { default } else { asked };
        let interval = or(check.interval, INTERVAL);
        Self {
            interval,
            timeout: or(check.timeout, TIMEOUT),
            // A failure before the engine would have made its first check counts for nothing: ours begin at once,
            // so that a task which is well is known to be.
            start_period: check.start_period.max(interval),
            start_interval: or(check.start_interval, START_INTERVAL).min(interval),
            retries: if check.retries == 0 { RETRIES } else { check.retries },
            was_well: known == Health::Healthy,
            failures: 0,
            health: known,
        }
    }

    pub fn health(&self) -> &Health {
        &self.health
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long to wait before the next check, at that age of the task.
    pub fn pause(&self, age: Duration) -> Duration {
        if self.was_well || age >= self.start_period {
            return self.interval;
        }
        // The first one that counts comes when the engine's would.
        self.start_interval.min(self.start_period.saturating_sub(age))
    }

    /// Takes the result of a check that began at that age of the task.
    pub fn note(&mut self, age: Duration, outcome: Outcome) {
        match outcome {
            Ok(()) => {
                self.was_well = true;
                self.failures = 0;
                self.health = Health::Healthy;
            }
            Err(_) if !self.was_well && age < self.start_period => {}
            Err(reason) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.retries {
                    let times = self.failures;
                    let reason = format!("its health check failed {times} times in a row: {reason}");
                    self.health = Health::Unhealthy { reason };
                }
            }
        }
    }
}

/// The command of a check; none where there is nothing to check.
pub fn command(check: &HealthCheck) -> Option<Vec<String>> {
    match check.test.split_first() {
        Some((kind, command)) if kind == "CMD" && !command.is_empty() => Some(command.to_vec()),
        Some((kind, [line])) if kind == "CMD-SHELL" => {
            Some(vec!["/bin/sh".into(), "-c".into(), line.clone()])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn checks(start_period: u64) -> Checks {
        let check = HealthCheck {
            test: vec!["CMD".into(), "true".into()],
            interval: S(10),
            start_period: S(start_period),
            ..HealthCheck::default()
        };
        Checks::new(&check, Health::Starting)
    }

    #[test]
    fn what_was_not_said_is_the_engines() {
        let checks = Checks::new(&HealthCheck::default(), Health::Starting);
        assert_eq!((checks.interval, checks.timeout, checks.retries), (S(30), S(30), 3));
        assert_eq!(checks.pause(S(0)), S(5));
        assert_eq!(checks.pause(S(28)), S(2));
        assert_eq!(checks.pause(S(30)), S(30));
    }

    #[test]
    fn failures_count_in_a_row_once_it_has_had_its_time() {
        #[rustfmt::skip]
        let cases = [ // start period; (age, well) …; what that makes
            (0,  &[(0, true)][..],                                           "healthy"),
            (0,  &[(0, false), (5, false), (9, false), (9, false)],          "starting"),
            (0,  &[(10, false), (20, false)],                                "starting"),
            (0,  &[(10, false), (20, false), (30, false)],                   "unhealthy"),
            (0,  &[(10, false), (20, false), (30, true), (40, false)],       "healthy"),
            (60, &[(10, false), (20, false), (30, false), (59, false)],      "starting"),
            (60, &[(60, false), (70, false), (80, false)],                   "unhealthy"),
            // Once well, the start period is over.
            (60, &[(5, true), (15, false), (25, false), (35, false)],        "unhealthy"),
            (0,  &[(10, false), (20, false), (30, false), (40, true)],       "healthy"),
        ];
        for (start_period, results, expected) in cases {
            let mut checks = checks(start_period);
            for (age, well) in results {
                checks.note(S(*age), if *well { Ok(()) } else { Err("no".into()) });
            }
            let found = match checks.health() {
                Health::Unchecked => "unchecked",
                Health::Starting => "starting",
                Health::Healthy => "healthy",
                Health::Unhealthy { .. } => "unhealthy",
            };
            assert_eq!(found, expected, "{start_period} {results:?}");
        }
    }

    #[test]
    fn a_task_known_to_be_well_stays_so_until_it_fails_in_a_row() {
        let check = HealthCheck { retries: 2, ..HealthCheck::default() };
        let mut checks = Checks::new(&check, Health::Healthy);
        checks.note(S(0), Err("no".into()));
        assert_eq!(checks.health(), &Health::Healthy);
        checks.note(S(1), Err("no".into()));
        assert!(
            matches!(checks.health(), Health::Unhealthy { reason } if reason.ends_with("2 times in a row: no"))
        );
    }
}
