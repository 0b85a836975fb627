//! Tests that this machine cannot run say so, past the capture of test output.

use std::io::Write;

/// Names of what must not be missing, separated by commas: there a skipped test is a failed one.
const REQUIRE: &str = "SWARM_TESTS_REQUIRE";

/// Says that `test` was skipped because `what` is not here; panics where `what` was promised to be.
pub fn skipped(test: &str, what: &str, reason: &str) {
    let required = std::env::var(REQUIRE).unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == what),
        "{test} needs {what}, which {REQUIRE} says is here: {reason}"
    );
    // Not `eprintln`, which the test runner keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: no {what}: {reason}");
}
