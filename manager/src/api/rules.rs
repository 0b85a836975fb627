//! What a request may ask of the cluster. Pure: tables and facts in, changes or the reason against them out.
//!
//! The steps that follow (a role change, a removed node's work) are `decide`'s.

use std::collections::BTreeSet;

use common::limits::DENIED_AFTER_EXPIRY;
use common::object::cluster::{AtRest, Authority};
use common::object::sensitive::Sensitive;
use common::object::{Cluster, ClusterSpec, Node, NodeId, NodeSpec, NodeState, Role, Version};
use common::time::Timestamp;

use super::error::{ApiError, OUT_OF_SEQUENCE};
use super::target::shortened;
use crate::store::{Change, Tables, Write};

/// The version a client read before it changed something: `what` is for the sentence.
pub fn version(what: &str, text: &str) -> Result<Version, ApiError> {
    text.parse()
        .map(Version)
        .map_err(|error| ApiError::invalid(format!("invalid {what} version '{}': {error}", shortened(text))))
}

/// Replaces a node's spec. A manager that becomes a worker must leave enough managers behind.
///
/// The demotion also writes the cluster object, unchanged: of two demotions at once, each fine alone, the
/// second then meets a conflict and is looked at again.
pub fn update_node(
    tables: &Tables,
    node: &Node,
    read_at: Version,
    spec: NodeSpec,
    reachable: &BTreeSet<NodeId>,
) -> Result<Vec<Change>, ApiError> {
    if node.meta.version != read_at {
        return Err(ApiError::internal(OUT_OF_SEQUENCE));
    }
    let mut changes = Vec::new();
    if node.spec.role == Role::Manager && spec.role == Role::Worker {
        may_demote(tables, node, reachable)?;
        changes.extend(tables.cluster().map(|cluster| Change::Cluster(Write::update((**cluster).clone()))));
    }
    changes.push(Change::Node(Write::Update { value: Node { spec, ..node.clone() }, read_at }));
    Ok(changes)
}

