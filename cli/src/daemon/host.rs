//! This node as the API sees it: in a cluster or not, and the way in and out.
//!
//! `init`, `join` and `leave` take turns, and each leaves either a node that works or nothing at all.

mod sealed;

use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use anyhow::Context;
use common::engine_api::system::GossipMember;
use common::identity::{LockedIdentity, Stored, StoredIdentity, UnlockKey, file as identity_file};
use common::limits::{JOIN_WAIT, LEAVE_WAIT, RECOVERY_GRACE, VERDICTS_MAX};
use common::object::{NodeId, Role};
use common::report::Report;
use common::wire::session::Parting;
use futures_util::future::BoxFuture;
use manager::api::error::{ALREADY_MEMBER, CERTIFICATES_EXPIRED, JOIN_TIMEOUT, NOT_A_MEMBER, NOT_LOCKED};
use manager::api::{ApiError, Control, Fault, Host, HostStatus, Init, Join, LocalState, Restore};
use manager::store::{Change, Write};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::address::{self, Addresses};
use super::certificate::{self, CertificateError};
use super::found::{self, Founding};
use super::port::{self, NotFree};
use super::rest::keep_at_rest;
use super::running::{Running, Setup, remove_folder};
use super::state::NodeFile;
use super::supervise::{Verdict, supervise};
use super::view;

/// The one node of this daemon. Clones are handles to it.
#[derive(Clone)]
pub struct NodeHost {
    shared: Arc<Shared>,
}

/// What only a disposable cluster may do.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Certificates that live for seconds, so that their end can be watched.
    pub certificate_expiry: Option<Duration>,
}

struct Shared {
    setup: Setup,
    /// None in earnest.
    lab: Option<Lab>,
    phase: RwLock<Phase>,
    /// Held by whoever changes the phase.
    turn: Arc<tokio::sync::Mutex<()>>,
    verdicts: mpsc::Sender<Verdict>,
    /// What people unlocked this manager with; its files may be locked with another since.
    unlocked_by: Mutex<Option<UnlockKey>>,
}

#[derive(Clone)]
enum Phase {
    Inactive,
    /// Starting, joining or leaving; with its role where there is one to take up again.
    Pending(Option<Role>),
    Running(Arc<Running>),
    /// There is a manager's state on disk, which people have to unlock.
    Locked(Arc<LockedState>),
    /// There is state on disk that cannot be used: why.
    Broken(String),
}

struct LockedState {
    file: NodeFile,
    identity: LockedIdentity,
}

impl NodeHost {
    /// A node that has yet to look at its disk.
    pub fn new(setup: Setup, lab: Option<Lab>) -> Self {
        let (verdicts, mut verdict) = mpsc::channel(VERDICTS_MAX);
        let tasks = setup.tasks.clone();
        let phase = RwLock::new(Phase::Pending(None));
        let host = Self {
            shared: Arc::new(Shared {
                setup,
                lab,
                phase,
                turn: Arc::default(),
                verdicts,
                unlocked_by: Mutex::default(),
            }),
        };
        let listener = host.clone();
        tasks.spawn_until_stopped(async move {
            while let Some(Verdict::Removed) = verdict.recv().await {
                info!("this node was removed from the swarm");
                if let Err(error) = listener.forget().await {
                    error!(error = format!("{error:#}"), "could not forget the swarm");
                }
            }
        });
        host
    }

    /// Takes up what is on disk: a place in a cluster, nothing, or something that cannot be used, which is kept
    /// for a person to look at.
    ///
    /// The future has the turn from the moment it is made: whoever asks for something first waits for it.
    pub fn resume(&self) -> impl Future<Output = ()> + Send + use<> {
        let turn = self.shared.turn.clone().try_lock_owned().expect("nobody has had a turn before the start");
        let host = self.clone();
        async move {
            host.take_up().await;
            drop(turn);
        }
    }

    async fn take_up(&self) {
        let phase = match self.load() {
            Ok(Some((file, Stored::Open(stored)))) => self.take_place(file, stored).await,
            Ok(Some((file, Stored::Locked(identity)))) => {
                warn!(node.id = %identity.node, "this manager is locked: `swarm unlock` opens it");
                Phase::Locked(Arc::new(LockedState { file, identity }))
            }
            Ok(None) => Phase::Inactive,
            Err(error) => broken(&error),
        };
        self.set_phase(phase);
    }

