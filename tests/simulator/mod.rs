//! Many nodes in one thread and in virtual time. One seed decides everything, so a failure is repeated by its seed.
//!
//! - `world`: nodes and the queue of what happens next; `network`: what becomes of a datagram.
//! - `seeds`: which seeds to run; more with `SWARM_SIM_SEEDS=200`, one certain one with `SWARM_SIM_SEED=17`.
//! - `table`: measured times for people.

pub mod network;
pub mod table;
pub mod world;

use std::time::Duration;

/// Runs `check` for `usual` seeds, or as many as asked for, and names the seed of one that fails.
pub fn seeds(usual: u64, check: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SWARM_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..number("SWARM_SIM_SEEDS").unwrap_or(usual) + 1,
    };
    for seed in seeds {
        let _named = NamesSeed(seed);
        check(seed);
    }
}

/// Speaks up only when dropped by a failing check.
struct NamesSeed(u64);

impl Drop for NamesSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {0}; repeat with SWARM_SIM_SEED={0}", self.0);
        }
    }
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
