//! Tables and proposals as bytes, by format version.
//!
//! A snapshot of the tables is a stream: a header, then each table's objects, one record each. Writing and
//! reading hold one object at a time, so a million of them need no more memory than the tables themselves.
//!
//! ```text
//! format: u8, header: length u32 + bytes, then for each table in the order of `TableCounts`: records
//! record: length u32 + bytes
//! ```

use std::io::{self, Read, Write};
use std::sync::Arc;

use common::limits::PROPOSAL_BYTES_MAX;
use common::object::{Cluster, Network, Node, Payload, Service, Task, Version};
use common::time::Timestamp;
use common::wire::codec::{self, DecodeError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::table::{Object, Table};
use super::{Proposal, Tables};

/// The snapshot format this program writes.
pub const TABLES_FORMAT: u8 = 1;
/// No object is larger than the proposal it came in, give or take what the store adds to it.
const RECORD_BYTES_MAX: usize = PROPOSAL_BYTES_MAX + 1024;

#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("read the stream of tables")]
    Io(#[from] io::Error),
    #[error(
        "snapshot format {found} is not known to this version of swarm, which reads up to {TABLES_FORMAT}"
    )]
    Format { found: u8 },
    #[error("a record of {length} bytes is larger than any object")]
    TooLarge { length: usize },
    #[error("decode a record")]
    Decode(#[from] DecodeError),
    #[error("{kind} {id} is there twice")]
    Twice { kind: common::object::ObjectKind, id: String },
    #[error("more bytes after the last table")]
    Trailing,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: Version,
    newest: Timestamp,
    counts: TableCounts,
}

/// Objects per table, in the order in which the tables follow.
#[derive(Serialize, Deserialize)]
struct TableCounts {
    clusters: u64,
    nodes: u64,
    services: u64,
    tasks: u64,
    payloads: u64,
    networks: u64,
}

pub fn write_tables(tables: &Tables, stream: &mut impl Write) -> io::Result<()> {
    // Named one by one, so that a new table asks to be written.
    let Tables { version, newest, clusters, nodes, services, tasks, payloads, networks, indexes: _ } = tables;
    stream.write_all(&[TABLES_FORMAT])?;
    let counts = TableCounts {
        clusters: clusters.len() as u64,
        nodes: nodes.len() as u64,
        services: services.len() as u64,
        tasks: tasks.len() as u64,
        payloads: payloads.len() as u64,
        networks: networks.len() as u64,
    };
    write_record(stream, &Header { version: *version, newest: *newest, counts })?;
    write_table(stream, clusters)?;
    write_table(stream, nodes)?;
    write_table(stream, services)?;
    write_table(stream, tasks)?;
    write_table(stream, payloads)?;
    write_table(stream, networks)
}

/// Reads what `write_tables` wrote, up to the end of the stream; refuses anything else, whatever the bytes are.
pub fn read_tables(stream: &mut impl Read) -> Result<Tables, FormatError> {
    let mut format = [0];
    stream.read_exact(&mut format)?;
    if format != [TABLES_FORMAT] {
        return Err(FormatError::Format { found: format[0] });
    }
    let Header { version, newest, counts } = read_record(stream)?;
    let mut tables = Tables { version, newest, ..Tables::default() };
    read_table(stream, counts.clusters, |object: Arc<Cluster>| tables.clusters.set(object.id, Some(object)))?;
    read_table(stream, counts.nodes, |object: Arc<Node>| tables.nodes.set(object.id, Some(object)))?;
    read_table(stream, counts.services, |object: Arc<Service>| tables.set_service(object.id, Some(object)))?;
    read_table(stream, counts.tasks, |object: Arc<Task>| tables.set_task(object.id, Some(object)))?;
    read_table(stream, counts.payloads, |object: Arc<Payload>| tables.set_payload(object.id, Some(object)))?;
    read_table(stream, counts.networks, |object: Arc<Network>| tables.set_network(object.id, Some(object)))?;
    if stream.read(&mut [0])? > 0 {
        return Err(FormatError::Trailing);
    }
    Ok(tables)
}

