//! A session over an in-process stream: what each side says, and what the control loop hears of it.

use super::*;
use crate::store::{Change, Proposal, Write};
use common::object::{Availability, Role};
use common::time::SystemClock;

fn duplex() -> (Stream, Stream) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let whole = |io| {
        let (recv, send) = tokio::io::split(io);
        Stream { send: Box::new(send), recv: Box::new(recv) }
    };
    (whole(near), whole(far))
}

fn store_with(node: NodeId) -> Store {
    let node = Node::new(node, Role::Worker, Availability::Active);
    let store = Store::new();
    let changes = vec![Change::Node(Write::Create(node))];
    store.apply(1, &Proposal { id: 1, at: Default::default(), changes }).unwrap();
    store
}

fn mine() -> Lead {
    Lead::Mine { heartbeat_period: Duration::from_millis(300), until: CancellationToken::new() }
}

fn hello() -> NodeMessage {
    let seal = common::identity::OpeningKey::generate(&mut SystemRandom).public();
    NodeMessage::Describe { description: Box::default(), addr: "10.0.0.1:2377".into(), seal }
}

async fn hear(stream: &mut Stream) -> ManagerMessage {
    expect_message(&mut stream.recv, FRAME_BYTES_MAX).await.expect("the manager speaks")
}

#[tokio::test]
async fn a_node_is_welcomed_heard_and_told_of_changes() {
    let me = NodeId(1);
    let store = store_with(me);
    let (sessions, mut events) =
        Sessions::new(store.clone(), SecretDrivers::default(), Arc::new(SystemClock));
    sessions.set_lead(mine());
    let (mut near, far) = duplex();
    let node = async {
        write_message(&mut near.send, &hello()).await.unwrap();
        assert!(matches!(hear(&mut near).await, ManagerMessage::Welcome { .. }));
        let ManagerMessage::Membership(told) = hear(&mut near).await else {
            panic!("the place comes second")
        };
        assert_eq!((told.role, told.raft_id), (Role::Worker, None));
        let ManagerMessage::Assignments(nothing) = hear(&mut near).await else { panic!("then its tasks") };
        assert_eq!((nothing.applies_to, nothing.more, nothing.tasks.len()), (0, false, 0));
        assert!(matches!(events.recv().await, Some(SessionEvent::Described { .. })));
        assert!(matches!(events.recv().await, Some(SessionEvent::Opened(node)) if node == me));
        assert!(sessions.heard_at(me).is_some());

        let mut promoted = Node::clone(store.snapshot().nodes.get(me).unwrap());
        promoted.role = Role::Manager;
        let changes = vec![Change::Node(Write::update(promoted))];
        store.apply(2, &Proposal { id: 2, at: Default::default(), changes }).unwrap();
        sessions.nudge(me);
        let ManagerMessage::Membership(told) = hear(&mut near).await else { panic!("the new place comes") };
        assert_eq!(told.role, Role::Manager);

        write_message(&mut near.send, &NodeMessage::Reports { number: 3, reports: vec![] }).await.unwrap();
        let Some(SessionEvent::Reports { from, number: 3, .. }) = events.recv().await else {
            panic!("the reports come")
        };
        sessions.reported(from, 3);
        assert!(matches!(hear(&mut near).await, ManagerMessage::Reported { number: 3 }));
        write_message(&mut near.send, &NodeMessage::Resync).await.unwrap();
        let ManagerMessage::Assignments(again) = hear(&mut near).await else { panic!("from the beginning") };
        assert_eq!(again.applies_to, 0);

        write_message(&mut near.send, &NodeMessage::Goodbye(Parting::Leaves)).await.unwrap();
        assert!(matches!(hear(&mut near).await, ManagerMessage::Goodbye));
        assert!(matches!(events.recv().await, Some(SessionEvent::Goodbye(_, Parting::Leaves))));
        assert!(matches!(events.recv().await, Some(SessionEvent::Closed(_))));
        assert!(sessions.heard_at(me).is_none());
    };
    tokio::join!(sessions.serve(me, far), node);
}

#[tokio::test]
async fn a_later_session_replaces_an_earlier_one_and_the_end_of_the_lead_ends_all() {
    let me = NodeId(1);
    let (sessions, mut events) =
        Sessions::new(store_with(me), SecretDrivers::default(), Arc::new(SystemClock));
    sessions.set_lead(mine());
    let (mut first, first_far) = duplex();
    let (mut second, second_far) = duplex();
    let script = async {
        write_message(&mut first.send, &hello()).await.unwrap();
        assert!(matches!(hear(&mut first).await, ManagerMessage::Welcome { .. }));
        assert!(matches!(hear(&mut first).await, ManagerMessage::Membership(_)));
        assert!(matches!(hear(&mut first).await, ManagerMessage::Assignments(_)));
        write_message(&mut second.send, &hello()).await.unwrap();
        assert!(matches!(hear(&mut second).await, ManagerMessage::Welcome { .. }));
        assert!(matches!(hear(&mut second).await, ManagerMessage::Membership(_)));
        assert!(matches!(hear(&mut second).await, ManagerMessage::Assignments(_)));
        assert!(read_message::<ManagerMessage>(&mut first.recv, 1024).await.unwrap().is_none(), "replaced");
        assert!(sessions.heard_at(me).is_some(), "the later one stands");
        let leader = KnownManager { node: NodeId(9), addr: "10.0.0.9:2377".into() };
        sessions.set_lead(Lead::Other(Some(leader.clone())));
        let ManagerMessage::NotLeader { leader: told } = hear(&mut second).await else {
            panic!("redirected")
        };
        assert_eq!(told, Some(leader));
    };
    let later = async {
        // The second comes once the first stands.
        while !matches!(events.recv().await, Some(SessionEvent::Opened(_))) {}
        sessions.serve(me, second_far).await;
        events.recv().await
    };
    tokio::join!(sessions.serve(me, first_far), later, script);
}

