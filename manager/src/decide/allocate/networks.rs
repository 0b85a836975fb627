//! The subnets of a new network: those asked for, checked, and of each family without one the next free one.
//!
//! Pure. What was free a moment ago may be another's now: the store refuses overlaps, and whoever asked looks again.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use common::limits::NETWORK_SUBNETS_MAX;
use common::object::cidr::from_number;
use common::object::network::{Subnet, WantedSubnet};
use common::object::{Cidr, Cluster, Network, NetworkId, NetworkSpec};

use super::space::Space;
use crate::store::Tables;

/// What Docker gives where nobody said anything else.
const POOL_V4: &str = "10.0.0.0/8";
const LENGTH_V4: u8 = 24;
const LENGTH_V6: u8 = 64;

/// Why a network cannot have its subnets, in Docker's words where Docker has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("neither IPv4 nor IPv6 is enabled: a network needs one of them")]
    NoFamily,
    #[error("subnet {0} is of a family that is not enabled for the network")]
    Family(Cidr),
    #[error("{0} subnets are too many for one network, {NETWORK_SUBNETS_MAX} are allowed")]
    TooMany(usize),
    #[error("ipam configuration: subnet {subnet} does not contain {what} {given}")]
    Outside { subnet: Cidr, what: &'static str, given: String },
    #[error("subnet {0} leaves no address for services and tasks: take a larger one")]
    TooSmall(Cidr),
    #[error("Pool overlaps with other one on this address space: {asked} and {other} of {whose}")]
    Overlap { asked: Cidr, other: Cidr, whose: String },
    #[error(
        "all predefined address pools have been fully subnetted: ask for a {family} subnet, or remove networks that nobody uses"
    )]
    Exhausted { family: &'static str },
}

/// What a network of that spec is given.
pub fn subnets(tables: &Tables, spec: &NetworkSpec) -> Result<Vec<Subnet>, SubnetError> {
    if !spec.ipv4 && !spec.ipv6 {
        return Err(SubnetError::NoFamily);
    }
    if spec.subnets.len() > NETWORK_SUBNETS_MAX {
        return Err(SubnetError::TooMany(spec.subnets.len()));
    }
    let mut given: Vec<Subnet> = Vec::new();
    for wanted in &spec.subnets {
        let subnet = checked(spec, wanted)?;
        let overlap =
            |other: &Cidr, whose: String| SubnetError::Overlap { asked: subnet.subnet, other: *other, whose };
        if let Some(other) = given.iter().find(|other| other.subnet.overlaps(&subnet.subnet)) {
            return Err(overlap(&other.subnet, "the same network".into()));
        }
        if let Some((network, other)) = taken(tables).find(|(_, other)| other.overlaps(&subnet.subnet)) {
            return Err(overlap(other, format!("network {}", network.spec.name)));
        }
        given.push(subnet);
    }
    for is_ipv4 in [true, false] {
        let enabled = if is_ipv4 { spec.ipv4 } else { spec.ipv6 };
        if enabled && !given.iter().any(|subnet| subnet.subnet.is_ipv4() == is_ipv4) {
            let others = taken(tables).map(|(_, subnet)| *subnet);
            let others = others.chain(given.iter().map(|subnet| subnet.subnet)).collect();
            given.push(from_pools(tables.cluster().map(|cluster| &**cluster), others, is_ipv4)?);
        }
    }
    // The first one is where addresses come from.
    given.sort_by_key(|subnet| !subnet.subnet.is_ipv4());
    Ok(given)
}

/// The network of published ports, which a cluster begins with; none where its pools have no subnet for it.
pub fn ingress(cluster: &Cluster, id: NetworkId) -> Option<Network> {
    let subnet = from_pools(Some(cluster), Vec::new(), true).ok()?;
    Some(Network::new(id, NetworkSpec::ingress(), vec![subnet]))
}

/// A subnet as it was asked for.
fn checked(spec: &NetworkSpec, wanted: &WantedSubnet) -> Result<Subnet, SubnetError> {
    let WantedSubnet { subnet, range, gateway, reserved } = wanted.clone();
    if !(if subnet.is_ipv4() { spec.ipv4 } else { spec.ipv6 }) {
        return Err(SubnetError::Family(subnet));
    }
    let outside = |what, given: String| SubnetError::Outside { subnet, what, given };
    if let Some(range) = range.filter(|range| !subnet.covers(range)) {
        return Err(outside("range", range.to_string()));
    }
    let addresses = gateway.iter().map(|address| ("gateway", address));
    let addresses = addresses.chain(reserved.values().map(|address| ("address", address)));
    if let Some((what, address)) = addresses.into_iter().find(|(_, address)| !subnet.contains(**address)) {
        return Err(outside(what, address.to_string()));
    }
    let gateway = gateway.or_else(|| first_host(subnet)).ok_or(SubnetError::TooSmall(subnet))?;
    let subnet = Subnet { subnet, range, gateway, reserved };
    match Space::of(std::slice::from_ref(&subnet)).capacity() {
        0 => Err(SubnetError::TooSmall(subnet.subnet)),
        _ => Ok(subnet),
    }
}