pub fn encode_proposal(proposal: &Proposal) -> Vec<u8> {
    codec::encode(proposal)
}

pub fn decode_proposal(bytes: &[u8]) -> Result<Proposal, DecodeError> {
    codec::decode(bytes)
}

fn write_table<T: Object + Serialize>(stream: &mut impl Write, table: &Table<T>) -> io::Result<()> {
    table.iter().try_for_each(|object| write_record(stream, &**object))
}

/// Reads one table, handing each object to `put`, which answers what it replaced.
fn read_table<T: Object + DeserializeOwned>(
    stream: &mut impl Read,
    count: u64,
    mut put: impl FnMut(Arc<T>) -> Option<Arc<T>>,
) -> Result<(), FormatError> {
    for _ in 0..count {
        let object: T = read_record(stream)?;
        let id = object.id();
        if put(Arc::new(object)).is_some() {
            return Err(FormatError::Twice { kind: T::KIND, id: id.to_string() });
        }
    }
    Ok(())
}

fn write_record<T: Serialize>(stream: &mut impl Write, value: &T) -> io::Result<()> {
    let mut record = zeroize::Zeroizing::new(Vec::new());
    codec::encode_into(&mut record, value);
    let length = u32::try_from(record.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&record)
}

fn read_record<T: DeserializeOwned>(stream: &mut impl Read) -> Result<T, FormatError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > RECORD_BYTES_MAX {
        return Err(FormatError::TooLarge { length });
    }
    let mut record = zeroize::Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut record)?;
    Ok(codec::decode_all(&record)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::any_tables;
    use proptest::prelude::*;

    fn bytes(tables: &Tables) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_tables(tables, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn tables_come_back_as_they_were(tables in any_tables()) {
            prop_assert_eq!(read_tables(&mut &bytes(&tables)[..]).unwrap(), tables);
        }

        #[test]
        fn a_cut_stream_is_refused(tables in any_tables(), cut in 1usize..40) {
            let bytes = bytes(&tables);
            prop_assert!(read_tables(&mut &bytes[..bytes.len().saturating_sub(cut)]).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = read_tables(&mut &bytes[..]);
            let _ = read_tables(&mut &[&[TABLES_FORMAT, 0, 0, 0, 8][..], &bytes].concat()[..]);
        }
    }

    /// Snapshots that managers in the field have on disk must stay readable: from the first release on these bytes
    /// may never change meaning.
    #[test]
    fn snapshots_of_format_1_stay_readable() {
        let mut tables = Tables { version: Version(300), newest: Timestamp(5), ..Tables::default() };
        let node = common::object::Node {
            id: common::object::NodeId(7),
            meta: Default::default(),
            spec: Default::default(),
            role: Default::default(),
            description: None,
            status: Default::default(),
            manager: Some(common::object::node::ManagerRecord { raft_id: 2, addr: "a:1".into() }),
        };
        tables.nodes.set(node.id, Some(Arc::new(node)));
        let bytes = bytes(&tables);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "010000000afb2c01050001000000000000001607000000000000000000000000000000010203613a31");
        assert_eq!(read_tables(&mut &bytes[..]).unwrap(), tables);
    }

    #[test]
    fn what_does_not_belong_is_named() {
        let empty = bytes(&Tables::default());
        let longer = [&empty[..], &[0]].concat();
        assert!(matches!(read_tables(&mut &longer[..]), Err(FormatError::Trailing)));
        assert!(matches!(read_tables(&mut &[9u8][..]), Err(FormatError::Format { found: 9 })));
        let huge = [TABLES_FORMAT, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(read_tables(&mut &huge[..]), Err(FormatError::TooLarge { .. })));
    }
}
