//! Random state for property tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::object::cluster::{AtRest, Authority};
use common::object::network::{Subnet, WantedSubnet};
use common::object::node::{ManagerRecord, NodeStatus};
use common::object::payload::{PayloadSpec, PayloadVersion};
use common::object::sensitive::{Sensitive, SensitiveBytes};
use common::object::*;
use common::time::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::Tables;

prop_compose! {
    pub fn any_tables()(
        version: u64,
        newest: u64,
        clusters in vec(any_cluster(), 0..3),
        nodes in vec(any_node(), 0..40),
        payloads in btree_map(any::<String>(), any_payload(), 0..4),
        networks in vec(any_network(), 0..4),
    ) -> Tables {
        let mut tables = Tables { version: Version(version), newest: Timestamp(newest), ..Tables::default() };
        clusters.into_iter().for_each(|cluster| drop(tables.clusters.set(cluster.id, Some(Arc::new(cluster)))));
        nodes.into_iter().for_each(|node| drop(tables.nodes.set(node.id, Some(Arc::new(node)))));
        // As apply keeps it: no two of one kind with one name.
        for (number, (name, mut payload)) in payloads.into_iter().enumerate() {
            payload.spec.name = format!("{number}{name}");
            tables.set_payload(payload.id, Some(Arc::new(payload)));
        }
        for (number, mut network) in networks.into_iter().enumerate() {
            network.spec.name = format!("{number}{}", network.spec.name);
            tables.set_network(network.id, Some(Arc::new(network)));
        }
        tables
    }
}

prop_compose! {
    pub fn any_network()(
        id: u128,
        meta in any_meta(),
        name: String,
        labels in btree_map(any::<String>(), any::<String>(), 0..4),
        flags: [bool; 5],
        reserved in btree_map(any::<String>(), any::<[u8; 4]>(), 0..3),
        base: [u8; 4],
        length in 0u8..=32,
        gateway: [u8; 16],
    ) -> Network {
        let [attachable, internal, ingress, ipv4, ipv6] = flags;
        let subnet = Cidr::around(base.into(), length).expect("no longer than an address");
        let reserved: BTreeMap<String, std::net::IpAddr> =
            reserved.into_iter().map(|(name, address)| (name, address.into())).collect();
        let wanted = WantedSubnet { subnet, range: Some(subnet), gateway: None, reserved: reserved.clone() };
        let given = Subnet { subnet, range: Some(subnet), gateway: gateway.into(), reserved };
        Network {
            id: NetworkId(id),
            meta,
            spec: NetworkSpec {
                name,
                labels: labels.clone(),
                driver_options: labels,
                attachable,
                internal,
                ingress,
                ipv4,
                ipv6,
                subnets: vec![wanted],
            },
            subnets: vec![given],
        }
    }
}

prop_compose! {
    fn any_meta()(version: u64, created: u64, updated: u64, written_by: u64) -> Meta {
        Meta {
            version: Version(version),
            created_at: Timestamp(created),
            updated_at: Timestamp(updated),
            written_by,
        }
    }
}

prop_compose! {
    pub fn any_cluster()(
        id: u128,
        meta in any_meta(),
        labels: BTreeMap<String, String>,
        expiry: u32,
        secrets: [String; 3],
        denied: BTreeMap<u128, u64>,
        next_raft_id: u64,
        address_pools: Vec<String>,
        unlock_key: Option<String>,
        unlock_key_version: u64,
        data_key_version: u64,
    ) -> Cluster {
        let [key, worker, manager] = secrets;
        Cluster {
            id: ClusterId(id),
            meta,
            spec: ClusterSpec {
                labels,
                node_certificate_expiry: Duration::from_secs(expiry.into()),
                ..ClusterSpec::default()
            },
            authority: Authority::new("certificate".into(), Sensitive::new(key), Sensitive::new(worker), Sensitive::new(manager)),
            denied: denied.into_iter().map(|(node, until)| (NodeId(node), Timestamp(until))).collect(),
            next_raft_id,
            address_pools,
            subnet_size: 24,
            data_path_port: 4789,
            at_rest: AtRest {
                unlock_key: unlock_key.map(Sensitive::new),
                unlock_key_version,
                data_key_version,
            },
            clients: Default::default(),
        }
    }
}

prop_compose! {
    pub fn any_payload()(
        id: u128,
        secret: bool,
        versions in vec(any::<Vec<u8>>(), 1..4),
    ) -> Payload {
        let kind = if secret { PayloadKind::Secret } else { PayloadKind::Config };
        let mut versions = versions.into_iter().map(SensitiveBytes::new);
        let spec = PayloadSpec::default();
        let first = versions.next().expect("at least one");
        let mut payload = Payload::new(PayloadId(id), kind, spec, first, Timestamp(1));
        payload.versions.extend(
            (2..).zip(versions).map(|(number, data)| PayloadVersion { number, created_at: Timestamp(number), data }),
        );
        payload
    }
}

prop_compose! {
    pub fn any_node()(
        id: u128,
        meta in any_meta(),
        name: String,
        labels in btree_map(any::<String>(), any::<String>(), 0..4),
        message: String,
        since: u64,
        manager: Option<(u64, String)>,
        described: bool,
    ) -> Node {
        Node {
            id: NodeId(id),
            meta,
            spec: NodeSpec { name, labels, role: Role::Manager, availability: Availability::Drain },
            role: Role::Worker,
            description: described.then(NodeDescription::default),
            status: NodeStatus { state: NodeState::Ready, message, addr: String::new(), since: Timestamp(since), issued: None },
            manager: manager.map(|(raft_id, addr)| ManagerRecord { raft_id, addr }),
        }
    }
}
