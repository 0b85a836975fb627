//! Services and endpoints, and what each asker is told of them.

use common::object::NodeId;
use common::object::ports::{Protocol, PublishMode};
use proptest::prelude::*;

use super::*;

const FRONT: NetworkId = NetworkId(1);
const BACK: NetworkId = NetworkId(2);
const OTHER: NetworkId = NetworkId(3);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn network_name(network: NetworkId) -> String {
    match network {
        FRONT => "front".into(),
        BACK => "Back".into(),
        other => format!("net{}", other.0),
    }
}

/// On one network, perhaps with a virtual address there.
fn on(network: NetworkId, vip: &str, aliases: &[&str]) -> MeshAttachment {
    MeshAttachment {
        network,
        network_name: network_name(network),
        vip: (!vip.is_empty()).then(|| address(vip)),
        aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
    }
}

fn service(id: u128, name: &str, networks: Vec<MeshAttachment>) -> MeshService {
    MeshService { id: ServiceId(id), name: name.into(), mode: EndpointMode::Vip, ports: Vec::new(), networks }
}

fn endpoint(task: u128, service: u128, slot: Slot, addresses: &[(NetworkId, &str)]) -> MeshEndpoint {
    MeshEndpoint {
        task: TaskId(task),
        service: ServiceId(service),
        slot,
        node: NodeId(1),
        addresses: addresses.iter().map(|(network, text)| (*network, address(text))).collect(),
        leaving: false,
    }
}

fn asker(networks: &[NetworkId]) -> Asker {
    Asker { networks: networks.into(), ..Asker::default() }
}

fn of_stack(networks: &[NetworkId], stack: &str) -> Asker {
    Asker { stack: Some(stack.into()), ..asker(networks) }
}

fn known(services: Vec<MeshService>, endpoints: Vec<MeshEndpoint>) -> Vec<Arc<Known>> {
    let of = |service: MeshService| {
        let own = endpoints.iter().filter(|endpoint| endpoint.service == service.id);
        let mut endpoints: Vec<MeshEndpoint> = own.cloned().collect();
        endpoints.sort_by_key(|endpoint| endpoint.task);
        Arc::new(Known { service, endpoints })
    };
    services.into_iter().map(of).collect()
}

fn zone(services: Vec<MeshService>, endpoints: Vec<MeshEndpoint>) -> Zone {
    let mut zone = Zone::default();
    zone.follow(known(services, endpoints).iter());
    zone
}

/// The zone after one of its services became another, or went.
fn with(zone: &Zone, id: u128, change: impl FnOnce(&mut Known) -> bool) -> Zone {
    let mut next = zone.clone();
    let mut all = zone.services.clone();
    let mut known = Known::clone(&all[&ServiceId(id)]);
    match change(&mut known) {
        true => all.insert(ServiceId(id), Arc::new(known)),
        false => all.remove(&ServiceId(id)),
    };
    next.follow(all.values());
    next
}

fn port(name: &str, protocol: Protocol, target: u16) -> Port {
    Port { name: name.into(), protocol, target, published: 8000 + target, mode: PublishMode::Ingress }
}

/// `web` with a virtual address on two networks and two tasks, `db` without one on one, `agent` on every node.
fn shop() -> Zone {
    let web = MeshService {
        ports: vec![port("http", Protocol::Tcp, 80), port("", Protocol::Udp, 53)],
        ..service(1, "web", vec![on(FRONT, "10.0.1.2", &["www"]), on(BACK, "10.0.2.2", &["api.internal"])])
    };
    let db = MeshService { mode: EndpointMode::Dnsrr, ..service(2, "DB", vec![on(BACK, "", &["store"])]) };
    let agent = service(3, "agent", vec![on(BACK, "fd00::3", &[])]);
    let hidden = service(4, "hidden", vec![on(OTHER, "10.0.3.2", &["web", "front", "ghost"])]);
    let mut gone = endpoint(15, 2, Slot::Number(3), &[(BACK, "10.0.2.15")]);
    gone.leaving = true;
    let endpoints = vec![
        endpoint(11, 1, Slot::Number(1), &[(FRONT, "10.0.1.11"), (BACK, "10.0.2.11")]),
        endpoint(12, 1, Slot::Number(2), &[(FRONT, "10.0.1.12"), (BACK, "10.0.2.12")]),
        endpoint(13, 2, Slot::Number(1), &[(BACK, "10.0.2.13")]),
        endpoint(14, 2, Slot::Number(2), &[(BACK, "10.0.2.14"), (BACK, "fd00::14")]),
        gone,
        endpoint(16, 3, Slot::Node(NodeId(9)), &[(BACK, "fd00::16")]),
        endpoint(17, 4, Slot::Number(1), &[(OTHER, "10.0.3.17")]),
    ];
    zone(vec![web, db, agent, hidden], endpoints)
}