fn may_demote(tables: &Tables, node: &Node, reachable: &BTreeSet<NodeId>) -> Result<(), ApiError> {
    let stays = |other: &&Node| other.id != node.id && other.manager.is_some();
    let others: Vec<&Node> = tables.nodes.iter().map(|other| &**other).filter(stays).collect();
    if !others.iter().any(|other| other.spec.role == Role::Manager) {
        return Err(ApiError::invalid("attempting to demote the last manager of the swarm"));
    }
    if node.manager.is_none() {
        // Promoted and never arrived: taking that back costs nobody anything. Docker answers 404, which leaves a
        // promoted dead machine stuck.
        return Ok(());
    }
    // Those who are being demoted as well are not counted on.
    let remaining: Vec<&&Node> = others.iter().filter(|other| other.spec.role == Role::Manager).collect();
    let alive = remaining.iter().filter(|other| reachable.contains(&other.id)).count();
    if alive < quorum(remaining.len()) {
        return Err(ApiError::invalid(
            "can't remove member from the raft: this would result in a loss of quorum",
        ));
    }
    Ok(())
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

/// Forgets a node and refuses its certificate until no copy of it can be valid.
pub fn remove_node(
    tables: &Tables,
    node: &Node,
    force: bool,
    now: Timestamp,
) -> Result<Vec<Change>, ApiError> {
    let id = node.id;
    if node.manager.is_some() {
        return Err(ApiError::invalid(format!(
            "node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
        )));
    }
    if !force && node.status.state != NodeState::Down {
        return Err(ApiError::invalid(format!("node {id} is not down and can't be removed")));
    }
    let cluster = tables.cluster().ok_or_else(|| ApiError::internal("the cluster has no settings yet"))?;
    let mut cluster = Cluster::clone(cluster);
    cluster.denied.retain(|_, until| *until > now);
    let until = now.plus(cluster.spec.node_certificate_expiry).plus(DENIED_AFTER_EXPIRY);
    cluster.denied.insert(id, until);
    Ok(vec![
        Change::Node(Write::Remove { id, read_at: node.meta.version }),
        Change::Cluster(Write::update(cluster)),
    ])
}

/// What `POST /swarm/update` replaces beside the spec.
#[derive(Default)]
pub struct Rotation {
    pub worker_token: Option<Sensitive>,
    pub manager_token: Option<Sensitive>,
    /// The root of trust from now on, where that changes.
    pub authority: Option<Authority>,
    /// The next key to unlock managers: needed where the spec wants them locked and they are not yet.
    pub unlock_key: Option<Sensitive>,
}

/// Replaces the cluster's spec and the tokens asked for.
pub fn update_cluster(
    cluster: &Cluster,
    read_at: Version,
    spec: ClusterSpec,
    rotation: Rotation,
) -> Result<Change, ApiError> {
    if cluster.meta.version != read_at {
        return Err(ApiError::internal(OUT_OF_SEQUENCE));
    }
    let mut value = Cluster { spec, ..cluster.clone() };
    if let Some(authority) = rotation.authority {
        value.authority = authority;
    }
    let authority = &mut value.authority;
    authority.worker_token = rotation.worker_token.unwrap_or_else(|| authority.worker_token.clone());
    authority.manager_token = rotation.manager_token.unwrap_or_else(|| authority.manager_token.clone());
    follow_autolock(&mut value.at_rest, value.spec.autolock_managers, rotation.unlock_key);
    Ok(Change::Cluster(Write::Update { value, read_at }))
}

/// Each change of the unlock key has a version. Locking for the first time also renews the data keys: whoever has a
/// copy of a disk from before has the old ones.
fn follow_autolock(at_rest: &mut AtRest, locks: bool, fresh: Option<Sensitive>) {
    match (locks, fresh) {
        (true, Some(fresh)) => {
            at_rest.unlock_key_version += 1;
            if at_rest.unlock_key.replace(fresh).is_none() {
                at_rest.data_key_version += 1;
            }
        }
        (true, None) => debug_assert!(at_rest.unlock_key.is_some(), "who turns locking on brings a key"),
        (false, _) => {
            if at_rest.unlock_key.take().is_some() {
                at_rest.unlock_key_version += 1;
            }
        }
    }
}

/// Has every manager make a new data key.
pub fn rotate_data_keys(cluster: &Cluster) -> Change {
    let mut value = cluster.clone();
    value.at_rest.data_key_version += 1;
    Change::Cluster(Write::update(value))
}

/// Why a manager should not leave without `force`; `view` is none while it is not an active manager.
pub fn refuse_leave(view: Option<(&Tables, &BTreeSet<NodeId>)>) -> String {
    let mut text =
        String::from("You are attempting to leave the swarm on a node that is participating as a manager. ");
    let Some((tables, reachable)) = view else {
        return text + "Doing so may lose the consensus of your cluster. " + ONLY_WAY_BACK;
    };
    let members: Vec<NodeId> =
        tables.nodes.iter().filter(|node| node.manager.is_some()).map(|node| node.id).collect();
    let alive = members.iter().filter(|id| reachable.contains(*id)).count();
    if members.len() <= 1 {
        return text
            + "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ";
    }
    // The one who leaves stays a member that is not there, until it is removed.
    let left = alive.saturating_sub(1);
    if left < quorum(members.len()) {
        text += &format!(
            "Removing this node leaves {left} managers out of {}. Without a Raft quorum your swarm will be inaccessible. ",
            members.len()
        );
    }
    text + ONLY_WAY_BACK
}

const ONLY_WAY_BACK: &str = "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Proposal, Store};
    use common::object::ClusterId;
    use common::object::node::{ManagerRecord, NodeStatus};

    const NOW: Timestamp = Timestamp(1_000);

    fn secret(text: &str) -> Sensitive {
        Sensitive::new(text.into())
    }

    fn cluster() -> Cluster {
        Cluster {
            next_raft_id: 9,
            ..Cluster::new(
                ClusterId(1),
                Authority::new(String::new(), secret("key"), secret("worker"), secret("manager")),
            )
        }
    }

    fn node(id: u128, role: Role, member: bool, state: NodeState) -> Node {
        Node {
            id: NodeId(id),
            meta: Default::default(),
            spec: NodeSpec { role, ..NodeSpec::default() },
            role,
            description: None,
            status: NodeStatus { state, ..NodeStatus::default() },
            manager: member.then(|| ManagerRecord { raft_id: id as u64, addr: "127.0.0.1:2377".into() }),
        }
    }

    fn store(nodes: Vec<Node>) -> Store {
        let store = Store::new();
        let mut changes = vec![Change::Cluster(Write::Create(cluster()))];
        changes.extend(nodes.into_iter().map(|node| Change::Node(Write::Create(node))));
        store.apply(1, &Proposal { id: 1, at: NOW, changes }).expect("a fresh store takes it");
        store
    }

    fn manager(id: u128) -> Node {
        node(id, Role::Manager, true, NodeState::Ready)
    }

    fn demotion(nodes: Vec<Node>, reachable: &[u128]) -> Result<usize, String> {
        let tables = store(nodes).snapshot();
        let first = tables.nodes.get(NodeId(1)).expect("node 1").clone();
        let spec = NodeSpec { role: Role::Worker, ..first.spec.clone() };
        let reachable = reachable.iter().map(|id| NodeId(*id)).collect();
        update_node(&tables, &first, first.meta.version, spec, &reachable)
            .map(|changes| changes.len())
            .map_err(|error| error.message)
    }

    #[test]
    fn a_demotion_leaves_a_quorum_behind() {
        let last = Err("attempting to demote the last manager of the swarm".to_string());
        let quorum =
            Err("can't remove member from the raft: this would result in a loss of quorum".to_string());
        let worker = |id| node(id, Role::Worker, false, NodeState::Ready);
        let leaving = |id| Node { spec: NodeSpec::default(), ..manager(id) };
        let arriving = |id| node(id, Role::Manager, false, NodeState::Ready);
        #[rustfmt::skip]
        let cases = [ // nodes, who is alive, outcome of demoting node 1
            (vec![manager(1)],                             vec![1],       last.clone()),
            (vec![manager(1), worker(2)],                  vec![1],       last.clone()),
            (vec![manager(1), leaving(2)],                 vec![1, 2],    last.clone()),
            (vec![manager(1), arriving(2)],                vec![1],       last.clone()),
            (vec![manager(1), manager(2)],                 vec![1, 2],    Ok(2)),
            (vec![manager(1), manager(2)],                 vec![1],       quorum.clone()),
            (vec![manager(1), manager(2), manager(3)],     vec![1, 2, 3], Ok(2)),
            (vec![manager(1), manager(2), manager(3)],     vec![2, 3],    Ok(2)),
            (vec![manager(1), manager(2), manager(3)],     vec![1, 2],    quorum),
            (vec![arriving(1), manager(2)],                vec![2],       Ok(2)),
        ];
        for (nodes, alive, expected) in cases {
            let shown = format!("{nodes:?} {alive:?}");
            assert_eq!(demotion(nodes, &alive), expected, "{shown}");
        }
    }

    #[test]
    fn of_two_demotions_at_once_the_second_is_looked_at_again() {
        let store = store(vec![manager(1), manager(2)]);
        let before = store.snapshot();
        let alive = BTreeSet::from([NodeId(1), NodeId(2)]);
        let demote = |tables: &Tables, id| {
            let node = tables.nodes.get(NodeId(id)).expect("a node").clone();
            let spec = NodeSpec { role: Role::Worker, ..node.spec.clone() };
            update_node(tables, &node, node.meta.version, spec, &alive)
        };
        let propose = |index, changes| store.apply(index, &Proposal { id: index, at: NOW, changes });
        let (first, second) = (demote(&before, 1).expect("fine"), demote(&before, 2).expect("fine alone"));
        propose(2, first).expect("nothing moved");
        propose(3, second).expect_err("the cluster moved");
        demote(&store.snapshot(), 2).expect_err("it is the last one now");
    }

    #[test]
    fn only_a_dead_worker_is_removed_and_it_is_refused_afterwards() {
        let is_member = "node 0000000000000000000000001 is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal";
        let not_down = "node 0000000000000000000000001 is not down and can't be removed";
        use NodeState::{Disconnected, Down, Ready, Unknown};
        #[rustfmt::skip]
        let cases = [ // role, raft member, state, force, refusal
            (Role::Worker,  false, Down,         false, None),
            (Role::Worker,  false, Ready,        false, Some(not_down)),
            (Role::Worker,  false, Unknown,      false, Some(not_down)),
            (Role::Worker,  false, Disconnected, false, Some(not_down)),
            (Role::Worker,  false, Ready,        true,  None),
            (Role::Manager, true,  Down,         false, Some(is_member)),
            (Role::Manager, true,  Down,         true,  Some(is_member)),
            (Role::Worker,  true,  Down,         true,  Some(is_member)),
            (Role::Manager, false, Down,         false, None),
        ];
        for (role, member, state, force, refusal) in cases {
            let tables = store(vec![node(1, role, member, state)]).snapshot();
            let node = tables.nodes.get(NodeId(1)).expect("node 1");
            let removal = remove_node(&tables, node, force, NOW).map_err(|error| error.message);
            assert_eq!(removal.as_ref().err().map(String::as_str), refusal, "{role} {state} {force}");
            if let Ok(changes) = removal {
                let [Change::Node(Write::Remove { .. }), Change::Cluster(Write::Update { value, .. })] =
                    changes.as_slice()
                else {
                    panic!("{changes:?}")
                };
                let expiry = ClusterSpec::default().node_certificate_expiry;
                assert_eq!(value.denied[&NodeId(1)], NOW.plus(expiry).plus(DENIED_AFTER_EXPIRY));
            }
        }
    }

    #[test]
    fn refusals_that_have_run_out_are_forgotten() {
        let store = store(vec![node(1, Role::Worker, false, NodeState::Down)]);
        let mut value = Cluster::clone(store.snapshot().cluster().expect("a cluster"));
        value.denied = [(NodeId(7), NOW), (NodeId(8), Timestamp(NOW.0 + 1))].into();
        let changes = vec![Change::Cluster(Write::update(value))];
        store.apply(2, &Proposal { id: 2, at: NOW, changes }).expect("nothing moved");
        let tables = store.snapshot();
        let node = tables.nodes.get(NodeId(1)).expect("node 1");
        let changes = remove_node(&tables, node, false, NOW).expect("it is down");
        let Change::Cluster(Write::Update { value, .. }) = &changes[1] else { panic!("{changes:?}") };
        let denied: Vec<u128> = value.denied.keys().map(|id| id.0).collect();
        assert_eq!(denied, [1, 8]);
    }

    #[test]
    fn leaving_says_what_is_at_stake() {
        let first = "You are attempting to leave the swarm on a node that is participating as a manager. ";
        let text = |managers: u128, alive: &[u128]| {
            let tables = store((1..=managers).map(manager).collect()).snapshot();
            let alive = alive.iter().map(|id| NodeId(*id)).collect();
            refuse_leave(Some((&tables, &alive))).strip_prefix(first).expect("its start").to_string()
        };
        let last = "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ";
        let leaves = |left, of| {
            format!(
                "Removing this node leaves {left} managers out of {of}. Without a Raft quorum your swarm will be inaccessible. {ONLY_WAY_BACK}"
            )
        };
        assert_eq!(text(1, &[1]), last);
        assert_eq!(text(2, &[1, 2]), leaves(1, 2));
        assert_eq!(text(3, &[1, 2, 3]), ONLY_WAY_BACK);
        assert_eq!(text(3, &[1, 2]), leaves(1, 3));
        assert_eq!(
            refuse_leave(None),
            format!("{first}Doing so may lose the consensus of your cluster. {ONLY_WAY_BACK}")
        );
    }

    #[test]
    fn a_version_is_a_number_and_nothing_else() {
        assert_eq!(version("node", "42"), Ok(Version(42)));
        for text in ["", "x", "-1", "1.5", "99999999999999999999"] {
            let message = version("node", text).expect_err(text).message;
            assert!(message.starts_with(&format!("invalid node version '{text}': ")), "{message}");
        }
    }

    #[test]
    fn the_unlock_key_follows_the_spec_and_every_change_is_counted() {
        let mut cluster = cluster();
        #[rustfmt::skip]
        let steps = [ // locks, new key, key then, its version, version of the data keys
            (false, None,      None,      0, 0),
            (true,  Some("a"), Some("a"), 1, 1),
            (true,  None,      Some("a"), 1, 1),
            (true,  Some("b"), Some("b"), 2, 1),
            (false, None,      None,      3, 1),
            (false, None,      None,      3, 1),
            (true,  Some("c"), Some("c"), 4, 2),
        ];
        for (locks, fresh, key, version, data_keys) in steps {
            let spec = ClusterSpec { autolock_managers: locks, ..ClusterSpec::default() };
            let rotation = Rotation { unlock_key: fresh.map(secret), ..Rotation::default() };
            let change = update_cluster(&cluster, Version(0), spec, rotation).expect("same version");
            let Change::Cluster(Write::Update { value, .. }) = change else { panic!("{change:?}") };
            let at_rest = &value.at_rest;
            assert_eq!(at_rest.unlock_key.as_ref().map(Sensitive::reveal), key);
            assert_eq!((at_rest.unlock_key_version, at_rest.data_key_version), (version, data_keys));
            cluster = value;
        }
    }

    #[test]
    fn only_the_tokens_asked_for_are_replaced() {
        let rotation = Rotation { worker_token: Some(secret("new")), ..Rotation::default() };
        let change =
            update_cluster(&cluster(), Version(0), ClusterSpec::default(), rotation).expect("same version");
        let Change::Cluster(Write::Update { value, read_at: Version(0) }) = change else {
            panic!("{change:?}")
        };
        let tokens = [&value.authority.worker_token, &value.authority.manager_token].map(Sensitive::reveal);
        assert_eq!(tokens, ["new", "manager"]);
        let stale = update_cluster(&cluster(), Version(3), ClusterSpec::default(), Rotation::default());
        assert_eq!(stale, Err(ApiError::internal(OUT_OF_SEQUENCE)));
    }
}
