//! The mesh of one node over real sockets, with other nodes that are played.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::table::tests::{endpoint, service};
use super::*;
use crate::world_test::World;
use common::object::ServiceId;
use common::random::SeededRandom;
use common::transport::TransportError;
use common::wire::frame::{expect_message, write_message};
use common::wire::mesh::{
    MeshAnswer, MeshEndpoint, MeshRequest, MeshService, MeshUpdate, endpoint_digest, service_digest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What another node does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Refuses,
    IsSilent,
    IsAway,
    Echoes,
    /// Says so many bytes and breaks off.
    Breaks(usize),
}

/// Plays the node that a stream leads to.
async fn play(answer: Answer, mut stream: tokio::io::DuplexStream, asked: Arc<Mutex<Vec<MeshRequest>>>) {
    let request: MeshRequest = expect_message(&mut stream, 1024).await.unwrap();
    asked.lock().unwrap().push(request);
    match answer {
        Answer::Refuses => {
            let refused = MeshAnswer::Refused { reason: "it is about to stop".into() };
            write_message(&mut stream, &refused).await.unwrap();
        }
        Answer::IsSilent | Answer::IsAway => std::future::pending().await,
        Answer::Echoes => {
            write_message(&mut stream, &MeshAnswer::Open).await.unwrap();
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..count]).await.unwrap();
            }
        }
        Answer::Breaks(count) => {
            write_message(&mut stream, &MeshAnswer::Open).await.unwrap();
            stream.write_all(&vec![7; count]).await.unwrap();
        }
    }
}

/// A receiving half that breaks off where the far end ends, as a stream of the transport does.
struct Breaking(tokio::io::ReadHalf<tokio::io::DuplexStream>);

impl tokio::io::AsyncRead for Breaking {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = std::pin::Pin::new(&mut self.0).poll_read(context, buffer);
        match read {
            std::task::Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                std::task::Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            read => read,
        }
    }
}

struct Scene {
    world: World,
    mesh: Mesh,
    asked: Arc<Mutex<Vec<MeshRequest>>>,
    suspected: Arc<Mutex<Vec<NodeId>>>,
}

impl Scene {
    /// Node 1 does the first, node 2 the second, and so on.
    fn new(answers: &[Answer]) -> Self {
        let world = World::new(&[]);
        let (asked, suspected) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (players, answers): (Tasks, Vec<Answer>) = (Tasks::new(), answers.to_vec());
        let answer = move |node: NodeId| answers.get((node.0 as usize).wrapping_sub(1)).copied();
        let (finding, requests, silent) = (answer.clone(), asked.clone(), suspected.clone());
        let open: Opener = Arc::new(move |peer: Peer, kind| {
            assert_eq!(kind, common::transport::StreamKind::Mesh);
            let (near, far) = tokio::io::duplex(1 << 16);
            let playing = answer(peer.node).expect("only nodes that are known are asked");
            players.spawn(play(playing, far, requests.clone()));
            let (recv, send) = tokio::io::split(near);
            let stream = match playing {
                Answer::Breaks(_) => Stream { send: Box::new(send), recv: Box::new(Breaking(recv)) },
                _ => Stream { send: Box::new(send), recv: Box::new(recv) },
            };
            Box::pin(std::future::ready(Ok::<_, TransportError>(stream)))
        });
        let mesh = Mesh::start(MeshSettings {
            node: NodeId(9),
            agent: world.agent.clone(),
            open,
            find: Arc::new(move |node| {
                let peer = Peer { node, addr: ([10, 0, 0, 1], 2377).into() };
                finding(node).map(|answer| (peer, answer != Answer::IsAway))
            }),
            suspect: Arc::new(move |node| silent.lock().unwrap().push(node)),
            listen: Some(HERE.into()),
            random: Box::new(SeededRandom::new(1, "mesh")),
            tasks: Tasks::new(),
        });
        Self { world, mesh, asked, suspected }
    }

    /// Tells the node all there is.
    fn tell(&mut self, services: Vec<MeshService>, endpoints: Vec<MeshEndpoint>) {
        let mut update = self.world.update(0, Vec::new(), Vec::new());
        update.specs.clear();
        let shares = services.iter().map(service_digest).chain(endpoints.iter().map(endpoint_digest));
        update.digest = shares.fold(update.digest, u64::wrapping_add);
        update.mesh = MeshUpdate { services, endpoints, ..MeshUpdate::default() };
        self.world.agent.update(update).unwrap();
    }

    fn asked(&self) -> Vec<u128> {
        self.asked.lock().unwrap().iter().map(|request| request.task.0).collect()
    }
}

async fn free_port() -> u16 {
    TcpListener::bind((HERE, 0)).await.unwrap().local_addr().unwrap().port()
}

/// Connects as soon as somebody listens.
async fn client(port: u16) -> TcpStream {
    let connecting = async {
        loop {
            match TcpStream::connect((HERE, port)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), connecting).await.expect("somebody listens")
}

async fn echoed(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer).await.map(|_| answer)
}

#[tokio::test]
async fn a_connection_goes_to_the_next_task_where_one_does_not_take_it() {
    let mut scene = Scene::new(&[Answer::Refuses, Answer::IsSilent, Answer::Echoes, Answer::IsAway]);
    let port = free_port().await;
    let tasks = (1..=4).map(|id| endpoint(id, 1, id, false)).collect();
    scene.tell(vec![service(1, port)], tasks);
    for _ in 0..8 {
        let mut stream = client(port).await;
        assert_eq!(echoed(&mut stream, b"hello").await.unwrap(), b"hello");
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the end comes back");
    }
    let asked = scene.asked();
    assert!(!asked.contains(&4), "a dead node comes last: {asked:?}");
    assert!(asked.iter().filter(|task| **task == 2).count() <= 2, "who is silent is put off: {asked:?}");
    assert!(scene.suspected.lock().unwrap().iter().all(|node| *node == NodeId(2)));
    let request = scene.asked.lock().unwrap()[0].clone();
    assert_eq!((request.service, request.target), (ServiceId(1), 80));
    assert!(request.client.ip().is_loopback());
    scene.mesh.stop().await;
}

