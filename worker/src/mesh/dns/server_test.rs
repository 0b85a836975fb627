//! The server over real sockets on loopback, with resolvers of our own behind it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use common::limits::{DNS_CONNECTIONS_PER_SOURCE_MAX, DNS_QUERY_BYTES_MAX};
use common::object::ports::EndpointMode;
use common::object::{NetworkId, NodeId, ServiceId, Slot, TaskId};
use common::random::SystemRandom;
use common::time::SystemClock;
use common::wire::mesh::{MeshAttachment, MeshEndpoint, MeshService};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::serve::{read_message, write_message};
use super::*;
use crate::mesh::names::Known;

/// Long enough on a busy machine; every wait ends when what it waits for is there.
const SOON: Duration = Duration::from_secs(30);
/// How long nothing has to come, where nothing should.
const SILENCE: Duration = Duration::from_millis(300);

const NETWORK: NetworkId = NetworkId(1);
/// Tasks of the network, one of none, and a stranger.
const TASK: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const LONELY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

struct Scene {
    dns: Dns,
    zone: Arc<RwLock<Zone>>,
    folder: tempfile::TempDir,
    tasks: Tasks,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

impl Scene {
    /// `resolvers`: what the host's file names, which all listen at `port`.
    async fn new(resolvers: &[IpAddr], port: u16, rate: Rate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_resolvers(folder.path(), resolvers);
        let zone = Arc::new(RwLock::new(zone()));
        let tasks = Tasks::new();
        let settings = DnsSettings {
            address: SocketAddr::new(TASK, 0),
            askers: Askers {
                find: Arc::new(|from| match from {
                    TASK => Some(Asker { networks: vec![NETWORK], ..Asker::default() }),
                    LONELY => Some(Asker::default()),
                    _ => None,
                }),
                // Nobody else comes.
                changed: watch::channel(0).1,
            },
            zone: zone.clone(),
            resolv_conf: folder.path().join("resolv.conf"),
            resolver_port: port,
            rate,
            random: Box::new(SystemRandom),
            clock: Arc::new(SystemClock),
        };
        let dns = Dns::start(settings, &tasks).await.unwrap();
        Self { dns, zone, folder, tasks }
    }

    async fn alone() -> Self {
        Self::new(&[], 53, Rate::default()).await
    }

    async fn ask(&self, from: IpAddr, name: &str, kind: RecordType) -> Message {
        self.send(from, &query(name, kind)).await
    }

    async fn send(&self, from: IpAddr, bytes: &[u8]) -> Message {
        let socket = self.socket(from).await;
        socket.send(bytes).await.unwrap();
        heard(&socket).await
    }

    async fn socket(&self, from: IpAddr) -> UdpSocket {
        let socket = UdpSocket::bind(SocketAddr::new(from, 0)).await.unwrap();
        socket.connect(self.dns.address).await.unwrap();
        socket
    }

