//! Every bound of the program, named with its unit. A queue, batch, retry or message without one is a defect.

use std::time::Duration;

/// One framed message between nodes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// One message on the join endpoint, where anybody may call.
pub const JOIN_FRAME_BYTES_MAX: usize = 64 << 10;
/// A gossip datagram; equal on all nodes, and what fits after QUIC falls back to its smallest packet.
pub const GOSSIP_DATAGRAM_BYTES_MAX: usize = 1150;
/// A request body of the API for cluster objects.
pub const API_BODY_BYTES_MAX: usize = 4 << 20;
/// A file of this node's state other than raft's.
pub const STATE_FILE_BYTES_MAX: usize = 1 << 20;
/// Changes in one proposal.
pub const PROPOSAL_CHANGES_MAX: usize = 200;
/// Encoded size of one proposal.
pub const PROPOSAL_BYTES_MAX: usize = 3 << 19;
/// Changes the feed keeps for readers that lag.
pub const FEED_CHANGES_MAX: usize = 16_384;
/// One chunk of a snapshot in a file and on the wire.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;

/// How long a write or a linearizable read waits for a leader before it says that there is none.
pub const LEADER_WAIT: Duration = Duration::from_millis(1_800);
/// How long an API request to the control plane may take in all.
pub const API_REQUEST_TIME_MAX: Duration = Duration::from_secs(20);
/// Session events that wait for the control loop.
pub const SESSION_EVENTS_MAX: usize = 1024;
/// How long a node that opened a session may take to say who it is.
pub const SESSION_HELLO_WAIT: Duration = Duration::from_secs(5);
/// How long one message to a node may take to leave; a node that does not read loses its session.
pub const SESSION_SEND_WAIT: Duration = Duration::from_secs(5);
/// Members gossip keeps, the dead ones included; packets that would bring more are dropped.
pub const GOSSIP_MEMBERS_MAX: usize = 16_384;
/// One small fact that travels with gossip.
pub const GOSSIP_FACT_BYTES_MAX: usize = 256;
/// Refused nodes that gossip remembers; the store has them all.
pub const GOSSIP_DENIED_MAX: usize = 256;
/// Goodbyes that gossip remembers.
pub const GOSSIP_LEFT_MAX: usize = 1024;
/// Managers and first contacts that gossip calls when it is alone.
pub const GOSSIP_CONTACTS_MAX: usize = 64;
/// Changes of membership that wait for a slow reader; what is older is lost to it, and it is told so.
pub const GOSSIP_EVENTS_MAX: usize = 1024;
/// Commands that wait for the gossip task.
pub const GOSSIP_COMMANDS_MAX: usize = 64;
/// Datagrams gossip reads before it looks at its timers again.
pub const GOSSIP_DATAGRAMS_PER_TURN_MAX: usize = 1024;
/// How long a node takes at most to say goodbye.
pub const GOSSIP_LEAVE_WAIT: Duration = Duration::from_secs(2);
