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
/// Nodes of one `swarm lab`.
pub const LAB_NODES_MAX: usize = 50;
/// How long a lab's daemon may take to answer, and all of its nodes to be ready.
pub const LAB_START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a lab's daemon may take to end when told to.
pub const LAB_STOP_TIME_MAX: Duration = Duration::from_secs(15);
/// Changes the feed keeps for readers that lag.
pub const FEED_CHANGES_MAX: usize = 16_384;
/// One chunk of a snapshot in a file and on the wire.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;
/// Operations that wait for the raft log's writer; more have to wait to wait.
pub const LOG_QUEUE_OPERATIONS_MAX: usize = 256;
/// Operations of the raft log in one transaction, which costs one sync.
pub const LOG_BATCH_OPERATIONS_MAX: usize = 1024;
/// Bytes of entries in one transaction of the raft log.
pub const LOG_BATCH_BYTES_MAX: usize = 16 << 20;
/// Bytes of recent log entries kept in memory; older ones are read back from the file.
pub const LOG_MEMORY_BYTES_MAX: usize = 16 << 20;
/// Bytes of entries in one message to a follower; one entry always fits.
pub const LOG_READ_BYTES_MAX: usize = 2 << 20;
/// Memory for pages of the raft log's file.
pub const LOG_FILE_CACHE_BYTES_MAX: usize = 4 << 20;
/// Bytes of log after which a snapshot is made, however few entries they are.
pub const LOG_BYTES_BETWEEN_SNAPSHOTS_MAX: usize = 64 << 20;
/// Bytes of proposals that wait for their outcome on a leader; more have to wait to be proposed.
pub const PROPOSALS_PENDING_BYTES_MAX: usize = 64 << 20;
/// Snapshots received at the same time; a second one is for a new leader while the old one's stream dies.
pub const SNAPSHOTS_RECEIVED_MAX: usize = 2;

/// How long either side of a snapshot transfer waits for the next chunk to move.
pub const SNAPSHOT_CHUNK_TIME_MAX: Duration = Duration::from_secs(10);
/// How long installing a received snapshot may take.
pub const SNAPSHOT_INSTALL_TIME_MAX: Duration = Duration::from_secs(120);
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
/// How long a manager waits for the leader's answer to one try of a forwarded request.
pub const MANAGER_CALL_WAIT: Duration = Duration::from_millis(1_000);
/// How long a node waits for a manager to take up a session.
pub const SESSION_CONNECT_WAIT: Duration = Duration::from_millis(1_500);
/// Shortest and longest pause before a node knocks at a manager again.
pub const SESSION_RETRY_MIN: Duration = Duration::from_millis(25);
pub const SESSION_RETRY_MAX: Duration = Duration::from_millis(500);
/// Pause after a decision could not be carried out.
pub const CONTROL_RETRY: Duration = Duration::from_millis(200);
/// Connections to the API socket at a time, streams and upgraded ones included.
pub const API_CONNECTIONS_MAX: usize = 1_024;
/// Connections beyond that which are told so at a time; further ones are closed unheard.
pub const API_REFUSALS_MAX: usize = 64;
/// Bytes of a request's line and headers: `docker build` puts its arguments there.
pub const API_HEAD_BYTES_MAX: usize = 256 << 10;
/// How long a client may take to send a request's head; also how long an idle connection is kept.
pub const API_HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a client may take to send the body of a request for cluster objects.
pub const API_BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may read nothing of an answer about the cluster.
pub const API_WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// A request body up to this size takes no slot; a larger one takes one of `API_LARGE_BODIES_MAX`.
pub const API_SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// Larger request bodies held at a time.
pub const API_LARGE_BODIES_MAX: usize = 16;
/// How long open API connections may go on once the daemon stops.
pub const API_STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// Segments of a path that is answered here or handed through.
pub const API_PATH_SEGMENTS_MAX: usize = 64;
/// How long the local Docker Engine may take to accept a connection.
pub const ENGINE_CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long it may take to answer `_ping`, `/version` and `/info`, which our own answers include.
pub const ENGINE_DOCUMENT_TIME_MAX: Duration = Duration::from_secs(2);
/// Size of those documents.
pub const ENGINE_DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// How long the engine's API version is believed before it is asked again.
pub const ENGINE_FACTS_TIME_MAX: Duration = Duration::from_secs(10);
/// Attempts at a change whose other objects (not the one with the client's version) moved meanwhile.
pub const API_CONFLICT_ATTEMPTS_MAX: usize = 4;
/// How long after its certificate's last possible day a removed node stays refused.
pub const DENIED_AFTER_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);
/// The shortest life of a node's certificate that people may set.
pub const CERTIFICATE_EXPIRY_MIN: Duration = Duration::from_secs(3600);
/// How long a caller on the join endpoint may take to say what it wants.
pub const JOIN_REQUEST_WAIT: Duration = Duration::from_secs(5);
/// How often the leader looks at everything, so that a missed event costs time and nothing else.
pub const FULL_PASS_PERIOD: Duration = Duration::from_secs(60);
/// How long one step of a promotion or demotion may take before it is decided anew.
pub const ROLE_STEP_WAIT: Duration = Duration::from_secs(10);
/// How soon the leader looks again at a learner that is catching up, or at another change of role that waits.
pub const ROLES_LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a stopping leader waits for somebody else to take over.
pub const HAND_OVER_WAIT: Duration = Duration::from_secs(3);
/// How long asking for a certificate may take, from connect to answer.
pub const RENEW_WAIT: Duration = Duration::from_secs(5);
/// Pause between two rounds of knocking at the managers named in a join.
pub const JOIN_RETRY: Duration = Duration::from_secs(1);
/// Bytes in flight on a stream from this node to itself.
pub const LOCAL_STREAM_BYTES: usize = 64 << 10;
/// How long a stopping node waits for the leader to hear its goodbye.
pub const GOODBYE_WAIT: Duration = Duration::from_millis(500);
/// How often a node looks at its engine and its machine for changes worth telling.
pub const DESCRIBE_PERIOD: Duration = Duration::from_secs(20);
/// How long init and join wait for the node to be part of its cluster before they go on in the background.
pub const JOIN_WAIT: Duration = Duration::from_secs(20);
/// How long a manager that leaves waits to be let go by the others.
pub const LEAVE_WAIT: Duration = Duration::from_secs(8);
/// Shortest and longest pause before a node tries again to take up its place or to renew its certificate.
pub const RENEW_RETRY_MIN: Duration = Duration::from_millis(50);
pub const RENEW_RETRY_MAX: Duration = Duration::from_secs(10);
/// Words of the cluster about this node that wait to be carried out.
pub const VERDICTS_MAX: usize = 4;
/// How long the whole daemon may take to stop in order.
pub const STOP_WAIT: Duration = Duration::from_secs(12);

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
/// How long a stream waits on a node that is just becoming a manager.
pub const MANAGER_START_WAIT: Duration = Duration::from_secs(2);
/// How long init and join wait for a port that the cluster left a moment ago still uses, and how often they look.
pub const PORT_RELEASE_WAIT: Duration = Duration::from_secs(2);
pub const PORT_LOOK_AGAIN: Duration = Duration::from_millis(20);