/// As text, in an order that says nothing: `10.0.0.1 10.0.0.2`, `80 web`, or a word.
fn told(answer: Answer) -> String {
    match answer {
        Answer::Found(mut data) => {
            data.sort();
            let text = |data: Data| match data {
                Data::Address(address) => address.to_string(),
                Data::Port { number, target } => format!("{number}={target}"),
                Data::Name(name) => name,
            };
            data.into_iter().map(text).collect::<Vec<_>>().join(" ")
        }
        Answer::Nothing => "nothing".into(),
        Answer::NoName => "no name".into(),
        Answer::Elsewhere => "elsewhere".into(),
    }
}

#[test]
fn names_lead_where_they_say() {
    let zone = shop();
    let node = NodeId(9);
    let task = |id| TaskId(id).to_string();
    let (front, back, both) = (asker(&[FRONT]), asker(&[BACK]), asker(&[BACK, FRONT]));
    use Wanted::*;
    #[rustfmt::skip]
    let cases = [ // asker, name, type, told
        (&front, "web".to_string(), A, "10.0.1.2"),
        (&back,  "web".into(), A, "10.0.2.2"),
        (&both,  "web".into(), A, "10.0.2.2"),
        (&both,  "web.front".into(), A, "10.0.1.2"),
        (&both,  "web.back".into(), A, "10.0.2.2"),
        (&both,  "web.net3".into(), A, "elsewhere"),
        (&front, "web".into(), Aaaa, "nothing"),
        (&front, "web".into(), Other, "nothing"),
        (&front, "web".into(), Delegation, "nothing"),
        (&front, "tasks.web".into(), A, "10.0.1.11 10.0.1.12"),
        (&both,  "tasks.web.front".into(), A, "10.0.1.11 10.0.1.12"),
        (&back,  "2.web".into(), A, "10.0.2.12"),
        (&both,  "2.web.front".into(), A, "10.0.1.12"),
        (&back,  "7.web".into(), A, "no name"),
        (&back,  "07.web".into(), A, "elsewhere"),
        (&back,  "02.web".into(), A, "elsewhere"),
        (&back,  "two.web".into(), A, "elsewhere"),
        (&back,  format!("web.1.{}", task(11)), A, "10.0.2.11"),
        (&back,  format!("web.1.{}", task(99)), A, "no name"),
        (&back,  format!("nope.1.{}", task(11)), A, "elsewhere"),
        // Aliases, also those of several labels; tasks and slots behind them.
        (&front, "www".into(), A, "10.0.1.2"),
        (&back,  "www".into(), A, "no name"),
        (&back,  "api.internal".into(), A, "10.0.2.2"),
        (&front, "api.internal".into(), A, "elsewhere"),
        (&both,  "www.back".into(), A, "elsewhere"),
        (&back,  "tasks.api.internal".into(), A, "10.0.2.11 10.0.2.12"),
        (&back,  "1.store".into(), A, "10.0.2.13"),
        // Without a virtual address: the ready tasks, and each family its own.
        (&back,  "db".into(), A, "10.0.2.13 10.0.2.14"),
        (&back,  "db".into(), Aaaa, "fd00::14"),
        (&back,  "store.back".into(), A, "10.0.2.13 10.0.2.14"),
        (&back,  "3.db".into(), A, "no name"),
        // Of a global service the slot is the node.
        (&back,  "agent".into(), Aaaa, "fd00::3"),
        (&back,  "agent".into(), A, "nothing"),
        (&back,  "tasks.agent".into(), Aaaa, "fd00::16"),
        (&back,  format!("{node}.agent"), Aaaa, "fd00::16"),
        // Ports.
        (&back,  "web".into(), Srv, "53=web 80=web"),
        (&back,  "_http._tcp.web".into(), Srv, "80=web"),
        (&both,  "_http._tcp.web.front".into(), Srv, "80=web.front"),
        (&back,  "_80._tcp.web".into(), Srv, "80=web"),
        (&back,  "_53._udp.web".into(), Srv, "53=web"),
        (&back,  "_http._udp.web".into(), Srv, "nothing"),
        (&back,  "_http._tcp.web".into(), A, "nothing"),
        (&back,  "_http._tcp.ghost".into(), Srv, "elsewhere"),
        (&back,  "tasks.web".into(), Srv, "53=1.web 53=2.web 80=1.web 80=2.web"),
        (&back,  "2.web".into(), Srv, "53=2.web 80=2.web"),
        (&back,  "db".into(), Srv, "nothing"),
        // Addresses.
        (&back,  "2.2.0.10.in-addr.arpa".into(), Ptr, "web.Back"),
        (&back,  "13.2.0.10.in-addr.arpa".into(), Ptr, "1.DB.Back"),
        (&back,  "13.2.0.10.in-addr.arpa".into(), A, "nothing"),
        (&back,  "15.2.0.10.in-addr.arpa".into(), Ptr, "elsewhere"),
        (&back,  "6.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa".into(), Ptr, "0000000000000000000000009.agent.Back"),
        (&back,  "0.10.in-addr.arpa".into(), Ptr, "elsewhere"),
        (&back,  "+.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa".into(), Ptr, "elsewhere"),
        (&back,  "web".into(), Ptr, "nothing"),
        // What is nobody's.
        (&back,  "nope".into(), A, "no name"),
        (&back,  "nope".into(), Delegation, "elsewhere"),
        (&back,  "".into(), Other, "elsewhere"),
        (&back,  "example.com".into(), A, "elsewhere"),
        (&back,  "tasks.nope".into(), A, "elsewhere"),
        (&back,  "..".into(), A, "elsewhere"),
    ];
    for (asker, name, wanted, expected) in cases {
        let told = told(zone.answer(asker, &name, wanted, 0));
        assert_eq!(told, expected, "{name} {wanted:?} for {:?}", asker.networks);
    }
}

