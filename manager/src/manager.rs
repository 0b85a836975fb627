//! Build, run and stop of a manager; no logic.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use common::engine_api::access::{AuditAnswer, AuditObject, AuditRecord, AuditWho};
use common::engine_api::system as api_system;
use common::gossip::{Denied, Gossip};
use common::identity::DataKeys;
use common::identity::token::JoinToken;
use common::identity::{NodeIdentity, NodeKey};
use common::limits::{CONTROL_RETRY, HAND_OVER_WAIT};
use common::object::cluster::{AtRest, Authority, ExternalAuthority};
use common::object::node::ManagerRecord;
use common::object::sensitive::Sensitive;
use common::object::{Cluster, ClusterId, ClusterSpec, LivenessPreset, NetworkId, Node, NodeId, Version};
use common::random::SystemRandom;
use common::report::Report;
use common::shutdown::Tasks;
use common::time::{Clock, Timestamp};
use common::transport::quic::Vouch;
use common::transport::{Incoming, PeerIdentity, Stream, StreamKind, Transport, TransportError};
use common::wire::frame::{FrameError, write_message};
use common::wire::logs::LogRequest;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tracing::debug;

use crate::api::{Control as Edge, ControlError, LogsError};
use crate::audit::select::Selection;
use crate::audit::{Audit, redact};
use crate::ca::known::{is_demoted, vouch};
use crate::ca::serve::{Told, serve_join, serve_renew};
use crate::ca::sign::{self, Subject};
use crate::control::leader::Control;
use crate::decide::allocate;
use crate::dispatch::Sessions;
use crate::forward::{Forward, ForwardError};
use crate::raft::{Lead, RaftHandle, RaftSettings, RaftStartError, ResealError, SnapshotPolicy, Timing};
use crate::secret_driver::SecretDrivers;
use crate::store::{Change, FeedError, Store, Tables, Write};

pub struct Settings {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Where other nodes reach this one.
    pub address: SocketAddr,
    pub raft_folder: PathBuf,
    /// Where providers of secrets listen.
    pub secret_drivers_folder: PathBuf,
    pub raft_id: u64,
    pub data_keys: DataKeys,
    pub preset: LivenessPreset,
    /// This node's, as it is renewed: what external authorities are shown.
    pub identity: watch::Receiver<NodeIdentity>,
}

/// How a manager opens a stream to the node it is on: a transport does not call itself.
pub type OpenHere =
    Arc<dyn Fn(StreamKind) -> BoxFuture<'static, Result<Stream, TransportError>> + Send + Sync>;

/// A running manager. Clones are handles to the same.
#[derive(Clone)]
pub struct Manager {
    forward: Forward,
    sessions: Sessions,
    gossip: Gossip,
    tasks: Tasks,
    identity: watch::Receiver<NodeIdentity>,
    open_here: Arc<OnceLock<OpenHere>>,
    at_rest: watch::Sender<AtRest>,
    /// The version of the unlock key that this node's files are locked with, as the node tells.
    unlock_key_version: Arc<AtomicU64>,
}

impl Manager {
    /// Starts from what is on disk, which may be nothing.
    pub async fn start(
        settings: Settings,
        transport: Arc<dyn Transport>,
        gossip: Gossip,
        clock: Arc<dyn Clock>,
        parent: &Tasks,
    ) -> Result<Self, RaftStartError> {
        let tasks = parent.child();
        let store = Store::new();
        let members = gossip.clone();
        let raft = RaftHandle::start(
            RaftSettings {
                folder: settings.raft_folder,
                cluster: settings.cluster,
                raft_id: settings.raft_id,
                data_keys: settings.data_keys,
                timing: Timing::of(settings.preset),
                snapshots: snapshot_policy(&ClusterSpec::default()),
                snapshots_kept: 0,
            },
            store.clone(),
            transport.clone(),
            Arc::new(move |node| members.member(node).map(|member| member.id.addr)),
            clock.clone(),
            &tasks,
        )
        .await?;
        let drivers = SecretDrivers::new(settings.secret_drivers_folder);
        let (sessions, events) = Sessions::new(store.clone(), drivers, clock.clone());
        let forward = Forward {
            me: settings.node,
            address: settings.address,
            raft,
            store,
            transport,
            clock,
            audit: Arc::default(),
        };
        let manager = Self {
            forward,
            sessions,
            gossip,
            tasks,
            identity: settings.identity,
            open_here: Arc::default(),
            at_rest: watch::Sender::default(),
            unlock_key_version: Arc::default(),
        };
        let control = Control {
            forward: manager.forward.clone(),
            gossip: manager.gossip.clone(),
            sessions: manager.sessions.clone(),
            events,
            tasks: manager.tasks.clone(),
        };
        manager.tasks.spawn(control.run());
        manager.tasks.spawn_until_stopped(manager.clone().follow_cluster());
        Ok(manager)
    }

