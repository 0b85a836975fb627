//! Tables as a snapshot holds them, and proposals as the log does.

use common::object::{Cluster, Node, NodeId, Role};
use common::time::Timestamp;
use common::wire::codec;
use common_fuzz::take_byte;
use manager::store::format::{decode_proposal, encode_proposal, read_tables, write_tables};
use manager::store::{Change, Proposal, Store, Tables, Write};

use crate::api::fake::FakeCluster;

pub fn tables(data: &[u8]) {
    let Ok(tables) = read_tables(&mut &data[..]) else { return };
    assert_eq!(read_tables(&mut &written(&tables)[..]).expect("what was written reads"), tables);
}

fn written(tables: &Tables) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_tables(tables, &mut bytes).expect("a vector takes every write");
    bytes
}

pub fn table_seeds() -> Vec<Vec<u8>> {
    vec![written(&Tables::default()), written(&FakeCluster::new().store.snapshot())]
}

pub fn backup_seeds() -> Vec<Vec<u8>> {
    manager::api::fuzz::backup_seeds(&FakeCluster::new().store.snapshot())
}

/// Entries of a log, each a length (u16) and a proposal, applied to a cluster of one node.
pub fn proposals(mut data: &[u8]) {
    let cluster = FakeCluster::new();
    let (store, twin) = (&cluster.store, Store::new());
    twin.restore(store.snapshot());
    let first = store.snapshot().version.0 + 1;
    for index in first..first + 16 {
        if data.is_empty() {
            break;
        }
        let length = u16::from_be_bytes([take_byte(&mut data), take_byte(&mut data)]);
        let (entry, rest) = data.split_at(data.len().min(length.into()));
        data = rest;
        let Ok(proposal) = decode_proposal(entry) else { continue };
        let outcome = store.apply(index, &proposal);
        let again = decode_proposal(&encode_proposal(&proposal)).expect("what is encoded decodes");
        assert_eq!(twin.apply(index, &again), outcome, "all managers come to the same");
    }
    let tables = store.snapshot();
    assert_eq!(twin.snapshot(), tables);
    assert_eq!(read_tables(&mut &written(&tables)[..]).expect("what was written reads"), tables);
}

pub fn proposal_seeds() -> Vec<Vec<u8>> {
    let cluster = FakeCluster::new();
    let tables = cluster.store.snapshot();
    let settings = Cluster::clone(tables.cluster().expect("it was just made"));
    let node = Node::clone(tables.nodes.iter().next().expect("it has one"));
    let (version, known) = (node.meta.version, node.id);
    let new = Node::new(NodeId(7), Role::Worker, Default::default());
    let changes = [
        vec![
            Change::Node(Write::Create(new.clone())),
            Change::Node(Write::Create(Node { id: NodeId(8), ..new })),
        ],
        vec![Change::Node(Write::update(node))],
        vec![Change::Node(Write::Remove { id: known, read_at: version })],
        vec![Change::Cluster(Write::update(settings))],
    ];
    let entry = |(id, changes): (usize, Vec<Change>)| {
        let bytes = codec::encode(&Proposal { id: id as u64 + 9, at: Timestamp(5), changes });
        [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
    };
    let entries: Vec<Vec<u8>> = changes.into_iter().enumerate().map(entry).collect();
    vec![entries.concat(), entries[0].clone(), entries[1].clone(), entries[2].clone(), entries[3].clone()]
}