    async fn take_place(&self, file: NodeFile, stored: StoredIdentity) -> Phase {
        self.set_phase(Phase::Pending(Some(stored.identity.role)));
        match self.go_on(file, stored).await {
            Ok(running) => Phase::Running(running),
            Err(error) => broken(&error),
        }
    }

    /// Ends in order, with goodbyes; what is on disk stays.
    pub async fn stop(&self) {
        let _turn = self.shared.turn.lock().await;
        if let Phase::Running(running) = self.phase() {
            running.stop(Parting::Stops).await;
        }
    }

    fn load(&self) -> anyhow::Result<Option<(NodeFile, Stored)>> {
        let folder = &self.shared.setup.folder;
        let file = NodeFile::load(folder)?;
        let Some(file) = file.filter(|file| !file.founding) else {
            // Nothing, or an init or join that did not come to its end.
            self.clear_disk()?;
            return Ok(None);
        };
        let stored = identity_file::load(&folder.identity_file())?
            .with_context(|| format!("{} is missing", folder.identity_file().display()))?;
        Ok(Some((file, stored)))
    }

    async fn go_on(&self, mut file: NodeFile, stored: StoredIdentity) -> anyhow::Result<Arc<Running>> {
        let (now, until) = (self.shared.setup.clock.now(), stored.identity.not_after);
        if now > until.plus(RECOVERY_GRACE) {
            anyhow::bail!(CERTIFICATES_EXPIRED);
        }
        if stored.identity.is_expired(now) {
            warn!(%until, "this node's certificate has ended: it asks for the next one with the key of this one");
        }
        let before = file.addresses();
        let now = address::choose_again(before, &address::machine_interfaces())?;
        if now != before {
            info!(before = %before.advertise, now = %now.advertise, "this node's address has changed");
            file.set_addresses(now);
        }
        self.start(file, stored).await
    }

    async fn start(&self, file: NodeFile, stored: StoredIdentity) -> anyhow::Result<Arc<Running>> {
        let running = Running::start(self.shared.setup.clone(), file, stored).await?;
        self.look_after(&running);
        Ok(running)
    }

    fn look_after(&self, running: &Arc<Running>) {
        running.supervisor.spawn_until_stopped(supervise(running.clone(), self.shared.verdicts.clone()));
        running.supervisor.spawn_until_stopped(keep_at_rest(running.clone()));
    }

    async fn init_new(&self, init: Init) -> Result<NodeId, ApiError> {
        let addresses = choose(&init.listen_addr, &init.advertise_addr)?;
        port::check_free(addresses.listen).await.map_err(not_free)?;
        self.set_phase(Phase::Pending(None));
        match self.found(addresses, init).await {
            Ok(running) => {
                let node = running.node;
                self.set_phase(Phase::Running(running));
                Ok(node)
            }
            Err(error) => {
                self.give_up();
                Err(ApiError::internal(format!("{error:#}")))
            }
        }
    }

    async fn found(&self, addresses: Addresses, mut init: Init) -> anyhow::Result<Arc<Running>> {
        let setup = &self.shared.setup;
        if let Some(expiry) = self.shared.lab.as_ref().and_then(|lab| lab.certificate_expiry) {
            init.spec.node_certificate_expiry = expiry;
        }
        let Founding { stored, cluster, node } = found::found(&init, setup.clock.now())?;
        let mut file = NodeFile::new(addresses, cluster.spec.liveness);
        file.founding = true;
        file.save(&setup.folder)?;
        identity_file::save(&setup.folder.identity_file(), &stored)?;
        let running = Running::start(setup.clone(), file, stored).await?;
        let founded = async {
            let manager = running.start_manager(found::FIRST_RAFT_ID).await?;
            manager.found(cluster, node).await?;
            running.remember(|file| file.founding = false)
        };
        if let Err(error) = founded.await {
            running.stop(Parting::Leaves).await;
            return Err(error);
        }
        self.look_after(&running);
        Ok(running)
    }

