//! Which subnets a network is given, and what is refused.

use std::sync::Arc;

use common::object::ClusterId;
use common::object::cluster::Authority;
use common::object::sensitive::Sensitive;
use common::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::store::{Change, Proposal, Store, Write};

fn cluster(pools: &[&str], subnet_size: u32) -> Cluster {
    let none = || Sensitive::new(String::new());
    Cluster {
        address_pools: pools.iter().map(|pool| (*pool).to_owned()).collect(),
        subnet_size,
        ..Cluster::new(ClusterId(7 << 24), Authority::new(String::new(), none(), none(), none()))
    }
}

fn store(cluster: Cluster) -> Store {
    let store = Store::new();
    let changes = vec![Change::Cluster(Write::Create(cluster))];
    store.apply(1, &Proposal { id: 1, at: Timestamp(1), changes }).expect("an empty store");
    store
}

/// Makes a network, and answers its subnets.
fn make(store: &Store, spec: NetworkSpec) -> Result<Vec<String>, String> {
    let tables = store.snapshot();
    let given = subnets(&tables, &spec).map_err(|error| error.to_string())?;
    let at = tables.version.0 + 1;
    let spec = NetworkSpec { name: format!("n{at}"), ..spec };
    let network = Network::new(NetworkId(at.into()), spec, given.clone());
    let changes = vec![Change::Network(Write::Create(network))];
    store.apply(at, &Proposal { id: at, at: Timestamp(at), changes }).expect("what is given out fits");
    Ok(given.iter().map(|subnet| subnet.subnet.to_string()).collect())
}

fn remove(store: &Store, subnet: &str) {
    let tables = store.snapshot();
    let at = tables.version.0 + 1;
    let has = |network: &&Arc<Network>| network.subnets.iter().any(|it| it.subnet.to_string() == subnet);
    let network = tables.networks.iter().find(has).expect("it is there");
    let changes = vec![Change::Network(Write::Remove { id: network.id, read_at: network.meta.version })];
    store.apply(at, &Proposal { id: at, at: Timestamp(at), changes }).expect("nobody uses it");
}

fn wanted(subnet: &str) -> WantedSubnet {
    WantedSubnet {
        subnet: subnet.parse().expect("a subnet"),
        range: None,
        gateway: None,
        reserved: BTreeMap::new(),
    }
}

fn asking(subnets: &[&str]) -> NetworkSpec {
    NetworkSpec {
        subnets: subnets.iter().map(|subnet| wanted(subnet)).collect(),
        ipv6: true,
        ..NetworkSpec::default()
    }
}

#[test]
fn pools_are_used_from_their_beginning_and_what_is_asked_for_is_passed_over() {
    let store = store(cluster(&["10.5.0.0/23", "10.9.0.0/24"], 24));
    let plain = NetworkSpec::default;
    assert_eq!(make(&store, plain()), Ok(vec!["10.5.0.0/24".into()]));
    let only = NetworkSpec { ipv6: false, ..asking(&["10.5.1.128/25"]) };
    assert_eq!(make(&store, only), Ok(vec!["10.5.1.128/25".into()]));
    assert_eq!(make(&store, plain()), Ok(vec!["10.9.0.0/24".into()]));
    let full = "all predefined address pools have been fully subnetted: ask for a IPv4 subnet, or remove networks that nobody uses";
    assert_eq!(make(&store, plain()), Err(full.into()));
    remove(&store, "10.5.0.0/24");
    assert_eq!(make(&store, plain()), Ok(vec!["10.5.0.0/24".into()]), "what was released comes back");
}

#[test]
fn without_pools_there_are_docker_s_and_a_range_of_the_cluster_s_own() {
    let store = store(cluster(&[], 24));
    assert_eq!(make(&store, NetworkSpec::default()), Ok(vec!["10.0.0.0/24".into()]));
    let both = NetworkSpec { ipv6: true, ..NetworkSpec::default() };
    assert_eq!(make(&store, both.clone()), Ok(vec!["10.0.1.0/24".into(), "fd00:0:7::/64".into()]));
    let six = NetworkSpec { ipv4: false, ..both };
    assert_eq!(make(&store, six), Ok(vec!["fd00:0:7:1::/64".into()]));
}

