//! Going on alone: a manager whose majority is lost for good becomes the only member of a new group.
//!
//! Everything this manager has is kept, committed or not as far as it knows. It cannot know: the lost leader
//! may have acknowledged a write that reached this manager before word of its commit did. Keeping too much
//! repeats what somebody asked for; keeping too little loses what somebody was promised. (etcd decides alike.)
//!
//! The new group starts from a snapshot of all that, under a raft id that nobody ever had, so that no message
//! and no member of the old group can reach into it. The old data is replaced in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use common::identity::DataKeys;
use common::object::{ClusterId, NodeId, Version};
use openraft::{EntryPayload, Membership};

use super::folder::{self, FolderError};
use super::log_file::{LogFile, LogFileError, Owner, Write, file_backend};
use super::seal::Sealer;
use super::snapshot::Snapshots;
use super::snapshot_file::SnapshotError;
use super::types::{LogId, RaftMember, SnapshotMeta, StoredMembership, Vote};
use crate::store::{Proposal, Rejection, Store, Tables};
use common::wire::codec::DecodeError;

#[derive(Debug, thiserror::Error)]
pub enum ForceError {
    #[error("there is no raft data in {0}: this node was no manager")]
    Nothing(std::path::PathBuf),
    #[error("the raft data in {0} holds no entry yet")]
    Empty(std::path::PathBuf),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Log(#[from] LogFileError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("read log entry {index}")]
    Entry {
        index: u64,
        #[source]
        source: DecodeError,
    },
    #[error("write the cluster's new start")]
    Amend(#[source] Rejection),
}

/// What the new group starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forced {
    /// The raft id to start with from now on.
    pub raft_id: u64,
    pub version: Version,
}

/// Rewrites the raft data of a stopped manager so that it starts as the only voter, with all it held.
///
/// `amend` is shown the state and the new raft id and may write one proposal into it, such as the node's new
/// record. May block on the disk for as long as reading the log and writing a snapshot takes.
pub fn force_new_cluster(
    folder: &Path,
    cluster: ClusterId,
    data_keys: &DataKeys,
    node: NodeId,
    addr: &str,
    amend: impl FnOnce(u64, &Tables) -> Option<Proposal>,
) -> Result<Forced, ForceError> {
    if !folder::has_state(folder) {
        return Err(ForceError::Nothing(folder.into()));
    }
    let next = folder::prepare_next(folder)?;
    let sealer = Arc::new(Sealer::of(data_keys));
    let survivor = read(folder, sealer.clone())?;
    let last = survivor.last.ok_or_else(|| ForceError::Empty(folder.into()))?;
    let used = folder::used(folder)?.map_or(0, |used| used.raft_id);
    let given = survivor.store.snapshot().cluster().map_or(0, |cluster| cluster.next_raft_id);
    let seen = survivor.raft_ids.last().map_or(0, |last| last + 1);
    let raft_id = given.max(seen).max(used + 1);

    let mut version = Version(last.index());
    let mut last = last;
    if let Some(proposal) = amend(raft_id, &survivor.store.snapshot()) {
        last = LogId::new(*last.committed_leader_id(), last.index() + 1);
        version = survivor.store.apply(last.index(), &proposal).map_err(ForceError::Amend)?;
    }
    let member = RaftMember { node, addr: addr.into() };
    let term = survivor.term.max(last.committed_leader_id().term);
    begin(&next, sealer, Owner { cluster, raft_id }, member, last, term, &survivor.store.snapshot())?;
    folder::replace(folder)?;
    Ok(Forced { raft_id, version })
}

/// Writes the raft data of a group of one, which begins with `tables` after the entry `last`.
pub(super) fn begin(
    folder: &Path,
    sealer: Arc<Sealer>,
    owner: Owner,
    member: RaftMember,
    last: LogId,
    term: u64,
    tables: &Tables,
) -> Result<(), ForceError> {
    let raft_id = owner.raft_id;
    let membership = Membership::new(vec![BTreeSet::from([raft_id])], BTreeMap::from([(raft_id, member)]))
        .expect("its one voter is its one member");
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
    };
    Snapshots::open(folder, sealer.clone(), 0)?.build(&meta, tables)?;
    let path = folder::log_path(folder);
    let log = LogFile::open(&path, file_backend(&path)?, sealer)?;
    log.commit(&[
        Write::Owner(owner),
        // The vote is for nobody's lead: the only voter elects itself, in a term after all that were.
        Write::Vote(Vote::new(term + 1, raft_id)),
        Write::PurgeUpTo(last),
        Write::Committed(last),
    ])?;
    Ok(())
}

/// All that a manager's raft data says.
struct Survivor {
    store: Store,
    last: Option<LogId>,
    term: u64,
    /// Every raft id that occurs.
    raft_ids: BTreeSet<u64>,
}

fn read(folder: &Path, sealer: Arc<Sealer>) -> Result<Survivor, ForceError> {
    let path = folder::log_path(folder);
    let log = LogFile::open(&path, file_backend(&path)?, sealer.clone())?;
    let marks = log.marks();
    let store = Store::new();
    let mut raft_ids = BTreeSet::new();
    raft_ids.extend(marks.owner.map(|owner| owner.raft_id));
    let snapshots = Snapshots::open(folder, sealer, usize::MAX)?;
    let mut last = None;
    if let Some(newest) = snapshots.newest()? {
        store.restore(snapshots.install(&newest.snapshot)?);
        last = newest.meta.last_log_id;
        raft_ids.extend(newest.meta.last_membership.nodes().map(|(raft_id, _)| *raft_id));
    }
    let from = last.map_or(0, |last: LogId| last.index() + 1);
    let mut failed = None;
    let mut first = None;
    log.each_entry(from..u64::MAX, |entry| {
        let index = entry.log_id.index();
        first = first.or(Some(index));
        raft_ids.insert(entry.log_id.committed_leader_id().node_id);
        match &entry.payload {
            EntryPayload::Normal(command) => match command.proposal() {
                // Rejected here is rejected everywhere: that, too, is part of what was.
                Ok(proposal) => drop(store.apply(index, &proposal)),
                Err(source) => failed = Some(ForceError::Entry { index, source }),
            },
            EntryPayload::Membership(membership) => {
                raft_ids.extend(membership.nodes().map(|(raft_id, _)| *raft_id));
                store.pass(index);
            }
            EntryPayload::Blank => store.pass(index),
        }
        last = Some(entry.log_id);
        failed.is_none()
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let purged = marks.purged.map_or(0, |purged| purged.index() + 1);
    let end = last.map_or(0, |last: LogId| last.index() + 1);
    if end < marks.next {
        return Err(log.inconsistent(format!("it ends before entry {end}, {} was due", marks.next)).into());
    }
    if first.unwrap_or(purged) > from {
        return Err(log.inconsistent(format!("entry {from} is neither in it nor in a snapshot")).into());
    }
    let term = marks.vote.map_or(0, |vote| vote.leader_id.term);
    Ok(Survivor { store, last, term, raft_ids })
}
