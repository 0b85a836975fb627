//! How far this node may trust its own judgement of others, after Lifeguard's idea.
//!
//! A node that wakes late, or that suddenly hears nobody at all, is itself the likelier patient. Time during
//! which it did not run does not count against others, and its suspicions take longer to become verdicts.

use std::time::Duration;

use crate::object::NodeId;
use crate::time::Monotonic;

/// Waking this much late is the machine's usual unevenness.
const LATENESS_TOLERATED: Duration = Duration::from_millis(10);
/// After a stall the network's queues are read for this long before any timer fires.
const GRACE: Duration = Duration::from_millis(30);
/// Lateness that doubles the time a suspicion takes.
const LATENESS_DOUBLING: Duration = Duration::from_millis(150);
/// How long lateness is remembered.
const LATENESS_MEMORY: Duration = Duration::from_secs(3);
/// Suspicions are stretched up to this many times.
const FACTOR_MAX: u32 = 8;
/// Lateness alone stretches up to this many times: the stalls themselves are already taken out.
const LATENESS_FACTOR_MAX: u32 = 3;

/// A clock that stands still while this node does not run, and what its stalls say about it.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Time during which this node should have run and did not.
    lost: Duration,
    in_grace: bool,
    worst_lateness: Duration,
    late_at: Monotonic,
    /// Members that did not answer since anybody was last heard; at most `FACTOR_MAX` of them.
    unanswered: Vec<NodeId>,
    stalls: u64,
}

impl Health {
    /// The time on which timers are set: machine time without stalls.
    pub fn awake(&self, now: Monotonic) -> Monotonic {
        Monotonic(now.0.saturating_sub(self.lost))
    }

    /// The machine time at which `awake` will be `at`.
    pub fn machine_time(&self, at: Monotonic) -> Monotonic {
        at.plus(self.lost)
    }

    /// Notices a stall: `next_at` is when the next timer should have fired.
    ///
    /// All timers move by as much as we are late, and by a moment more, once, in which answers that came in
    /// meanwhile can be read. Being late again right after that moment does not hold timers back another time.
    pub fn observe(&mut self, now: Monotonic, next_at: Option<Monotonic>) {
        let Some(next_at) = next_at else { return };
        let lateness = self.awake(now).since(next_at);
        if lateness <= LATENESS_TOLERATED {
            return;
        }
        let remembered = now.since(self.late_at) < LATENESS_MEMORY;
        if !remembered || lateness >= self.worst_lateness {
            (self.worst_lateness, self.late_at) = (lateness, now);
        }
        self.stalls += 1;
        self.lost += lateness;
        if !self.in_grace {
            self.in_grace = true;
            self.lost += GRACE;
        }
    }

    /// A timer fired: the next stall gets its own moment of grace.
    pub fn fired(&mut self) {
        self.in_grace = false;
    }

    /// Somebody was heard: we are connected.
    pub fn heard(&mut self) {
        self.unanswered.clear();
    }

    /// A probe ended without answer.
    pub fn unanswered(&mut self, node: NodeId) {
        if !self.unanswered.contains(&node) && self.unanswered.len() < FACTOR_MAX as usize {
            self.unanswered.push(node);
        }
    }

    /// How long a suspicion of ours takes at the moment, given how long it takes in good health.
    pub fn stretch(&self, suspicion: Duration, now: Monotonic) -> Duration {
        let deaf = u32::try_from(self.unanswered.len()).unwrap_or(FACTOR_MAX).clamp(1, FACTOR_MAX);
        let late =
            if now.since(self.late_at) < LATENESS_MEMORY { self.worst_lateness } else { Duration::ZERO };
        let late_extra = suspicion.mul_f64(late.as_secs_f64() / LATENESS_DOUBLING.as_secs_f64());
        let by_lateness = (suspicion + late_extra).min(suspicion * LATENESS_FACTOR_MAX);
        by_lateness.max(suspicion * deaf)
    }

    /// How often this node woke late.
    pub fn stalls(&self) -> u64 {
        self.stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    const S: Duration = Duration::from_millis(600);

    #[test]
    fn a_stall_moves_all_timers_and_grants_a_moment_once() {
        let mut health = Health::default();
        health.observe(at(1_300), Some(at(1_000)));
        assert_eq!(health.awake(at(1_330)), at(1_000), "300 ms stall and 30 ms grace");
        health.observe(at(1_340), Some(at(1_000)));
        assert_eq!(health.awake(at(1_340)), at(1_010), "10 ms late is nothing");
        health.observe(at(1_430), Some(at(1_000)));
        assert_eq!(health.awake(at(1_430)), at(1_000), "late again: no second grace, so the timer fires");
        health.fired();
        health.observe(at(1_530), Some(at(1_000)));
        assert_eq!(health.awake(at(1_560)), at(1_000), "a timer fired between, so there is grace again");
    }

    #[test]
    fn suspicions_take_longer_for_the_late_and_the_deaf() {
        let mut health = Health::default();
        let usual = health.stretch(S, at(10_000));
        assert_eq!(usual, S);
        health.observe(at(10_085), Some(at(10_010)));
        assert_eq!(health.stretch(S, at(10_085)), S * 3 / 2);
        assert_eq!(health.stretch(S, at(14_000)), S, "forgotten");
        for node in 0..20 {
            health.unanswered(NodeId(node % 10));
        }
        assert_eq!(health.stretch(S, at(14_000)), S * FACTOR_MAX);
        health.heard();
        assert_eq!(health.stretch(S, at(14_000)), S);
    }
}
