//! `swarm network create`

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::engine_api::network::{CreateRequest, Ipam, IpamConfig, NetworkCreated};
use common::object::Cidr;
use common::object::network::DRIVER;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::{note, print_line};
use crate::parse::pair;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name, unique in the cluster
    pub name: String,

    /// overlay for one of the cluster; any other is the Docker Engine's
    #[arg(short, long, default_value = DRIVER)]
    pub driver: String,

    /// Label
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair::label)]
    pub labels: Vec<(String, String)>,

    /// Option of the driver: kept and shown
    #[arg(short, long = "opt", value_name = "KEY=VALUE", value_parser = pair::label)]
    pub options: Vec<(String, String)>,

    /// Let containers that are no tasks join: kept and shown
    #[arg(long)]
    pub attachable: bool,

    /// Keep its tasks from the world outside: kept and shown
    #[arg(long)]
    pub internal: bool,

    /// Make it the network of published ports, of which there is one
    #[arg(long)]
    pub ingress: bool,

    /// swarm or local
    #[arg(long)]
    pub scope: Option<String>,

    #[command(flatten)]
    pub addresses: Addresses,
}

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Addresses")]
pub struct Addresses {
    /// Subnet [default: the next free one of the cluster's pools]
    #[arg(long = "subnet", value_name = "CIDR")]
    pub subnets: Vec<String>,

    /// Where in a subnet services and tasks get their addresses
    #[arg(long = "ip-range", value_name = "CIDR")]
    pub ranges: Vec<String>,

    /// Gateway of a subnet [default: its first address]
    #[arg(long = "gateway", value_name = "ADDRESS")]
    pub gateways: Vec<String>,

    /// Address that nobody is to get, by what it is for
    #[arg(long = "aux-address", value_name = "NAME=ADDRESS", value_parser = pair::label)]
    pub reserved: Vec<(String, String)>,

    /// Whether it has IPv4 addresses
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true, action = clap::ArgAction::Set)]
    pub ipv4: bool,

    /// Whether it has an IPv6 subnet
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true, action = clap::ArgAction::Set)]
    pub ipv6: bool,

    /// Who gives out addresses; only default is known
    #[arg(long, default_value = "default")]
    pub ipam_driver: String,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let ipam = Ipam {
        driver: args.addresses.ipam_driver.clone(),
        options: BTreeMap::new(),
        config: config(&args.addresses).map_err(Failure::usage)?,
    };
    let request = CreateRequest {
        name: args.name,
        driver: args.driver,
        scope: args.scope.unwrap_or_default(),
        internal: args.internal,
        attachable: args.attachable,
        ingress: args.ingress,
        config_only: false,
        options: args.options.into_iter().collect(),
        labels: args.labels.into_iter().collect(),
        enable_ipv4: Some(args.addresses.ipv4).filter(|enabled| !enabled),
        enable_ipv6: Some(args.addresses.ipv6).filter(|enabled| *enabled),
        ipam: Some(ipam),
        config_from: None,
    };
    let created: NetworkCreated = client.post_for("/networks/create", &request).await?;
    if !created.warning.is_empty() {
        note(&created.warning);
    }
    Ok(print_line(&created.id)?)
}

/// Each range, gateway and address goes to the subnet that has it.
fn config(addresses: &Addresses) -> Result<Vec<IpamConfig>, String> {
    let subnets = addresses.subnets.iter();
    let mut configs: Vec<(Option<Cidr>, IpamConfig)> = subnets
        .map(|text| (text.parse().ok(), IpamConfig { subnet: text.clone(), ..IpamConfig::default() }))
        .collect();
    for range in &addresses.ranges {
        // The first address finds the subnet; whether all of it is there is the daemon's to say.
        let start = range.split_once('/').map_or(range.as_str(), |(start, _)| start);
        let config = find(&mut configs, start, "range", range)?;
        once(&mut config.ip_range, range, "ranges (--ip-range)", &config.subnet)?;
    }
    for gateway in &addresses.gateways {
        let config = find(&mut configs, gateway, "gateway", gateway)?;
        once(&mut config.gateway, gateway, "gateways (--gateway)", &config.subnet)?;
    }
    for (name, address) in &addresses.reserved {
        let config = find(&mut configs, address, "aux-address", address)?;
        config.auxiliary_addresses.insert(name.clone(), address.clone());
    }
    Ok(configs.into_iter().map(|(_, config)| config).collect())
}

fn find<'a>(
    configs: &'a mut [(Option<Cidr>, IpamConfig)],
    address: &str,
    what: &str,
    given: &str,
) -> Result<&'a mut IpamConfig, String> {
    let none = || format!("no matching subnet for {what} {given}");
    let address: IpAddr = address.parse().map_err(|_| format!("{what} {given} is not an address"))?;
    let has = |subnet: &Option<Cidr>| subnet.is_some_and(|subnet| subnet.contains(address));
    configs.iter_mut().find(|(subnet, _)| has(subnet)).map(|(_, config)| config).ok_or_else(none)
}

fn once(member: &mut String, given: &str, what: &str, subnet: &str) -> Result<(), String> {
    match member.is_empty() {
        true => member.push_str(given),
        false => return Err(format!("cannot configure multiple {what} on the same subnet ({subnet})")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        addresses: Addresses,
    }

    fn of(line: &str) -> Result<Vec<IpamConfig>, String> {
        let line = Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace()));
        config(&line.map_err(|error| error.to_string())?.addresses)
    }

    #[test]
    fn each_goes_to_the_subnet_that_has_it() {
        let configs = of(
            "--subnet 10.1.0.0/16 --subnet 10.2.0.0/16 --gateway 10.2.0.9 --ip-range 10.1.4.0/24 --aux-address r=10.2.0.2",
        );
        let expected = vec![
            IpamConfig {
                subnet: "10.1.0.0/16".into(),
                ip_range: "10.1.4.0/24".into(),
                ..IpamConfig::default()
            },
            IpamConfig {
                subnet: "10.2.0.0/16".into(),
                gateway: "10.2.0.9".into(),
                auxiliary_addresses: [("r".into(), "10.2.0.2".into())].into(),
                ..IpamConfig::default()
            },
        ];
        assert_eq!(configs, Ok(expected));
        assert_eq!(of(""), Ok(vec![]));
        #[rustfmt::skip]
        let cases = [
            ("--gateway 10.2.0.9", "no matching subnet for gateway 10.2.0.9"),
            ("--subnet 10.1.0.0/16 --ip-range 10.2.0.0/24", "no matching subnet for range 10.2.0.0/24"),
            ("--subnet 10.1.0.0/16 --gateway x", "gateway x is not an address"),
            ("--subnet 10.1.0.0/16 --gateway 10.1.0.1 --gateway 10.1.0.2", "cannot configure multiple gateways (--gateway) on the same subnet (10.1.0.0/16)"),
        ];
        for (line, expected) in cases {
            assert_eq!(of(line), Err(expected.into()), "{line}");
        }
    }
}