/// In every direction: by name, by network, by alias, by task, by port, by address.
#[test]
fn a_service_of_other_networks_does_not_exist() {
    let zone = shop();
    let without = with(&zone, 4, |_| false);
    #[rustfmt::skip]
    let names = [
        "hidden", "hidden.net3", "ghost", "ghost.net3", "tasks.hidden", "1.hidden", "1.hidden.net3", "_80._tcp.hidden",
        "web", "front", "web.net3", "tasks.web", "17.3.0.10.in-addr.arpa", "2.3.0.10.in-addr.arpa",
        "hidden.1.000000000000000000000000h", "web.1.000000000000000000000000h",
    ];
    for networks in [&[][..], &[FRONT], &[BACK], &[FRONT, BACK], &[NetworkId(99)]] {
        for name in names {
            for wanted in [Wanted::A, Wanted::Aaaa, Wanted::Srv, Wanted::Ptr, Wanted::Other] {
                let asker = asker(networks);
                let answer = zone.answer(&asker, name, wanted, 0);
                assert_eq!(answer, without.answer(&asker, name, wanted, 0), "{name} {wanted:?} {networks:?}");
            }
        }
    }
    assert_eq!(told(zone.answer(&asker(&[OTHER]), "hidden", Wanted::A, 0)), "10.0.3.2");
    assert_eq!(told(zone.answer(&asker(&[OTHER]), "db", Wanted::A, 0)), "no name");
    assert_eq!(told(zone.answer(&asker(&[OTHER]), "db.back", Wanted::A, 0)), "elsewhere");
    assert_eq!(told(zone.answer(&asker(&[OTHER]), "13.2.0.10.in-addr.arpa", Wanted::Ptr, 0)), "elsewhere");
}

