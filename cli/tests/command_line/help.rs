//! What `--help` says, kept as a file so that a change of it is seen and reviewed.
//!
//! `UPDATE_GOLDEN=1 cargo test -p swarm --test command_line` writes the file anew.

use crate::fake_api::{Ran, swarm};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command_line/golden/help.txt");

/// Not here: `daemon` and `lab`, whose flags are theirs.
#[rustfmt::skip]
const COMMANDS: [&str; 70] = [
    "", "init", "join", "join-token", "leave", "update", "swarm", "swarm init", "info", "node", "node ls", "node inspect", "node ps",
    "node update", "node promote", "node demote", "node rm", "raft status", "gossip members", "version", "completion", "man",
    "service", "service create", "service update", "service scale", "service rollback", "service history", "service explain",
    "service rebalance", "service ls", "service ps", "service inspect", "service logs", "service rm", "service wait", "task",
    "task ls", "task inspect", "events", "client-cert", "client-cert create", "client-cert ls", "client-cert revoke", "audit",
    "context", "context create", "context ls", "context inspect", "context use", "context rm",
    "secret", "secret create", "secret rotate", "secret history", "secret ls", "secret inspect", "secret rm",
    "network", "network create", "network ls", "network inspect", "network rm",
    "config", "config create", "config rotate", "config history", "config ls", "config inspect", "config rm",
];

#[test]
fn help_is_as_reviewed() {
    let mut seen = String::new();
    for command in COMMANDS {
        let arguments: Vec<&str> =
            command.split(' ').filter(|word| !word.is_empty()).chain(["--help"]).collect();
        let ran = Ran::of(&mut swarm(&arguments));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{command}");
        seen.push_str(&format!("$ swarm {}\n{}\n", arguments.join(" "), ran.stdout));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &seen).expect("write the golden file");
    }
    let expected = std::fs::read_to_string(GOLDEN).expect("read the golden file");
    let different = seen.lines().zip(expected.lines()).position(|(seen, expected)| seen != expected);
    assert!(
        seen == expected,
        "help differs from {GOLDEN} at line {:?}; if that is meant, write it anew with UPDATE_GOLDEN=1:\n{seen}",
        different.map(|line| line + 1)
    );
}

#[test]
fn exit_codes_are_in_the_help() {
    let ran = Ran::of(&mut swarm(&["--help"]));
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "125 "] {
        assert!(ran.stdout.contains(&format!("\n  {code}")), "{code} in {}", ran.stdout);
    }
}
