//! A host and a cluster without raft, transport or disk: a store, and switches for what may go wrong.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::engine_api::system::{GossipMember, RaftStatus};
use common::identity::UnlockKey;
use common::object::cluster::Authority;
use common::object::node::{EngineDescription, ManagerRecord, NodeStatus, Platform, Resources, TlsInfo};
use common::object::sensitive::Sensitive;
use common::object::{Cluster, ClusterId, Node, NodeDescription, NodeId, NodeSpec, NodeState, Role, Version};
use common::time::Timestamp;
use common::transport::Stream;
use common::wire::join::KnownManager;
use common::wire::logs::LogRequest;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::StatusCode;
use manager::api::error::WRONG_UNLOCK_KEY;
use manager::api::{
    ApiError, Control, ControlError, Fault, Host, HostStatus, Init, Join, LocalState, LogsError, Restore,
};
use manager::raft::Lead;
use manager::store::{Change, Proposal, Rejection, Store, Tables, Write};
use tokio::sync::{Notify, mpsc};

pub const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);
/// What a locked fake opens with.
pub const UNLOCK_KEY: &str = "SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const ROOT: &str = include_str!("root.pem");

pub struct FakeCluster {
    pub store: Store,
    index: AtomicU64,
    pub leader: Mutex<Option<NodeId>>,
    pub dead: Mutex<BTreeSet<NodeId>>,
    /// Writes to let somebody else win before one succeeds.
    pub conflicts: AtomicU64,
    /// What this manager has, which leads no more and does not know it.
    pub outdated: Mutex<Option<Tables>>,
    tokens: AtomicU64,
    log_calls: mpsc::UnboundedSender<LogCall>,
    /// What nodes were asked for; a node in `dead` is not reached.
    pub log_asked: tokio::sync::Mutex<mpsc::UnboundedReceiver<LogCall>>,
}

/// A node is asked for logs; the test answers in its place.
pub struct LogCall {
    pub node: NodeId,
    pub request: LogRequest,
    pub stream: tokio::io::DuplexStream,
}

impl FakeCluster {
    /// One manager, this node; more with `add`.
    pub fn new() -> Arc<Self> {
        let (log_calls, log_asked) = mpsc::unbounded_channel();
        let cluster = Self {
            store: Store::new(),
            index: AtomicU64::new(0),
            leader: Mutex::new(Some(NodeId(id_of(1)))),
            dead: Mutex::default(),
            conflicts: AtomicU64::new(0),
            outdated: Mutex::default(),
            tokens: AtomicU64::new(0),
            log_calls,
            log_asked: tokio::sync::Mutex::new(log_asked),
        };
        cluster.apply(vec![Change::Cluster(Write::Create(settings()))]).expect("a fresh store");
        cluster.add(1, Role::Manager, "host-1", NodeState::Ready);
        Arc::new(cluster)
    }

    pub fn add(&self, number: u8, role: Role, hostname: &str, state: NodeState) -> NodeId {
        let node = node(number, role, hostname, state);
        let id = node.id;
        self.apply(vec![Change::Node(Write::Create(node))]).expect("a new node");
        id
    }

    pub fn apply(&self, changes: Vec<Change>) -> Result<Version, Rejection> {
        let index = self.index.fetch_add(1, Ordering::Relaxed) + 1;
        self.store.apply(index, &Proposal { id: index, at: NOW, changes })
    }

    pub fn lose_leader(&self) {
        *self.leader.lock().unwrap() = None;
    }

    pub fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.store.snapshot().nodes.get(id).cloned()
    }

    pub fn settings(&self) -> Arc<Cluster> {
        self.store.snapshot().cluster().expect("made at the start").clone()
    }

    fn led(&self) -> Result<(), ControlError> {
        self.leader.lock().unwrap().map(drop).ok_or(ControlError::NoLeader)
    }

    /// Somebody else writes all that this proposal read.
    fn play_conflict(&self) {
        let touch = vec![Change::Cluster(Write::update(Cluster::clone(&self.settings())))];
        self.apply(touch).expect("read just now");
    }
}

impl Control for FakeCluster {
    fn local(&self) -> Tables {
        self.store.snapshot()
    }

