//! Runs one of a program's fuzz targets under libFuzzer.
//!
//! A fuzz program holds all targets of its crate. The environment says what to do: `SWARM_FUZZ_TARGET` names the
//! target to run; `SWARM_FUZZ_SEEDS` a folder to write its seeds to instead; with neither, the targets are listed.
//!
//! Seeds are valid input, made by the code that makes it in life: they follow each change of a format.

use std::alloc::System;
use std::path::Path;
use std::sync::OnceLock;

use cap::Cap;

/// What one input may have allocated at a time, beyond what was there before it. Our largest message is 16 MiB.
const MEMORY_BYTES_MAX: usize = 64 << 20;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Something that reads bytes: it may refuse them, and must not panic, hang, or fill the memory.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Chooses what to run, as the environment says; ends the program where there is nothing to run.
pub fn start(targets: &[Target]) {
    let Ok(name) = std::env::var("SWARM_FUZZ_TARGET") else {
        targets.iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    };
    let target = targets.iter().find(|target| target.name == name).expect("SWARM_FUZZ_TARGET names a target");
    if let Ok(folder) = std::env::var("SWARM_FUZZ_SEEDS") {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            let file = Path::new(&folder).join(format!("seed-{number:02}"));
            std::fs::write(file, seed).expect("the folder for seeds can be written to");
        }
        std::process::exit(0);
    }
    CHOSEN.get_or_init(|| *target);
}

/// Gives one input to the chosen target.
pub fn run(data: &[u8]) {
    let target = CHOSEN.get().expect("libFuzzer starts before it runs");
    // An allocation beyond it fails, which ends the program, which libFuzzer reports with the input.
    MEMORY.set_limit(MEMORY.allocated() + MEMORY_BYTES_MAX).expect("more than is allocated");
    (target.run)(data);
    MEMORY.set_limit(usize::MAX).expect("more than is allocated");
}

/// Takes a byte off the front; zero at the end.
pub fn take_byte(data: &mut &[u8]) -> u8 {
    match data.split_first() {
        Some((first, rest)) => {
            *data = rest;
            *first
        }
        None => 0,
    }
}
