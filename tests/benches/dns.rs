//! Names: how many questions a node's DNS server answers a second, against a server that sends back what it gets.
//!
//! Both are asked by the same clients in the same process, over UDP on loopback, one after the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use common::object::ports::EndpointMode;
use common::object::{NetworkId, NodeId, ServiceId, Slot, TaskId};
use common::random::SystemRandom;
use common::shutdown::Tasks;
use common::time::SystemClock;
use common::wire::mesh::{MeshAttachment, MeshEndpoint, MeshService};
use harness::figures::{Figures, Limit, Row, Table};
use tokio::net::UdpSocket;
use worker::mesh::dns::{Askers, Dns, DnsSettings, RESOLV_CONF, RESOLVER_PORT, Rate};
use worker::mesh::names::{Asker, Known, Zone};

use crate::machine::now;
use crate::options::Options;

const SERVICES: u32 = 1_000;
const TASKS_PER_SERVICE: u32 = 10;
const NETWORK: NetworkId = NetworkId(1);
/// Who ask at the same time, and how many questions each has under way.
const CLIENTS: usize = 4;
const UNDER_WAY: usize = 16;
/// How long a client waits for an answer before it asks anew: loopback drops what nobody takes in time.
const PATIENCE: Duration = Duration::from_millis(200);
/// Less of a bare echo would be ours to explain.
const SHARE_MIN: f64 = 0.5;

pub async fn measure(options: &Options) -> anyhow::Result<Table> {
    let seconds = options.seconds(3.0);
    let tasks = Tasks::new();
    let echo = echo(&tasks).await?;
    let dns = Dns::start(settings(), &tasks).await.context("start the DNS server")?;
    let mut figures: [Vec<f64>; 4] = Default::default();
    for _ in 0..options.times(3) {
        let names = ["svc7", "tasks.svc7", "nope"].map(|name| (dns.address, question(name)));
        let asked = [vec![(echo, question("svc7"))], names.to_vec()].concat();
        for (figure, (address, question)) in figures.iter_mut().zip(asked) {
            figure.push(answers_per_second(&tasks, address, question, seconds).await?);
        }
    }
    tasks.stop().await;
    let [echo, one, ten, none] = figures.map(Figures::of);
    let echo = echo.context("the echo was measured")?;
    let limit = || vec![Limit::share_of(SHARE_MIN, "the echo", echo.median())];
    let rows = [
        ("a bare UDP echo", Some(echo.clone()), Vec::new()),
        ("a service's address", one, limit()),
        ("a service's 10 tasks", ten, Vec::new()),
        ("a name that is not there", none, Vec::new()),
    ];
    let row = |(what, figures, limits): (&str, Option<Figures>, Vec<Limit>)| {
        Some(Row { what: what.into(), unit: "answers/s", figures: figures?, limits })
    };
    Ok(Table(rows.into_iter().filter_map(row).collect()))
}

fn settings() -> DnsSettings {
    let find = |_: IpAddr| Some(Asker { networks: vec![NETWORK], ..Asker::default() });
    DnsSettings {
        address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        askers: Askers { find: Arc::new(find), changed: tokio::sync::watch::channel(0).1 },
        zone: Arc::new(RwLock::new(zone())),
        resolv_conf: RESOLV_CONF.into(),
        resolver_port: RESOLVER_PORT,
        rate: Rate { per_second: u32::MAX, at_once: u32::MAX },
        random: Box::new(SystemRandom),
        clock: Arc::new(SystemClock),
    }
}

fn zone() -> Zone {
    let address = |number: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number));
    let service = |number: u32| MeshService {
        id: ServiceId(number.into()),
        name: format!("svc{number}"),
        mode: EndpointMode::Vip,
        ports: Vec::new(),
        networks: vec![MeshAttachment {
            network: NETWORK,
            network_name: "net".into(),
            vip: Some(address(number)),
            aliases: vec![format!("alias{number}")],
        }],
    };
    let endpoint = |number: u32| MeshEndpoint {
        task: TaskId(number.into()),
        service: ServiceId((number % SERVICES).into()),
        slot: Slot::Number((1 + number / SERVICES).into()),
        node: NodeId(1),
        addresses: vec![(NETWORK, address(SERVICES + number))],
        leaving: false,
    };
    let known = |number: u32| {
        let tasks = (0..TASKS_PER_SERVICE).map(|task| endpoint(task * SERVICES + number));
        Arc::new(Known { service: service(number), endpoints: tasks.collect() })
    };
    let all: Vec<Arc<Known>> = (0..SERVICES).map(known).collect();
    let mut zone = Zone::default();
    zone.follow(all.iter());
    zone
}

/// A question for an address, as C libraries send it.
fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

async fn echo(tasks: &Tasks) -> anyhow::Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    tasks.spawn_until_stopped(async move {
        let mut bytes = vec![0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            let _ = socket.send_to(&bytes[..length], from).await;
        }
    });
    Ok(address)
}

async fn answers_per_second(
    tasks: &Tasks,
    address: SocketAddr,
    question: Vec<u8>,
    time: Duration,
) -> anyhow::Result<f64> {
    let start = now();
    let clients = (0..CLIENTS).map(|_| tasks.spawn(client(address, question.clone(), time)));
    let answers = futures_util::future::try_join_all(clients).await?;
    let answers: u64 = answers.into_iter().sum::<anyhow::Result<u64>>()?;
    Ok(answers as f64 / now().since(start).as_secs_f64())
}

async fn client(address: SocketAddr, question: Vec<u8>, time: Duration) -> anyhow::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(address).await?;
    let (start, mut answers, mut bytes) = (now(), 0, vec![0; 4096]);
    for _ in 0..UNDER_WAY {
        socket.send(&question).await?;
    }
    while now().since(start) < time {
        if tokio::time::timeout(PATIENCE, socket.recv(&mut bytes)).await.is_ok_and(|length| length.is_ok()) {
            answers += 1;
        }
        socket.send(&question).await?;
    }
    Ok(answers)
}
