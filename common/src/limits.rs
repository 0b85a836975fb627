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
pub const PROPOSAL_BYTES_MAX: usize = 4 << 20;
/// What all versions of one secret or config hold together: it has to fit in a proposal, and two of the largest
/// configs have to fit in it.
pub const PAYLOAD_BYTES_MAX: usize = 3 << 20;
/// Versions of a secret or config that are kept when no service names them: the newest.
pub const PAYLOAD_VERSIONS_KEPT: usize = 5;
/// Nodes of one `swarm lab`.
pub const LAB_NODES_MAX: usize = 50;
/// How long a lab's daemon may take to answer, and all of its nodes to be ready.
pub const LAB_START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a lab's daemon may take to end when told to.
pub const LAB_STOP_TIME_MAX: Duration = Duration::from_secs(15);
/// Changes the feed keeps for readers that lag.
pub const FEED_CHANGES_MAX: usize = 65_536;
/// One chunk of a snapshot in a file and on the wire.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;
/// Operations that wait for the raft log's writer; more have to wait to wait.
pub const LOG_QUEUE_OPERATIONS_MAX: usize = 256;
/// Operations of the raft log in one transaction, which costs one sync.
pub const LOG_BATCH_OPERATIONS_MAX: usize = 1024;
/// Bytes of entries in one transaction of the raft log.
pub const LOG_BATCH_BYTES_MAX: usize = 16 << 20;
/// Log that is sealed anew in one transaction when the data key changes: writers wait for no more than that.
pub const LOG_RESEAL_BYTES_MAX: usize = 1 << 20;
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
/// How long a write or a linearizable read waits for a leader before it says that there is none: so long that the
/// answer is with the client within two seconds.
pub const LEADER_WAIT: Duration = Duration::from_millis(1_700);
/// How long an API request to the control plane may take in all.
pub const API_REQUEST_TIME_MAX: Duration = Duration::from_secs(20);
/// Session events that wait for the control loop.
pub const SESSION_EVENTS_MAX: usize = 1024;
/// How long a node that opened a session may take to say who it is.
pub const SESSION_HELLO_WAIT: Duration = Duration::from_secs(5);
/// How long one message to a node may take to leave; a node that does not read loses its session.
pub const SESSION_SEND_WAIT: Duration = Duration::from_secs(5);
/// How long a provider of secrets may take for one value, and how much it may say.
pub const SECRET_DRIVER_WAIT: Duration = Duration::from_secs(5);
pub const SECRET_DRIVER_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Values that one provider is asked for at the same time; more wait for their turn.
pub const SECRET_DRIVER_ASKS_MAX: usize = 8;
/// Shortest and longest pause before a provider that did not give a value is asked for it again.
pub const SECRET_DRIVER_RETRY_MIN: Duration = Duration::from_millis(500);
pub const SECRET_DRIVER_RETRY_MAX: Duration = Duration::from_secs(10);
/// Answers of providers that a session has not taken up; more have to wait.
pub const SECRET_DRIVER_ANSWERS_MAX: usize = 16;
/// Reasons why values do not come that a node is told; further tasks wait without one.
pub const WITHHELD_REASONS_MAX: usize = 256;
/// One of them; a task's status holds it whole, however many bytes its letters take.
pub const WITHHELD_REASON_CHARS_MAX: usize = 250;
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
/// The same for the API on TCP, of which one client certificate may have some: so nobody there can keep the local
/// socket from answering, nor one client the others.
pub const API_TCP_CONNECTIONS_MAX: usize = 1_024;
pub const API_CONNECTIONS_PER_CLIENT_MAX: usize = 128;
/// TLS handshakes of API clients that have not finished: in all, and from one address; and how long one may take.
pub const API_HANDSHAKES_MAX: usize = 256;
pub const API_HANDSHAKES_PER_ADDRESS_MAX: usize = 32;
pub const API_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// Handshakes from one address that may fail in such a time; further connections from there are closed unheard.
pub const API_FAILURES_PER_ADDRESS_MAX: u32 = 64;
pub const API_FAILURES_PERIOD: Duration = Duration::from_secs(10);
/// Addresses whose failures are counted at a time; while there are more, the oldest are forgotten.
pub const API_FAILING_ADDRESSES_MAX: usize = 4_096;
/// Requests of one client certificate: per second for ever, and at once after a pause.
pub const API_REQUESTS_PER_SECOND_MAX: u32 = 500;
pub const API_REQUESTS_AT_ONCE_MAX: u32 = 2_000;
/// How long the certificate lasts that a manager shows to API clients; it is made anew at half of that.
pub const API_SERVER_CERTIFICATE_TIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Client certificates on record, those included that were revoked and have not expired.
pub const CLIENT_CERTIFICATES_MAX: usize = 512;
/// The name in a client certificate: what a common name may have.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;
/// How long a client certificate may last at least and at most.
pub const CLIENT_EXPIRY_MIN: Duration = Duration::from_secs(1);
pub const CLIENT_EXPIRY_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Audit records that wait for the writer; more make their answers wait. Taken and synced so many at a time.
pub const AUDIT_QUEUE_RECORDS_MAX: usize = 1_024;
pub const AUDIT_BATCH_RECORDS_MAX: usize = 256;
/// One file of the audit record, and how many are kept: the oldest goes.
pub const AUDIT_FILE_BYTES_MAX: u64 = 8 << 20;
pub const AUDIT_FILES_MAX: usize = 8;
/// One line of it; its parts are cut so that it is never longer.
pub const AUDIT_LINE_BYTES_MAX: usize = 16 << 10;
/// Of an error, and of a path or name, that is kept in a record.
pub const AUDIT_ERROR_CHARS_MAX: usize = 512;
pub const AUDIT_NAME_CHARS_MAX: usize = 256;
/// Damaged lines of one file that are told one by one.
pub const AUDIT_NOTES_MAX: usize = 8;
/// Records shown where nobody says how many, and at most.
pub const AUDIT_RECORDS_DEFAULT: usize = 1_000;
pub const AUDIT_RECORDS_MAX: usize = 10_000;
/// Refusals of one client, or of all callers that nobody knows, that are recorded a minute: a flood of them must not
/// push out what people did.
pub const AUDIT_REFUSALS_PER_MINUTE_MAX: u32 = 60;
/// How often `swarm audit --follow` asks again.
pub const AUDIT_FOLLOW_PERIOD: Duration = Duration::from_secs(1);
/// A file of a context of the command line.
pub const CONTEXT_FILE_BYTES_MAX: u64 = 1 << 20;
/// How long another manager may take to send its part of the audit record.
pub const AUDIT_MANAGER_WAIT: Duration = Duration::from_secs(3);
/// Bytes of a request's line and headers: `docker build` puts its arguments there.
pub const API_HEAD_BYTES_MAX: usize = 256 << 10;
/// How long a client may take to send a request's head; also how long an idle connection is kept.
pub const API_HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a client may take to send the body of a request for cluster objects.
pub const API_BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the rest of a body that is refused for its size is still taken in.
pub const API_PASS_OVER_TIME_MAX: Duration = Duration::from_secs(1);
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
/// Networks of one cluster, the encoded size of what is asked for one, and subnets of one; more are refused.
pub const NETWORKS_MAX: usize = 16_384;
pub const NETWORK_SPEC_BYTES_MAX: usize = 64 << 10;
pub const NETWORK_SUBNETS_MAX: usize = 16;
/// Networks of the cluster that one service is on.
pub const SERVICE_NETWORKS_MAX: usize = 64;
/// Different reasons shown of tasks that wait for an address on one network.
pub const NETWORK_REASONS_MAX: usize = 16;
/// One spec of a service, encoded.
pub const SERVICE_SPEC_BYTES_MAX: usize = 256 << 10;
/// A service with all specs it keeps, encoded: it has to fit in one proposal.
pub const SERVICE_BYTES_MAX: usize = 1 << 20;
/// Tasks of one service.
pub const SERVICE_TASKS_MAX: u64 = 1_000_000;
/// Differences shown of one kept spec.
pub const HISTORY_CHANGES_MAX: usize = 32;
/// Random names tried for a service that came without one.
pub const RANDOM_NAME_ATTEMPTS_MAX: usize = 16;
/// Credentials for a registry, as a client sends them with a service.
pub const REGISTRY_AUTH_BYTES_MAX: usize = 32 << 10;
/// Messages of one log stream that wait to be merged with those of the other nodes.
pub const LOG_LINES_WAITING_MAX: usize = 32;
/// Pieces of an endless answer (logs, events) that wait for the client to read.
pub const API_PIECES_WAITING_MAX: usize = 16;
/// How long a line waits for an earlier one of another node before it is sent.
pub const LOG_MERGE_WAIT: Duration = Duration::from_millis(200);
/// How long a node may take to take up a log stream.
pub const LOG_OPEN_WAIT: Duration = Duration::from_secs(5);
/// How long a node that was asked for all there is may say nothing before the others are shown without it.
pub const LOG_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Pause before a log stream that broke off while it was followed is opened again.
pub const LOG_RETRY: Duration = Duration::from_secs(1);
/// One line of the engine's events.
pub const EVENT_LINE_BYTES_MAX: usize = 256 << 10;
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
/// What a root certificate that people bring must have left.
pub const ROOT_LEFT_MIN: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long after a change of roots nodes that were away meanwhile are shown the way from their old root to the new.
pub const INTERMEDIATE_TIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// Roots that such a way may lead over; a node that missed more of them has to join again.
pub const INTERMEDIATES_MAX: usize = 3;
/// Nodes that are told at a time to get a certificate of the new root.
pub const ROTATED_AT_A_TIME_MAX: usize = 30;
/// How long after its end a certificate's key still proves who a node is, for its next certificate.
pub const RECOVERY_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before the end of a peer's certificate both ends of a connection prove themselves anew.
pub const PROOF_LEAD: Duration = Duration::from_secs(120);
/// How long a connection whose proof has run out may take to get a new one before it is closed.
pub const PROOF_WAIT: Duration = Duration::from_secs(10);
/// Between two attempts to prove one's identity anew to the same peer, and how many are under way at a time.
pub const PROOF_RETRY: Duration = Duration::from_secs(2);
pub const PROOFS_MAX: usize = 32;
/// How long what a node proves with the key of an old certificate holds.
pub const LATE_LINK_TIME: Duration = Duration::from_secs(60);
/// How long a node without a session waits before it asks for another certificate, at first and at most.
pub const RENEW_WITHOUT_SESSION: Duration = Duration::from_secs(4);
pub const RENEW_WITHOUT_SESSION_MAX: Duration = Duration::from_secs(60);
/// How long an external authority may take to sign, and what its answer may have.
pub const EXTERNAL_CA_WAIT: Duration = Duration::from_secs(5);
pub const EXTERNAL_CA_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Times that a certificate is made again because its node changed meanwhile.
pub const ISSUE_ATTEMPTS_MAX: usize = 5;
/// A certificate or key file that people hand over.
pub const CA_FILE_BYTES_MAX: u64 = 1 << 20;
/// Time between two looks at how far a change of roots is.
pub const CA_POLL: Duration = Duration::from_millis(200);
/// External authorities of a cluster.
pub const EXTERNAL_CAS_MAX: usize = 16;
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
/// The second is so much larger that connections of the mesh whose clients stopped reading hold up no other stream.
pub const CONNECTION_WINDOW_BYTES: u32 = 256 << 20;
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