#[test]
fn what_cannot_be_given_is_refused() {
    let store = store(cluster(&["10.0.0.0/8"], 24));
    make(&store, NetworkSpec::default()).expect("room");
    let with = |edit: fn(&mut NetworkSpec)| {
        let mut spec = asking(&["10.7.0.0/24"]);
        edit(&mut spec);
        spec
    };
    #[rustfmt::skip]
    let cases = [
        (asking(&["10.0.0.0/16"]), "Pool overlaps with other one on this address space: 10.0.0.0/16 and 10.0.0.0/24 of network n2"),
        (asking(&["10.7.0.0/24", "10.7.0.128/25"]), "Pool overlaps with other one on this address space: 10.7.0.128/25 and 10.7.0.0/24 of the same network"),
        (asking(&["10.7.0.0/31"]), "subnet 10.7.0.0/31 leaves no address for services and tasks: take a larger one"),
        (asking(&["10.7.0.0/32"]), "subnet 10.7.0.0/32 leaves no address for services and tasks: take a larger one"),
        (with(|spec| spec.ipv4 = false), "subnet 10.7.0.0/24 is of a family that is not enabled for the network"),
        (with(|spec| (spec.ipv4, spec.ipv6) = (false, false)), "neither IPv4 nor IPv6 is enabled: a network needs one of them"),
        (with(|spec| spec.subnets[0].gateway = Some([10, 8, 0, 1].into())), "ipam configuration: subnet 10.7.0.0/24 does not contain gateway 10.8.0.1"),
        (with(|spec| spec.subnets[0].range = "10.7.0.0/23".parse().ok()), "ipam configuration: subnet 10.7.0.0/24 does not contain range 10.7.0.0/23"),
        (with(|spec| spec.subnets[0].reserved.extend([("a".to_owned(), IpAddr::from([10, 8, 0, 9]))])), "ipam configuration: subnet 10.7.0.0/24 does not contain address 10.8.0.9"),
    ];
    for (spec, reason) in cases {
        assert_eq!(make(&store, spec.clone()), Err(reason.into()), "{spec:?}");
    }
    let many = vec![wanted("10.7.0.0/24"); NETWORK_SUBNETS_MAX + 1];
    let spec = NetworkSpec { subnets: many, ..NetworkSpec::default() };
    assert!(matches!(subnets(&store.snapshot(), &spec), Err(SubnetError::TooMany(_))));
}

proptest! {
    /// Whatever is asked for and removed, no two subnets overlap, and none comes from outside of the pools unasked.
    #[test]
    fn subnets_never_overlap(steps in prop::collection::vec((0u8..4, any::<u16>(), 20u8..=30), 1..40)) {
        let store = store(cluster(&["10.1.0.0/20", "10.3.0.0/22"], 26));
        for (step, number, length) in steps {
            let tables = store.snapshot();
            let there: Vec<String> = taken(&tables).map(|(_, subnet)| subnet.to_string()).collect();
            match step {
                0 if !there.is_empty() => remove(&store, &there[usize::from(number) % there.len()]),
                0 | 1 => {
                    let address = IpAddr::from([10, 1 + (number >> 14) as u8, (number >> 8) as u8 & 15, number as u8]);
                    let subnet = Cidr::around(address, length).expect("a subnet");
                    let spec = NetworkSpec { ipv6: false, ..asking(&[&subnet.to_string()]) };
                    let free = !taken(&tables).any(|(_, other)| other.overlaps(&subnet));
                    prop_assert_eq!(make(&store, spec).is_ok(), free);
                }
                _ => if let Ok(given) = make(&store, NetworkSpec::default()) {
                    let given: Cidr = given[0].parse().expect("a subnet");
                    let pools: [Cidr; 2] = ["10.1.0.0/20", "10.3.0.0/22"].map(|pool| pool.parse().expect("a pool"));
                    prop_assert!(pools.iter().any(|pool| pool.covers(&given)) && given.length() == 26);
                },
            }
            let tables = store.snapshot();
            let all: Vec<Cidr> = taken(&tables).map(|(_, subnet)| *subnet).collect();
            for (at, one) in all.iter().enumerate() {
                prop_assert!(all[..at].iter().all(|other| !other.overlaps(one)), "{all:?}");
            }
        }
    }
}
