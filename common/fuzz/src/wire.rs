//! Frames and the messages in them. The first byte of the input says which message; the rest is what a peer sends.

use std::io::Cursor;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::identity::OpeningKey;
use common::limits::JOIN_FRAME_BYTES_MAX;
use common::object::cluster::AtRest;
use common::object::ports::Protocol;
use common::object::sensitive::SensitiveBytes;
use common::object::{
    Availability, Cluster, ClusterId, LivenessPreset, Node, NodeDescription, NodeId, PayloadId, PayloadKind,
    Role, ServiceId, Slot, TaskId, TaskState, TaskStatus,
};
use common::random::SeededRandom;
use common::time::Timestamp;
use common::wire::assignment::{AssignedPayload, AssignedTask, AssignmentUpdate, TaskReport};
use common::wire::codec;
use common::wire::frame::read_message;
use common::wire::join::{
    CertificateRequest, IssuedCertificate, JoinRequest, JoinResponse, KnownManager, RenewRequest,
};
use common::wire::logs::{LogLine, LogMessage, LogRequest, LogStream};
use common::wire::mesh::{MeshAnswer, MeshRequest, MeshUpdate};
use common::wire::session::{ManagerMessage, Membership, NodeMessage};
use common_fuzz::take_byte;
use serde::Serialize;
use serde::de::DeserializeOwned;

const READERS: [fn(&[u8]); 13] = [
    read::<JoinRequest>,
    read::<JoinResponse>,
    read::<RenewRequest>,
    read::<NodeMessage>,
    told,
    read::<Cluster>,
    read::<Node>,
    read::<LogRequest>,
    read::<LogMessage>,
    read::<MeshUpdate>,
    sealed,
    read::<MeshRequest>,
    read::<MeshAnswer>,
];

pub fn run(mut data: &[u8]) {
    let kind = usize::from(take_byte(&mut data));
    READERS[kind % READERS.len()](data);
}

fn read<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let value = codec::decode::<T>(data);
    if let Ok(value) = &value {
        let bytes = codec::encode(value);
        let again = codec::decode::<T>(&bytes).expect("what is encoded decodes");
        assert_eq!(codec::encode(&again), bytes, "a value is the same after a second journey");
    }
    // The same as a stream of frames: the input is long or short of what its first bytes say.
    let mut stream = Cursor::new(data);
    while let Poll::Ready(Ok(Some(message))) = poll(read_message::<T>(&mut stream, JOIN_FRAME_BYTES_MAX)) {
        codec::encode(&message);
    }
}

/// What a manager says in a session; a node opens the values that come with it.
fn told(data: &[u8]) {
    read::<ManagerMessage>(data);
    if let Ok(ManagerMessage::Assignments(update)) = codec::decode(data) {
        update.payloads.iter().for_each(|payload| sealed(payload.data.reveal()));
    }
}

/// A value on its way, sealed for this node or for another, or by somebody who makes it up.
fn sealed(data: &[u8]) {
    if let Ok(value) = opening_key().open(data) {
        assert!(value.len() < data.len(), "a seal has a length");
    }
}

/// The same in all runs, so that a seed opens.
fn opening_key() -> OpeningKey {
    OpeningKey::generate(&mut SeededRandom::new(1, "session"))
}

/// Bytes in memory never let anybody wait.
fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready(), "reading from memory waits for nothing");
    polled
}

pub fn seeds() -> Vec<Vec<u8>> {
    let known = KnownManager { node: NodeId(7), addr: "10.0.0.1:2377".into() };
    let issued = IssuedCertificate {
        certificate_pem: "certificate".into(),
        root_pem: "root".into(),
        node: NodeId(5),
        cluster: ClusterId(6),
        role: Role::Manager,
        managers: vec![known.clone()],
        liveness: LivenessPreset::default(),
        at_rest: Some(AtRest::default()),
    };
    let request = CertificateRequest {
        csr: vec![1, 2],
        token: "SWMTKN-1-a-b".into(),
        availability: Availability::Active,
    };
    let description = Box::new(NodeDescription::default());
    let membership = Membership {
        role: Role::Worker,
        raft_id: Some(3),
        managers: vec![known.clone()],
        liveness: LivenessPreset::default(),
        trust_pem: "root".into(),
        issuer_public_key: vec![4],
    };
    let mesh = MeshRequest {
        service: ServiceId(1),
        task: TaskId(2),
        target: 80,
        protocol: Protocol::Tcp,
        client: ([10, 0, 0, 1], 40_000).into(),
    };
    let seal = opening_key().public();
    let value = seal.seal(b"value", &mut SeededRandom::new(2, "seal")).expect("it seals");
    let task = AssignedTask {
        id: TaskId(1),
        service: ServiceId(2),
        slot: Slot::Number(1),
        spec: 1,
        desired: TaskState::Running,
        granted: None,
        iteration: None,
    };
    let payload = AssignedPayload {
        id: PayloadId(3),
        version: 1,
        kind: PayloadKind::Secret,
        templated: false,
        data: SensitiveBytes::new(value.clone()),
    };
    let update = AssignmentUpdate {
        results_in: 1,
        tasks: vec![task],
        payloads: vec![payload],
        payloads_removed: vec![(PayloadId(4), 2)],
        ..AssignmentUpdate::default()
    };
    let report = TaskReport { task: TaskId(1), status: TaskStatus::default() };
    let line = LogLine { task: TaskId(1), at: Timestamp(5), stream: LogStream::Stderr, data: vec![b'x'] };
    vec![
        seed(0, &JoinRequest::RootCertificate),
        seed(0, &JoinRequest::Certificate(request)),
        seed(1, &JoinResponse::Certificate(issued)),
        seed(1, &JoinResponse::Refused { reason: "no".into() }),
        seed(2, &RenewRequest { csr: vec![1, 2, 3] }),
        seed(3, &NodeMessage::Describe { description, addr: "10.0.0.1:2377".into(), seal }),
        seed(3, &NodeMessage::Heartbeat),
        seed(3, &NodeMessage::Reports { number: 1, reports: vec![report] }),
        seed(4, &ManagerMessage::Welcome { heartbeat_period: Duration::from_millis(500) }),
        seed(4, &ManagerMessage::NotLeader { leader: Some(known) }),
        seed(4, &ManagerMessage::Membership(membership)),
        seed(4, &ManagerMessage::Assignments(update)),
        seed(7, &LogRequest { tasks: vec![TaskId(1)], stdout: true, ..LogRequest::default() }),
        seed(8, &LogMessage::Line(line)),
        seed(9, &MeshUpdate::default()),
        [&[10], &value[..]].concat(),
        seed(11, &mesh),
        seed(12, &MeshAnswer::Open),
        seed(12, &MeshAnswer::Refused { reason: "no".into() }),
    ]
}

fn seed<T: Serialize>(kind: u8, message: &T) -> Vec<u8> {
    [vec![kind], codec::encode(message)].concat()
}