    /// Tells how to reach this node's own side. Once; what is asked of this node before is refused.
    pub fn reach_this_node_by(&self, open: OpenHere) {
        let _ = self.open_here.set(open); // told twice, the first holds
    }

    /// Where what is done through this manager is recorded. Once.
    pub fn keep_record_in(&self, audit: Audit) {
        let _ = self.forward.audit.set(audit); // told twice, the first holds
    }

    /// Makes a new cluster, of which this manager is the first node.
    pub async fn found(&self, cluster: Cluster, mut node: Node) -> Result<(), ForwardError> {
        let raft = &self.forward.raft;
        let addr = self.forward.address.to_string();
        raft.initialize(node.id, &addr)
            .await
            .map_err(|error| ForwardError::Stopped(Report(&error).to_string()))?;
        node.manager = Some(ManagerRecord { raft_id: raft.status().raft_id, addr });
        let ingress = allocate::ingress(&cluster, NetworkId::generate(&mut SystemRandom));
        let mut changes = vec![Change::Cluster(Write::Create(cluster)), Change::Node(Write::Create(node))];
        changes.extend(ingress.map(|network| Change::Network(Write::Create(network))));
        self.forward.propose(changes).await.map(drop)
    }

    /// Serves one stream that a peer opened.
    pub async fn serve(&self, incoming: Incoming) {
        let Incoming { from, kind, mut stream, addr } = incoming;
        if let Some(from) = &from
            && self.is_out_of_place(from, kind)
        {
            debug!(node.id = %from.node, ?kind, "refused: it is no manager any more");
            return;
        }
        let result = match (kind, from) {
            (StreamKind::Join, _) => {
                let told = serve_join(&self.forward, &self.identity, &mut stream).await;
                self.record(None, addr, told).await
            }
            (StreamKind::Renew, Some(from)) => {
                let told = serve_renew(&self.forward, &self.identity, &from, &mut stream).await;
                self.record(Some(from.node), addr, told).await
            }
            (StreamKind::Session, Some(from)) => {
                self.sessions.serve(from.node, stream).await;
                Ok(())
            }
            (StreamKind::Manager, Some(_)) => self.forward.serve(stream).await,
            (StreamKind::Raft | StreamKind::RaftAppend | StreamKind::RaftSnapshot, Some(from)) => {
                self.forward.raft.serve(Incoming { from: Some(from), kind, stream, addr }).await;
                Ok(())
            }
            (StreamKind::Logs | StreamKind::Mesh, Some(_)) => Ok(()), // a node's own side answers these
            (_, None) => Ok(()), // the transport lets nobody but joiners come without a certificate
        };
        if let Err(error) = result {
            debug!(%addr, ?kind, error = %Report(&error), "stream ended early");
        }
    }

    /// Whether a node that was demoted, or removed, goes on as a manager with the certificate it still has.
    ///
    /// In raft's matters this manager may be the one that is behind: so while it hears from no leader, and of the one
    /// that it follows, it takes what comes.
    fn is_out_of_place(&self, from: &PeerIdentity, kind: StreamKind) -> bool {
        match kind {
            StreamKind::Join
            | StreamKind::Renew
            | StreamKind::Session
            | StreamKind::Logs
            | StreamKind::Mesh => false,
            StreamKind::Manager => is_demoted(&self.forward.store.snapshot(), from.node),
            StreamKind::Raft | StreamKind::RaftAppend | StreamKind::RaftSnapshot => {
                let leader = self.forward.raft.watch().borrow().leader.map(|leader| leader.node);
                leader.is_some_and(|leader| leader != from.node)
                    && is_demoted(&self.forward.store.snapshot(), from.node)
            }
        }
    }

