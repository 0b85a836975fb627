//! Stories of services, as an operator would tell them: commands, a line, what they show.
//!
//! Each file of `scenarios/` is one test. `SWARM_REWRITE=1` writes what was shown in place of what was expected; the
//! difference is to be read like code. Commands: `services/script.rs`.

#[path = "invariants/addresses_are_given_once.rs"]
mod addresses_are_given_once;
mod services;

use std::path::{Path, PathBuf};

use services::script;

const RULE: &str = "----\n";

#[test]
fn scenarios_show_what_they_say() {
    let rewrite = std::env::var_os("SWARM_REWRITE").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("a scenario is text");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (commands, expected) = text.split_once(RULE).unwrap_or((&text, ""));
        let shown = match std::panic::catch_unwind(|| script::run(commands)) {
            Ok(Ok(shown)) => shown,
            Ok(Err(error)) => {
                wrong.push(format!("{name}: {error:#}"));
                continue;
            }
            Err(_) => {
                wrong.push(format!("{name}: a rule was broken, see above"));
                continue;
            }
        };
        if shown == expected {
            continue;
        }
        if rewrite {
            std::fs::write(&path, format!("{commands}{RULE}{shown}")).expect("the scenario can be written");
        } else {
            wrong.push(format!("{name}: expected\n{expected}\nbut it shows\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whatever people and machines did: rules hold after every write, everything is well in the end, and then nothing is
/// left to do.
#[test]
fn any_story_ends_well() {
    for_seeds(40, |seed| services::random::story(seed, 40));
}

#[test]
fn a_full_network_gives_no_address_twice_and_goes_on_when_there_is_room() {
    for_seeds(40, services::networks::tight_story);
}

#[test]
fn a_service_keeps_what_its_update_rules_promise() {
    for_seeds(60, services::random::calm_story);
}

/// `SWARM_SIM_SEEDS` asks for more seeds, `SWARM_SIM_SEED` repeats one.
fn for_seeds(usual: u64, story: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("SWARM_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SWARM_SIM_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        if let Err(cause) = std::panic::catch_unwind(|| story(seed)) {
            eprintln!("repeat with SWARM_SIM_SEED={seed}");
            std::panic::resume_unwind(cause);
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(folder).expect("the scenarios are there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    files.sort();
    assert!(files.len() > 10, "only {} scenarios were found", files.len());
    files
}
