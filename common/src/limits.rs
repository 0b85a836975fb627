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

/// How long the command line waits for one answer of the daemon: longer than the daemon's own limit.
pub const CLIENT_REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// One answer of the daemon to the command line.
pub const CLIENT_BODY_BYTES_MAX: usize = 256 << 20;
/// How long `init` and `join` wait for the daemon they started to answer.
pub const DAEMON_START_TIME_MAX: Duration = Duration::from_secs(20);
/// Time between two looks whether a daemon that was just started answers.
pub const DAEMON_START_POLL: Duration = Duration::from_millis(25);
/// What a daemon started by `init` or `join` wrote before; a larger log is put aside first.
pub const DAEMON_LOG_BYTES_MAX: u64 = 16 << 20;
/// The part of that log shown when the daemon does not start.
pub const DAEMON_LOG_TAIL_BYTES: u64 = 4 << 10;
/// Times that an edit of an object is made again on a newer version before the conflict is reported.
pub const EDIT_ATTEMPTS_MAX: u32 = 4;
/// The text of one `--format` template.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// Blocks, parentheses and arguments within each other in a template.
pub const TEMPLATE_DEPTH_MAX: usize = 64;
/// What one template may print for one object, and the longest text one of its functions may make.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Steps taken, and 16 bytes handled count as one, while one template runs for one object.
pub const TEMPLATE_WORK_MAX: u64 = 4 << 20;