    fn read(&self) -> BoxFuture<'_, Result<Tables, ControlError>> {
        async { self.led().map(|()| self.store.snapshot()) }.boxed()
    }

    fn leading(&self) -> Option<(Tables, Lead)> {
        let outdated = self.outdated.lock().unwrap().clone();
        let lead = Lead { term: 3, raft_id: 1 };
        self.led().is_ok().then(|| (outdated.unwrap_or_else(|| self.store.snapshot()), lead))
    }

    fn propose_in(
        &self,
        _: Lead,
        changes: Vec<Change>,
    ) -> BoxFuture<'_, Result<Option<Version>, ControlError>> {
        async {
            match self.outdated.lock().unwrap().is_some() {
                true => Ok(None),
                false => self.propose(changes).now_or_never().expect("it never waits").map(Some),
            }
        }
        .boxed()
    }

    fn propose(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Version, ControlError>> {
        async {
            self.led()?;
            let playing =
                self.conflicts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if playing.is_ok() {
                self.play_conflict();
            }
            Ok(self.apply(changes)?)
        }
        .boxed()
    }

    fn raft_status(&self) -> RaftStatus {
        RaftStatus { term: 3, state: "leader".into(), ..RaftStatus::default() }
    }

    fn leader(&self) -> Option<NodeId> {
        *self.leader.lock().unwrap()
    }

    fn reachable(&self, node: NodeId) -> bool {
        !self.dead.lock().unwrap().contains(&node)
    }

    fn now(&self) -> Timestamp {
        NOW
    }

    fn store(&self) -> &Store {
        &self.store
    }

    fn open_logs(&self, node: NodeId, request: LogRequest) -> BoxFuture<'_, Result<Stream, LogsError>> {
        async move {
            let failed = || LogsError { node, reason: "it is not there".into() };
            if self.dead.lock().unwrap().contains(&node) {
                return Err(failed());
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            self.log_calls.send(LogCall { node, request, stream: far }).map_err(|_| failed())?;
            let (recv, send) = tokio::io::split(near);
            Ok(Stream { send: Box::new(send), recv: Box::new(recv) })
        }
        .boxed()
    }

    fn new_join_token(&self, _: &Authority) -> Result<Sensitive, ControlError> {
        let number = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Sensitive::new(format!("SWMTKN-1-new-{number}")))
    }
}

pub struct FakeHost {
    pub status: Mutex<HostStatus>,
    pub cluster: Mutex<Option<Arc<FakeCluster>>>,
    pub inits: Mutex<Vec<Init>>,
    pub joins: Mutex<Vec<Join>>,
    pub left: Mutex<Vec<bool>>,
    pub faults: Mutex<Vec<Fault>>,
    /// While set, `join` waits until it is told to end.
    pub slow_join: AtomicBool,
    pub end_join: Notify,
    pub joined: AtomicBool,
}

impl FakeHost {
    pub fn outside() -> Arc<Self> {
        Arc::new(Self {
            status: Mutex::new(HostStatus { hostname: "host-1".into(), ..HostStatus::default() }),
            cluster: Mutex::default(),
            inits: Mutex::default(),
            joins: Mutex::default(),
            left: Mutex::default(),
            faults: Mutex::default(),
            slow_join: AtomicBool::new(false),
            end_join: Notify::new(),
            joined: AtomicBool::new(false),
        })
    }

    pub fn manager(cluster: &Arc<FakeCluster>) -> Arc<Self> {
        let host = Self::outside();
        host.enter(Role::Manager);
        *host.cluster.lock().unwrap() = Some(cluster.clone());
        host
    }

    pub fn worker() -> Arc<Self> {
        let host = Self::outside();
        host.enter(Role::Worker);
        host
    }

    pub fn set_state(&self, state: LocalState) {
        self.status.lock().unwrap().state = state;
    }

    fn enter(&self, role: Role) {
        *self.status.lock().unwrap() = HostStatus {
            state: LocalState::Active,
            node: Some(NodeId(id_of(1))),
            role: Some(role),
            advertise_ip: Some([10, 0, 0, 1].into()),
            hostname: "host-1".into(),
            managers: vec![KnownManager { node: NodeId(id_of(1)), addr: "10.0.0.1:2377".into() }],
            warnings: Vec::new(),
        };
    }
}

impl Host for FakeHost {
    fn status(&self) -> HostStatus {
        self.status.lock().unwrap().clone()
    }

    fn manager(&self) -> Option<Arc<dyn Control>> {
        self.cluster.lock().unwrap().clone().map(|cluster| cluster as Arc<dyn Control>)
    }