/// A file of `--env-file`.
pub const ENV_FILE_BYTES_MAX: u64 = 4 << 20;
/// How long `service create` and `update` wait for a registry to tell an image's digest.
pub const IMAGE_LOOK_UP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a program that keeps credentials may take to hand them over.
pub const CREDENTIAL_HELPER_TIME_MAX: Duration = Duration::from_secs(10);
/// The file of a user's registry credentials, and what a helper says of one registry.
pub const CREDENTIALS_BYTES_MAX: usize = 4 << 20;
/// Time between two looks at a service that is waited for: short while it is likely to be done soon.
pub const CONVERGE_POLL_MIN: Duration = Duration::from_millis(25);
pub const CONVERGE_POLL_MAX: Duration = Duration::from_millis(200);
/// How long a wait goes on while the managers do not answer.
pub const CONVERGE_UNREACHABLE_MAX: Duration = Duration::from_secs(60);
/// How long a wait without `--timeout` goes on when every missing task waits for something outside, and when nothing
/// moves at all.
pub const CONVERGE_BLOCKED_MAX: Duration = Duration::from_secs(60);
pub const CONVERGE_STALLED_MAX: Duration = Duration::from_secs(15 * 60);
/// Failures of one slot with the same error after which a service counts as one that cannot run.
pub const CONVERGE_SAME_FAILURES_MAX: usize = 3;
/// Lines of a failed task's log that are shown, and how long they are waited for.
pub const FAILED_TASK_LOG_LINES_MAX: u32 = 10;
pub const FAILED_TASK_LOG_WAIT: Duration = Duration::from_secs(3);
/// One line of a log stream as the command line takes it; the longest that nodes send.
pub const LOG_STREAM_LINE_BYTES_MAX: usize = 16 << 20;
/// Shortest and longest pause before a broken stream of logs or events is asked for again.
pub const STREAM_RETRY_MIN: Duration = Duration::from_millis(50);
pub const STREAM_RETRY_MAX: Duration = Duration::from_secs(2);
/// How long a stream is asked for again in vain before the command gives up.
pub const STREAM_RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// One event as the command line takes it.
pub const EVENT_BYTES_MAX: usize = 4 << 20;
/// Tasks in one message of assignments; more come in further messages.
pub const ASSIGNMENT_TASKS_MAX: usize = 1000;
/// Bytes of secrets and configs in one message of assignments; more come in further messages.
pub const ASSIGNMENT_PAYLOAD_BYTES_MAX: usize = 4 << 20;
/// Spec versions of one service that are kept at most, and how many of the newest are kept when no task uses them.
pub const SPEC_VERSIONS_MAX: usize = 64;
pub const SPEC_VERSIONS_KEPT: usize = 5;
/// How long the successor of a task waits at most for the end of that task.
pub const PREDECESSOR_WAIT: Duration = Duration::from_secs(60);
/// A task that lived this long before it failed begins its pauses anew.
pub const RESTART_SETTLED: Duration = Duration::from_secs(10);
/// What repeated quick ends pause for where the policy says none at all.
pub const RESTART_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Restart times one task remembers: attempts beyond it are not counted within a window.
pub const RESTART_TIMES_MAX: usize = 256;
/// A node that is down for this long is given up: its tasks are orphans.
pub const NODE_GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Ports given to services that ask for any free one.
pub const DYNAMIC_PORT_FIRST: u16 = 30_000;
pub const DYNAMIC_PORT_LAST: u16 = 32_767;
/// Share of a service's slots, in hundredths, that are moved at a time where it says nothing about updates.
pub const MOVES_SHARE_PERCENT: usize = 25;
/// Times that steps may ask each other to look again within one pass; the rest is left to the next one.
pub const DECIDE_ROUNDS_MAX: usize = 8;
/// Text of a task's message and of its error, and the id of its container, as far as they are kept.
pub const TASK_TEXT_BYTES_MAX: usize = 1024;
/// Ports of its node that one task may report.
pub const TASK_PORTS_MAX: usize = 256;
/// Changes of nodes that placing remembers; who looks after more than these looks at every node.
pub const PLACING_TOUCHES_MAX: usize = 1 << 16;
/// Nodes in all orders of preference that placing keeps for its next pass, at some 40 bytes each.
pub const PLACING_INDEX_NODES_MAX: usize = 1 << 20;
/// How long a failed task is held against its node for more tasks of the same service and spec.
pub const PLACING_FAILURE_TIME: Duration = Duration::from_secs(5 * 60);
/// Bytes that all templates of one task may come to when they are filled in.
pub const SPEC_TEMPLATES_BYTES_MAX: usize = 4 << 20;
/// One record of a journal.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 8 << 20;
/// Bytes of outdated records that a journal may hold beside as many as are up to date, before it is written anew.
pub const JOURNAL_OUTDATED_BYTES_MAX: u64 = 1 << 20;

