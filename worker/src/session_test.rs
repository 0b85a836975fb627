//! A session with a manager that the test plays, in virtual time.

use std::net::{Ipv4Addr, SocketAddr};

use common::object::TaskState::{self, *};
use common::random::SeededRandom;
use common::shutdown::Tasks;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::*;
use crate::world_test::World;

const HEARTBEAT: Duration = Duration::from_secs(1);

/// The manager's side: the streams that the node opens.
struct Manager {
    streams: mpsc::Receiver<DuplexStream>,
    /// What keeps the session going.
    _watches: (watch::Sender<About>, watch::Sender<Option<Peer>>, watch::Sender<Option<Parting>>),
    tasks: Tasks,
}

impl Manager {
    /// A node begins to knock.
    fn meet(world: &World) -> Self {
        let (opened, streams) = mpsc::channel(4);
        let open: Opener = Arc::new(move |_, _| {
            let opened = opened.clone();
            Box::pin(async move {
                let (near, far) = tokio::io::duplex(1 << 20);
                opened.send(far).await.map_err(|_| TransportError::Closed)?;
                let (recv, send) = tokio::io::split(near);
                Ok(Stream { send: Box::new(send), recv: Box::new(recv) })
            })
        });
        let peer = Peer { node: NodeId(1), addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)) };
        let about = About { description: NodeDescription::default(), addr: "127.0.0.1:2".into() };
        let (about, about_reader) = watch::channel(about);
        let (leader, leader_reader) = watch::channel(Some(peer));
        let (goodbye, goodbye_reader) = watch::channel(None);
        let session = Session {
            open,
            about: about_reader,
            leader: leader_reader,
            managers: Arc::new(move || vec![peer]),
            state: watch::Sender::default(),
            goodbye: goodbye_reader,
            agent: world.agent.clone(),
            random: Box::new(SeededRandom::new(1, "session")),
        };
        let tasks = Tasks::new();
        tasks.spawn_until_stopped(session.run());
        Self { streams, _watches: (about, leader, goodbye), tasks }
    }

    /// The next session, welcomed.
    async fn session(&mut self) -> DuplexStream {
        let mut stream = self.streams.recv().await.unwrap();
        let first = expect_message(&mut stream, FRAME_BYTES_MAX).await.unwrap();
        assert!(matches!(first, NodeMessage::Describe { .. }));
        tell(&mut stream, ManagerMessage::Welcome { heartbeat_period: HEARTBEAT }).await;
        stream
    }
}

async fn tell(stream: &mut DuplexStream, message: ManagerMessage) {
    write_message(stream, &message).await.unwrap();
}

/// The next message that is no heartbeat.
async fn hear(stream: &mut DuplexStream) -> NodeMessage {
    loop {
        match expect_message(stream, FRAME_BYTES_MAX).await.unwrap() {
            NodeMessage::Heartbeat => {}
            message => return message,
        }
    }
}

/// Reports until each of these was said, each message acknowledged; gives the number of messages.
async fn hear_states(stream: &mut DuplexStream, wanted: &[(u128, TaskState)]) -> usize {
    let mut left = wanted.to_vec();
    let mut messages = 0;
    while !left.is_empty() {
        let NodeMessage::Reports { number, reports } = hear(stream).await else { panic!("no reports") };
        messages += 1;
        left.retain(|(id, state)| {
            !reports.iter().any(|report| report.task.0 == *id && report.status.state == *state)
        });
        tell(stream, ManagerMessage::Reported { number }).await;
    }
    messages
}

#[tokio::test(start_paused = true)]
async fn assignments_come_in_and_reports_go_out_in_few_messages() {
    let mut world = World::new(&["FAKE_START_MS=1000"]);
    let mut manager = Manager::meet(&world);
    let mut stream = manager.session().await;
    (1..=100).for_each(|id| world.want(id, Running));
    let all = world.update(0, world.wanted.values().cloned().collect(), Vec::new());
    let begin = Instant::now();
    tell(&mut stream, ManagerMessage::Assignments(all)).await;
    let running: Vec<_> = (1..=100).map(|id| (id, Running)).collect();
    let messages = hear_states(&mut stream, &running).await;
    let windows = begin.elapsed().as_millis() / REPORTS_WINDOW.as_millis() + 1;
    assert!(messages as u128 <= windows, "{messages} messages in {windows} windows");
    // Idle: what happens is said at once.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let begin = Instant::now();
    world.engine.end(common::object::TaskId(7), 0);
    hear_states(&mut stream, &[(7, Complete)]).await;
    assert!(begin.elapsed() < Duration::from_millis(10));
    // The next leader hears everything, from the beginning.
    drop(stream);
    let mut stream = manager.session().await;
    let states: Vec<_> = (1..=100).map(|id| (id, if id == 7 { Complete } else { Running })).collect();
    assert_eq!(hear_states(&mut stream, &states).await, 1);
    manager.tasks.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_asked_for_again_and_not_in_a_rush() {
    let mut world = World::new(&[]);
    let mut manager = Manager::meet(&world);
    let mut stream = manager.session().await;
    let begin = Instant::now();
    let mut asked_at = Vec::new();
    for _ in 0..4 {
        world.want(1, Running);
        let mut bad = world.update(0, world.wanted.values().cloned().collect(), Vec::new());
        bad.digest ^= 1;
        tell(&mut stream, ManagerMessage::Assignments(bad)).await;
        assert!(matches!(hear(&mut stream).await, NodeMessage::Resync));
        asked_at.push(begin.elapsed().as_secs());
    }
    assert_eq!(asked_at, [0, 1, 2, 3]);
    let good = world.update(0, world.wanted.values().cloned().collect(), Vec::new());
    tell(&mut stream, ManagerMessage::Assignments(good)).await;
    hear_states(&mut stream, &[(1, Running)]).await;
    manager.tasks.stop().await;
}