#[tokio::test]
async fn a_connection_waits_for_a_task_and_a_service_that_is_gone_has_no_port() {
    let mut scene = Scene::new(&[Answer::Echoes]);
    let port = free_port().await;
    scene.tell(vec![service(1, port)], vec![endpoint(1, 1, 1, true)]);
    let mut early = client(port).await;
    early.write_all(b"early").await.unwrap();
    assert!(scene.asked().is_empty(), "who leaves is not asked");
    scene.tell(vec![service(1, port)], vec![endpoint(2, 1, 1, false)]);
    let mut answer = [0; 5];
    early.read_exact(&mut answer).await.unwrap();
    assert_eq!((&answer, scene.asked()), (b"early", vec![2]));
    scene.tell(Vec::new(), Vec::new());
    let gone = async {
        while TcpStream::connect((HERE, port)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    assert_eq!(echoed(&mut early, b"still").await.unwrap(), b"still", "connections stay");
    scene.mesh.stop().await;
}

#[tokio::test]
async fn a_break_is_seen_as_one() {
    let mut scene = Scene::new(&[Answer::Breaks(3)]);
    let port = free_port().await;
    scene.tell(vec![service(1, port)], vec![endpoint(1, 1, 1, false)]);
    let mut stream = client(port).await;
    let mut answer = Vec::new();
    let error = stream.read_to_end(&mut answer).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    scene.mesh.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_said_and_taken_when_it_is_free() {
    let mut scene = Scene::new(&[Answer::Echoes]);
    let holder = TcpListener::bind((HERE, 0)).await.unwrap();
    let (taken, free) = (holder.local_addr().unwrap().port(), free_port().await);
    let tasks = vec![endpoint(1, 1, 1, false), endpoint(2, 2, 1, false)];
    scene.tell(vec![service(1, taken), service(2, free)], tasks);
    assert_eq!(echoed(&mut client(free).await, b"other").await.unwrap(), b"other");
    let said = async {
        while scene.mesh.problems().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), said).await.unwrap();
    let problem = scene.mesh.problems().remove(0);
    assert!(
        problem.starts_with(&format!("port {taken}/tcp is published, and this node cannot listen on it: "))
    );
    assert!(problem.contains(&format!("(process {})", std::process::id())), "{problem}");
    drop(holder);
    let freed = async {
        while !scene.mesh.problems().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), freed).await.unwrap();
    assert_eq!(echoed(&mut client(taken).await, b"free").await.unwrap(), b"free");
    scene.mesh.stop().await;
}

#[tokio::test]
async fn datagrams_of_a_client_go_to_one_task_and_back() {
    /// A node whose task echoes datagrams.
    async fn echo(mut stream: tokio::io::DuplexStream) {
        let _: MeshRequest = expect_message(&mut stream, 1024).await.unwrap();
        write_message(&mut stream, &MeshAnswer::Open).await.unwrap();
        while let Ok(Some(datagram)) = common::wire::frame::read_frame(&mut stream, 1 << 16).await {
            common::wire::frame::write_frame(&mut stream, &datagram).await.unwrap();
        }
    }
    let mut scene = Scene::new(&[]);
    scene.mesh.stop().await;
    let (players, opened) = (Tasks::new(), Arc::new(Mutex::new(0)));
    let count = opened.clone();
    let mesh = Mesh::start(MeshSettings {
        node: NodeId(9),
        agent: scene.world.agent.clone(),
        open: Arc::new(move |_, _| {
            *count.lock().unwrap() += 1;
            let (near, far) = tokio::io::duplex(1 << 16);
            players.spawn(echo(far));
            let (recv, send) = tokio::io::split(near);
            let stream = Stream { send: Box::new(send), recv: Box::new(recv) };
            Box::pin(std::future::ready(Ok::<_, TransportError>(stream)))
        }),
        find: Arc::new(|node| Some((Peer { node, addr: ([10, 0, 0, 1], 2377).into() }, true))),
        suspect: Arc::new(|_| {}),
        listen: Some(HERE.into()),
        random: Box::new(SeededRandom::new(1, "mesh")),
        tasks: Tasks::new(),
    });
    let port = std::net::UdpSocket::bind((HERE, 0)).unwrap().local_addr().unwrap().port();
    let mut names = service(1, port);
    names.ports[0].protocol = Protocol::Udp;
    scene.tell(vec![names], vec![endpoint(1, 1, 1, false), endpoint(2, 1, 2, false)]);
    let socket = tokio::net::UdpSocket::bind((HERE, 0)).await.unwrap();
    socket.connect(SocketAddr::from((HERE, port))).await.unwrap();
    let exchange = async {
        let (mut heard, mut buffer) = (0, [0; 64]);
        while heard < 5 {
            // Until somebody listens it is lost, as datagrams are.
            let _ = socket.send(b"who is there").await;
            let received = tokio::time::timeout(Duration::from_millis(50), socket.recv(&mut buffer)).await;
            if let Ok(Ok(length)) = received {
                assert_eq!(&buffer[..length], b"who is there");
                heard += 1;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.unwrap();
    assert_eq!(*opened.lock().unwrap(), 1, "one task for one client");
    mesh.stop().await;
}
