//! Published ports on real daemons: every node leads to every task, and nobody notices when tasks come and go.

#[path = "mesh/load.rs"]
mod load;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::engine_api::node::NodeSpec;
use common::object::ports::Protocol;
use common::shutdown::Tasks;
use common::time::SystemClock;
use common::transport::quic::{QuicSettings, QuicTransport};
use common::transport::{Peer, StreamKind, Transport};
use common::wire::frame::{expect_message, write_message};
use common::wire::mesh::{MeshAnswer, MeshRequest};
use harness::cluster::{Cluster, SOON, options};
use harness::netns;
use harness::run;
use harness::services::{IMAGE, Runtime, Spec, Task};
use load::{Load, PEER};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Where tasks of these tests listen, on addresses of their own.
const TARGET: u16 = 28_600;
const LATER: Duration = Duration::from_secs(180);

/// A service of the test's own web server.
fn web(replicas: u64, published: u16) -> Spec {
    Runtime::Process
        .service("web", replicas)
        .with("TaskTemplate.ContainerSpec.Command", json!([PEER, "serve", TARGET.to_string()]))
        .with("TaskTemplate.ContainerSpec.StopGracePeriod", json!(2_000_000_000_u64))
        .with(
            "TaskTemplate.ContainerSpec.ReadyCheck",
            json!({ "Tcp": { "Port": TARGET }, "Interval": 100_000_000 }),
        )
        .env(&["VERSION=1"])
        .with(
            "EndpointSpec",
            json!({ "Ports": [
                { "Protocol": "tcp", "TargetPort": TARGET, "PublishedPort": published },
                { "Protocol": "udp", "TargetPort": TARGET, "PublishedPort": published },
            ] }),
        )
}

/// Where a node's published port is: tests have several nodes on one machine, each on its own address.
fn door(cluster: &Cluster, index: usize, published: u16) -> SocketAddr {
    SocketAddr::new(cluster.nodes[index].addr().ip(), published)
}

fn doors(cluster: &Cluster, published: u16) -> Vec<SocketAddr> {
    (0..cluster.nodes.len()).map(|index| door(cluster, index, published)).collect()
}

/// One request on a connection of its own: the page.
async fn get(door: SocketAddr, path: &str) -> Result<String, String> {
    post(door, path, b"").await.and_then(|page| String::from_utf8(page).map_err(|error| error.to_string()))
}

async fn post(door: SocketAddr, path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let exchange = async {
        let mut stream = TcpStream::connect(door).await?;
        let head = format!(
            "{} {path} HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            if body.is_empty() { "GET" } else { "POST" },
            body.len()
        );
        let (mut recv, mut send) = stream.split();
        let writing = async {
            send.write_all(head.as_bytes()).await?;
            send.write_all(body).await
        };
        let mut answer = Vec::new();
        let reading = recv.read_to_end(&mut answer);
        tokio::try_join!(writing, reading)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), exchange).await;
    let answer = answer.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").ok_or("not an answer")?;
    Ok(answer[end + 4..].to_vec())
}

/// Waits until every door leads to so many tasks; gives their names.
async fn reaches(cluster: &Cluster, published: u16, tasks: usize) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for door in doors(cluster, published) {
        let mut seen = BTreeSet::new();
        let what = format!("{door} leads to {tasks} tasks");
        let looking = cluster.wait_until(&what, SOON, async || {
            seen.insert(get(door, "/").await?);
            if seen.len() == tasks { Ok(()) } else { Err(format!("{seen:?}")) }
        });
        looking.await.unwrap();
        all.extend(seen);
    }
    all
}