    async fn force_new_cluster(&self, init: Init) -> Result<NodeId, ApiError> {
        let refused = |text: &str| ApiError::unavailable(text);
        let file = NodeFile::load(&self.shared.setup.folder)
            .map_err(|error| ApiError::internal(error.to_string()))?;
        let Some(mut file) = file else {
            return Err(refused(
                "--force-new-cluster needs the state of a manager, and this node is not part of a swarm",
            ));
        };
        if file.raft_id.is_none() {
            return Err(refused(
                "--force-new-cluster needs the state of a manager, and this node is a worker",
            ));
        }
        let stored = match self.phase() {
            Phase::Running(running) => {
                running.stop(Parting::Stops).await;
                running.stored()
            }
            _ => self.stored_on_disk()?,
        };
        self.set_phase(Phase::Pending(None));
        let rebuilt = async {
            // The addresses of before, unless a person gives another.
            if !init.advertise_addr.is_empty() {
                let chosen =
                    address::choose(&init.listen_addr, &init.advertise_addr, &address::machine_interfaces())?;
                file.set_addresses(chosen);
            }
            let running = found::rebuild(&self.shared.setup, file, stored).await?;
            self.look_after(&running);
            anyhow::Ok(running)
        };
        match rebuilt.await {
            Ok(running) => {
                let node = running.node;
                self.set_phase(Phase::Running(running));
                Ok(node)
            }
            Err(error) => {
                let text = format!("{error:#}");
                self.set_phase(Phase::Broken(text.clone()));
                Err(ApiError::internal(text))
            }
        }
    }

