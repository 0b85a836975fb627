//! What a member does with messages it should not get, and with bytes that are none.

use std::collections::{BTreeMap, BTreeSet};

use common::object::{ClusterId, NodeId, Role};
use common::transport::{Incoming, PeerIdentity, Stream, StreamKind};
use common::wire::codec;
use common::wire::frame::{expect_message, write_frame, write_message};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{EntryPayload, Membership};
use tokio::io::AsyncWriteExt;

use super::create_node;
use super::group::{Group, address_of};
use crate::raft::message::{
    Body, Hello, Refusal, Request, SnapshotOffer, SnapshotReply, StreamAppendReply, VoteReply,
};
use crate::raft::types::{Entry, LogId, RaftMember, SnapshotMeta, StoredMembership, TypeConfig, Vote};

fn vote_request(from: u64, to: u64) -> Request {
    let body = Body::Vote(VoteRequest::new(Vote::new(100, from), None));
    Request { hello: Hello { from, to }, body }
}

/// Opens a stream from one member's node to another's.
async fn open(group: &Group, from: u64, to: u64, kind: StreamKind) -> Stream {
    let node = NodeId(to.into());
    let peer = common::transport::Peer { node, addr: address_of(node) };
    group.members[&from].transport.open(peer, kind).await.unwrap()
}

async fn ask(group: &Group, from: u64, to: u64, request: &Request) -> VoteReply {
    let mut stream = open(group, from, to, StreamKind::Raft).await;
    write_message(&mut stream.send, request).await.unwrap();
    expect_message(&mut stream.recv, 1 << 20).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_counts_only_from_whom_it_says_to_whom_it_means() {
    let group = Group::of(3).await;
    let term = group.members[&1].raft.status().term;
    let refused = |reply: VoteReply| reply.unwrap_err();
    assert_eq!(refused(ask(&group, 2, 1, &vote_request(3, 1)).await), Refusal::NotYours { claimed: 3 });
    assert_eq!(
        refused(ask(&group, 2, 1, &vote_request(2, 8)).await),
        Refusal::OtherMember { asked: 8, ours: 1 }
    );
    let mut stream = open(&group, 2, 1, StreamKind::RaftAppend).await;
    write_message(&mut stream.send, &Hello { from: 3, to: 1 }).await.unwrap();
    let reply: StreamAppendReply = expect_message(&mut stream.recv, 1 << 20).await.unwrap();
    assert_eq!(reply.unwrap_err(), Refusal::NotYours { claimed: 3 });
    let mut stream = open(&group, 2, 1, StreamKind::RaftSnapshot).await;
    let offer = SnapshotOffer {
        hello: Hello { from: 2, to: 8 },
        vote: Vote::new_committed(100, 2),
        meta: SnapshotMeta::default(),
    };
    write_message(&mut stream.send, &offer).await.unwrap();
    let reply: SnapshotReply = expect_message(&mut stream.recv, 1 << 20).await.unwrap();
    assert_eq!(reply.unwrap_err(), Refusal::OtherMember { asked: 8, ours: 1 });
    assert_eq!(group.members[&1].raft.status().term, term, "none of it moved the term");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_log_does_not_vote() {
    let mut group = Group::of(1).await;
    group.start(7).await.unwrap();
    assert_eq!(ask(&group, 1, 7, &vote_request(1, 7)).await.unwrap_err(), Refusal::Empty);
    assert_eq!(group.members[&7].raft.status().term, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_any_stream_harms_nobody() {
    let group = Group::of(1).await;
    let hello = codec::encode(&Hello { from: 1, to: 1 });
    let offer = codec::encode(&SnapshotOffer {
        hello: Hello { from: 1, to: 1 },
        vote: Vote::new_committed(0, 1),
        meta: SnapshotMeta::default(),
    });
    let frames: [&[u8]; 5] = [b"", b"\x01", b"\xff\xff\xff\xff", &hello, &offer];
    for kind in [StreamKind::Raft, StreamKind::RaftAppend, StreamKind::RaftSnapshot, StreamKind::Session] {
        for first in frames {
            for second in frames {
                let (near, far) = tokio::io::duplex(4096);
                let (recv, send) = tokio::io::split(far);
                let incoming = Incoming {
                    from: Some(PeerIdentity { node: NodeId(1), role: Role::Manager, cluster: ClusterId(5) }),
                    addr: address_of(NodeId(1)),
                    kind,
                    stream: Stream { send: Box::new(send), recv: Box::new(recv) },
                };
                let (_recv, mut send) = tokio::io::split(near);
                write_frame(&mut send, first).await.unwrap();
                write_frame(&mut send, second).await.unwrap();
                send.write_all(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3]).await.unwrap();
                send.shutdown().await.unwrap();
                group.members[&1].raft.serve(incoming).await;
            }
        }
    }
    group.write(&create_node(1, 0)).await;
    let left = std::fs::read_dir(group.path(1)).unwrap().count();
    assert_eq!(left, 1, "only the log: no unfinished snapshot stays");
}

/// Managers of different versions talk to each other: these bytes may never change meaning.
#[test]
fn messages_of_format_1_stay_readable() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let log_id = |index| LogId::new(LeaderId { term: 2, node_id: 3 }, index);
    let request = vote_request(1, 2);
    assert_eq!(hex(codec::encode(&request)), "010102016401000000");
    let append = AppendEntriesRequest::<TypeConfig> {
        vote: Vote::new_committed(2, 3),
        prev_log_id: Some(log_id(6)),
        entries: vec![Entry { log_id: log_id(7), payload: EntryPayload::Blank }],
        leader_commit: Some(log_id(5)),
    };
    assert_eq!(hex(codec::encode(&append)), "0102030101020306010203070001020305");
    let member = RaftMember { node: NodeId(9), addr: "[::1]:2377".into() };
    let membership = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, member)])).unwrap();
    let offer = SnapshotOffer {
        hello: Hello { from: 3, to: 1 },
        vote: Vote::new_committed(2, 3),
        meta: SnapshotMeta {
            last_log_id: Some(log_id(4)),
            last_membership: StoredMembership::new(Some(log_id(1)), membership),
        },
    };
    let bytes = codec::encode(&offer);
    assert_eq!(codec::decode::<SnapshotOffer>(&bytes).unwrap().meta, offer.meta);
    assert_eq!(hex(bytes), "01030102030101020304010203010101010101090a5b3a3a315d3a3233373700");
    let accepted: StreamAppendReply = Ok(Ok(Some(log_id(7))));
    assert_eq!(hex(codec::encode(&accepted)), "01000001020307");
    let refused: StreamAppendReply = Err(Refusal::Empty);
    assert_eq!(hex(codec::encode(&refused)), "010102");
}
