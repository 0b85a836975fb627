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

/// Streams that peers opened and the owner of the transport has not taken yet.
pub const STREAM_ARRIVALS_MAX: usize = 256;
/// Datagrams received and not taken yet.
pub const DATAGRAM_ARRIVALS_MAX: usize = 1024;
/// Datagrams that wait for a connection to one peer.
pub const DATAGRAMS_WAITING_MAX: usize = 16;
/// Streams that a node may have open on one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// Bytes that a node may have sent us on one stream, and on one connection, before we have read them.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes written to one connection that the peer has not acknowledged.
pub const SEND_WINDOW_BYTES: u64 = 8 << 20;
/// Datagrams of one connection on their way in and out.
pub const DATAGRAM_RECEIVE_BUFFER_BYTES: usize = 256 << 10;
pub const DATAGRAM_SEND_BUFFER_BYTES: usize = 64 << 10;
/// Connections to one peer on one lane; more than one only while a new one replaces an old one.
pub const CONNECTIONS_PER_PEER_MAX: usize = 4;
/// Handshakes that others began and have not finished: in all, and from one address.
pub const HANDSHAKES_MAX: usize = 512;
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 128;
/// How long one such handshake may take.
pub const HANDSHAKE_ACCEPT_TIME_MAX: Duration = Duration::from_secs(3);
/// How long a stream may be open before it says what it is for.
pub const STREAM_KIND_WAIT: Duration = Duration::from_secs(5);
/// How long opening a stream waits for the peer to allow one more.
pub const STREAM_OPEN_WAIT: Duration = Duration::from_secs(1);
/// Callers without certificate: connections in all and from one address, streams at a time and in all.
pub const JOIN_CONNECTIONS_MAX: usize = 64;
pub const JOIN_CONNECTIONS_PER_ADDRESS_MAX: usize = 32;
pub const JOIN_STREAMS_MAX: u32 = 4;
pub const JOIN_STREAMS_TOTAL_MAX: usize = 8;
/// What such a caller may have sent on a connection before we have read it.
pub const JOIN_WINDOW_BYTES: u32 = 128 << 10;
/// How long such a connection may be silent, and how long it may last.
pub const JOIN_IDLE_TIME_MAX: Duration = Duration::from_secs(5);
pub const JOIN_CONNECTION_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a new node tries to reach a manager, and waits for its certificate.
pub const JOIN_CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
pub const JOIN_ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Bytes of a peer's reason for closing that are shown.
pub const CLOSE_REASON_BYTES_MAX: usize = 200;
