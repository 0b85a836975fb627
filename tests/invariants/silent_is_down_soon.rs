//! A node that nobody can hear is written down within the promised time, while somebody leads: work that was on it
//! has to go on elsewhere.

use std::time::Duration;

use common::object::{Node, NodeState};
use common::time::Monotonic;

/// The promise, at the default settings.
pub const MEDIAN: Duration = Duration::from_millis(1_500);
pub const WORST: Duration = Duration::from_millis(3_000);

/// `silent_since` is when the node was last able to say anything, `led_since` since when one leader, itself well,
/// has led: the later of both counts.
pub fn check(node: &Node, silent_since: Monotonic, led_since: Monotonic, now: Monotonic, bound: Duration) {
    let silent = now.since(silent_since.max(led_since));
    let down = node.status.state == NodeState::Down;
    assert!(
        down || silent <= bound,
        "node {} is silent for {silent:?} and still {}",
        node.id,
        node.status.state
    );
}