#[tokio::test]
async fn every_node_leads_to_every_task() {
    let cluster = Cluster::with_options(1, options(1, 2)).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&web(6, 28_080)).await.unwrap();
    cluster.running("web", 6, SOON).await.unwrap();
    let tasks = reaches(&cluster, 28_080, 6).await;
    assert_eq!(tasks.len(), 6, "the same six from everywhere");
    // Much, both ways at once, and whole.
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    for door in doors(&cluster, 28_080) {
        for _ in 0..3 {
            assert!(post(door, "/echo", &body).await.unwrap() == body, "through {door}");
        }
        let slow = get(door, "/slow/1500").await.unwrap();
        assert!(tasks.contains(&slow), "an answer that takes its time: {slow}");
    }
    // Datagrams of one client go to one task.
    for door in doors(&cluster, 28_080) {
        let socket = UdpSocket::bind((door.ip(), 0)).await.unwrap();
        socket.connect(door).await.unwrap();
        let mut seen = BTreeSet::new();
        for number in 0..5 {
            let text = format!("datagram {number}");
            cluster
                .wait_until("a datagram comes back", SOON, async || {
                    socket.send(text.as_bytes()).await.map_err(|error| error.to_string())?;
                    let mut buffer = [0; 2048];
                    let received =
                        tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await;
                    let count = received.map_err(|_| "nothing")?.map_err(|error| error.to_string())?;
                    let answer = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    let (task, said) = answer.split_once(": ").ok_or("not an answer")?;
                    seen.insert(task.to_owned());
                    if said == text { Ok(()) } else { Err(answer) }
                })
                .await
                .unwrap();
        }
        assert!(seen.len() == 1 && seen.is_subset(&tasks), "{seen:?}");
    }
    client.remove_service("web").await.unwrap();
    for door in doors(&cluster, 28_080) {
        let closed = async || match TcpStream::connect(door).await {
            Ok(_) => Err("it accepts".into()),
            Err(_) => Ok(()),
        };
        cluster.wait_until("the port is closed", SOON, closed).await.unwrap();
    }
}

#[tokio::test]
async fn updates_scaling_and_drain_lose_no_request() {
    let cluster = Cluster::with_options(1, options(1, 2)).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&web(6, 28_081)).await.unwrap();
    cluster.running("web", 6, SOON).await.unwrap();
    reaches(&cluster, 28_081, 6).await;
    let load = || Load::start(Command::new(PEER), (4, 4), &doors(&cluster, 28_081));

    for (version, order, parallelism) in [("2", "stop-first", 1), ("3", "start-first", 2)] {
        let during = load();
        let config = json!({ "Parallelism": parallelism, "Order": order, "Monitor": 200_000_000 });
        let variable = format!("VERSION={version}");
        client.change_service("web", |spec| spec.env(&[&variable]).update(config.clone())).await.unwrap();
        cluster.update_state("web", &["completed"], LATER).await.unwrap();
        let results = during.finish().await.unwrap();
        results.expect_no_failure();
        let new = results.answers.keys().filter(|task| task.ends_with(version)).count();
        assert!(new >= 5, "the new ones serve: {:?}", results.answers);
    }

    let during = load();
    client.scale("web", 2).await.unwrap();
    cluster.running("web", 2, LATER).await.unwrap();
    client.scale("web", 6).await.unwrap();
    cluster.running("web", 6, LATER).await.unwrap();
    during.finish().await.unwrap().expect_no_failure();

    let during = load();
    let drained = cluster.id(2).to_owned();
    client.change_node(&drained, |spec: &mut NodeSpec| spec.availability = "drain".into()).await.unwrap();
    let moved = |tasks: &[harness::services::Task]| {
        let alive: Vec<_> = tasks.iter().filter(|task| task.is_alive()).collect();
        alive.len() == 6 && alive.iter().all(|task| task.runs() && task.node != drained)
    };
    cluster.tasks_until("the node is empty", "web", LATER, moved).await.unwrap();
    during.finish().await.unwrap().expect_no_failure();
    assert!(get(door(&cluster, 2, 28_081), "/").await.is_ok(), "the drained node still leads to the others");
}

#[tokio::test]
async fn one_task_that_is_replaced_keeps_its_clients_waiting_and_loses_none() {
    let cluster = Cluster::with_options(1, options(1, 1)).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&web(1, 28_082)).await.unwrap();
    cluster.running("web", 1, SOON).await.unwrap();
    reaches(&cluster, 28_082, 1).await;
    let during = Load::start(Command::new(PEER), (3, 3), &doors(&cluster, 28_082));
    let config = json!({ "Parallelism": 1, "Order": "stop-first", "Monitor": 200_000_000 });
    client.change_service("web", |spec| spec.env(&["VERSION=2"]).update(config.clone())).await.unwrap();
    cluster.update_state("web", &["completed"], LATER).await.unwrap();
    let results = during.finish().await.unwrap();
    results.expect_no_failure();
}

