//! No address is two holders' at a time: connections would reach whom they are not for. Looked at without the index
//! that gives addresses out, so that a wrong index is found.

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::object::NetworkId;
use manager::store::Tables;

pub fn check(tables: &Tables) -> Result<(), String> {
    let mut holders: BTreeMap<(NetworkId, IpAddr), String> = BTreeMap::new();
    let services = tables.services.iter().filter(|service| !service.removed);
    let of_services = services.flat_map(|service| {
        service.virtual_ips.iter().map(|address| (*address, format!("service {}", service.name())))
    });
    let tasks = tables.tasks.iter().filter(|task| !task.status.state.is_final());
    let of_tasks = tasks.flat_map(|task| {
        let addresses = task.addresses.as_deref().unwrap_or_default();
        addresses.iter().map(|address| (*address, format!("task {}", task.id)))
    });
    for (address, holder) in of_services.chain(of_tasks) {
        let network = tables.networks.get(address.0);
        let fits = |network: &std::sync::Arc<common::object::Network>| {
            let mut subnets = network.subnets.iter();
            subnets.any(|subnet| subnet.subnet.contains(address.1) && subnet.gateway != address.1)
        };
        if !network.is_none_or(fits) {
            return Err(format!("{holder} has {} which is not its network's to give", address.1));
        }
        if let Some(other) = holders.insert(address, holder.clone()) {
            return Err(format!("{other} and {holder} both have {}", address.1));
        }
    }
    Ok(())
}