/// Tasks that one node may be given.
pub const ASSIGNED_TASKS_MAX: usize = 65_536;
/// Bytes of secrets and configs that one node holds in memory; an update that comes to more is refused.
pub const ASSIGNED_PAYLOAD_BYTES_MAX: usize = 1 << 30;
/// What a templated secret or config may come to when it is filled in.
pub const PAYLOAD_FILLED_BYTES_MAX: usize = 2 << 20;
/// Size of the folder in memory that a node makes itself for its tasks' secrets and configs: a task whose files do
/// not fit does not start.
pub const TASK_FILES_BYTES_MAX: u64 = 1 << 30;
/// The path at which a task finds a secret or config, and each name in it.
pub const FILE_TARGET_BYTES_MAX: usize = 1024;
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// Tasks of one runtime that are prepared or started at a time. One that takes longer than `STEP_SLOT_TIME_MAX`
/// waits for something else than this machine, and lets the next one begin.
pub const START_PARALLEL_MAX: usize = 8;
/// Tasks of one runtime that are being prepared at all: the rest of them pull.
pub const PREPARE_PARALLEL_MAX: usize = 64;
/// Tasks of one runtime that are stopped or removed at a time, within the same time as above.
pub const STOP_PARALLEL_MAX: usize = 16;
/// Questions to one runtime at a time what there is of a task.
pub const LOOK_PARALLEL_MAX: usize = 16;
pub const STEP_SLOT_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a runtime may take to say what is there, to start a task, to remove one; and to stop one, beyond the
/// task's grace period. Then the step counts as failed for now.
pub const LOOK_TIME_MAX: Duration = Duration::from_secs(30);
pub const START_TIME_MAX: Duration = Duration::from_secs(120);
pub const REMOVE_TIME_MAX: Duration = Duration::from_secs(120);
pub const STOP_TIME_EXTRA_MAX: Duration = Duration::from_secs(60);
/// How long a task has to end by itself after its stop signal, where its spec does not say.
pub const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// First and longest pause before a step of a task that failed for now is tried again.
pub const STEP_RETRY_MIN: Duration = Duration::from_secs(1);
pub const STEP_RETRY_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two reports of how far a step is.
pub const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// A message or an error in a task's status.
pub const STATUS_TEXT_BYTES_MAX: usize = 1 << 10;
/// Shortest time between two messages with reports, so that what happens together travels together.
pub const REPORTS_WINDOW: Duration = Duration::from_millis(10);
/// Reports in one message, and messages that wait to be acknowledged.
pub const REPORTS_PER_MESSAGE_MAX: usize = 1_000;
pub const REPORTS_OUTSTANDING_MAX: usize = 4;
/// How long reports may stay without an answer before they are sent again.
pub const REPORTS_ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Shortest time between two requests of a node to be sent all of its assignments again.
pub const RESYNC_PAUSE: Duration = Duration::from_secs(1);
/// How long a node whose daemon was stopped in good order keeps its tasks, so that a restart moves nothing.
pub const STOPPED_NODE_WAIT: Duration = Duration::from_secs(10);
/// How long a node that leaves lets its tasks stop, and then how long it may take to remove the others as they are.
pub const LEAVE_TASKS_WAIT: Duration = Duration::from_secs(12);
pub const LEAVE_REMOVE_WAIT: Duration = Duration::from_secs(3);
/// Time between two readiness checks of a task, and how long one may take: where its spec does not say; at least.
pub const READY_PERIOD_DEFAULT: Duration = Duration::from_secs(1);
pub const READY_PERIOD_MIN: Duration = Duration::from_millis(10);
/// The head of an answer to a readiness check over HTTP.
pub const READY_ANSWER_BYTES_MAX: usize = 1 << 10;
/// A request for logs, and how long it may take to arrive.
pub const LOG_REQUEST_BYTES_MAX: usize = 1 << 20;
pub const LOG_REQUEST_WAIT: Duration = Duration::from_secs(5);
/// Log streams that a node serves at a time.
pub const LOG_STREAMS_MAX: usize = 64;
/// Bytes of one log message; a longer line goes as several.
pub const LOG_MESSAGE_BYTES_MAX: usize = 256 << 10;
/// How long a short call to the Docker Engine may take: look, list, what an image is.
pub const ENGINE_CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// How long one step of a container may take: create, start, remove; and a stop beyond its grace period.
pub const ENGINE_STEP_TIME_MAX: Duration = Duration::from_secs(120);
/// Containers created, and started or removed, at a time. More do not make the engine faster, only its answers later.
pub const ENGINE_CREATES_MAX: usize = 4;
pub const ENGINE_STEPS_MAX: usize = 8;
/// Short calls at a time.
pub const ENGINE_CALLS_MAX: usize = 16;
/// Containers that are being stopped at a time; most of them only wait for their grace period.
pub const ENGINE_STOPS_MAX: usize = 256;
/// Commands run inside containers at a time.
pub const ENGINE_COMMANDS_MAX: usize = 32;
/// How long a call waits for its turn before it says that the engine is busy.
pub const ENGINE_TURN_WAIT: Duration = Duration::from_secs(600);
/// Images pulled at a time.
pub const ENGINE_PULLS_MAX: usize = 4;
/// How long a pull may show no progress.
pub const ENGINE_PULL_STALL_MAX: Duration = Duration::from_secs(300);
/// Layers whose progress is counted; of further ones nothing is told.
pub const ENGINE_PULL_LAYERS_MAX: usize = 1024;
/// Shortest and longest pause before the engine's events are asked for again.
pub const ENGINE_RETRY_MIN: Duration = Duration::from_millis(100);
pub const ENGINE_RETRY_MAX: Duration = Duration::from_secs(5);
/// How far back events are asked for again after the stream of them broke.
pub const ENGINE_EVENTS_OVERLAP: Duration = Duration::from_secs(10);
/// How often all containers are compared with what was last known, so that a lost event costs time and nothing else.
pub const ENGINE_SURVEY_PERIOD: Duration = Duration::from_secs(60);
/// The end of what a command inside a container wrote that is kept.
pub const ENGINE_OUTPUT_BYTES_MAX: usize = 4 << 10;
/// What a health check said, as far as it is told on.
pub const ENGINE_REASON_BYTES_MAX: usize = 512;
/// What a line of a container's log may have before it is handed on in parts.
pub const ENGINE_LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// One message of the engine's log stream; the largest that log drivers make is 1 MiB.
pub const ENGINE_LOG_FRAME_BYTES_MAX: usize = 4 << 20;
/// How long a process task may take from being started to running its program.
pub const PROCESS_START_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a task has to end by itself once it is told to, where its service does not say.
pub const PROCESS_STOP_GRACE: Duration = Duration::from_secs(10);
/// How long killed processes may take to be gone before a task counts as ended without them.
pub const PROCESS_KILL_WAIT: Duration = Duration::from_secs(10);
/// Pause between two looks at processes that were killed and are still there.
pub const PROCESS_KILL_AGAIN: Duration = Duration::from_millis(20);
/// Time between two looks of a task's supervisor for its folder, and how many in a row have to miss it before the
/// task is ended: it was deleted by hand, and nobody could ever stop the task otherwise.
pub const PROCESS_FOLDER_LOOK: Duration = Duration::from_secs(10);
pub const PROCESS_FOLDER_MISSED_MAX: u32 = 2;
/// One file of a process task's log, where its service does not say; a full one is put aside.
pub const PROCESS_LOG_FILE_BYTES: u64 = 10 << 20;
/// Files kept of it, where its service does not say; the oldest one goes.
pub const PROCESS_LOG_FILES: u32 = 3;
/// One line of it; longer ones are kept in pieces.
pub const PROCESS_LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Bytes of a log read at a time.
pub const PROCESS_LOG_READ_BYTES: usize = 64 << 10;
/// The end of what a command in a task wrote that is kept.
pub const PROCESS_COMMAND_OUTPUT_BYTES_MAX: usize = 4 << 10;
/// Looks for a free port before the last one found is taken.
pub const PROCESS_PORT_TRIES_MAX: u32 = 64;