#[tokio::test]
async fn connections_outlive_the_managers_and_a_task_that_never_answers_harms_nobody() {
    let mut cluster = Cluster::with_options(1, options(1, 2)).await.unwrap();
    let client = cluster.client(0);
    let elsewhere = json!({ "Constraints": ["node.role==worker"] });
    let spec = web(4, 28_083).with("TaskTemplate.Placement", elsewhere.clone());
    client.create_service(&spec).await.unwrap();
    let deaf = web(1, 28_084)
        .with("Name", json!("deaf"))
        .with("TaskTemplate.Placement", elsewhere)
        .with("TaskTemplate.ContainerSpec.Env", json!(["DEAF=1"]));
    client.create_service(&deaf).await.unwrap();
    cluster.running("web", 4, SOON).await.unwrap();
    cluster.running("deaf", 1, SOON).await.unwrap();
    reaches(&cluster, 28_083, 4).await;
    let mut silent = Vec::new();
    for door in doors(&cluster, 28_084) {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(door).await.unwrap();
            // More than anybody buffers is not needed: it is kept, and nobody else waits.
            stream.write_all(&[b'x'; 4096]).await.unwrap();
            silent.push(stream);
        }
    }
    reaches(&cluster, 28_083, 4).await;
    cluster.nodes[0].kill();
    for index in [1, 2] {
        let mut seen = BTreeSet::new();
        let what = format!("node {index} goes on alone");
        let goes_on = cluster.wait_until(&what, SOON, async || {
            seen.insert(get(door(&cluster, index, 28_083), "/").await?);
            if seen.len() == 4 { Ok(()) } else { Err(format!("{seen:?}")) }
        });
        goes_on.await.unwrap();
    }
    drop(silent);
}

#[tokio::test]
async fn a_port_in_use_is_shown_by_its_node_and_the_others_carry_it() {
    let cluster = Cluster::with_options(1, options(1, 1)).await.unwrap();
    let client = cluster.client(0);
    let holder = std::net::TcpListener::bind(door(&cluster, 1, 28_085)).unwrap();
    client.create_service(&web(2, 28_085)).await.unwrap();
    cluster.running("web", 2, SOON).await.unwrap();
    let shown = async || {
        let info: serde_json::Value = match cluster.client(1).get("/info").await {
            Ok(answer) => answer.json().map_err(|error| error.to_string())?,
            Err(error) => return Err(error.to_string()),
        };
        let warnings = info["Warnings"].to_string() + &info["Swarm"]["Warnings"].to_string();
        let expected = format!("(process {}) has it on this node", std::process::id());
        if warnings.contains("port 28085/tcp is published") && warnings.contains(&expected) {
            Ok(())
        } else {
            Err(warnings)
        }
    };
    cluster.wait_until("the node says who has the port", SOON, shown).await.unwrap();
    assert!(get(door(&cluster, 0, 28_085), "/").await.is_ok(), "the other node has it");
    drop(holder);
    reaches(&cluster, 28_085, 2).await;
}

#[tokio::test]
async fn containers_are_reached_through_every_node() {
    let test = "containers_are_reached_through_every_node";
    if !Runtime::Docker.is_here(test) {
        return;
    }
    let cluster = Cluster::with_options(1, options(1, 1)).await.unwrap();
    let client = cluster.client(0);
    // Each answers with its own name.
    let script = "mkdir /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www";
    let spec = Runtime::Docker
        .service("pages", 4)
        .shell(script)
        .with("TaskTemplate.ContainerSpec.Image", json!(IMAGE))
        .with("TaskTemplate.ContainerSpec.StopGracePeriod", json!(3_000_000_000_u64))
        .with("EndpointSpec", json!({ "Ports": [{ "TargetPort": 80, "PublishedPort": 28_086 }] }));
    client.create_service(&spec).await.unwrap();
    cluster.running("pages", 4, LATER).await.unwrap();
    assert_eq!(reaches(&cluster, 28_086, 4).await.len(), 4);
}