#[test]
fn a_stacks_own_services_come_first_then_names_then_aliases() {
    let zone = zone(
        vec![
            service(1, "shop_db", vec![on(FRONT, "10.0.0.1", &["data"])]),
            service(2, "blog_db", vec![on(FRONT, "10.0.0.2", &["data"])]),
            service(3, "db", vec![on(FRONT, "10.0.0.3", &[])]),
            service(4, "thief", vec![on(FRONT, "10.0.0.4", &["db", "data"])]),
        ],
        Vec::new(),
    );
    let (shop, blog, nobody) = (of_stack(&[FRONT], "Shop"), of_stack(&[FRONT], "blog"), asker(&[FRONT]));
    #[rustfmt::skip]
    let cases = [
        (&shop,   "db",       "10.0.0.1"),
        (&blog,   "db",       "10.0.0.2"),
        (&nobody, "db",       "10.0.0.3"),
        (&shop,   "db.front", "10.0.0.1"),
        (&shop,   "blog_db",  "10.0.0.2"),
        (&shop,   "shop_db",  "10.0.0.1"),
        (&shop,   "data",     "10.0.0.1"),
        (&nobody, "data",     "10.0.0.1 10.0.0.2 10.0.0.4"),
        (&shop,   "thief",    "10.0.0.4"),
    ];
    for (asker, name, expected) in cases {
        assert_eq!(told(zone.answer(asker, name, Wanted::A, 0)), expected, "{name} for {:?}", asker.stack);
    }
    // A stack's name opens no network.
    assert_eq!(told(zone.answer(&of_stack(&[BACK], "shop"), "db", Wanted::A, 0)), "no name");
}

