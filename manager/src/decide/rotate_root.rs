//! A new root takes the place of the old one: which nodes to tell to get a certificate of it, and when it is done.
//!
//! Pure. Progress is in the store: the rotation in the cluster object, and what each node says of its certificate in
//! its description. So a new leader goes on where the old one stopped.
//!
//! ```text
//! both roots are trusted by all ──▶ a few nodes at a time are asked ──▶ all have it: the new root is the only one
//! ```
//!
//! Only living nodes are waited for. One that is down gets in later: what managers show leads from its old root to
//! the new one for a while, and its old key says who it is.

use std::collections::BTreeSet;

use common::identity::given::public_key;
use common::limits::ROTATED_AT_A_TIME_MAX;
use common::object::{Node, NodeId, NodeState};
use common::time::Timestamp;

use crate::store::Tables;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// Have these nodes told to get a certificate of the new root.
    Ask(BTreeSet<NodeId>),
    /// The new root is the root. Whether some node has yet to come back and find its way to it.
    Finish { missing: bool },
    /// Nobody needs the way from the earlier roots any more.
    DropIntermediates,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RotationDecision {
    pub step: Option<RotationStep>,
    /// Living nodes that do not have what they should, in the order of their ids.
    pub waiting_for: Vec<NodeId>,
}

pub fn decide_rotation(tables: &Tables, now: Timestamp) -> RotationDecision {
    let Some(cluster) = tables.cluster() else { return RotationDecision::default() };
    let authority = &cluster.authority;
    if authority.rotation.is_none() && authority.intermediates.is_empty() {
        return RotationDecision::default();
    }
    let issuer = public_key(authority.signer().certificate_pem);
    let has_new = |node: &Node| {
        node.description.as_ref().is_some_and(|description| description.tls.issuer_public_key == issuer)
    };
    let missing = tables.nodes.iter().any(|node| !has_new(node));
    let Some(rotation) = &authority.rotation else {
        let over = authority.intermediates.iter().all(|intermediate| intermediate.until <= now);
        let step = (over || !missing).then_some(RotationStep::DropIntermediates);
        return RotationDecision { step, waiting_for: Vec::new() };
    };
    let trust = authority.trust_pem();
    let trusts = |node: &Node| {
        node.description.as_ref().is_some_and(|description| description.tls.trust_root_pem == trust)
    };
    let living = || tables.nodes.iter().filter(|node| node.status.state != NodeState::Down);
    let all = |wanted: &dyn Fn(&Node) -> bool| -> Vec<NodeId> {
        living().filter(|node| !wanted(node)).map(|node| node.id).collect()
    };
    // Nobody shows a certificate of the new root before everybody knows that root.
    let doubters = all(&trusts);
    if !doubters.is_empty() {
        return RotationDecision { step: None, waiting_for: doubters };
    }
    let remaining = all(&has_new);
    if remaining.is_empty() {
        let step = Some(RotationStep::Finish { missing });
        return RotationDecision { step, waiting_for: Vec::new() };
    }
    let (busy, idle): (Vec<NodeId>, Vec<NodeId>) =
        remaining.iter().copied().partition(|node| rotation.asked.contains(node));
    // In few groups, because each one is a write that every node is told of.
    let room = if busy.len() > ROTATED_AT_A_TIME_MAX / 2 { 0 } else { ROTATED_AT_A_TIME_MAX - busy.len() };
    let next: BTreeSet<NodeId> = idle.into_iter().take(room).collect();
    let step = (!next.is_empty()).then_some(RotationStep::Ask(next));
    RotationDecision { step, waiting_for: remaining }
}

#[cfg(test)]
#[path = "rotate_root_test.rs"]
mod tests;
