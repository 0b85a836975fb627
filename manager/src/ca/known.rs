//! What the store knows of a caller, beyond what its certificate says. Pure.

use common::identity::NodeCertificate;
use common::limits::RECOVERY_GRACE;
use common::object::{NodeId, Role};
use common::time::Timestamp;

use crate::store::Tables;

/// Whether a certificate that is not good any more, because it has ended or is of an earlier root, names a node by a
/// key that the cluster gave it one for; and the role the node has.
///
/// Nothing in the certificate counts but the node's name and the key, which the caller has proved to hold.
pub fn vouch(tables: &Tables, facts: &NodeCertificate, now: Timestamp) -> Option<Role> {
    let (cluster, node) = (tables.cluster()?, tables.nodes.get(facts.node)?);
    if facts.cluster != cluster.id || cluster.denied.contains_key(&facts.node) {
        return None;
    }
    let issued = node.status.issued.as_ref()?;
    // The newest may have been lost on its way: then the node goes on with the one that it last told of.
    let told = node.description.as_ref().map(|description| description.tls.public_key.as_slice());
    let known = [Some(issued.public_key.as_slice()), told].contains(&Some(facts.public_key.as_slice()));
    let in_time = now <= issued.until.plus(RECOVERY_GRACE);
    // A certificate lags behind a change of role, and grants nothing that the store does not.
    let role = if facts.role == node.role { node.role } else { Role::Worker };
    (known && in_time && !facts.public_key.is_empty()).then_some(role)
}

/// Whether a node that shows a manager's certificate is known not to be one any more.
pub fn is_demoted(tables: &Tables, node: NodeId) -> bool {
    let denied = tables.cluster().is_some_and(|cluster| cluster.denied.contains_key(&node));
    denied || tables.nodes.get(node).is_some_and(|node| node.role == Role::Worker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Proposal, Store, Write};
    use common::object::cluster::Authority;
    use common::object::node::Issued;
    use common::object::sensitive::Sensitive;
    use common::object::{Availability, Cluster, ClusterId, Node, NodeDescription};
    use std::time::Duration;

    const UNTIL: Timestamp = Timestamp(1_795_161_600_000_000_000);

    fn tables() -> Tables {
        let none = || Sensitive::new(String::new());
        let cluster = Cluster {
            denied: [(NodeId(3), UNTIL)].into(),
            ..Cluster::new(ClusterId(1), Authority::new(String::new(), none(), none(), none()))
        };
        let mut changes = vec![Change::Cluster(Write::Create(cluster))];
        for (id, role) in [(1, Role::Manager), (2, Role::Worker), (3, Role::Worker), (4, Role::Worker)] {
            let mut node = Node::new(NodeId(id), role, Availability::Active);
            let mut description = NodeDescription::default();
            description.tls.public_key = vec![id as u8];
            node.description = Some(description);
            node.status.issued = (id != 4).then(|| Issued { public_key: vec![id as u8, 1], until: UNTIL });
            changes.push(Change::Node(Write::Create(node)));
        }
        let store = Store::new();
        store.apply(1, &Proposal { id: 1, at: UNTIL, changes }).unwrap();
        store.snapshot()
    }

    #[test]
    fn only_known_keys_of_present_nodes_count_and_for_a_bounded_time() {
        let tables = tables();
        let second = Duration::from_secs(1);
        let (last, late) = (UNTIL.plus(RECOVERY_GRACE), UNTIL.plus(RECOVERY_GRACE).plus(second));
        let (manager, worker) = (Role::Manager, Role::Worker);
        #[rustfmt::skip]
        let cases = [ // node, cluster, role it shows, key, now, role it has
            (1, 1, manager, vec![1, 1], UNTIL, Some(manager)),
            (1, 1, manager, vec![1],    UNTIL, Some(manager)), // the one before: the newest never arrived
            (1, 1, manager, vec![1, 1], last,  Some(manager)),
            (1, 1, manager, vec![1, 1], late,  None),
            (1, 1, manager, vec![9],    UNTIL, None),          // an older key, or somebody else's
            (1, 1, manager, vec![],     UNTIL, None),
            (1, 1, manager, vec![2, 1], UNTIL, None),          // another node's
            (1, 2, manager, vec![1, 1], UNTIL, None),          // another cluster's
            (1, 1, worker,  vec![1, 1], UNTIL, Some(worker)),  // promoted meanwhile: its next one says so
            (2, 1, worker,  vec![2, 1], UNTIL, Some(worker)),
            (2, 1, manager, vec![2, 1], UNTIL, Some(worker)),  // demoted meanwhile
            (3, 1, worker,  vec![3, 1], UNTIL, None),          // denied
            (4, 1, worker,  vec![4],    UNTIL, None),          // nothing is known of its certificate
            (5, 1, worker,  vec![5],    UNTIL, None),          // removed
        ];
        for (node, cluster, role, public_key, now, expected) in cases {
            let facts = NodeCertificate {
                node: NodeId(node),
                role,
                cluster: ClusterId(cluster),
                not_before: Timestamp(0),
                not_after: Timestamp(u64::MAX), // its holder may write there what it wants
                public_key,
            };
            assert_eq!(vouch(&tables, &facts, now), expected, "{facts:?}");
        }
    }

    #[test]
    fn who_was_demoted_or_removed_is_known_and_who_is_new_is_not_mistaken_for_it() {
        let demoted: Vec<bool> = (1..=5).map(|id| is_demoted(&tables(), NodeId(id))).collect();
        assert_eq!(demoted, [false, true, true, true, false]);
    }
}
