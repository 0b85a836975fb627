//! Whole clusters from seeds: real decisions, store, dispatch and agents under crashes, partitions, and messages that
//! are late, lost or doubled. The invariants hold after every event, and all is well once faults have ended.
//!
//! A short set by default. `SWARM_SIM_SEEDS=1000` asks for more, `SWARM_SIM_SEED=17` repeats one, and
//! `SWARM_SIM_TRACE=500` shows more of what happened before a failure. A story takes about a quarter of a second of
//! one core without optimizations: a thousand take minutes.

mod invariants {
    pub mod addresses_are_given_once;
    pub mod nothing_is_lost;
    pub mod one_task_per_slot;
    pub mod payloads_stay_close;
    pub mod reservations_are_kept;
    pub mod tasks_go_forward;
    pub mod the_mesh_is_known;
    pub mod update_keeps_enough;
}
#[allow(dead_code, reason = "other simulations use the rest")]
mod simulator;
mod whole;

use simulator::seeds;
use whole::planted::{self, Tamper};
use whole::story::story;

/// Seeds within which a planted fault has to show.
const PLANTED_SEEDS: u64 = 20;

#[test]
fn whatever_happens_services_run_as_asked() {
    seeds(60, |seed| {
        if let Err(failure) = story(seed, planted::nothing) {
            panic!("{failure}");
        }
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| story(seed, planted::nothing).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    for seed in [2, 11, 14] {
        let (one, other) = (run(seed), run(seed));
        if let Some((one, other)) = one.iter().zip(&other).find(|(one, other)| one != other) {
            panic!("seed {seed}: first\n{one}\nthen\n{other}");
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
        assert_ne!(one, run(seed + 1), "another seed is another run");
    }
}

#[test]
fn each_invariant_notices_what_breaks_it() {
    #[rustfmt::skip]
    let cases: [(Tamper, &str); 5] = [ // the fault, what is said of it
        (planted::tasks_come_twice, "tasks are wanted in slot"),
        (planted::all_at_once,      "are out of service"),
        (planted::all_on_one_node,  "are reserved"),
        (planted::tasks_go_back,    "a task does not go from running to preparing"),
        (planted::no_successors,    "lacks tasks"),
    ];
    for (tamper, expected) in cases {
        let failures = (1..=PLANTED_SEEDS).filter_map(|seed| story(seed, tamper).err());
        let last_lines = failures.filter_map(|failure| Some(failure.split("ms: ").last()?.to_string()));
        assert!(last_lines.into_iter().any(|line| line.contains(expected)), "nobody said: {expected}");
    }
}