    /// Says whose keys the cluster knows, for nodes whose certificates are not good any more.
    pub fn voucher(&self) -> Vouch {
        let (store, clock) = (self.forward.store.clone(), self.forward.clock.clone());
        Arc::new(move |facts| vouch(&store.snapshot(), facts, clock.now()))
    }

    /// Puts an issued or refused certificate on record.
    async fn record(
        &self,
        from: Option<NodeId>,
        addr: SocketAddr,
        told: Result<Told, FrameError>,
    ) -> Result<(), FrameError> {
        let told = told?;
        if let (Some(audit), Some(outcome)) = (self.forward.audit.get(), told.outcome) {
            let who = match from {
                Some(node) => AuditWho { kind: "node".into(), name: node.to_string(), ..AuditWho::default() },
                None => AuditWho { kind: "stranger".into(), ..AuditWho::default() },
            };
            audit
                .write(AuditRecord {
                    time: self.forward.clock.now().to_rfc3339(),
                    node: self.forward.me.to_string(),
                    who,
                    from: addr.to_string(),
                    action: if from.is_some() { "node renew" } else { "node join" }.into(),
                    object: AuditObject { kind: "node".into(), id: told.node, name: String::new() },
                    outcome: outcome.into(),
                    error: redact::error(&told.error),
                    ..AuditRecord::default()
                })
                .await;
        }
        Ok(())
    }

