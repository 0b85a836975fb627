//! Networks: `/networks` and `object::Network`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{ConvertError, shortened, version_to_api};
use crate::engine_api::network as api;
use crate::engine_api::service::VirtualIp;
use crate::object::cidr::InvalidCidr;
use crate::object::network::{DRIVER, Subnet, WantedSubnet};
use crate::object::{Cidr, Network, NetworkId, NetworkSpec};

/// The one way in which addresses are given out.
const IPAM_DRIVER: &str = "default";
const SCOPE: &str = "swarm";

pub fn network_to_api(network: &Network) -> api::Network {
    let spec = &network.spec;
    api::Network {
        name: spec.name.clone(),
        id: network.id.to_string(),
        created: network.meta.created_at.to_rfc3339(),
        scope: SCOPE.into(),
        driver: DRIVER.into(),
        enable_ipv4: spec.ipv4,
        enable_ipv6: spec.ipv6,
        ipam: api::Ipam {
            driver: IPAM_DRIVER.into(),
            options: BTreeMap::new(),
            config: network.subnets.iter().map(subnet_to_api).collect(),
        },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options: spec.driver_options.clone(),
        labels: spec.labels.clone(),
        ..api::Network::default()
    }
}

fn subnet_to_api(subnet: &Subnet) -> api::IpamConfig {
    let reserved = subnet.reserved.iter().map(|(name, address)| (name.clone(), address.to_string()));
    api::IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.to_string(),
        auxiliary_addresses: reserved.collect(),
    }
}

/// What a network of the cluster is to be. Whose driver was asked for is the caller's to look at.
pub fn network_spec_from_api(request: api::CreateRequest) -> Result<NetworkSpec, ConvertError> {
    let from_other = request.config_from.is_some_and(|from| !from.network.is_empty());
    if request.config_only || from_other {
        return Err(ConvertError::Unsupported {
            what: "a network of the cluster made of another one's config",
        });
    }
    let ipam = request.ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | IPAM_DRIVER) {
        return Err(ConvertError::Unsupported { what: "an IPAM driver other than default" });
    }
    if !ipam.options.is_empty() {
        return Err(ConvertError::Unsupported { what: "an option of the IPAM driver" });
    }
    let asked = ipam.config.into_iter().filter(|config| *config != api::IpamConfig::default());
    Ok(NetworkSpec {
        name: request.name,
        labels: request.labels,
        driver_options: request.options,
        attachable: request.attachable,
        internal: request.internal,
        ingress: request.ingress,
        ipv4: request.enable_ipv4.unwrap_or(true),
        ipv6: request.enable_ipv6.unwrap_or(false),
        subnets: asked.map(subnet_from_api).collect::<Result<_, _>>()?,
    })
}

fn subnet_from_api(config: api::IpamConfig) -> Result<WantedSubnet, ConvertError> {
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let address = |what: &str, text: &str| {
        text.parse::<IpAddr>().map_err(|_| ConvertError::Ipam(format!("invalid {what} {}", shortened(text))))
    };
    let reserved = config.auxiliary_addresses.into_iter();
    Ok(WantedSubnet {
        subnet: cidr("subnet", &config.subnet)?,
        range: optional(&config.ip_range).map(|text| cidr("range", &text)).transpose()?,
        gateway: optional(&config.gateway).map(|text| address("gateway", &text)).transpose()?,
        reserved: reserved
            .map(|(name, text)| Ok((name, address("auxiliary address", &text)?)))
            .collect::<Result<_, ConvertError>>()?,
    })
}

fn cidr(what: &str, text: &str) -> Result<Cidr, ConvertError> {
    text.parse().map_err(|error| {
        let text = shortened(text);
        ConvertError::Ipam(match error {
            InvalidCidr::HostBits(meant) => format!("invalid {what} {text}: it should be {meant}"),
            InvalidCidr::Shape | InvalidCidr::Address | InvalidCidr::LengthWord | InvalidCidr::Length => {
                format!("invalid {what} {text}")
            }
        })
    })
}

/// A service's address on a network; `object` is that network, where it is known.
pub fn virtual_ip_to_api(network: NetworkId, address: IpAddr, object: Option<&Network>) -> VirtualIp {
    VirtualIp { network_id: network.to_string(), addr: in_subnet(address, object) }
}

/// A task's address on a network.
pub fn task_network_to_api(network: &Network, address: IpAddr) -> api::TaskNetwork {
    let spec = &network.spec;
    let driver = |options: &BTreeMap<String, String>| api::TaskNetworkDriver {
        name: DRIVER.into(),
        options: options.clone(),
    };
    api::TaskNetwork {
        network: api::TaskNetworkObject {
            id: network.id.to_string(),
            version: version_to_api(&network.meta),
            created_at: network.meta.created_at.to_rfc3339(),
            updated_at: network.meta.updated_at.to_rfc3339(),
            spec: api::TaskNetworkSpec {
                name: spec.name.clone(),
                labels: spec.labels.clone(),
                driver_configuration: driver(&spec.driver_options),
                scope: SCOPE.into(),
                ipv6_enabled: spec.ipv6,
                internal: spec.internal,
                attachable: spec.attachable,
                ingress: spec.ingress,
            },
            driver_state: driver(&spec.driver_options),
            ipam_options: api::TaskNetworkIpam {
                driver: api::TaskNetworkDriver { name: IPAM_DRIVER.into(), options: BTreeMap::new() },
                configs: network.subnets.iter().map(subnet_to_api).collect(),
            },
        },
        addresses: vec![in_subnet(address, Some(network))],
    }
}

