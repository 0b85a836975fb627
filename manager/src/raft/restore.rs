//! A group of one that begins with tables from elsewhere: what a backup becomes.
//!
//! The cluster that was backed up may have gone on since, and may even be there still. So the raft id is one that it
//! will not come to by counting, drawn anew for each restore, and the term is one that it has left behind: no message
//! of the one group means anything to the other, and no id stands for two logs.

use std::path::Path;
use std::sync::Arc;

use common::identity::DataKeys;
use common::object::{ClusterId, NodeId};
use common::random::Random;

use super::folder;
use super::force::{ForceError, Forced, begin};
use super::log_file::Owner;
use super::seal::Sealer;
use super::types::{LogId, RaftMember, Vote};
use crate::store::{Proposal, Store, Tables};

/// Ids that a cluster gives one after the other do not get as far as this in its life.
const RAFT_IDS_SKIPPED_MIN: u64 = 1 << 32;
/// Restores of one backup do not draw the same out of so many.
const RAFT_IDS_DRAWN: u64 = 1 << 48;

/// Who begins.
pub struct Founder<'a> {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub addr: &'a str,
    pub data_keys: &'a DataKeys,
}

/// A raft id for a cluster restored from tables that would give `next` as the next one.
pub fn fresh_raft_id(next: u64, random: &mut dyn Random) -> u64 {
    next.saturating_add(RAFT_IDS_SKIPPED_MIN).saturating_add(random.next_u64() % RAFT_IDS_DRAWN)
}

/// Writes raft data into `folder`, which has none, so that it starts as the only voter with `tables` and `amend`.
///
/// May block on the disk for as long as writing a snapshot takes.
pub fn restore(
    folder: &Path,
    founder: &Founder<'_>,
    raft_id: u64,
    term: u64,
    tables: Tables,
    amend: &[Proposal],
) -> Result<Forced, ForceError> {
    let next = folder::prepare_next(folder)?;
    let term = term.saturating_add(1);
    let mut version = tables.version;
    let store = Store::new();
    store.restore(tables);
    for proposal in amend {
        version = store.apply(version.0 + 1, proposal).map_err(ForceError::Amend)?;
    }
    let last = LogId::new(Vote::new(term, raft_id).leader_id, version.0);
    let Founder { cluster, node, addr, data_keys } = *founder;
    let member = RaftMember { node, addr: addr.into() };
    let owner = Owner { cluster, raft_id };
    begin(&next, Arc::new(Sealer::of(data_keys)), owner, member, last, term, &store.snapshot())?;
    common::disk::create_private_dir(folder).map_err(folder::FolderError::from)?;
    folder::replace(folder)?;
    Ok(Forced { raft_id, version })
}