    async fn enter(&self, join: Join) -> Result<(), ApiError> {
        let addresses = choose(&join.listen_addr, &join.advertise_addr)?;
        // Before anybody is asked: a node that is let in and then cannot listen would haunt the cluster's list.
        port::check_free(addresses.listen).await.map_err(not_free)?;
        self.set_phase(Phase::Pending(None));
        let admitted = certificate::first(&join.remote_addrs, &join.token, join.availability).await;
        let (identity, issued, remote) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                self.give_up();
                return Err(refusal(error));
            }
        };
        let lock = match certificate::lock_of(&issued) {
            Ok(lock) => lock.unwrap_or_default(),
            Err(error) => {
                self.give_up();
                return Err(refusal(error));
            }
        };
        let mut file = NodeFile::new(addresses, issued.liveness);
        file.managers = issued.managers;
        if file.managers.is_empty() {
            warn!(%remote, "the manager knows of no managers");
        }
        // Locked from the first byte on disk, where managers lock.
        match self.begin(file, StoredIdentity { lock, ..StoredIdentity::bare(identity) }).await {
            Ok(running) => {
                self.set_phase(Phase::Running(running.clone()));
                self.wait_until_joined(&running).await
            }
            Err(error) => {
                self.give_up();
                Err(ApiError::internal(format!("{error:#}")))
            }
        }
    }

    async fn begin(&self, file: NodeFile, stored: StoredIdentity) -> anyhow::Result<Arc<Running>> {
        let folder = &self.shared.setup.folder;
        // The identity first: without the other file it counts for nothing.
        identity_file::save(&folder.identity_file(), &stored)?;
        file.save(folder)?;
        self.start(file, stored).await
    }

    /// A worker has joined with its first session, a manager once it is in the raft group.
    async fn wait_until_joined(&self, running: &Arc<Running>) -> Result<(), ApiError> {
        let joined = async {
            let mut session = running.session.clone();
            let _ = session.wait_for(|session| session.leader.is_some() || session.removed).await;
            if running.identity().role != Role::Manager {
                return;
            }
            let mut manager = running.watch_manager();
            if manager.wait_for(Option::is_some).await.is_err() {
                return;
            }
            let Some(manager) = running.manager() else { return };
            manager.wait_until_voter().await;
        };
        tokio::time::timeout(JOIN_WAIT, joined).await.map_err(|_| ApiError::unavailable(JOIN_TIMEOUT))
    }

    /// Asks the other managers to let this one go, so that they do not count on it any more.
    async fn resign(&self, running: &Arc<Running>) {
        let Some(manager) = running.manager() else { return };
        let resign = async {
            let tables = manager.read().await.map_err(|error| error.to_string())?;
            let others =
                tables.nodes.iter().filter(|node| node.manager.is_some() && node.id != running.node).count();
            let Some(node) = tables.nodes.get(running.node).filter(|_| others > 0) else { return Ok(()) };
            let mut node = node.as_ref().clone();
            node.spec.role = Role::Worker;
            manager
                .propose(vec![Change::Node(Write::update(node))])
                .await
                .map_err(|error| error.to_string())?;
            let mut demoted = running.watch_manager();
            let _ = demoted.wait_for(Option::is_none).await;
            Ok::<(), String>(())
        };
        match tokio::time::timeout(LEAVE_WAIT, resign).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => warn!(reason, "the other managers did not let this one go"),
            Err(_) => warn!("the other managers did not let this one go in time"),
        }
    }

    async fn forget(&self) -> anyhow::Result<()> {
        let _turn = self.shared.turn.lock().await;
        self.end().await
    }

    async fn end(&self) -> anyhow::Result<()> {
        if let Phase::Running(running) = self.phase() {
            self.set_phase(Phase::Pending(None));
            running.agent.leave().await;
            running.stop(Parting::Leaves).await;
        }
        let cleared = self.clear_disk();
        self.set_phase(match &cleared {
            Ok(()) => Phase::Inactive,
            Err(error) => Phase::Broken(format!("{error:#}")),
        });
        cleared
    }

    /// After an init or join that came to nothing.
    fn give_up(&self) {
        self.set_phase(match self.clear_disk() {
            Ok(()) => Phase::Inactive,
            Err(error) => Phase::Broken(format!("{error:#}")),
        });
    }

    /// The node file last: as long as it is there, so is what it speaks of.
    fn clear_disk(&self) -> anyhow::Result<()> {
        let folder = &self.shared.setup.folder;
        remove_folder(folder.raft_folder())?;
        remove_folder(folder.tasks_folder())?;
        remove_folder(folder.processes_folder())?;
        self.shared.setup.files.close();
        common::disk::remove(&folder.identity_file())?;
        common::disk::remove(&folder.node_file())?;
        Ok(common::disk::sync_dir(folder.path())?)
    }

    fn phase(&self) -> Phase {
        self.shared.phase.read().expect("no holder panics").clone()
    }

    fn set_phase(&self, phase: Phase) {
        *self.shared.phase.write().expect("no holder panics") = phase;
    }
}

impl Host for NodeHost {
    fn status(&self) -> HostStatus {
        let hostname = self.shared.setup.describer.hostname();
        match self.phase() {
            Phase::Inactive => HostStatus { hostname, ..HostStatus::default() },
            Phase::Pending(role) => {
                HostStatus { hostname, role, state: LocalState::Pending, ..HostStatus::default() }
            }
            Phase::Broken(reason) => {
                HostStatus { hostname, state: LocalState::Error(reason), ..HostStatus::default() }
            }
            Phase::Locked(locked) => HostStatus {
                hostname,
                state: LocalState::Locked,
                node: Some(locked.identity.node),
                role: Some(locked.identity.role),
                advertise_ip: Some(locked.file.advertise.ip()),
                ..HostStatus::default()
            },
            Phase::Running(running) => view::status(&running, hostname),
        }
    }

    fn manager(&self) -> Option<Arc<dyn Control>> {
        match self.phase() {
            Phase::Running(running) => running.manager().map(|manager| Arc::new(manager) as Arc<dyn Control>),
            Phase::Inactive | Phase::Pending(_) | Phase::Locked(_) | Phase::Broken(_) => None,
        }
    }

