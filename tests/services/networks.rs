//! Networks in scenarios: made as the API does it, and shown with who has which address.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use common::object::network::WantedSubnet;
use common::object::ports::EndpointMode;
use common::object::service::NetworkAttachment;
use common::object::{Network, NetworkId, NetworkSpec, ServiceMode, ServiceSpec, Task, TaskState};
use common::random::{Random, SeededRandom};
use manager::decide::allocate::subnets;
use manager::store::{Change, Write};

use super::world::World;

/// With the subnet asked for, or one of the pools.
pub fn create(world: &mut World, name: &str, subnet: Option<&str>) -> Result<()> {
    let tables = world.store.snapshot();
    let wanted = |text: &str| -> Result<WantedSubnet> {
        Ok(WantedSubnet { subnet: text.parse()?, range: None, gateway: None, reserved: Default::default() })
    };
    let asked = subnet.map(wanted).transpose()?;
    let spec =
        NetworkSpec { name: name.into(), subnets: asked.into_iter().collect(), ..NetworkSpec::default() };
    let given = subnets(&tables, &spec)?;
    let id = NetworkId((1 << 127) | (tables.networks.len() as u128 + 1));
    let network = Network::new(id, spec, given);
    world.write(vec![Change::Network(Write::Create(network))]).map_err(|rejection| anyhow!(rejection))?;
    Ok(())
}

/// As the API does it: names become ids.
pub fn resolve(world: &World, spec: &mut ServiceSpec) -> Result<()> {
    let tables = world.store.snapshot();
    for attachment in spec.task.networks.iter_mut().filter(|attachment| attachment.network().is_none()) {
        let network = tables.network_by_name(&attachment.target).context("there is no such network")?;
        attachment.target = network.id.to_string();
    }
    Ok(())
}

/// Three services on a network that has not addresses for all of them: whatever is asked for and ends, no address is
/// two holders' (which `World` looks at), as many tasks run as there are addresses for, and all when there are enough.
pub fn tight_story(seed: u64) {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let mut random = SeededRandom::new(seed, "tight");
    let mut below = |limit: u64| random.next_u64() % limit;
    let mut world = World::new(seed);
    world.add_node("n0", |_| {});
    world.add_node("n1", |_| {});
    create(&mut world, "small", Some("10.1.0.0/28")).expect("a network of its own");
    for name in NAMES {
        let mut spec = ServiceSpec { name: name.into(), ..ServiceSpec::default() };
        let target = "small".into();
        spec.task.networks = vec![NetworkAttachment { target, ..NetworkAttachment::default() }];
        resolve(&world, &mut spec).expect("the network is there");
        world.create_service(spec);
    }
    world.failing = [0, 0, 3, 10][(seed % 4) as usize];
    for _ in 0..40 {
        let name = NAMES[below(3) as usize];
        match below(6) {
            0 => world.new_leader(),
            1 => world.update_service(name, |spec| spec.task.force_update += 1),
            2 => {
                let running = |task: &&std::sync::Arc<Task>| task.status.state == TaskState::Running;
                let tables = world.store.snapshot();
                let task = tables.tasks.iter().find(running);
                task.into_iter().for_each(|task| world.kill(task));
            }
            3 => {
                let mode = [EndpointMode::Vip, EndpointMode::Dnsrr][below(2) as usize];
                world.update_service(name, |spec| spec.endpoint.get_or_insert_default().mode = Some(mode));
            }
            _ => {
                let replicas = below(9);
                world.update_service(name, |spec| spec.mode = ServiceMode::Replicated { replicas });
            }
        }
        world.run(Duration::from_millis([0, 100, 1_000, 10_000][below(4) as usize]));
    }
    world.failing = 0;
    let running = |world: &World| {
        let tables = world.store.snapshot();
        tables.tasks.iter().filter(|task| task.is_wanted() && task.status.state == TaskState::Running).count()
    };
    // Who has an address keeps it, so that of too many a service may be the one that waits.
    for (replicas, wanted) in [(8, 27), (3, 12), (0, 3), (8, 27)] {
        for name in NAMES {
            world.update_service(name, |spec| {
                spec.mode = ServiceMode::Replicated { replicas };
                spec.endpoint = None;
            });
        }
        assert!(world.settle(), "it does not settle");
        let tables = world.store.snapshot();
        let of_services: usize = tables.services.iter().map(|service| service.virtual_ips.len()).sum();
        assert_eq!(running(&world) + of_services, wanted.min(13), "of {replicas} each");
        assert_eq!(tables.addresses().count(NetworkId((1 << 127) | 1)), wanted.min(13) as u64);
    }
    world.new_leader();
    assert_eq!(world.pass(), Vec::<Vec<Change>>::new(), "a new leader finds nothing to do");
}

/// `web 10.0.0.2`, then its tasks that have not ended.
pub fn addresses(world: &World, service: &str) -> Result<Vec<String>> {
    let tables = world.store.snapshot();
    let service = world.service(service);
    let show = |addresses: &[(NetworkId, std::net::IpAddr)]| {
        let each = addresses.iter().map(|(network, address)| {
            let name = tables.networks.get(*network).map_or("(gone)", |network| network.spec.name.as_str());
            format!("{name} {address}")
        });
        let all: Vec<String> = each.collect();
        if all.is_empty() { "-".into() } else { all.join(", ") }
    };
    let mut lines = vec![format!("{}  {}", service.name(), show(&service.virtual_ips))];
    for task in tables.tasks_of_service(service.id).filter(|task| !task.status.state.is_final()) {
        let addresses = task.addresses.as_deref().unwrap_or_default();
        lines.push(format!("{}.{}  {}", service.name(), task.slot, show(addresses)));
    }
    Ok(lines)
}