#[test]
fn each_answer_begins_with_another_task() {
    let zone = shop();
    let first = |seed| match zone.answer(&asker(&[BACK]), "tasks.web", Wanted::A, seed) {
        Answer::Found(data) => data[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_ne!(first(0), first(1));
    assert_eq!(first(0), first(2));
    assert_eq!(first(u64::MAX), first(1));
}

#[test]
fn an_answer_has_an_end() {
    let many = DNS_ANSWER_RECORDS_MAX as u32 + 50;
    let endpoints = (0..many).map(|number| MeshEndpoint {
        addresses: vec![(FRONT, IpAddr::V4((0x0a00_0000 + number).into()))],
        ..endpoint(number.into(), 1, Slot::Number(number.into()), &[])
    });
    let zone = zone(vec![service(1, "web", vec![on(FRONT, "", &[])])], endpoints.collect());
    let Answer::Found(data) = zone.answer(&asker(&[FRONT]), "web", Wanted::A, 7) else { panic!() };
    assert_eq!(data.len(), DNS_ANSWER_RECORDS_MAX);
}

#[test]
fn names_follow_the_mesh() {
    let back = asker(&[BACK]);
    let ask = |zone: &Zone, name: &str| told(zone.answer(&back, name, Wanted::A, 0));
    let reverse = |zone: &Zone, last: u8| {
        told(zone.answer(&back, &format!("{last}.2.0.10.in-addr.arpa"), Wanted::Ptr, 0))
    };
    // Another name, address and alias; the tasks stay.
    let zone = with(&shop(), 1, |known| {
        known.service = service(1, "site", vec![on(BACK, "10.0.2.99", &["new"])]);
        true
    });
    for (name, expected) in [
        ("web", "no name"),
        ("api.internal", "elsewhere"),
        ("site", "10.0.2.99"),
        ("new", "10.0.2.99"),
        ("tasks.site", "10.0.2.11 10.0.2.12"),
    ] {
        assert_eq!(ask(&zone, name), expected, "{name}");
    }
    assert_eq!((reverse(&zone, 2), reverse(&zone, 99)), ("elsewhere".into(), "site.Back".into()));
    assert_eq!(reverse(&zone, 11), "1.site.Back");
    // A task leaves; of another service one moves to another address, and one ends.
    let zone = with(&zone, 1, |known| {
        known.endpoints[0].leaving = true;
        true
    });
    assert_eq!((ask(&zone, "tasks.site"), reverse(&zone, 11)), ("10.0.2.12".into(), "elsewhere".into()));
    let zone = with(&zone, 2, |known| {
        known.endpoints[0].addresses = vec![(BACK, address("10.0.2.113"))];
        known.endpoints.truncate(1);
        true
    });
    assert_eq!(ask(&zone, "db"), "10.0.2.113");
    let reversed = [13, 113, 14].map(|last| reverse(&zone, last));
    assert_eq!(reversed, ["elsewhere", "1.DB.Back", "elsewhere"]);
    // The last task goes: the name stays, with nothing behind it.
    let zone = with(&zone, 2, |known| {
        known.endpoints.clear();
        true
    });
    assert_eq!(ask(&zone, "db"), "nothing");
    assert_eq!(ask(&with(&zone, 2, |_| false), "db"), "no name");
}

/// Services of few names on few networks, so that they meet.
fn some_zone() -> impl Strategy<Value = (Vec<MeshService>, Vec<MeshEndpoint>)> {
    let name = prop::sample::select(vec!["web", "db", "s_web", "s_db", "net1", "tasks", "x"]);
    let alias = prop::sample::select(vec!["web", "db", "x", "a.b", "1", "web.net1"]);
    let attachments =
        prop::collection::btree_map(1..4_u128, (any::<bool>(), prop::collection::vec(alias, 0..3)), 0..4);
    let one = (name, any::<bool>(), attachments, prop::collection::vec((1..4_u64, any::<bool>()), 0..4));
    prop::collection::vec(one, 0..6).prop_map(|services| {
        let (mut made, mut endpoints) = (Vec::new(), Vec::new());
        for (number, (name, is_vip, attachments, tasks)) in services.into_iter().enumerate() {
            let id = number as u128 + 1;
            // Every address says which network it is of.
            let networks: Vec<MeshAttachment> = attachments
                .iter()
                .map(|(network, (has_vip, aliases))| MeshAttachment {
                    vip: has_vip.then(|| address(&format!("10.{network}.{id}.1"))),
                    network_name: format!("net{network}"),
                    ..on(NetworkId(*network), "", aliases)
                })
                .collect();
            for (place, (slot, leaving)) in tasks.into_iter().enumerate() {
                let task = id * 100 + place as u128;
                let addresses = attachments.keys().map(|network| {
                    (NetworkId(*network), address(&format!("10.{network}.{id}.{}", place + 2)))
                });
                let addresses = addresses.collect();
                endpoints.push(MeshEndpoint {
                    addresses,
                    leaving,
                    ..endpoint(task, id, Slot::Number(slot), &[])
                });
            }
            let mode = if is_vip { EndpointMode::Vip } else { EndpointMode::Dnsrr };
            made.push(MeshService {
                mode,
                ports: vec![port("p", Protocol::Tcp, id as u16)],
                ..service(id, name, networks)
            });
        }
        (made, endpoints)
    })
}

fn some_name() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec![
        "web", "db", "s_web", "net1", "net2", "net3", "tasks", "1", "2", "x", "a", "b", "_p", "_tcp", "10",
        "in-addr", "arpa", "",
    ]);
    let names = prop::collection::vec(label, 0..5).prop_map(|labels| labels.join("."));
    let reverse = (1..4, 1..7, 1..6).prop_map(|(a, b, c)| format!("{c}.{b}.{a}.10.in-addr.arpa"));
    prop_oneof![4 => names, 1 => reverse, 1 => "\\PC{0,20}"]
}

