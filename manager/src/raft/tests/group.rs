//! Whole raft groups in one process: real logs on real files, a network in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::identity::{DataKey, DataKeys, NodeIdentity, NodeKey, RootAuthority};
use common::object::{ClusterId, NodeId, Role, Version};
use common::random::SeededRandom;
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock};
use common::transport::memory::Network;
use common::transport::quic::{QuicSettings, QuicTransport};
use common::transport::{Arrivals, PeerIdentity, Transport};
use redb::StorageBackend;
use tempfile::TempDir;

use crate::raft::log_file::{LogFileError, file_backend};
use crate::raft::{
    ChangeError, ProposeError, RaftHandle, RaftSettings, RaftStartError, Resolve, SnapshotPolicy, Timing,
};
use crate::store::{Proposal, Store};

/// How long a busy machine may take for anything.
const DEADLINE: Duration = Duration::from_secs(60);

pub const CLUSTER: ClusterId = ClusterId(5);

pub fn address_of(node: NodeId) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], node.0 as u16 + 1000))
}

/// Slow enough that no leader is lost to a machine that has other things to do.
const PATIENT: Timing = Timing {
    heartbeat: Duration::from_millis(150),
    election_min: Duration::from_millis(800),
    election_max: Duration::from_millis(1600),
};

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, poll).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"));
}

/// Asks again while the leader is too new, as a caller that decides again does.
pub async fn settled<F: Future<Output = Result<(), ChangeError>>>(
    ask: impl Fn() -> F,
) -> Result<(), ChangeError> {
    let deadline = SystemClock.monotonic().plus(DEADLINE);
    loop {
        match ask().await {
            Err(ChangeError::NotLeader { .. } | ChangeError::InProgress | ChangeError::Uncertain)
                if SystemClock.monotonic() < deadline =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            settled => return settled,
        }
    }
}

pub struct Group {
    pub net: Network,
    pub tasks: Tasks,
    pub policy: SnapshotPolicy,
    pub timing: Timing,
    pub data_keys: DataKeys,
    pub members: BTreeMap<u64, Member>,
    /// Makes certificates where the network is a real one.
    authority: Option<RootAuthority>,
    addresses: Arc<Mutex<BTreeMap<NodeId, SocketAddr>>>,
    folder: TempDir,
}

pub struct Member {
    pub raft: RaftHandle,
    pub store: Store,
    pub transport: Arc<dyn Transport>,
    tasks: Tasks,
}

pub fn data_keys() -> DataKeys {
    DataKeys { current: data_key(1), version: 1, previous: None }
}

pub fn data_key(number: u64) -> DataKey {
    DataKey::generate(&mut SeededRandom::new(number, "data key"))
}

