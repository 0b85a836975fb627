//! The engine's bridge, the network that containers of services are in.

use std::net::{IpAddr, Ipv4Addr};

use common::limits::ENGINE_CALL_TIME_MAX;

use super::engine::{Engine, EngineError, NOT_FOUND, Work};

const NAME: &str = "bridge";

/// The node's own address on it, where containers reach the node; none where the engine was told to have no bridge.
pub async fn address(engine: &Engine) -> Result<Option<IpAddr>, EngineError> {
    let ask = |client: bollard::Docker| async move { client.inspect_network(NAME, None).await };
    let found = match engine.ask(Work::Look, ENGINE_CALL_TIME_MAX, ask).await {
        Ok(found) => found,
        Err(error) if error.is(NOT_FOUND) => return Ok(None),
        Err(error) => return Err(error),
    };
    let subnets = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Ok(subnets.into_iter().find_map(|subnet| own_address(subnet.gateway, subnet.subnet)))
}

/// The gateway's; an engine that does not say it has taken the first of the subnet.
fn own_address(gateway: Option<String>, subnet: Option<String>) -> Option<IpAddr> {
    let said = gateway.and_then(|text| text.parse::<Ipv4Addr>().ok());
    let first = || {
        let network: Ipv4Addr = subnet.as_ref()?.split_once('/')?.0.parse().ok()?;
        Some(Ipv4Addr::from(u32::from(network).checked_add(1)?))
    };
    said.or_else(first).map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_address_is_the_gateways() {
        #[rustfmt::skip]
        let cases = [ // gateway, subnet, ours
            (Some("172.17.0.9"), Some("172.17.0.0/16"), Some("172.17.0.9")),
            (None,               Some("172.17.0.0/16"), Some("172.17.0.1")),
            (Some("fe80::1"),    Some("fe80::/64"),     None),
            (None,               None,                  None),
        ];
        for (gateway, subnet, ours) in cases {
            let found = own_address(gateway.map(String::from), subnet.map(String::from));
            assert_eq!(found, ours.map(|text| text.parse().unwrap()), "{gateway:?} {subnet:?}");
        }
    }
}