    fn init(&self, init: Init) -> BoxFuture<'_, Result<NodeId, ApiError>> {
        async move {
            let cluster = FakeCluster::new();
            let mut settings = Cluster::clone(&cluster.settings());
            settings.spec = init.spec.clone();
            cluster.apply(vec![Change::Cluster(Write::update(settings))]).expect("read just now");
            *self.cluster.lock().unwrap() = Some(cluster);
            self.inits.lock().unwrap().push(init);
            self.enter(Role::Manager);
            Ok(NodeId(id_of(1)))
        }
        .boxed()
    }

    fn join(&self, join: Join) -> BoxFuture<'_, Result<(), ApiError>> {
        async move {
            self.joins.lock().unwrap().push(join);
            if self.slow_join.load(Ordering::Relaxed) {
                self.set_state(LocalState::Pending);
                self.end_join.notified().await;
            }
            self.enter(Role::Worker);
            self.joined.store(true, Ordering::Relaxed);
            Ok(())
        }
        .boxed()
    }

    fn restore(&self, restore: Restore) -> BoxFuture<'_, Result<NodeId, ApiError>> {
        async move {
            let cluster = FakeCluster::new();
            cluster.store.restore(restore.tables);
            *self.cluster.lock().unwrap() = Some(cluster);
            self.enter(Role::Manager);
            Ok(NodeId(id_of(1)))
        }
        .boxed()
    }

    fn leave(&self, force: bool) -> BoxFuture<'_, Result<(), ApiError>> {
        async move {
            self.left.lock().unwrap().push(force);
            *self.cluster.lock().unwrap() = None;
            *self.status.lock().unwrap() = HostStatus::default();
            Ok(())
        }
        .boxed()
    }

    fn unlock(&self, key: UnlockKey) -> BoxFuture<'_, Result<(), ApiError>> {
        async move {
            if key.to_text().reveal() != UNLOCK_KEY {
                return Err(ApiError::unauthorized(WRONG_UNLOCK_KEY));
            }
            self.enter(Role::Manager);
            *self.cluster.lock().unwrap() = Some(FakeCluster::new());
            Ok(())
        }
        .boxed()
    }

    fn gossip(&self) -> Vec<GossipMember> {
        vec![GossipMember { hostname: "host-1".into(), state: "alive".into(), ..GossipMember::default() }]
    }

    fn fault(&self, fault: Fault) -> Result<(), ApiError> {
        let mut faults = self.faults.lock().unwrap();
        if faults.len() >= 2 {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "this node is not in a lab"));
        }
        faults.push(fault);
        Ok(())
    }
}

/// Node 1, 2, … up to 127, with ids that start apart.
pub fn id_of(number: u8) -> u128 {
    assert!(number < 128, "the top bit is the same in all ids");
    (u128::from(number) << 120) | (1 << 127)
}

fn settings() -> Cluster {
    Cluster {
        next_raft_id: 10,
        address_pools: vec!["10.0.0.0/8".into()],
        ..Cluster::new(
            ClusterId(id_of(9)),
            Authority::new(
                ROOT.into(),
                Sensitive::new("PRIVATE-KEY".into()),
                Sensitive::new("SWMTKN-1-worker".into()),
                Sensitive::new("SWMTKN-1-manager".into()),
            ),
        )
    }
}

fn node(number: u8, role: Role, hostname: &str, state: NodeState) -> Node {
    let root = common::engine_api::convert::cluster_to_api(&settings(), false).expect("a root");
    let bytes = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
    };
    Node {
        id: NodeId(id_of(number)),
        meta: Default::default(),
        spec: NodeSpec { role, ..NodeSpec::default() },
        role,
        description: Some(NodeDescription {
            hostname: hostname.into(),
            platform: Platform { architecture: "x86_64".into(), os: "linux".into() },
            resources: Resources {
                nano_cpus: 2_000_000_000,
                memory_bytes: 1 << 30,
                generic: Default::default(),
            },
            engine: EngineDescription {
                version: "20.10".into(),
                labels: [("disk".into(), "ssd".into())].into(),
                plugins: vec![("Volume".into(), "local".into())],
            },
            tls: TlsInfo {
                trust_root_pem: ROOT.into(),
                issuer_subject: bytes(&root.tls_info.cert_issuer_subject),
                issuer_public_key: bytes(&root.tls_info.cert_issuer_public_key),
                public_key: Vec::new(),
            },
            runtimes: vec!["process".into()],
        }),
        status: NodeStatus { state, addr: format!("10.0.0.{number}"), ..NodeStatus::default() },
        manager: (role == Role::Manager)
            .then(|| ManagerRecord { raft_id: number.into(), addr: format!("10.0.0.{number}:2377") }),
    }
}
