//! What tasks are told of the node's DNS server, and what their services say for themselves.
//!
//! Pure. A container gets the server as its only resolver: C libraries that ask all they have at once would otherwise
//! believe whoever first says that there is no such name. What its service names as resolvers (`--dns`) is asked by
//! the server for it, for names outside of the cluster, as Docker's own does; search domains and options are handed
//! on. `ndots:0` has the name tried as it stands before search domains are tried behind it, unless the service says
//! how many dots it wants.
//!
//! A process uses the machine's `resolv.conf`, and no variable makes a C library ask somebody else. So it is told the
//! server's address in `SWARM_DNS`, for what asks by itself (`dig -p`, resolvers of proxies and runtimes).

use std::net::{IpAddr, SocketAddr};

use common::object::container::DnsConfig;
use common::wire::assignment::AssignedSpec;

use crate::mesh::names::Asker;

/// The label by which a service belongs to a stack.
pub const STACK_LABEL: &str = "com.docker.stack.namespace";
/// Where a process finds its server, as `address:port`.
pub const VARIABLE: &str = "SWARM_DNS";
/// Its port: the same for ever, because processes outlive the daemon that told them; below those that the kernel gives
/// out by itself, and free for who is not root.
pub const PROCESS_PORT: u16 = 1053;

/// A container's settings; those of its service where there is no server for it.
pub fn container(own: Option<&DnsConfig>, server: Option<IpAddr>) -> DnsConfig {
    let mut given = own.cloned().unwrap_or_default();
    if let Some(server) = server {
        given.nameservers = vec![server.to_string()];
        if !given.options.iter().any(|option| option.starts_with("ndots:")) {
            given.options.push("ndots:0".into());
        }
    }
    given
}

/// The variable of a process that has an address of its own.
pub fn variable(own: IpAddr) -> (String, String) {
    (VARIABLE.into(), SocketAddr::new(own, PROCESS_PORT).to_string())
}

/// A task as one that asks: the cluster's networks of its service in their order, its stack, and whom the service
/// wants asked about names outside of the cluster.
pub fn asker(spec: &AssignedSpec) -> Asker {
    let networks = spec.task.networks.iter().filter_map(|network| network.target.parse().ok());
    let dns = spec.task.container.dns.iter();
    Asker {
        networks: networks.collect(),
        stack: spec.service_labels.get(STACK_LABEL).filter(|stack| !stack.is_empty()).cloned(),
        resolvers: dns.flat_map(|dns| &dns.nameservers).filter_map(|address| address.parse().ok()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::object::container::ContainerSpec;
    use common::object::service::NetworkAttachment;
    use common::object::{NetworkId, ServiceId, TaskSpec};

    use super::*;

    fn config(nameservers: &[&str], search: &[&str], options: &[&str]) -> DnsConfig {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).into()).collect();
        DnsConfig { nameservers: texts(nameservers), search: texts(search), options: texts(options) }
    }

    #[test]
    fn a_container_asks_the_server_and_keeps_what_its_service_says() {
        let server = Some("172.17.0.1".parse().unwrap());
        let own = config(&["1.1.1.1"], &["corp.example"], &["timeout:1"]);
        #[rustfmt::skip]
        let cases = [ // the service's, the server, given
            (None,               None,   DnsConfig::default()),
            (Some(own.clone()),  None,   own.clone()),
            (None,               server, config(&["172.17.0.1"], &[], &["ndots:0"])),
            (Some(own.clone()),  server, config(&["172.17.0.1"], &["corp.example"], &["timeout:1", "ndots:0"])),
            (Some(config(&[], &[], &["ndots:2"])), server, config(&["172.17.0.1"], &[], &["ndots:2"])),
        ];
        for (own, server, given) in cases {
            assert_eq!(container(own.as_ref(), server), given, "{own:?} {server:?}");
        }
    }

    #[test]
    fn a_process_is_told_where_to_ask() {
        let own = "127.130.0.7".parse().unwrap();
        assert_eq!(variable(own), ("SWARM_DNS".into(), "127.130.0.7:1053".into()));
    }

    #[test]
    fn a_task_asks_as_its_service_is() {
        let network =
            |target: &str| NetworkAttachment { target: target.into(), ..NetworkAttachment::default() };
        let of = |stack: &str| {
            let task = TaskSpec {
                networks: vec![
                    network(&NetworkId(9).to_string()),
                    network("host"),
                    network(&NetworkId(3).to_string()),
                ],
                container: ContainerSpec {
                    dns: Some(config(&["1.1.1.1", "?"], &[], &[])),
                    ..ContainerSpec::default()
                },
                ..TaskSpec::default()
            };
            asker(&AssignedSpec {
                service: ServiceId(1),
                number: 1,
                service_name: "web".into(),
                service_labels: [(STACK_LABEL.to_string(), stack.to_string())].into(),
                task: Arc::new(task),
                ports: Vec::new(),
            })
        };
        let expected = Asker {
            networks: vec![NetworkId(9), NetworkId(3)],
            stack: Some("shop".into()),
            resolvers: vec!["1.1.1.1".parse().unwrap()],
        };
        assert_eq!(of("shop"), expected);
        assert_eq!(of("").stack, None);
    }
}