fn first_host(subnet: Cidr) -> Option<IpAddr> {
    from_number(subnet.is_ipv4(), subnet.first().checked_add(1)?).filter(|address| subnet.contains(*address))
}

/// The first subnet of the cluster's pools that nobody has.
fn from_pools(cluster: Option<&Cluster>, taken: Vec<Cidr>, is_ipv4: bool) -> Result<Subnet, SubnetError> {
    let mut taken: Vec<(u128, u128)> = taken
        .into_iter()
        .filter(|subnet| subnet.is_ipv4() == is_ipv4)
        .map(|subnet| (subnet.first(), subnet.last()))
        .collect();
    taken.sort_unstable();
    let family = if is_ipv4 { "IPv4" } else { "IPv6" };
    pools(cluster, is_ipv4)
        .into_iter()
        .find_map(|(pool, length)| free(pool, length, &taken))
        .and_then(|subnet| {
            let gateway = first_host(subnet)?;
            Some(Subnet { subnet, range: None, gateway, reserved: BTreeMap::new() })
        })
        .ok_or(SubnetError::Exhausted { family })
}

/// The first range of that length in the pool that none of `taken` touches; those are sorted and do not overlap.
fn free(pool: Cidr, length: u8, taken: &[(u128, u128)]) -> Option<Cidr> {
    let mut at = pool.first();
    loop {
        let subnet = Cidr::around(from_number(pool.is_ipv4(), at)?, length).filter(|it| pool.covers(it))?;
        let next = taken.partition_point(|(_, last)| *last < subnet.first());
        match taken.get(next).filter(|(first, _)| *first <= subnet.last()) {
            None => return Some(subnet),
            // To the first address that is in neither.
            Some((_, last)) => at = subnet.last().max(around(pool, *last, length)?.last()).checked_add(1)?,
        }
    }
}

fn around(pool: Cidr, number: u128, length: u8) -> Option<Cidr> {
    Cidr::around(from_number(pool.is_ipv4(), number)?, length)
}

/// Where subnets come from, and how long they are.
fn pools(cluster: Option<&Cluster>, is_ipv4: bool) -> Vec<(Cidr, u8)> {
    let texts: Vec<&str> = match cluster.map(|cluster| &cluster.address_pools) {
        Some(pools) if !pools.is_empty() => pools.iter().map(String::as_str).collect(),
        Some(_) | None => vec![POOL_V4],
    };
    let size = cluster.and_then(|cluster| u8::try_from(cluster.subnet_size).ok()).unwrap_or(LENGTH_V4);
    let pools = texts.into_iter().filter_map(read_pool).filter(|pool| pool.is_ipv4() == is_ipv4);
    let mut pools: Vec<(Cidr, u8)> = pools
        .map(|pool| (pool, if is_ipv4 { size.max(pool.length()) } else { pool.length().max(LENGTH_V6) }))
        .collect();
    if !is_ipv4 && pools.is_empty() {
        // A range of the cluster's own, as RFC 4193 makes one: `fd`, and 40 bits of chance.
        let chance = cluster.map_or(0, |cluster| cluster.id.0 >> 24) & ((1 << 40) - 1);
        let base = Ipv6Addr::from((0xfd << 120) | (chance << 80));
        pools.extend(Cidr::around(base.into(), 48).map(|pool| (pool, LENGTH_V6)));
    }
    pools
}

/// As `init` takes them: bits behind the length mean nothing.
fn read_pool(text: &str) -> Option<Cidr> {
    let (address, length) = text.split_once('/')?;
    Cidr::around(address.parse().ok()?, length.parse().ok()?)
}

fn taken(tables: &Tables) -> impl Iterator<Item = (&Network, &Cidr)> {
    let networks = tables.networks.iter();
    networks.flat_map(|network| network.subnets.iter().map(move |subnet| (&**network, &subnet.subnet)))
}

#[cfg(test)]
#[path = "networks_test.rs"]
mod tests;
