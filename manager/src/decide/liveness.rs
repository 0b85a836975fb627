//! Which nodes are ready, unknown or down.
//!
//! Pure. Two independent signals are put together: the node's session with the leader, and gossip.
//! Both silent means down, at once; one alone is never enough, because each fails in ways of its own:
//! gossip under packet loss, a session when one link or one process is slow. A node that says goodbye is believed: it
//! is down at once when it leaves, and has a moment to come back when only its daemon stops.
//!
//! Not here: what happens to the tasks of a lost node.

use std::time::Duration;

use common::object::{Node, NodeState};
use common::time::Monotonic;

/// What the leader hears of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// When its present session last brought a message; none without a session.
    pub session: Option<Monotonic>,
    pub gossip: Gossip,
}

/// What gossip says of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gossip {
    /// Never heard of.
    #[default]
    Silent,
    Alive,
    Suspect,
    Dead,
    /// It said goodbye, and may come back.
    Stopped,
    /// It said that it leaves for good.
    Left,
}

/// How patient the leader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A session without a message for this long counts as lost.
    pub session_silence: Duration,
    /// After a change of leader, nodes have this long to open their session.
    pub reconnect: Duration,
    /// A node that gossip hears, but that has no session, is down after this long.
    pub unknown: Duration,
    /// A node whose daemon was stopped in good order has this long to come back before it is down.
    pub stopped: Duration,
}

/// What a node's state should be now, and when to look again if nothing is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub state: NodeState,
    pub message: &'static str,
    pub look_again_at: Option<Monotonic>,
}

/// Judges one node. `leading_since` is when this manager began to lead, `lost_since` when it first saw the
/// session missing in this term; before that nobody could have been heard.
pub fn judge(
    node: &Node,
    heard: Heard,
    leading_since: Monotonic,
    lost_since: Option<Monotonic>,
    patience: &Patience,
    now: Monotonic,
) -> Verdict {
    if let Some(last) = heard.session {
        let deadline = last.plus(patience.session_silence);
        if now < deadline {
            return Verdict { state: NodeState::Ready, message: "", look_again_at: Some(deadline) };
        }
    }
    let mut verdict = judge_silent(node, heard.gossip, leading_since, lost_since, patience, now);
    if heard.session.is_some() {
        // The session may bring messages again, as after a pause of the node, and messages wake nobody.
        let soon = now.plus(patience.session_silence / 4);
        verdict.look_again_at = Some(verdict.look_again_at.map_or(soon, |at| at.min(soon)));
    }
    verdict
}

/// Judges a node of which no session brings anything.
fn judge_silent(
    node: &Node,
    gossip: Gossip,
    leading_since: Monotonic,
    lost_since: Option<Monotonic>,
    patience: &Patience,
    now: Monotonic,
) -> Verdict {
    // Until then a node that is there may have had no time to be heard by this leader.
    let heard_from = leading_since.plus(patience.session_silence);
    let down = |message| Verdict { state: NodeState::Down, message, look_again_at: None };
    match gossip {
        // Gossip's word alone, which may be about a life that has ended: the node is back, and not everybody knows.
        Gossip::Stopped | Gossip::Left | Gossip::Dead if now < heard_from => {
            Verdict { state: node.status.state, message: keep(node), look_again_at: Some(heard_from) }
        }
        Gossip::Left => down(LEFT),
        Gossip::Dead => down(SILENT),
        Gossip::Stopped if node.status.state == NodeState::Down => down(keep(node)),
        Gossip::Stopped => {
            let until = lost_since.unwrap_or(now).max(leading_since).plus(patience.stopped);
            match now < until {
                true => {
                    Verdict { state: NodeState::Disconnected, message: STOPPING, look_again_at: Some(until) }
                }
                false => down(STOPPED),
            }
        }
        Gossip::Silent | Gossip::Alive | Gossip::Suspect => {
            let lost_at = lost_since.unwrap_or(now).max(leading_since);
            let reconnect_until = leading_since.plus(patience.reconnect);
            let unknown_until = lost_at.plus(patience.unknown).max(reconnect_until);
            match (node.status.state, now < reconnect_until, now < unknown_until) {
                // A new leader gives everybody the time to come over before it says anything.
                (state, true, _) => {
                    Verdict { state, message: keep(node), look_again_at: Some(reconnect_until) }
                }
                (NodeState::Down, false, _) | (_, false, false) => down(NO_SESSION),
                // It is on its way back, or this leader has not heard of its goodbye.
                (state @ NodeState::Disconnected, false, true) => {
                    Verdict { state, message: keep(node), look_again_at: Some(unknown_until) }
                }
                (NodeState::Ready | NodeState::Unknown, false, true) => Verdict {
                    state: NodeState::Unknown,
                    message: SESSION_LOST,
                    look_again_at: Some(unknown_until),
                },
            }
        }
    }
}