    fn init(&self, init: Init) -> BoxFuture<'_, Result<NodeId, ApiError>> {
        Box::pin(async move {
            let _turn = self.shared.turn.lock().await;
            match self.phase() {
                _ if init.force_new_cluster => self.force_new_cluster(init).await,
                Phase::Inactive => self.init_new(init).await,
                Phase::Pending(_) | Phase::Running(_) | Phase::Locked(_) | Phase::Broken(_) => {
                    Err(ApiError::unavailable(ALREADY_MEMBER))
                }
            }
        })
    }

    fn join(&self, join: Join) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async move {
            let _turn = self.shared.turn.lock().await;
            match self.phase() {
                Phase::Inactive => self.enter(join).await,
                Phase::Pending(_) | Phase::Running(_) | Phase::Locked(_) | Phase::Broken(_) => {
                    Err(ApiError::unavailable(ALREADY_MEMBER))
                }
            }
        })
    }

    fn leave(&self, force: bool) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async move {
            let _turn = self.shared.turn.lock().await;
            match self.phase() {
                Phase::Inactive => return Err(ApiError::unavailable(NOT_A_MEMBER)),
                Phase::Running(running) => self.resign(&running).await,
                Phase::Broken(reason) if !force => {
                    let text = format!(
                        "This node cannot say goodbye: {reason}. Use `--force` to forget the swarm all the same."
                    );
                    return Err(ApiError::unavailable(text));
                }
                Phase::Pending(_) | Phase::Locked(_) | Phase::Broken(_) => {}
            }
            self.end().await.map_err(|error| ApiError::internal(format!("{error:#}")))
        })
    }

    fn restore(&self, restore: Restore) -> BoxFuture<'_, Result<NodeId, ApiError>> {
        Box::pin(async move {
            let _turn = self.shared.turn.lock().await;
            match self.phase() {
                Phase::Inactive => self.restore_backup(restore).await,
                Phase::Pending(_) | Phase::Running(_) | Phase::Locked(_) | Phase::Broken(_) => {
                    Err(ApiError::unavailable(ALREADY_MEMBER))
                }
            }
        })
    }

    fn unlock(&self, key: UnlockKey) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async move {
            let _turn = self.shared.turn.lock().await;
            match self.phase() {
                Phase::Locked(locked) => self.unlock_with(&locked, &key).await,
                Phase::Running(_) => Err(ApiError::conflict(NOT_LOCKED)),
                Phase::Inactive | Phase::Pending(_) => Err(ApiError::unavailable(NOT_A_MEMBER)),
                Phase::Broken(reason) => Err(ApiError::internal(reason)),
            }
        })
    }

    fn gossip(&self) -> Vec<GossipMember> {
        match self.phase() {
            Phase::Running(running) => view::gossip(&running),
            Phase::Inactive | Phase::Pending(_) | Phase::Locked(_) | Phase::Broken(_) => Vec::new(),
        }
    }

    fn fault(&self, fault: Fault) -> Result<(), ApiError> {
        match self.phase() {
            _ if self.shared.lab.is_none() => Err(ApiError::invalid("faults are played in a lab only")),
            Phase::Running(running) => {
                running.transport.faults().cut_all(fault == Fault::Cut);
                Ok(())
            }
            Phase::Inactive | Phase::Pending(_) | Phase::Locked(_) | Phase::Broken(_) => {
                Err(ApiError::unavailable(NOT_A_MEMBER))
            }
        }
    }
}

fn broken(error: &anyhow::Error) -> Phase {
    error!(error = format!("{error:#}"), "this node cannot take up its place in the swarm");
    Phase::Broken(format!("{error:#}"))
}

fn choose(listen: &str, advertise: &str) -> Result<Addresses, ApiError> {
    address::choose(listen, advertise, &address::machine_interfaces())
        .map_err(|error| ApiError::invalid(error.to_string()))
}

fn not_free(error: NotFree) -> ApiError {
    ApiError::invalid(Report(&error).to_string())
}

fn refusal(error: CertificateError) -> ApiError {
    let text = Report(&error).to_string();
    match error {
        CertificateError::Token(_) | CertificateError::Refused(_) | CertificateError::Resolve { .. } => {
            ApiError::invalid(text)
        }
        CertificateError::Join(_) | CertificateError::NoAnswer(_) | CertificateError::Talk(_) => {
            ApiError::unavailable(text)
        }
        CertificateError::Key(_) | CertificateError::Unusable(_) | CertificateError::Lock(_) => {
            ApiError::internal(text)
        }
    }
}