impl Group {
    pub fn new() -> Self {
        Self {
            net: Network::new(1),
            tasks: Tasks::new(),
            policy: SnapshotPolicy { interval: 10_000, log_entries_kept: 500 },
            timing: PATIENT,
            data_keys: data_keys(),
            members: BTreeMap::new(),
            authority: None,
            addresses: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// On real connections over loopback.
    pub fn over_quic() -> Self {
        let authority = RootAuthority::generate(SystemClock.now()).unwrap();
        Self { authority: Some(authority), ..Self::new() }
    }

    fn plug_in(&self, node: NodeId, tasks: &Tasks) -> (Arc<dyn Transport>, Arrivals) {
        let Some(authority) = &self.authority else {
            let identity = PeerIdentity { node, role: Role::Manager, cluster: CLUSTER };
            let addr = address_of(node);
            self.addresses.lock().unwrap().insert(node, addr);
            let (transport, arrivals) = self.net.join(identity, addr, tasks);
            return (transport, arrivals);
        };
        let key = NodeKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let pem = authority.sign(&request, node, CLUSTER, Role::Manager, day, SystemClock.now()).unwrap();
        let identity = NodeIdentity::new(&pem, key, authority.certificate_pem()).unwrap();
        let settings = QuicSettings::new("127.0.0.1:0".parse().unwrap());
        let (transport, arrivals) =
            QuicTransport::start(settings, identity, tasks, Arc::new(SystemClock)).unwrap();
        self.addresses.lock().unwrap().insert(node, transport.local_addr());
        (transport, arrivals)
    }

    /// Members 1 to `count`, all voters.
    pub async fn of(count: u64) -> Self {
        let mut group = Self::new();
        group.grow_to(count).await;
        group
    }

    pub async fn grow_to(&mut self, count: u64) {
        self.start(1).await.unwrap();
        self.members[&1].raft.initialize(NodeId(1), &address_of(NodeId(1)).to_string()).await.unwrap();
        for raft_id in 2..=count {
            self.start(raft_id).await.unwrap();
            self.join(raft_id).await;
        }
    }

    /// Makes a started member a voter.
    pub async fn join(&self, raft_id: u64) {
        let node = NodeId(raft_id.into());
        // Whoever leads by then: on a busy machine the lead may have moved since the member before came in.
        let add = || async {
            let raft = &self.members[&self.leader().await].raft;
            raft.add_learner(raft_id, node, &address_of(node).to_string()).await?;
            raft.add_voter(raft_id).await
        };
        settled(add).await.unwrap();
    }

    pub fn path(&self, raft_id: u64) -> PathBuf {
        self.folder.path().join(raft_id.to_string()).join("raft")
    }

    /// Starts the member with this raft id; its node has the same number.
    pub async fn start(&mut self, raft_id: u64) -> Result<(), RaftStartError> {
        self.start_on(raft_id, raft_id, file_backend).await
    }

    pub async fn start_on<B: StorageBackend>(
        &mut self,
        raft_id: u64,
        node: u64,
        disk: impl FnOnce(&Path) -> Result<B, LogFileError> + Send + 'static,
    ) -> Result<(), RaftStartError> {
        let tasks = Tasks::new();
        let store = Store::new();
        let node_id = NodeId(node.into());
        let (transport, mut arrivals) = self.plug_in(node_id, &tasks);
        let settings = RaftSettings {
            folder: self.path(node),
            cluster: CLUSTER,
            raft_id,
            data_keys: self.data_keys.clone(),
            timing: self.timing,
            snapshots: self.policy,
            snapshots_kept: 0,
        };
        let addresses = self.addresses.clone();
        let resolve: Resolve = Arc::new(move |node| addresses.lock().unwrap().get(&node).copied());
        let clock = Arc::new(SystemClock);
        let raft =
            RaftHandle::start_on(settings, store.clone(), transport.clone(), resolve, clock, &tasks, disk)
                .await?;
        let (server, owner) = (raft.clone(), tasks.clone());
        tasks.spawn_until_stopped(async move {
            while let Some(incoming) = arrivals.streams.recv().await {
                let server = server.clone();
                owner.spawn_until_stopped(async move { server.serve(incoming).await });
            }
        });
        self.members.insert(raft_id, Member { raft, store, transport, tasks });
        Ok(())
    }

    /// Ends a member without a word to the others.
    pub async fn stop(&mut self, raft_id: u64) -> Member {
        let member = self.members.remove(&raft_id).unwrap();
        member.raft.shutdown().await;
        member.tasks.stop().await;
        member
    }

    /// The member that leads, and knows it.
    pub async fn leader(&self) -> u64 {
        let mut leader = None;
        until("a leader", || {
            let leads = |member: &&Member| member.raft.watch().borrow().is_me;
            let leaders: Vec<_> = self.members.values().filter(leads).collect();
            leader = leaders.iter().map(|member| member.raft.watch().borrow().term).max().and_then(|term| {
                let newest = |(_, member): &(&u64, &Member)| {
                    let leadership = *member.raft.watch().borrow();
                    leadership.is_me && leadership.term == term
                };
                self.members.iter().find(newest).map(|(raft_id, _)| *raft_id)
            });
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    /// Writes through whoever leads, as a caller with the same proposal id would.
    pub async fn write(&self, proposal: &Proposal) -> Version {
        let write = async {
            loop {
                let leader = self.leader().await;
                match self.members[&leader].raft.propose(proposal).await {
                    Ok(version) => return version,
                    Err(ProposeError::Rejected(rejection)) => panic!("{rejection}"),
                    // Also a leader whose disk has just failed: there may be another soon.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(DEADLINE, write).await.expect("the group accepts a write in time")
    }

    /// Waits until every running member has applied `version`.
    pub async fn all_reach(&self, version: Version) {
        for (raft_id, member) in &self.members {
            let reached = || member.store.feed().reached() >= version;
            until(&format!("member {raft_id} reaches {version}"), reached).await;
        }
    }
}
