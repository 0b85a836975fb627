//! The parsers of raft's bytes, for `manager/fuzz`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use common::object::NodeId;
use common::wire::codec;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::log_file::Owner;
use super::message::{
    AppendReply, Body, Hello, Request, SnapshotOffer, SnapshotReply, StreamAppendReply, TransferLeaderReply,
    VoteReply,
};
use super::seal::{KEY_BYTES, Sealer};
use super::snapshot_file::{ChunkReader, ChunkWriter};
use super::types::{Command, Entry, LogId, RaftMember, SnapshotMeta, TypeConfig, Vote, entry_bytes};
use crate::store::{Proposal, format};

const READERS: [fn(&[u8]); 13] = [
    |bytes| {
        if let Some(Request { body: Body::Append(request), .. }) = read(bytes) {
            request.entries.iter().for_each(look_at);
        }
    },
    |bytes| {
        if let Some(request) = read::<AppendEntriesRequest<TypeConfig>>(bytes) {
            request.entries.iter().for_each(look_at);
        }
    },
    |bytes| {
        if let Some(entry) = read::<Entry>(bytes) {
            look_at(&entry);
        }
    },
    check::<Hello>,
    check::<SnapshotOffer>,
    check::<AppendReply>,
    check::<StreamAppendReply>,
    check::<VoteReply>,
    check::<TransferLeaderReply>,
    check::<SnapshotReply>,
    check::<Vote>,
    check::<LogId>,
    check::<Owner>,
];

/// Reads a message from another manager, or a record of the log; `kind` says which.
pub fn message(kind: u8, bytes: &[u8]) {
    READERS[usize::from(kind) % READERS.len()](bytes);
}

fn read<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = codec::decode(bytes).ok()?;
    let encoded = codec::encode(&value);
    let again: T = codec::decode(&encoded).expect("what is encoded decodes");
    assert_eq!(codec::encode(&again), encoded, "a value is the same after a second journey");
    let _ = format!("{value:?}");
    Some(value)
}

fn check<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    read::<T>(bytes);
}

fn look_at(entry: &Entry) {
    entry_bytes(entry);
    let _ = entry.to_string();
    match &entry.payload {
        EntryPayload::Normal(command) => drop(command.proposal()),
        EntryPayload::Membership(membership) => drop(membership.voter_ids().count()),
        EntryPayload::Blank => {}
    }
}

pub fn message_seeds() -> Vec<Vec<u8>> {
    let hello = Hello { from: 1, to: 2 };
    let vote = Vote::new_committed(3, 1);
    let proposal = Proposal { id: 7, at: Default::default(), changes: Vec::new() };
    let log_id = LogId::new(vote.leader_id, 5);
    let member = RaftMember { node: NodeId(9), addr: "10.0.0.1:2377".into() };
    let members: BTreeMap<u64, RaftMember> = [(1, member)].into();
    let membership = openraft::Membership::new(vec![[1].into()], members).expect("its voter is a member");
    let payloads = [
        EntryPayload::Normal(Command::new(&proposal)),
        EntryPayload::Membership(membership),
        EntryPayload::Blank,
    ];
    let entries: Vec<Entry> =
        payloads.into_iter().map(|payload| Entry { log_id: log_id.clone(), payload }).collect();
    let append = AppendEntriesRequest {
        vote: vote.clone(),
        prev_log_id: Some(log_id.clone()),
        entries: entries.clone(),
        leader_commit: Some(log_id.clone()),
    };
    let ballot = VoteRequest::new(vote.clone(), Some(log_id.clone()));
    let offer = SnapshotOffer { hello, vote: vote.clone(), meta: SnapshotMeta::default() };
    vec![
        seed(0, &Request { hello, body: Body::Append(append.clone()) }),
        seed(0, &Request { hello, body: Body::Vote(ballot) }),
        seed(1, &append),
        seed(2, &entries[0]),
        seed(2, &entries[1]),
        seed(3, &hello),
        seed(4, &offer),
        seed(10, &vote),
        seed(11, &log_id),
        crate::forward::fuzz_seed(proposal),
    ]
}

fn seed<T: Serialize>(kind: u8, value: &T) -> Vec<u8> {
    [vec![kind], codec::encode(value)].concat()
}

/// Reads a file that claims to be a snapshot.
pub fn snapshot_file(bytes: &[u8]) {
    let file = file_of(bytes);
    if let Ok(mut reader) = ChunkReader::new(Arc::new(file), Path::new("snapshot"), sealer()) {
        let _ = format::read_tables(&mut reader);
    }
}

pub fn snapshot_file_seeds() -> Vec<Vec<u8>> {
    let mut file = file_of(&[]);
    let copy = file.try_clone().expect("a second handle");
    let mut writer =
        ChunkWriter::new(copy, Path::new("snapshot"), sealer(), &SnapshotMeta::default()).expect("written");
    format::write_tables(&Default::default(), &mut writer).expect("written");
    writer.finish().expect("written");
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("it is there");
    vec![bytes]
}

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(&[3; KEY_BYTES]))
}

/// A file without a name, gone when it is closed.
fn file_of(bytes: &[u8]) -> File {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
    let path = folder.join(format!("swarm-fuzz-{}", std::process::id()));
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("it was just made");
    file.write_all(bytes).and_then(|()| file.rewind()).expect("room for a small file");
    file
}