/// State in one sealed piece of a backup.
pub const BACKUP_PIECE_BYTES: usize = 256 << 10;
/// Rounds that a passphrase for a backup is stretched with, and what is believed of a file that says so itself.
pub const BACKUP_ROUNDS: u32 = 1_000_000;
pub const BACKUP_ROUNDS_MIN: u32 = 100_000;
pub const BACKUP_ROUNDS_MAX: u32 = 20_000_000;
/// Backups and restores that one daemon works on at a time; more are refused.
pub const BACKUPS_AT_ONCE_MAX: usize = 2;
/// How long a piece of a backup that is being restored may take to arrive.
pub const BACKUP_PIECE_TIME_MAX: Duration = Duration::from_secs(30);

/// Services, endpoints and removals of the mesh in one message of assignments; more come in further messages.
pub const ASSIGNMENT_MESH_MAX: usize = 1000;
/// Changes of the mesh that are remembered for one session; after more, it looks at everything.
pub const MESH_LOOKS_MAX: usize = 4096;
/// Services and endpoints that a node's mesh may know; an update that comes to more is refused.
pub const MESH_KNOWN_MAX: usize = 1 << 20;
/// Connections to published ports that a node carries at a time; further ones wait to be accepted.
pub const MESH_CONNECTIONS_MAX: usize = 8192;
/// Connections that a node serves for other nodes at a time; further ones are refused, and go to other nodes.
pub const MESH_SERVED_MAX: usize = 8192;
/// Connections for which a task is being looked for at a time; further ones wait.
pub const MESH_DIALS_MAX: usize = 512;
/// Connections to one published port that the kernel keeps until they are accepted.
pub const MESH_BACKLOG_MAX: u32 = 4096;
/// How long a task may take to accept a connection, and how long another node may take to say whether it did.
pub const MESH_DIAL_TIME_MAX: Duration = Duration::from_secs(1);
pub const MESH_ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How long a connection waits until some task takes it, and the first and longest pause between two rounds.
pub const MESH_ENDPOINT_WAIT: Duration = Duration::from_secs(10);
pub const MESH_ROUND_PAUSE_MIN: Duration = Duration::from_millis(20);
pub const MESH_ROUND_PAUSE_MAX: Duration = Duration::from_millis(500);
/// A request for a task's port, and how long it may take to arrive.
pub const MESH_REQUEST_BYTES_MAX: usize = 1 << 10;
pub const MESH_REQUEST_WAIT: Duration = Duration::from_secs(5);
/// Why a task's node refuses a connection, as far as it is read.
pub const MESH_ANSWER_BYTES_MAX: usize = 4 << 10;
/// Bytes of a connection that are in this program's hands, in each direction.
pub const MESH_BUFFER_BYTES: usize = 16 << 10;
/// How long a connection may be silent; the same once one side has said all it had to say; and how long one side may
/// take nothing of what waits for it. Then it is cut.
pub const MESH_IDLE_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
pub const MESH_HALF_CLOSED_IDLE_MAX: Duration = Duration::from_secs(10 * 60);
pub const MESH_STALL_MAX: Duration = Duration::from_secs(5 * 60);
/// A silence after the task's last word that is taken for the end of what was asked, while the task is about to stop:
/// this share of the time that is left, and at least so much; more where nobody has said anything yet.
pub const MESH_QUIET_SHARE: u32 = 8;
pub const MESH_QUIET_MIN: Duration = Duration::from_millis(20);
pub const MESH_QUIET_FRESH_MIN: Duration = Duration::from_millis(500);
/// First and longest pause before a published port that this node cannot listen on is tried again.
pub const MESH_LISTEN_RETRY_MIN: Duration = Duration::from_millis(200);
pub const MESH_LISTEN_RETRY_MAX: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted for want of something that this machine lacks for a moment.
pub const MESH_ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Clients of published UDP ports that a node knows at a time; datagrams of further ones are dropped.
pub const MESH_UDP_CLIENTS_MAX: usize = 4096;
/// Datagrams of one client that wait; further ones are dropped.
pub const MESH_UDP_WAITING_MAX: usize = 64;
/// How long a UDP client may be silent, in both directions, before its task is forgotten.
pub const MESH_UDP_IDLE_MAX: Duration = Duration::from_secs(60);
/// The largest datagram there is.
pub const MESH_DATAGRAM_BYTES_MAX: usize = 65_536;
/// How long a node that did not answer is taken for one that will not: others are tried before it.
pub const MESH_DOUBT_TIME: Duration = Duration::from_secs(3);
/// A table of the kernel's, when it is looked up who has a port.
pub const MESH_HOLDER_BYTES_MAX: u64 = 16 << 20;
/// A question for a name. Real ones have some hundred bytes.
pub const DNS_QUERY_BYTES_MAX: usize = 4 << 10;
/// An answer over UDP, whatever the asker takes: what passes every link without being cut to pieces.
pub const DNS_UDP_BYTES_MAX: usize = 1232;
/// An answer over TCP.
pub const DNS_ANSWER_BYTES_MAX: usize = 65_535;
/// Records in one answer; of a service with more tasks, each answer has others.
pub const DNS_ANSWER_RECORDS_MAX: usize = 1_000;
/// Questions of one task: per second for ever, and at once after a pause. More are not heard.
pub const DNS_QUERIES_PER_SECOND_MAX: u32 = 5_000;
pub const DNS_QUERIES_AT_ONCE_MAX: u32 = 10_000;
/// Sources whose questions are counted at a time; while there are more, the oldest are forgotten.
pub const DNS_SOURCES_MAX: usize = 4_096;
/// TCP connections for names: in all, and of one task; further ones are closed unheard.
pub const DNS_CONNECTIONS_MAX: usize = 512;
pub const DNS_CONNECTIONS_PER_SOURCE_MAX: usize = 32;
/// How long such a connection may be without a whole question, and without its answer being read.
pub const DNS_IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long somebody is waited for whom nobody knows yet; how many questions wait so, in all and of one address.
pub const DNS_STRANGER_WAIT: Duration = Duration::from_secs(1);
pub const DNS_STRANGERS_MAX: usize = 64;
pub const DNS_STRANGERS_PER_SOURCE_MAX: usize = 8;
/// Questions at other resolvers at a time: in all, and of one task; further ones fail at once.
pub const DNS_FORWARDS_MAX: usize = 1_024;
pub const DNS_FORWARDS_PER_SOURCE_MAX: usize = 128;
/// Resolvers asked for one question: as many as C libraries ask.
pub const DNS_RESOLVERS_MAX: usize = 3;
/// How long one resolver may take where there is another one, and all of them: less than the 5 s that askers wait.
pub const DNS_RESOLVER_TIME_MAX: Duration = Duration::from_millis(1_500);
pub const DNS_FORWARD_TIME_MAX: Duration = Duration::from_millis(4_500);
/// The file that names the host's resolvers.
pub const DNS_RESOLV_CONF_BYTES_MAX: u64 = 64 << 10;
/// Tries to find a port that is free for UDP and TCP.
pub const DNS_PORT_TRIES_MAX: u32 = 16;
/// Pause after the machine failed to hand over a question or a connection.
pub const DNS_ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Pause before an address for names that could not be used is tried again: the engine's bridge comes with the engine.
pub const DNS_BIND_RETRY: Duration = Duration::from_secs(5);
