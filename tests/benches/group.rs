//! Managers' raft alone, in this process: real connections over loopback, real logs on this disk, no API and no gossip.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use common::identity::{DataKey, DataKeys, NodeIdentity, NodeKey, RootAuthority};
use common::object::{
    ClusterId, LivenessPreset, Meta, Node, NodeDescription, NodeId, NodeSpec, Role, Version,
};
use common::random::{Random, SystemRandom};
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock};
use common::transport::quic::{QuicSettings, QuicTransport};
use harness::run;
use harness::wait::wait_until;
use manager::forward::Forward;
use manager::raft::{ChangeError, RaftHandle, RaftSettings, Resolve, SnapshotPolicy, Timing};
use manager::store::{Change, Proposal, Store, Write};

const CLUSTER: ClusterId = ClusterId(5);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SOON: Duration = Duration::from_secs(30);

/// Members of one raft group; the first one led at the start.
pub struct Group {
    members: Vec<Member>,
}

struct Member {
    node: NodeId,
    raft: RaftHandle,
    store: Store,
    tasks: Tasks,
    transport: Arc<QuicTransport>,
}

impl Group {
    pub async fn of(managers: u64) -> anyhow::Result<Self> {
        let authority = RootAuthority::generate(SystemClock.now())?;
        let addresses = Addresses::default();
        let mut members = Vec::new();
        for raft_id in 1..=managers {
            members.push(Member::start(raft_id, &authority, &addresses).await?);
        }
        let first = &members[0].raft;
        first.initialize(NodeId(1), &addresses.of(NodeId(1))?.to_string()).await?;
        for raft_id in 2..=managers {
            let node = NodeId(raft_id.into());
            let addr = addresses.of(node)?.to_string();
            done(async || first.add_learner(raft_id, node, &addr).await).await?;
            done(async || first.add_voter(raft_id).await).await?;
        }
        Ok(Self { members })
    }

    /// The member that leads.
    pub async fn leader(&self) -> anyhow::Result<RaftHandle> {
        Ok(self.leading().await?.raft.clone())
    }

    /// The way to write for what runs beside the member that leads.
    pub async fn forward(&self) -> anyhow::Result<Forward> {
        let leader = self.leading().await?;
        Ok(Forward {
            me: leader.node,
            address: leader.transport.local_addr(),
            raft: leader.raft.clone(),
            store: leader.store.clone(),
            transport: leader.transport.clone(),
            clock: Arc::new(SystemClock),
            audit: Arc::default(),
        })
    }

    async fn leading(&self) -> anyhow::Result<&Member> {
        wait_until("a leader", SOON, async || {
            self.members.iter().find(|member| member.raft.watch().borrow().is_me).ok_or("nobody leads".into())
        })
        .await
    }

    pub async fn stop(self) {
        for member in self.members {
            member.raft.shutdown().await;
            member.transport.stop().await;
            member.tasks.stop().await;
        }
    }
}

/// Asks again while the group is still at its last change.
async fn done(ask: impl AsyncFn() -> Result<(), ChangeError>) -> anyhow::Result<()> {
    wait_until("the raft group grows", SOON, async || ask().await.map_err(|error| error.to_string())).await
}

#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<BTreeMap<NodeId, SocketAddr>>>);

impl Addresses {
    fn find(&self, node: NodeId) -> Option<SocketAddr> {
        self.0.lock().expect("no holder panics").get(&node).copied()
    }

    fn of(&self, node: NodeId) -> anyhow::Result<SocketAddr> {
        self.find(node).with_context(|| format!("{node} has an address"))
    }
}

impl Member {
    async fn start(raft_id: u64, authority: &RootAuthority, addresses: &Addresses) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let node = NodeId(raft_id.into());
        let key = NodeKey::generate()?;
        let request = key.signing_request()?;
        let pem = authority.sign(&request, node, CLUSTER, Role::Manager, DAY, SystemClock.now())?;
        let identity = NodeIdentity::new(&pem, key, authority.certificate_pem())?;
        let settings = QuicSettings::new((Ipv4Addr::LOCALHOST, 0).into());
        let clock = Arc::new(SystemClock);
        let (transport, mut arrivals) = QuicTransport::start(settings, identity, &tasks, clock.clone())?;
        addresses.0.lock().expect("no holder panics").insert(node, transport.local_addr());
        let known = addresses.clone();
        let resolve: Resolve = Arc::new(move |node| known.find(node));
        let settings = RaftSettings {
            folder: run::folder().join("raft"),
            cluster: CLUSTER,
            raft_id,
            data_keys: DataKeys { current: DataKey::generate(&mut SystemRandom), version: 0, previous: None },
            timing: Timing::of(LivenessPreset::Lan),
            snapshots: SnapshotPolicy { interval: 10_000, log_entries_kept: 500 },
            snapshots_kept: 0,
        };
        let store = Store::new();
        let raft =
            RaftHandle::start(settings, store.clone(), transport.clone(), resolve, clock, &tasks).await?;
        let (server, owner) = (raft.clone(), tasks.clone());
        tasks.spawn_until_stopped(async move {
            while let Some(incoming) = arrivals.streams.recv().await {
                let server = server.clone();
                owner.spawn_until_stopped(async move { server.serve(incoming).await });
            }
        });
        Ok(Self { node, raft, store, tasks, transport })
    }
}

/// Somebody who writes one object of its own again and again.
pub struct Writer {
    raft: RaftHandle,
    node: Node,
}

impl Writer {
    pub async fn new(raft: RaftHandle) -> anyhow::Result<Self> {
        let node = Node {
            id: NodeId(SystemRandom.next_u64().into()),
            meta: Meta::default(),
            spec: NodeSpec { name: "measured".into(), ..NodeSpec::default() },
            role: Role::Worker,
            description: Some(NodeDescription::default()),
            status: Default::default(),
            manager: None,
        };
        let mut writer = Self { raft, node };
        writer.propose(Write::Create(writer.node.clone())).await?;
        Ok(writer)
    }

    pub async fn update(&mut self, value: u64) -> anyhow::Result<()> {
        self.node.spec.labels.insert("measured".into(), value.to_string());
        self.propose(Write::update(self.node.clone())).await
    }

    async fn propose(&mut self, write: Write<Node>) -> anyhow::Result<()> {
        let id = SystemRandom.next_u64().max(1);
        let proposal = Proposal { id, at: SystemClock.now(), changes: vec![Change::Node(write)] };
        let Version(version) = self.raft.propose(&proposal).await?;
        self.node.meta.version = Version(version);
        Ok(())
    }
}