/// `10.0.1.7/24`, as Docker writes an address with its subnet's length.
fn in_subnet(address: IpAddr, network: Option<&Network>) -> String {
    let mut subnets = network.into_iter().flat_map(|network| &network.subnets);
    match subnets.find(|subnet| subnet.subnet.contains(address)) {
        Some(subnet) => format!("{address}/{}", subnet.subnet.length()),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Result<NetworkSpec, String> {
        let request = serde_json::from_str(json).expect("a request");
        network_spec_from_api(request).map_err(|error| error.to_string())
    }

    #[test]
    fn what_docker_s_command_sends() {
        let sent = r#"{"Driver":"overlay","Scope":"","IPAM":{"Driver":"default","Options":{},"Config":[]},"Internal":false,"Attachable":true,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,"Options":{},"Labels":{},"Name":"n1"}"#;
        let expected = NetworkSpec { name: "n1".into(), attachable: true, ..NetworkSpec::default() };
        assert_eq!(spec(sent), Ok(expected));
        let stack = r#"{"Name":"n1","Driver":"overlay","IPAM":null,"Options":null}"#;
        assert_eq!(spec(stack), Ok(NetworkSpec { name: "n1".into(), ..NetworkSpec::default() }));
    }

    #[test]
    fn what_is_asked_of_addresses_is_kept_or_refused() {
        let config = |config: &str| format!(r#"{{"Name":"n1","IPAM":{{"Config":[{config}]}}}}"#);
        let full = r#"{"Subnet":"10.5.0.0/16","IPRange":"10.5.1.0/24","Gateway":"10.5.0.254","AuxiliaryAddresses":{"router":"10.5.0.2"}}"#;
        let wanted = WantedSubnet {
            subnet: "10.5.0.0/16".parse().expect("a subnet"),
            range: "10.5.1.0/24".parse().ok(),
            gateway: Some([10, 5, 0, 254].into()),
            reserved: [("router".to_owned(), [10, 5, 0, 2].into())].into(),
        };
        assert_eq!(spec(&config(full)).map(|spec| spec.subnets), Ok(vec![wanted]));
        assert_eq!(spec(&config("{}")).map(|spec| spec.subnets), Ok(vec![]));
        #[rustfmt::skip]
        let cases = [
            (config(r#"{"Subnet":"x"}"#),                                 "ipam configuration: invalid subnet x"),
            (config(r#"{"Gateway":"10.0.0.1"}"#),                         "ipam configuration: invalid subnet "),
            (config(r#"{"Subnet":"10.0.0.5/24"}"#),                       "ipam configuration: invalid subnet 10.0.0.5/24: it should be 10.0.0.0/24"),
            (config(r#"{"Subnet":"10.0.0.0/24","IPRange":"10.0.0.0"}"#),  "ipam configuration: invalid range 10.0.0.0"),
            (config(r#"{"Subnet":"10.0.0.0/24","Gateway":"one"}"#),       "ipam configuration: invalid gateway one"),
            (config(r#"{"Subnet":"10.0.0.0/24","AuxiliaryAddresses":{"a":"b"}}"#), "ipam configuration: invalid auxiliary address b"),
            (r#"{"Name":"n1","ConfigOnly":true}"#.into(),                 "a network of the cluster made of another one's config is not supported in this version yet"),
            (r#"{"Name":"n1","IPAM":{"Driver":"mine"}}"#.into(),          "an IPAM driver other than default is not supported in this version yet"),
        ];
        for (json, expected) in cases {
            assert_eq!(spec(&json), Err(expected.into()), "{json}");
        }
    }

    #[test]
    fn addresses_show_the_length_of_their_subnet() {
        let subnet = Subnet {
            subnet: "10.0.1.0/24".parse().expect("a subnet"),
            range: None,
            gateway: [10, 0, 1, 1].into(),
            reserved: BTreeMap::new(),
        };
        let spec = NetworkSpec { name: "front".into(), ..NetworkSpec::default() };
        let network = Network::new(NetworkId(1), spec, vec![subnet]);
        let address = IpAddr::from([10, 0, 1, 7]);
        assert_eq!(virtual_ip_to_api(network.id, address, Some(&network)).addr, "10.0.1.7/24");
        assert_eq!(virtual_ip_to_api(network.id, address, None).addr, "10.0.1.7");
        let shown = task_network_to_api(&network, address);
        assert_eq!(
            (shown.addresses, shown.network.spec.name),
            (vec!["10.0.1.7/24".to_owned()], "front".into())
        );
        let config = &network_to_api(&network).ipam.config[0];
        assert_eq!((config.subnet.as_str(), config.gateway.as_str()), ("10.0.1.0/24", "10.0.1.1"));
    }
}