    async fn stream(&self, from: IpAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        timeout(SOON, socket.connect(self.dns.address)).await.unwrap().unwrap()
    }
}

fn write_resolvers(folder: &Path, resolvers: &[IpAddr]) {
    let text: String = resolvers.iter().map(|address| format!("nameserver {address}\n")).collect();
    std::fs::write(folder.join("next"), text).unwrap();
    std::fs::rename(folder.join("next"), folder.join("resolv.conf")).unwrap();
}

/// `web` with a virtual address; `many` with more tasks than a datagram has room for.
fn zone() -> Zone {
    let service = |id, name: &str, mode, vip: Option<&str>| MeshService {
        id: ServiceId(id),
        name: name.into(),
        mode,
        ports: Vec::new(),
        networks: vec![MeshAttachment {
            network: NETWORK,
            network_name: "net".into(),
            vip: vip.map(|text| text.parse().unwrap()),
            aliases: Vec::new(),
        }],
    };
    let endpoints = (1..=200).map(|number: u32| MeshEndpoint {
        task: TaskId(number.into()),
        service: ServiceId(2),
        slot: Slot::Number(number.into()),
        node: NodeId(1),
        addresses: vec![(NETWORK, IpAddr::V4(Ipv4Addr::from(0x0a00_0100 + number)))],
        leaving: false,
    });
    let web = service(1, "web", EndpointMode::Vip, Some("10.0.0.9"));
    let many = service(2, "many", EndpointMode::Dnsrr, None);
    let all = [
        Arc::new(Known { service: web, endpoints: Vec::new() }),
        Arc::new(Known { service: many, endpoints: endpoints.collect() }),
    ];
    let mut zone = Zone::default();
    zone.follow(all.iter());
    zone
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn heard(socket: &UdpSocket) -> Message {
    let mut bytes = vec![0; 4096];
    let length = timeout(SOON, socket.recv(&mut bytes)).await.expect("an answer").unwrap();
    Message::from_vec(&bytes[..length]).unwrap()
}

async fn silent(socket: &UdpSocket) -> bool {
    timeout(SILENCE, socket.recv(&mut [0; 4096])).await.is_err()
}

async fn told(stream: &mut TcpStream, name: &str) -> Option<Message> {
    write_message(stream, &query(name, RecordType::A)).await.ok()?;
    let bytes = timeout(SOON, read_message(stream, 65_535)).await.expect("an answer or an end").ok()??;
    Some(Message::from_vec(&bytes).unwrap())
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

fn texts(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

/// Answers each question with `answers`, at a port of its own on `address`; counts what it was asked.
async fn resolver(
    address: SocketAddr,
    tasks: &Tasks,
    answers: impl Fn(Message) -> Vec<Message> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let (socket, listener) = sockets(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, answers) = (asked.clone(), Arc::new(answers));
    let of_streams = (asked.clone(), answers.clone());
    tasks.spawn_until_stopped(async move {
        let mut bytes = vec![0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            count.fetch_add(1, Ordering::Relaxed);
            for answer in answers(Message::from_vec(&bytes[..length]).unwrap()) {
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        }
    });
    tasks.spawn_until_stopped(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            while let Ok(Some(bytes)) = read_message(&mut stream, 4096).await {
                of_streams.0.fetch_add(1, Ordering::Relaxed);
                for answer in (of_streams.1)(Message::from_vec(&bytes).unwrap()) {
                    write_message(&mut stream, &answer.to_vec().unwrap()).await.unwrap();
                }
            }
        }
    });
    (address, asked)
}

/// `count` addresses for whatever is asked.
fn found(question: &Message, count: u8) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.queries = question.queries.clone();
    let name = question.queries[0].name.clone();
    let record = |last| Record::from_rdata(name.clone(), 300, RData::A(A::new(192, 0, 2, last)));
    answer.answers = (1..=count).map(record).collect();
    answer
}

#[tokio::test]
async fn names_are_told_over_udp_and_tcp() {
    let scene = Scene::alone().await;
    let answer = scene.ask(TASK, "WEB.", RecordType::A).await;
    assert_eq!((texts(&answer), answer.metadata.authoritative), (vec!["10.0.0.9".to_string()], true));
    assert_eq!(code(&scene.ask(TASK, "nope.", RecordType::A).await), ResponseCode::NXDomain);
    let nothing = scene.ask(TASK, "web.", RecordType::AAAA).await;
    assert_eq!((code(&nothing), nothing.answers.len()), (ResponseCode::NoError, 0));

    let mut stream = scene.stream(TASK).await;
    for name in ["web.", "web.net.", "web."] {
        assert_eq!(texts(&told(&mut stream, name).await.unwrap()), ["10.0.0.9"], "{name}");
    }
    // What changes is told at once.
    scene.zone.write().unwrap().follow(std::iter::empty());
    assert_eq!(code(&told(&mut stream, "web.").await.unwrap()), ResponseCode::NXDomain);
}

#[tokio::test]
async fn who_asks_decides_what_is_told() {
    let scene = Scene::alone().await;
    assert_eq!(code(&scene.ask(LONELY, "web.", RecordType::A).await), ResponseCode::NXDomain);
    assert_eq!(code(&scene.ask(STRANGER, "web.", RecordType::A).await), ResponseCode::Refused);
    assert!(told(&mut scene.stream(STRANGER).await, "web.").await.is_none());
    assert!(told(&mut scene.stream(LONELY).await, "web.").await.is_some());
}

/// A container asks before its engine has told us who it is.
#[tokio::test(start_paused = true)]
async fn who_comes_to_be_known_is_waited_for() {
    let known: Arc<Mutex<Option<Asker>>> = Arc::default();
    let (find, changed) = (known.clone(), watch::Sender::new(0));
    let find = Arc::new(move |_| find.lock().unwrap().clone());
    let askers = Askers { find, changed: changed.subscribe() };
    assert_eq!(askers.wait_for(STRANGER).await, None);

    let becomes_known = async {
        tokio::time::sleep(DNS_STRANGER_WAIT / 4).await;
        changed.send_modify(|count| *count += 1);
        tokio::time::sleep(DNS_STRANGER_WAIT / 4).await;
        *known.lock().unwrap() = Some(Asker::default());
        changed.send_modify(|count| *count += 1);
    };
    assert_eq!(tokio::join!(askers.wait_for(STRANGER), becomes_known).0, Some(Asker::default()));
    drop(changed);
    *known.lock().unwrap() = None;
    assert_eq!(askers.wait_for(STRANGER).await, None);
}

#[tokio::test]
async fn a_long_answer_is_cut_for_datagrams_and_whole_for_streams() {
    let scene = Scene::alone().await;
    let cut = scene.ask(TASK, "many.", RecordType::A).await;
    assert!(cut.metadata.truncation && cut.answers.len() > 20, "{} answers", cut.answers.len());
    let whole = told(&mut scene.stream(TASK).await, "many.").await.unwrap();
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (200, false));
    let again = told(&mut scene.stream(TASK).await, "many.").await.unwrap();
    assert_ne!(texts(&whole)[0], texts(&again)[0], "another task comes first");
}

#[tokio::test]
async fn garbage_is_refused_or_passed_over_and_breaks_nothing() {
    let scene = Scene::alone().await;
    let socket = scene.socket(TASK).await;
    let mut answer = query("web.", RecordType::A);
    answer[2] |= 0x80;
    for bytes in [&b""[..], b"x", &[0; 11], &answer] {
        socket.send(bytes).await.unwrap();
    }
    assert!(silent(&socket).await);
    let mut promises = query("web.", RecordType::A);
    promises[6..12].fill(0xff);
    for bytes in [vec![0; 12], promises, vec![0x41; DNS_QUERY_BYTES_MAX + 100]] {
        let code = code(&scene.send(TASK, &bytes).await);
        assert!(matches!(code, ResponseCode::FormErr | ResponseCode::NotImp), "{code}");
    }
    for kind in [RecordType::ANY, RecordType::AXFR] {
        assert_eq!(code(&scene.ask(TASK, "web.", kind).await), ResponseCode::Refused);
    }
    // A stream that promises more than is taken, one that stops half-way, one that says nothing that can be read.
    let mut long = scene.stream(TASK).await;
    long.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    assert!(matches!(timeout(SOON, long.read(&mut [0; 8])).await.unwrap(), Ok(0) | Err(_)));
    let mut half = scene.stream(TASK).await;
    half.write_all(&[0, 30, 1, 2, 3]).await.unwrap();
    half.shutdown().await.unwrap();
    assert!(matches!(timeout(SOON, half.read(&mut [0; 8])).await.unwrap(), Ok(0) | Err(_)));
    let mut empty = scene.stream(TASK).await;
    empty.write_all(&[0, 0]).await.unwrap();
    assert!(matches!(timeout(SOON, empty.read(&mut [0; 8])).await.unwrap(), Ok(0) | Err(_)));
    assert_eq!(texts(&scene.ask(TASK, "web.", RecordType::A).await), ["10.0.0.9"]);
}

#[tokio::test]
async fn a_source_that_asks_too_much_is_not_heard_and_others_are() {
    let scene = Scene::new(&[], 53, Rate { per_second: 1, at_once: 3 }).await;
    let socket = scene.socket(TASK).await;
    for _ in 0..50 {
        socket.send(&query("web.", RecordType::A)).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(texts(&heard(&socket).await), ["10.0.0.9"]);
    }
    let mut more = 0;
    while !silent(&socket).await {
        more += 1;
    }
    assert!(more < 40, "{more} more were answered");
    assert_eq!(code(&scene.ask(LONELY, "web.", RecordType::A).await), ResponseCode::NXDomain);
    assert_eq!(code(&scene.ask(STRANGER, "web.", RecordType::A).await), ResponseCode::Refused);
}

#[tokio::test]
async fn a_source_has_so_many_connections() {
    let scene = Scene::alone().await;
    let mut streams = Vec::new();
    for _ in 0..DNS_CONNECTIONS_PER_SOURCE_MAX {
        let mut stream = scene.stream(TASK).await;
        assert!(told(&mut stream, "web.").await.is_some());
        streams.push(stream);
    }
    assert!(told(&mut scene.stream(TASK).await, "web.").await.is_none());
    assert!(told(&mut scene.stream(LONELY).await, "web.").await.is_some());
    assert!(told(&mut streams[0], "web.").await.is_some(), "those that are there go on");
}

#[tokio::test]
async fn other_names_are_asked_at_the_hosts_resolvers() {
    let tasks = Tasks::new();
    let (seen, mut questions) = mpsc::unbounded_channel();
    let (address, _) = resolver(SocketAddr::new(TASK, 0), &tasks, move |question| {
        seen.send(question.clone()).unwrap();
        vec![found(&question, 2)]
    })
    .await;
    let scene = Scene::new(&[address.ip()], address.port(), Rate::default()).await;
    for from in [TASK, LONELY] {
        let answer = scene.ask(from, "Example.COM.", RecordType::A).await;
        assert_eq!(texts(&answer), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!((answer.metadata.id, answer.metadata.authoritative), (7, false));
    }
    let (first, second) = (questions.recv().await.unwrap(), questions.recv().await.unwrap());
    assert_eq!(first.queries[0].name.to_ascii(), "Example.COM.");
    assert_ne!((first.metadata.id, second.metadata.id), (7, 7), "an id of its own");
    assert_eq!(texts(&told(&mut scene.stream(TASK).await, "example.com.").await.unwrap()).len(), 2);
    // Names of one label are nobody's business outside; nor are those of the cluster.
    for name in ["web.", "nope.", "web.net."] {
        scene.ask(TASK, name, RecordType::A).await;
    }
    drop(questions.recv().await);
    assert!(questions.try_recv().is_err());
    tasks.stop().await;
}

#[tokio::test]
async fn a_long_answer_from_outside_is_cut_for_datagrams_alone() {
    let tasks = Tasks::new();
    let (address, _) =
        resolver(SocketAddr::new(TASK, 0), &tasks, |question| vec![found(&question, 100)]).await;
    let scene = Scene::new(&[address.ip()], address.port(), Rate::default()).await;
    assert!(scene.ask(TASK, "example.com.", RecordType::A).await.metadata.truncation);
    let whole = told(&mut scene.stream(TASK).await, "example.com.").await.unwrap();
    assert_eq!((whole.answers.len(), whole.metadata.truncation), (100, false));
    tasks.stop().await;
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_cannot_say() {
    let tasks = Tasks::new();
    // All at one port, as resolvers are: one whose answers are others' guesses, one that refuses, one that is not
    // there, and one that knows. The first takes its whole time.
    let (knows, _) = resolver(SocketAddr::new(TASK, 0), &tasks, |question| vec![found(&question, 1)]).await;
    let at = |last| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), knows.port());
    let (guesses, guessed) = resolver(at(4), &tasks, |question| {
        let mut other = found(&question, 5);
        other.metadata.id = !question.metadata.id;
        vec![other]
    })
    .await;
    let (refuses, refused) = resolver(at(5), &tasks, |question| {
        let mut answer = found(&question, 0);
        answer.metadata.response_code = ResponseCode::Refused;
        vec![answer]
    })
    .await;
    let all = [guesses.ip(), refuses.ip(), knows.ip()];
    let scene = Scene::new(&all, knows.port(), Rate::default()).await;
    assert_eq!(texts(&scene.ask(TASK, "example.com.", RecordType::A).await), ["192.0.2.1"]);
    assert_eq!((guessed.load(Ordering::Relaxed), refused.load(Ordering::Relaxed)), (1, 1));

    // Another file: it holds from the next question on. Where nobody answers, the asker is told so.
    write_resolvers(scene.folder.path(), &[at(6).ip(), refuses.ip()]);
    assert_eq!(code(&scene.ask(TASK, "example.com.", RecordType::A).await), ResponseCode::ServFail);
    assert_eq!(refused.load(Ordering::Relaxed), 2);
    write_resolvers(scene.folder.path(), &[]);
    assert_eq!(code(&scene.ask(TASK, "example.com.", RecordType::A).await), ResponseCode::ServFail);
    let of_stream = told(&mut scene.stream(TASK).await, "example.com.").await.unwrap();
    assert_eq!(code(&of_stream), ResponseCode::ServFail);
    write_resolvers(scene.folder.path(), &[knows.ip()]);
    assert_eq!(texts(&scene.ask(TASK, "example.com.", RecordType::A).await), ["192.0.2.1"]);
    tasks.stop().await;
}

/// A silent resolver holds up nobody but those who ask it.
#[tokio::test]
async fn names_are_told_while_others_wait() {
    let tasks = Tasks::new();
    let (address, asked) = resolver(SocketAddr::new(TASK, 0), &tasks, |_| Vec::new()).await;
    let scene = Scene::new(&[address.ip()], address.port(), Rate::default()).await;
    let waiting = scene.socket(TASK).await;
    waiting.send(&query("example.com.", RecordType::A)).await.unwrap();
    assert_eq!(texts(&scene.ask(TASK, "web.", RecordType::A).await), ["10.0.0.9"]);
    assert_eq!(code(&heard(&waiting).await), ResponseCode::ServFail);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tasks.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error() {
    let scene = Scene::alone().await;
    assert!(sockets(scene.dns.address).await.is_err());
    let elsewhere = sockets("192.0.2.1:53".parse().unwrap()).await;
    assert_eq!(elsewhere.map(drop).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
}
