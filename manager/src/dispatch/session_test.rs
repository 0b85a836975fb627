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
    NodeMessage::Describe { description: Box::default(), addr: "10.0.0.1:2377".into() }
}

async fn hear(stream: &mut Stream) -> ManagerMessage {
    expect_message(&mut stream.recv, FRAME_BYTES_MAX).await.expect("the manager speaks")
}

#[tokio::test]
async fn a_node_is_welcomed_heard_and_told_of_changes() {
    let me = NodeId(1);
    let store = store_with(me);
    let (sessions, mut events) = Sessions::new(store.clone(), Arc::new(SystemClock));
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
    let (sessions, mut events) = Sessions::new(store_with(me), Arc::new(SystemClock));
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
    let (sessions, _events) = Sessions::new(store_with(NodeId(1)), Arc::new(SystemClock));
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
