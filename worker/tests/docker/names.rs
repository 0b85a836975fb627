//! Names of services, asked for from inside containers by what images have for that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, RwLock};

use common::object::container::{ContainerSpec, DnsConfig};
use common::object::ports::EndpointMode;
use common::object::{NetworkId, NodeId, ServiceId, Slot, TaskId};
use common::random::{Random, SystemRandom};
use common::time::SystemClock;
use common::wire::mesh::{MeshAttachment, MeshEndpoint, MeshService};
use worker::mesh::dns::{Askers, Dns, DnsSettings, RESOLV_CONF, RESOLVER_PORT, Rate};
use worker::mesh::names::{Asker, Known, Zone};
use worker::runtime::TaskSetup;

use crate::support::{Node, shell};

const NETWORK: NetworkId = NetworkId(1);

/// An address of this machine that nobody else uses: what a resolver has to be at port 53 for. Gone when dropped.
struct Address(IpAddr);

impl Address {
    fn take() -> Option<Self> {
        let [a, b] = (SystemRandom.next_u64() as u16).to_be_bytes();
        let address = IpAddr::from(Ipv4Addr::new(198, 18, a, b));
        let added =
            Command::new("ip").args(["address", "add", &format!("{address}/32"), "dev", "lo"]).status();
        added.is_ok_and(|status| status.success()).then_some(Self(address))
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["address", "del", &format!("{}/32", self.0), "dev", "lo"]).status();
    }
}

fn zone() -> Zone {
    let service = |id, name: &str, network, vip: [u8; 4]| MeshService {
        id: ServiceId(id),
        name: name.into(),
        mode: EndpointMode::Vip,
        ports: Vec::new(),
        networks: vec![MeshAttachment {
            network,
            network_name: format!("net{}", network.0),
            vip: Some(vip.into()),
            aliases: vec!["www".into()],
        }],
    };
    let endpoint = MeshEndpoint {
        task: TaskId(1),
        service: ServiceId(1),
        slot: Slot::Number(1),
        node: NodeId(1),
        addresses: vec![(NETWORK, [10, 0, 1, 11].into())],
        leaving: false,
    };
    let all = [
        Known { service: service(1, "web", NETWORK, [10, 0, 1, 2]), endpoints: vec![endpoint] },
        Known { service: service(2, "hidden", NetworkId(2), [10, 0, 2, 2]), endpoints: Vec::new() },
    ];
    let mut zone = Zone::default();
    zone.follow(all.map(Arc::new).iter());
    zone
}

/// A server at an address of its own for a node whose `asker` is on the network.
async fn serve(node: &Node, address: &Address, asker: TaskId) {
    let names = node.names.clone();
    let find = move |from| {
        let task = names.task_at(from)?;
        let networks = if task == asker { vec![NETWORK] } else { Vec::new() };
        Some(Asker { networks, ..Asker::default() })
    };
    let settings = DnsSettings {
        address: SocketAddr::new(address.0, RESOLVER_PORT),
        askers: Askers { find: Arc::new(find), changed: node.names.changed() },
        zone: Arc::new(RwLock::new(zone())),
        resolv_conf: RESOLV_CONF.into(),
        resolver_port: RESOLVER_PORT,
        rate: Rate::default(),
        random: Box::new(SystemRandom),
        clock: Arc::new(SystemClock),
    };
    Dns::start(settings, &node.tasks).await.unwrap();
    node.names.set_server(Some(address.0));
}

#[tokio::test]
async fn containers_find_the_services_of_their_networks() {
    let Some(node) = Node::of("containers_find_the_services_of_their_networks") else { return };
    let Some(address) = Address::take() else { return }; // only root gives the machine another address
    // Asks with the first thing it does, before its engine has told anybody who it is.
    let look = "cat /etc/resolv.conf; for name in web tasks.web www.net1 hidden; do nslookup $name; done 2>&1; exit 0";
    let own = DnsConfig { search: vec!["corp.example".into()], ..DnsConfig::default() };
    let attached = node.task(ContainerSpec { dns: Some(own), ..shell(look) });
    let alone = node.task(shell(look));
    serve(&node, &address, attached.task).await;
    let output = async |task: &TaskSetup| {
        node.run(task).await;
        node.ended(task).await;
        node.docker(&["logs", &task.name])
    };
    let told = output(&attached).await;
    for wanted in ["ndots:0", "corp.example", &address.0.to_string(), "10.0.1.2", "10.0.1.11"] {
        assert!(told.contains(wanted), "{wanted} in: {told}");
    }
    assert!(!told.contains("10.0.2.2"), "a service of another network: {told}");
    let told = output(&alone).await;
    assert!(!told.contains("10.0."), "no network, no service: {told}");
}
