//! Frames and the messages in them. The first byte of the input says which message; the rest is what a peer sends.

use std::io::Cursor;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::limits::JOIN_FRAME_BYTES_MAX;
use common::object::ports::Protocol;
use common::object::{
    Availability, Cluster, ClusterId, LivenessPreset, Node, NodeDescription, NodeId, Role, ServiceId, TaskId,
};
use common::wire::codec;
use common::wire::frame::read_message;
use common::wire::join::{
    CertificateRequest, IssuedCertificate, JoinRequest, JoinResponse, KnownManager, RenewRequest,
};
use common::wire::mesh::{MeshAnswer, MeshRequest};
use common::wire::session::{ManagerMessage, Membership, NodeMessage};
use common_fuzz::take_byte;
use serde::Serialize;
use serde::de::DeserializeOwned;

const READERS: [fn(&[u8]); 9] = [
    read::<JoinRequest>,
    read::<JoinResponse>,
    read::<RenewRequest>,
    read::<NodeMessage>,
    read::<ManagerMessage>,
    read::<Cluster>,
    read::<Node>,
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
    let seal = common::identity::OpeningKey::generate(&mut common::random::SystemRandom).public();
    vec![
        seed(0, &JoinRequest::RootCertificate),
        seed(0, &JoinRequest::Certificate(request)),
        seed(1, &JoinResponse::Certificate(issued)),
        seed(1, &JoinResponse::Refused { reason: "no".into() }),
        seed(2, &RenewRequest { csr: vec![1, 2, 3] }),
        seed(3, &NodeMessage::Describe { description, addr: "10.0.0.1:2377".into(), seal }),
        seed(3, &NodeMessage::Heartbeat),
        seed(4, &ManagerMessage::Welcome { heartbeat_period: Duration::from_millis(500) }),
        seed(4, &ManagerMessage::NotLeader { leader: Some(known) }),
        seed(4, &ManagerMessage::Membership(membership)),
        seed(7, &mesh),
        seed(8, &MeshAnswer::Open),
        seed(8, &MeshAnswer::Refused { reason: "no".into() }),
    ]
}

fn seed<T: Serialize>(kind: u8, message: &T) -> Vec<u8> {
    [vec![kind], codec::encode(message)].concat()
}