    /// Why this manager cannot go on; it has acknowledged nothing since.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.forward.raft.failure()
    }

    pub fn store(&self) -> &Store {
        &self.forward.store
    }

    /// How the cluster wants managers to keep their data, as it changes.
    pub fn at_rest(&self) -> watch::Receiver<AtRest> {
        self.at_rest.subscribe()
    }

    /// Seals all raft data with `keys.current`. When it returns, nothing on disk needs `keys.previous`.
    pub async fn reseal(&self, keys: &DataKeys) -> Result<(), ResealError> {
        self.forward.raft.reseal(keys).await
    }

    /// The key of before is gone from the disk; takes it out of memory too.
    pub fn forget_key_before(&self, keys: &DataKeys) {
        self.forward.raft.forget_key_before(keys);
    }

    /// Tells what this node's files are locked with, for people who ask.
    pub fn note_lock(&self, unlock_key_version: u64) {
        self.unlock_key_version.store(unlock_key_version, Ordering::Relaxed);
    }

    /// Lets somebody else lead, if this manager does and anybody can.
    pub async fn hand_over(&self) {
        let mut leadership = self.forward.raft.watch();
        if !leadership.borrow().is_me {
            return;
        }
        let status = self.forward.raft.status();
        let heir = status
            .members
            .iter()
            .filter(|member| member.voter && member.node != self.forward.me)
            .filter(|member| self.reachable(member.node))
            .min_by_key(|member| (member.lag.unwrap_or(u64::MAX), member.raft_id));
        let Some(heir) = heir else { return };
        if let Err(error) = self.forward.raft.transfer_leadership(heir.raft_id).await {
            debug!(%error, "leadership not handed over");
            return;
        }
        let _ = tokio::time::timeout(
            HAND_OVER_WAIT,
            leadership.wait_for(|now| !now.is_me && now.leader.is_some()),
        )
        .await;
    }

    /// Stops in order: sessions and decisions first, then raft, then its files are closed.
    pub async fn stop(&self) {
        self.sessions.set_lead(crate::dispatch::session::Lead::Other(None));
        self.forward.raft.shutdown().await;
        self.tasks.stop().await;
    }

    /// Waits until this manager has a vote and knows who leads.
    pub async fn wait_until_voter(&self) {
        let raft = &self.forward.raft;
        let voter = || {
            let status = raft.status();
            status.leader.is_some() && status.member(status.raft_id).is_some_and(|member| member.voter)
        };
        let mut version = self.forward.store.feed().reached();
        // A change of the group is a log entry, so what was applied moves with it.
        while !voter() {
            version = Version(version.0 + 1);
            let next = self.forward.store.feed().wait_for(version);
            let _ = tokio::time::timeout(CONTROL_RETRY, next).await;
            version = self.forward.store.feed().reached();
        }
    }

    fn report(&self) -> api_system::RaftStatus {
        let status = self.forward.raft.status();
        let tables = self.forward.store.snapshot();
        let hostname = |node: NodeId| {
            let description = tables.nodes.get(node).and_then(|node| node.description.as_ref());
            description.map(|description| description.hostname.clone()).unwrap_or_default()
        };
        let leader = status.leader.and_then(|leader| status.member(leader)).map(|member| member.node);
        api_system::RaftStatus {
            term: status.term,
            state: format!("{:?}", status.role).to_lowercase(),
            leader_id: leader.map(|node| node.to_string()).unwrap_or_default(),
            last_log_index: status.last_log.unwrap_or_default(),
            committed_index: status.committed.unwrap_or_default(),
            applied_index: status.applied.unwrap_or_default(),
            snapshot_index: status.snapshot.unwrap_or_default(),
            purged_index: status.purged.unwrap_or_default(),
            data_key_version: self.forward.raft.data_key_version(),
            unlock_key_version: self.unlock_key_version.load(Ordering::Relaxed),
            members: status
                .members
                .iter()
                .map(|member| api_system::RaftMemberStatus {
                    raft_id: member.raft_id,
                    node_id: member.node.to_string(),
                    hostname: hostname(member.node),
                    addr: member.addr.clone(),
                    voter: member.voter,
                    leader: Some(member.raft_id) == status.leader,
                    matched_index: member.matched,
                    lag: member.lag,
                    heard_ms_ago: member.heard.map(|ago| ago.as_millis() as u64),
                })
                .collect(),
        }
    }

    /// A stream to the side of a node that runs its tasks.
    async fn open_node(&self, node: NodeId, kind: StreamKind) -> Result<Stream, String> {
        if node == self.forward.me {
            let open = self.open_here.get().ok_or("this node has no side that runs tasks yet")?;
            return open(kind).await.map_err(|error| Report(&error).to_string());
        }
        let member = self.gossip.member(node).ok_or("gossip has not heard of it")?;
        let opened = self.forward.transport.open(member.id.peer(), kind).await;
        opened.map_err(|error| Report(&error).to_string())
    }

    /// Takes up what the cluster's object says: how often to make snapshots, and whom to refuse, which gossip
    /// then tells all nodes.
    async fn follow_cluster(self) {
        let feed = self.forward.store.feed();
        let mut version = Version::default();
        loop {
            if let Some(cluster) = self.forward.store.snapshot().cluster() {
                let kept = usize::try_from(cluster.spec.snapshots_kept).unwrap_or(usize::MAX);
                self.forward.raft.set_snapshot_policy(snapshot_policy(&cluster.spec), kept);
                self.at_rest.send_if_modified(|now| {
                    let changed = *now != cluster.at_rest;
                    now.clone_from(&cluster.at_rest);
                    changed
                });
                for (node, until) in &cluster.denied {
                    let denied = Denied { node: *node, until: *until };
                    if self.gossip.deny(denied).await.is_err() {
                        return;
                    }
                }
            }
            loop {
                match feed.after(version).await {
                    Ok((changes, next)) => {
                        version = next;
                        if changes
                            .iter()
                            .any(|change| matches!(change, crate::store::Changed::Cluster { .. }))
                        {
                            break;
                        }
                    }
                    Err(FeedError::Behind { resume_at }) => {
                        version = resume_at;
                        break;
                    }
                }
            }
        }
    }
}

impl Edge for Manager {
    fn local(&self) -> Tables {
        self.forward.store.snapshot()
    }