/// The message that goes with an unchanged state: the one that is there, so that keeping costs no write.
fn keep(node: &Node) -> &'static str {
    let ours = [LEFT, STOPPED, STOPPING, SILENT, NO_SESSION, SESSION_LOST]
        .into_iter()
        .find(|ours| *ours == node.status.message);
    match node.status.state {
        NodeState::Ready => "",
        NodeState::Down => ours.unwrap_or(SILENT),
        NodeState::Unknown | NodeState::Disconnected => ours.unwrap_or("waiting for the node's session"),
    }
}

const LEFT: &str = "node left the swarm";
const STOPPED: &str = "node was stopped and did not come back";
const STOPPING: &str = "node was stopped, its tasks stay for a moment";
const SILENT: &str = "heartbeat failure";
const NO_SESSION: &str = "no session with a manager";
const SESSION_LOST: &str = "session lost, node is still heard by others";

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::{Availability, NodeId, Role};
    use proptest::prelude::*;

    const PATIENCE: Patience = Patience {
        session_silence: Duration::from_millis(1000),
        reconnect: Duration::from_millis(2000),
        unknown: Duration::from_secs(10),
        stopped: Duration::from_secs(5),
    };

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn node(state: NodeState) -> Node {
        let mut node = Node::new(NodeId(1), Role::Worker, Availability::Active);
        node.status.state = state;
        node
    }

    #[test]
    fn one_signal_alone_never_takes_a_node_down() {
        use Gossip::*;
        use NodeState::*;
        #[rustfmt::skip]
        let cases = [ // state before, session heard at, gossip, leading since, lost since, now, state after
            (Unknown, Some(99_900), Alive,  0,      None,          100_000, Ready),
            (Down,    Some(99_900), Dead,   0,      None,          100_000, Ready),   // a session is proof of life
            (Ready,   Some(99_900), Dead,   0,      None,          100_000, Ready),   // false alarm of gossip
            (Ready,   Some(98_000), Dead,   0,      Some(99_000),  100_000, Down),    // both silent
            (Ready,   None,         Dead,   0,      Some(99_999),  100_000, Down),
            (Ready,   None,         Left,   0,      Some(99_999),  100_000, Down),
            (Ready,   None,         Alive,  0,      Some(99_999),  100_000, Unknown), // session alone is lost
            (Ready,   None,         Suspect, 0,     Some(99_999),  100_000, Unknown),
            (Unknown, None,         Alive,  0,      Some(89_000),  100_000, Down),    // grace is over
            (Down,    None,         Alive,  0,      Some(99_000),  100_000, Down),    // only a session brings it back
            (Ready,   None,         Alive,  99_000, Some(99_000),  100_000, Ready),   // a new leader waits
            (Ready,   None,         Silent, 99_000, Some(99_000),  100_000, Ready),
            (Ready,   None,         Dead,   99_000, Some(99_000),  100_000, Down),
            (Ready,   None,         Dead,   99_001, Some(99_001),  100_000, Ready),   // it may just have restarted
            (Ready,   None,         Left,   99_001, Some(99_001),  100_000, Ready),
            (Ready,   None,         Stopped, 0,     None,          100_000, Disconnected), // it may be back soon
            (Unknown, None,         Stopped, 0,     Some(95_001),  100_000, Disconnected),
            (Disconnected, None,    Stopped, 0,     Some(95_000),  100_000, Down),    // it was not
            (Disconnected, None,    Stopped, 99_000, Some(10_000), 100_000, Disconnected), // as the last leader said
            (Down,    None,         Stopped, 0,     Some(99_999),  100_000, Down),    // a goodbye is no return
            (Disconnected, None,    Dead,   0,      Some(99_999),  100_000, Down),    // its host went too
            (Disconnected, Some(99_900), Alive, 0,  None,          100_000, Ready),
            (Disconnected, None,    Alive,  0,      Some(99_000),  100_000, Disconnected), // on its way back
            (Disconnected, None,    Alive,  0,      Some(89_000),  100_000, Down),
            (Down,    None,         Dead,   99_001, Some(99_001),  100_000, Down),
            (Unknown, None,         Silent, 0,      Some(0),       100_000, Down),    // joined, never came
        ];
        for (before, session, gossip, leading, lost, now, after) in cases {
            let heard = Heard { session: session.map(at), gossip };
            let verdict = judge(&node(before), heard, at(leading), lost.map(at), &PATIENCE, at(now));
            assert_eq!(verdict.state, after, "{before:?} {session:?} {gossip:?} {leading} {lost:?}");
        }
    }

    #[test]
    fn a_session_that_is_silent_is_looked_at_again_soon() {
        #[rustfmt::skip]
        let cases = [ // state before, session heard at, gossip, state after, look again at
            (NodeState::Ready,   Some(90_000), Gossip::Dead,  NodeState::Down,    Some(100_250)), // a paused node
            (NodeState::Down,    Some(90_000), Gossip::Alive, NodeState::Down,    Some(100_250)), // gossip is faster
            (NodeState::Ready,   Some(90_000), Gossip::Alive, NodeState::Unknown, Some(100_250)),
            (NodeState::Ready,   None,         Gossip::Dead,  NodeState::Down,    None), // a new session is an event
            (NodeState::Unknown, None,         Gossip::Alive, NodeState::Unknown, Some(109_000)),
            (NodeState::Ready,   None,         Gossip::Stopped, NodeState::Disconnected, Some(104_000)),
        ];
        for (before, session, gossip, after, again) in cases {
            let heard = Heard { session: session.map(at), gossip };
            let verdict = judge(&node(before), heard, at(0), Some(at(99_000)), &PATIENCE, at(100_000));
            assert_eq!(
                (verdict.state, verdict.look_again_at),
                (after, again.map(at)),
                "{before:?} {heard:?}"
            );
        }
    }

    #[test]
    fn a_new_leader_keeps_what_the_last_one_wrote() {
        for (state, message, kept) in [
            (NodeState::Ready, "", ""),
            (NodeState::Down, STOPPED, STOPPED),
            (NodeState::Down, LEFT, LEFT),
            (NodeState::Disconnected, STOPPING, STOPPING),
            (NodeState::Down, NO_SESSION, NO_SESSION),
            (NodeState::Unknown, SESSION_LOST, SESSION_LOST),
            (NodeState::Unknown, "", "waiting for the node's session"),
        ] {
            let mut node = node(state);
            node.status.message = message.into();
            for gossip in [Gossip::Silent, Gossip::Alive, Gossip::Dead, Gossip::Stopped, Gossip::Left] {
                let heard = Heard { session: None, gossip };
                let verdict = judge(&node, heard, at(10_000), Some(at(10_000)), &PATIENCE, at(10_001));
                assert_eq!((verdict.state, verdict.message), (state, kept), "{gossip:?}");
            }
        }
    }

    proptest! {
        /// Looking again when told, and not before, misses nothing: until then the verdict stands.
        #[test]
        fn a_verdict_stands_until_it_says(
            state in prop::sample::select(vec![NodeState::Unknown, NodeState::Down, NodeState::Ready, NodeState::Disconnected]),
            session in prop::option::of(0u64..20_000),
            gossip in prop::sample::select(vec![Gossip::Silent, Gossip::Alive, Gossip::Suspect, Gossip::Dead, Gossip::Stopped, Gossip::Left]),
            leading in 0u64..20_000,
            lost in prop::option::of(0u64..20_000),
            now in 20_000u64..40_000,
            later in 0u64..40_000,
        ) {
            let heard = Heard { session: session.map(at), gossip };
            let lost = Some(at(lost.unwrap_or(now)));
            let verdict = judge(&node(state), heard, at(leading), lost, &PATIENCE, at(now));
            let settled = node(verdict.state);
            let end = verdict.look_again_at.unwrap_or(at(u64::MAX / 4_000_000));
            prop_assert!(end > at(now));
            let moment = at(now + later);
            if moment < end {
                let again = judge(&settled, heard, at(leading), lost, &PATIENCE, moment);
                prop_assert_eq!(again.state, verdict.state);
            }
        }
    }
}