#[tokio::test]
async fn strangers_and_silent_callers_get_nowhere() {
    let (sessions, _events) =
        Sessions::new(store_with(NodeId(1)), SecretDrivers::default(), Arc::new(SystemClock));
    let (mut near, far) = duplex();
    tokio::join!(sessions.serve(NodeId(1), far), async {
        assert!(matches!(hear(&mut near).await, ManagerMessage::NotLeader { leader: None }));
    });
    sessions.set_lead(mine());
    let (mut near, far) = duplex();
    tokio::join!(sessions.serve(NodeId(404), far), async {
        write_message(&mut near.send, &hello()).await.unwrap();
        assert!(matches!(hear(&mut near).await, ManagerMessage::Removed));
    });
    tokio::time::pause();
    let (near, far) = duplex();
    sessions.serve(NodeId(1), far).await;
    drop(near);
}

/// What comes over a stream within a moment: raw, and as updates.
async fn raw(stream: &mut Stream) -> (Vec<u8>, Vec<AssignmentUpdate>) {
    let (mut bytes, mut updates) = (Vec::new(), Vec::new());
    loop {
        let reading = common::wire::frame::read_frame(&mut stream.recv, FRAME_BYTES_MAX);
        let Ok(frame) = tokio::time::timeout(Duration::from_millis(200), reading).await else {
            return (bytes, updates);
        };
        let frame = frame.unwrap().expect("the session stands");
        if let ManagerMessage::Assignments(update) = common::wire::codec::decode(&frame).unwrap() {
            updates.push(update);
        }
        bytes.extend(frame);
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_goes_to_those_that_use_it_sealed_and_to_nobody_else() {
    use common::identity::OpeningKey;
    use common::object::container::FileReference;
    use common::object::payload::{PayloadSpec, PayloadVersion};
    use common::object::{
        Payload, PayloadId, PayloadKind, Service, ServiceId, ServiceSpec, Slot, Task, TaskId, TaskState,
    };
    let [user, other] = [NodeId(1), NodeId(2)];
    let store = store_with(user);
    let value = |text: &str| SensitiveBytes::new(text.into());
    let spec = PayloadSpec { name: "key".into(), ..PayloadSpec::default() };
    let mut payload =
        Payload::new(PayloadId(1), PayloadKind::Secret, spec, value("hunter2"), Default::default());
    let mut spec = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
    spec.task.container.secrets = vec![FileReference {
        id: payload.id.to_string(),
        target: Some("key".into()),
        version: 1,
        refresh: Some(String::new()),
        ..FileReference::default()
    }];
    let service = Service::new(ServiceId(1), spec, Default::default());
    let mut task =
        Task::new(TaskId(1), service.id, Slot::Number(1), service.current.number, TaskState::Running);
    task.node = Some(user);
    task.status.state = TaskState::Assigned;
    let changes = vec![
        Change::Node(Write::Create(Node::new(other, Role::Worker, Availability::Active))),
        Change::Payload(Write::Create(payload.clone())),
        Change::Service(Write::Create(service)),
        Change::Task(Write::Create(task)),
    ];
    store.apply(2, &Proposal { id: 2, at: Default::default(), changes }).unwrap();
    payload.meta = store.snapshot().payloads.get(payload.id).unwrap().meta.clone();

    let (sessions, mut events) =
        Sessions::new(store.clone(), SecretDrivers::default(), Arc::new(SystemClock));
    sessions.set_lead(mine());
    let (mut of_user, far_user) = duplex();
    let (mut of_other, far_other) = duplex();
    let key = OpeningKey::generate(&mut SystemRandom);
    let script = async {
        for stream in [&mut of_user, &mut of_other] {
            let (description, addr) = (Box::default(), "10.0.0.1:2377".into());
            let hello = NodeMessage::Describe { description, addr, seal: key.public() };
            write_message(&mut stream.send, &hello).await.unwrap();
        }
        for (number, text) in [(1, "hunter2"), (2, "swordfish")] {
            if number == 2 {
                payload.versions.push(PayloadVersion {
                    number,
                    created_at: Default::default(),
                    data: value(text),
                });
                let changes = vec![Change::Payload(Write::update(payload.clone()))];
                store.apply(3, &Proposal { id: 3, at: Default::default(), changes }).unwrap();
            }
            let (bytes, updates) = raw(&mut of_user).await;
            let sent: Vec<_> = updates.iter().flat_map(|update| &update.payloads).collect();
            assert_eq!(sent.len(), 1);
            assert_eq!(key.open(sent[0].data.reveal()).unwrap(), text.as_bytes());
            assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "in the open");
            let (_, updates) = raw(&mut of_other).await;
            assert!(updates.iter().all(|update| update.payloads.is_empty()), "it has no use for it");
        }
    };
    // Wakes the sessions, and ends with nothing: the script does.
    let follow = crate::dispatch::follow::follow(store.clone(), sessions.clone());
    let listen = async { while events.recv().await.is_some() {} };
    tokio::select! {
        () = script => {}
        _ = async { tokio::join!(sessions.serve(user, far_user), sessions.serve(other, far_other), follow, listen) } => {
            panic!("the sessions ended")
        }
    }
}
