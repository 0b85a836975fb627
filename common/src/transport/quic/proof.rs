//! Who the far end has proved to be, and proving it again, so that a connection outlives the certificates it was made
//! with.
//!
//! A certificate is shown in a handshake alone. Before one ends, and when a node has its next one, both ends meet in a
//! short second connection: what is proved there counts for the connections that stand. So nothing on them is cut.
//!
//! Who shows a certificate that is not good any more is let in by its key, where somebody who knows the cluster
//! vouches for it, and only to get the next one.

use std::sync::Arc;

use tokio::time::timeout;
use tracing::debug;

use super::Shared;
use super::close::{Close, Lost};
use super::link::Proved;
use super::{accept, dial, tls};
use crate::identity::NodeCertificate;
use crate::limits::{LATE_LINK_TIME, PROOF_WAIT};
use crate::object::Role;
use crate::transport::{Peer, PeerIdentity};

/// Says whether the holder of this key, whose certificate has ended or is of an earlier root, is a node of the
/// cluster all the same, and as what.
pub type Vouch = Arc<dyn Fn(&NodeCertificate) -> Option<Role> + Send + Sync>;

/// The far end of a connection.
pub(super) struct Seen {
    pub identity: PeerIdentity,
    pub proved: Proved,
}

/// Who the far end of a connection is. TLS has checked that it holds the key of what it shows.
pub(super) fn seen(shared: &Shared, connection: &quinn::Connection) -> Result<Seen, Close> {
    let facts = tls::peer_certificate(connection)?;
    let (own, cluster) = shared.own();
    if facts.cluster != cluster {
        return Err(Close::WrongCluster);
    }
    if facts.node == own {
        return Err(Close::Duplicate);
    }
    let now = shared.clock.now();
    let regular = {
        let current = shared.current.read().expect("no holder panics");
        now <= facts.not_after && current.configs.is_good(connection, now)
    };
    let (role, proved) = match regular {
        true => (facts.role, Proved { until: facts.not_after, late: false }),
        false => {
            let role = shared.vouch.ask(&facts).ok_or(Close::Expired)?;
            (role, Proved { until: now.plus(LATE_LINK_TIME), late: true })
        }
    };
    let identity = PeerIdentity { node: facts.node, role, cluster };
    Ok(Seen { identity, proved })
}

/// Meets a node again, so that both ends have seen each other's present certificate.
pub(super) async fn renew(shared: Arc<Shared>, peer: Peer) {
    let config = shared.current.read().expect("no holder panics").configs.proof();
    let met = timeout(PROOF_WAIT, dial::call(&shared, peer, config)).await;
    let met = met.unwrap_or_else(|_| Err(Lost::Unreachable("no answer".into())));
    match met {
        Ok((connection, seen)) => {
            note(&shared, &seen);
            Close::Idle.apply(&connection);
        }
        Err(lost) => {
            let refused = !matches!(lost, Lost::Unreachable(_));
            debug!(node.id = %peer.node, reason = ?lost, "identity not proved anew");
            shared.peers().of(peer.node).for_each(|link| link.note_unproved(refused));
        }
    }
}

/// Answers a node that wants to be seen again.
pub(super) async fn answer(shared: &Arc<Shared>, connection: &quinn::Connection) -> Close {
    let seen = match seen(shared, connection) {
        Ok(seen) => seen,
        Err(close) => return close,
    };
    if shared.peers().is_denied(seen.identity.node) {
        return Close::Removed;
    }
    note(shared, &seen);
    if accept::welcome(connection).await.is_none() {
        return Close::Protocol;
    }
    let _ = timeout(PROOF_WAIT, connection.closed()).await; // the caller ends it
    Close::Idle
}

fn note(shared: &Shared, seen: &Seen) {
    if seen.proved.late {
        return;
    }
    let peers = shared.peers();
    for link in peers.of(seen.identity.node).filter(|link| link.peer.role == seen.identity.role) {
        link.prove(seen.proved.until);
    }
}