    fn read(&self) -> BoxFuture<'_, Result<Tables, ControlError>> {
        Box::pin(async {
            self.forward.catch_up().await.map_err(to_control)?;
            Ok(self.forward.store.snapshot())
        })
    }

    fn leading(&self) -> Option<(Tables, Lead)> {
        let lead = self.forward.raft.lead()?;
        Some((self.forward.store.snapshot(), lead))
    }

    fn propose(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<Version, ControlError>> {
        Box::pin(async { self.forward.propose(changes).await.map_err(to_control) })
    }

    fn propose_in(
        &self,
        lead: Lead,
        changes: Vec<Change>,
    ) -> BoxFuture<'_, Result<Option<Version>, ControlError>> {
        Box::pin(async move {
            match self.forward.propose_in(Some(lead), changes).await {
                Ok(version) => Ok(Some(version)),
                Err(ForwardError::LeadEnded) => Ok(None),
                Err(error) => Err(to_control(error)),
            }
        })
    }

    fn raft_status(&self) -> api_system::RaftStatus {
        self.report()
    }

    fn leader(&self) -> Option<NodeId> {
        self.forward.raft.watch().borrow().leader.map(|peer| peer.node)
    }

    fn reachable(&self, node: NodeId) -> bool {
        node == self.forward.me || self.gossip.member(node).is_some_and(|member| member.state.is_active())
    }

    fn now(&self) -> Timestamp {
        self.forward.clock.now()
    }

    fn store(&self) -> &Store {
        &self.forward.store
    }

    fn open_logs(&self, node: NodeId, request: LogRequest) -> BoxFuture<'_, Result<Stream, LogsError>> {
        Box::pin(async move {
            let failed = |reason| LogsError { node, reason };
            let mut stream = self.open_node(node, StreamKind::Logs).await.map_err(failed)?;
            write_message(&mut stream.send, &request)
                .await
                .map_err(|error| failed(Report(&error).to_string()))?;
            Ok(stream)
        })
    }

    fn try_external<'a>(
        &'a self,
        external: Vec<&'a ExternalAuthority>,
        root_pem: &'a str,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let text = |error: &dyn std::error::Error| Report(error).to_string();
            let identity = self.identity.borrow().clone();
            let key = NodeKey::generate().map_err(|error| text(&error))?;
            let csr = key.signing_request().map_err(|error| text(&error))?;
            // For this node, so that what comes back is nothing that anybody else could use.
            let subject = Subject { node: identity.node, cluster: identity.cluster, role: identity.role };
            sign::ask(&self.identity, &external, root_pem, subject, &csr)
                .await
                .map(drop)
                .map_err(|error| text(&error))
        })
    }

    fn audit_elsewhere(&self, selection: Selection) -> BoxFuture<'_, Vec<AuditAnswer>> {
        Box::pin(async move {
            let tables = self.forward.store.snapshot();
            let managers =
                tables.nodes.iter().filter(|node| node.manager.is_some() && node.id != self.forward.me);
            let asked = managers.map(|node| {
                let (selection, id) = (selection.clone(), node.id);
                async move {
                    let member =
                        self.gossip.member(id).ok_or_else(|| "gossip has not heard of it".to_owned());
                    let answer = match member {
                        Ok(member) => self.forward.audit_of(member.id.peer(), selection).await,
                        Err(reason) => Err(reason),
                    };
                    match answer {
                        Ok(mut answer) => {
                            for missing in &mut answer.missing {
                                *missing = format!("manager {id}: {missing}");
                            }
                            answer
                        }
                        Err(reason) => AuditAnswer {
                            missing: vec![format!("the record of manager {id} is not here: {reason}")],
                            ..AuditAnswer::default()
                        },
                    }
                }
            });
            futures_util::future::join_all(asked).await
        })
    }

    fn new_join_token(&self, authority: &Authority) -> Result<Sensitive, ControlError> {
        Ok(JoinToken::generate(&authority.certificate_pem, &mut SystemRandom).to_secret())
    }
}

fn snapshot_policy(spec: &ClusterSpec) -> SnapshotPolicy {
    SnapshotPolicy { interval: spec.snapshot_interval, log_entries_kept: spec.log_entries_for_slow_followers }
}

fn to_control(error: ForwardError) -> ControlError {
    match error {
        ForwardError::NoLeader | ForwardError::LeadEnded => ControlError::NoLeader,
        ForwardError::Uncertain => ControlError::Unknown { reason: error.to_string() },
        ForwardError::Rejected(rejection) => ControlError::Rejected(rejection),
        ForwardError::TooLarge { .. } => ControlError::Failed { action: "write", source: Box::new(error) },
        ForwardError::Stopped(_) => ControlError::NotReady,
    }
}