#[tokio::test]
async fn a_node_that_is_cut_off_costs_no_request_once_that_is_known() {
    let test = "a_node_that_is_cut_off_costs_no_request_once_that_is_known";
    let Some(hosts) = netns::hosts(3, test) else { return };
    let cluster = Cluster::with_options(1, hosts.options()).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&web(6, 28_087)).await.unwrap();
    cluster.running("web", 6, SOON).await.unwrap();
    // From a host's own side, through its own port and its neighbour's: on all addresses, by either family.
    let doors = [hosts.addr(0), hosts.addr(1)].map(|addr| SocketAddr::new(addr.ip(), 28_087));
    let ask = |from: usize, door: SocketAddr| Load::start(hosts.command(from, PEER), (2, 0), &[door]);
    for from in 0..3 {
        let door = SocketAddr::new(hosts.addr((from + 1) % 3).ip(), 28_087);
        let everywhere = async || {
            let asking = ask(from, door);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let results = asking.finish().await.map_err(|error| error.to_string())?;
            if results.failed == 0 && results.answers.len() == 6 {
                Ok(())
            } else {
                Err(format!("{results:?}"))
            }
        };
        cluster.wait_until("a neighbour's port leads to all tasks", SOON, everywhere).await.unwrap();
    }
    let loopback = SocketAddr::from(([127, 0, 0, 1], 28_087));
    let own = ask(1, loopback);
    let v6 = ask(0, SocketAddr::new(hosts.addr_v6(1).ip(), 28_087));
    tokio::time::sleep(Duration::from_millis(500)).await;
    own.finish().await.unwrap().expect_no_failure();
    let v6 = v6.finish().await.unwrap();
    eprintln!("over IPv6: {} requests, {:?}", v6.requests, v6.failures.first());

    // One-shot clients ask while the cable is pulled: what was under way on the lost node is lost, and no more.
    let during = Load::start(hosts.command(0, PEER), (4, 0), &doors);
    hosts.cut(2).unwrap();
    cluster.node_state(2, "down", SOON).await.unwrap();
    let during = during.finish().await.unwrap();
    eprintln!("until it was known: {:?}", during.failures);
    assert!(during.failed <= 8, "{:?}", during.failures);
    let after = Load::start(hosts.command(0, PEER), (4, 4), &doors);
    // Those of the lost node are not known to have ended, and others took their places.
    let lost = cluster.id(2);
    let moved = |tasks: &[Task]| tasks.iter().filter(|task| task.runs() && task.node != lost).count() == 6;
    cluster.tasks_until("six tasks run elsewhere", "web", LATER, moved).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    after.finish().await.unwrap().expect_no_failure();
    hosts.plug(2).unwrap();
    cluster.all_ready(SOON).await.unwrap();
}

#[tokio::test]
async fn a_node_reaches_published_ports_of_tasks_and_nothing_else() {
    let mut cluster = Cluster::with_options(1, options(1, 1)).await.unwrap();
    let client = cluster.client(0);
    let here = json!({ "Constraints": ["node.role==manager"] });
    client.create_service(&web(1, 28_088).with("TaskTemplate.Placement", here)).await.unwrap();
    let task = cluster.running("web", 1, SOON).await.unwrap().remove(0);
    reaches(&cluster, 28_088, 1).await;
    let service = client.service("web").await.unwrap()["ID"].as_str().unwrap().to_owned();
    let identity = cluster.nodes[1].identity().unwrap();
    cluster.nodes[1].kill();
    let tasks = Tasks::new();
    let settings = QuicSettings::new(run::address());
    let (transport, _arrivals) =
        QuicTransport::start(settings, identity, &tasks, Arc::new(SystemClock)).unwrap();
    let peer = Peer { node: cluster.id(0).parse().unwrap(), addr: cluster.nodes[0].addr() };
    let good = MeshRequest {
        service: service.parse().unwrap(),
        task: task.id.parse().unwrap(),
        target: TARGET,
        protocol: Protocol::Tcp,
        client: ([10, 0, 0, 1], 1).into(),
    };
    let asks = [
        (MeshRequest { target: 22, ..good.clone() }, "does not publish port 22/tcp"),
        (
            MeshRequest { service: "0000000000000000000000001".parse().unwrap(), ..good.clone() },
            "of another service",
        ),
        (
            MeshRequest { task: "0000000000000000000000001".parse().unwrap(), ..good.clone() },
            "not on its node",
        ),
    ];
    for (request, expected) in asks {
        let mut stream = transport.open(peer, StreamKind::Mesh).await.unwrap();
        write_message(&mut stream.send, &request).await.unwrap();
        match expect_message::<MeshAnswer>(&mut stream.recv, 4096).await.unwrap() {
            MeshAnswer::Refused { reason } => assert!(reason.contains(expected), "{reason}"),
            MeshAnswer::Open => panic!("{request:?} was served"),
        }
    }
    let mut stream = transport.open(peer, StreamKind::Mesh).await.unwrap();
    write_message(&mut stream.send, &good).await.unwrap();
    let answer: MeshAnswer = expect_message(&mut stream.recv, 4096).await.unwrap();
    assert_eq!(answer, MeshAnswer::Open);
    transport.stop().await;
    tasks.stop().await;
}