fn some_asker() -> impl Strategy<Value = Asker> {
    let networks = prop::sample::subsequence(vec![NetworkId(1), NetworkId(2), NetworkId(3)], 0..4);
    let stack = prop::option::of(prop::sample::select(vec!["s", "t"]));
    (networks, stack).prop_map(|(networks, stack)| Asker {
        networks,
        stack: stack.map(String::from),
        ..Asker::default()
    })
}

const KINDS: [Wanted; 6] =
    [Wanted::A, Wanted::Aaaa, Wanted::Srv, Wanted::Ptr, Wanted::Delegation, Wanted::Other];

proptest! {
    /// The heart of it: whatever is asked, every address in an answer is of a network that the asker is on, no task that
    /// leaves is in one, and all that the asker shares no network with might as well not be there.
    #[test]
    fn no_answer_depends_on_networks_the_asker_is_not_on(
        (services, endpoints) in some_zone(), asker in some_asker(), name in some_name(), seed: u64,
    ) {
        let name = name.to_lowercase();
        let is_seen = |service: &MeshService| {
            service.networks.iter().any(|attachment| asker.networks.contains(&attachment.network))
        };
        let mut seen: Vec<MeshService> = services.iter().filter(|service| is_seen(service)).cloned().collect();
        for service in &mut seen {
            service.networks.retain(|attachment| asker.networks.contains(&attachment.network));
        }
        let mut theirs = endpoints.clone();
        theirs.retain(|endpoint| seen.iter().any(|service| service.id == endpoint.service));
        for endpoint in &mut theirs {
            endpoint.addresses.retain(|(network, _)| asker.networks.contains(network));
        }
        let leaving: Vec<IpAddr> = endpoints.iter().filter(|endpoint| endpoint.leaving)
            .flat_map(|endpoint| endpoint.addresses.iter().map(|(_, address)| *address)).collect();
        let (all, own) = (zone(services, endpoints), zone(seen, theirs));
        for wanted in KINDS {
            let answer = all.answer(&asker, &name, wanted, seed);
            prop_assert_eq!(&answer, &own.answer(&asker, &name, wanted, seed));
            let Answer::Found(data) = answer else { continue };
            prop_assert!(!data.is_empty());
            for one in data {
                let Data::Address(IpAddr::V4(address)) = one else { continue };
                let network = NetworkId(address.octets()[1].into());
                prop_assert!(asker.networks.contains(&network), "{} of {:?}", address, network);
                prop_assert!(!leaving.contains(&IpAddr::V4(address)), "{} leaves", address);
            }
        }
    }

    /// The names that answers hold lead somewhere for the same asker.
    #[test]
    fn targets_can_be_asked_for((services, endpoints) in some_zone(), asker in some_asker(), name in some_name()) {
        let zone = zone(services, endpoints);
        let Answer::Found(data) = zone.answer(&asker, &name.to_lowercase(), Wanted::Srv, 0) else { return Ok(()) };
        for one in data {
            let Data::Port { target, .. } = one else { panic!("{one:?}") };
            let answer = zone.answer(&asker, &target, Wanted::A, 0);
            prop_assert!(matches!(answer, Answer::Found(_)), "{} of {}: {:?}", target, name, answer);
        }
    }

    /// Whatever was before, a zone is what the mesh is now; and with nothing there, nothing is left of it.
    #[test]
    fn what_was_before_leaves_nothing_behind(before in some_zone(), after in some_zone()) {
        let mut zone = zone(before.0, before.1);
        let now = known(after.0, after.1);
        zone.follow(now.iter());
        let mut fresh = Zone::default();
        fresh.follow(now.iter());
        prop_assert_eq!(&zone.services, &fresh.services);
        prop_assert_eq!(&zone.by_name, &fresh.by_name);
        prop_assert_eq!(&zone.by_address, &fresh.by_address);
        zone.follow(std::iter::empty());
        prop_assert!(zone.services.is_empty() && zone.by_name.is_empty() && zone.by_address.is_empty());
    }
}
