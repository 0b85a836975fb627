//! A manager's part in the raft group, from start to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::identity::DataKeys;
use common::limits::PROPOSALS_PENDING_BYTES_MAX;
use common::object::{ClusterId, NodeId};
use common::report::Report;
use common::shutdown::Tasks;
use common::time::Clock;
use common::transport::{Incoming, Transport};
use openraft::Config;
use openraft::async_runtime::watch::WatchReceiver;
use redb::StorageBackend;
use tokio::sync::{Mutex, Semaphore, watch};
use tracing::warn;

use super::compact::{Compaction, SnapshotPolicy};
use super::failure::Failure;
use super::folder::{self, FolderError};
use super::log::LogStore;
use super::log_file::{LogFile, LogFileError, Owner, file_backend};
use super::network::{Network, Resolve};
use super::seal::Sealer;
use super::serve::Server;
use super::snapshot::Snapshots;
use super::snapshot_file::SnapshotError;
use super::state_machine::StateMachine;
use super::status::{self, Leadership};
use super::timing::Timing;
use super::types::Raft;
use crate::store::Store;

pub struct RaftSettings {
    /// This module's own folder; it also makes files beside it, under its name with an extension.
    pub folder: PathBuf,
    pub cluster: ClusterId,
    /// Given once to one promotion, never used again.
    pub raft_id: u64,
    pub data_keys: DataKeys,
    pub timing: Timing,
    pub snapshots: SnapshotPolicy,
    /// Snapshots kept beside the newest.
    pub snapshots_kept: usize,
}

/// Why a manager's raft did not start. Nothing is acknowledged or voted for in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum RaftStartError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Log(#[from] LogFileError),
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
    #[error("the raft timing does not fit together: {0}")]
    Timing(String),
    #[error("start raft: {0}")]
    Raft(String),
}

/// Why what is on disk is not all under the present key.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    #[error("seal the raft log anew")]
    Log(#[source] std::io::Error),
    #[error(transparent)]
    Snapshots(#[from] SnapshotError),
}

/// A running member of the raft group. Clones are handles to the same.
#[derive(Clone)]
pub struct RaftHandle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub raft: Raft,
    pub raft_id: u64,
    pub timing: Timing,
    pub resolve: Resolve,
    pub clock: Arc<dyn Clock>,
    pub failure: Failure,
    pub leadership: watch::Sender<Leadership>,
    /// Kibibytes of proposals that may still be waiting for their outcome.
    pub pending: Semaphore,
    /// Held while the membership changes: two changes at once may leave it half changed.
    pub changing: Mutex<()>,
    pub log: LogStore,
    pub sealer: Arc<Sealer>,
    pub snapshots: Arc<Snapshots>,
    compaction: Arc<Compaction>,
    server: Server,
    stopping: AtomicBool,
    /// Our own background work, ended by `shutdown`.
    tasks: Tasks,
}

impl RaftHandle {
    /// Starts from what is on disk, which may be nothing. The store is filled from it.
    pub async fn start(
        settings: RaftSettings,
        store: Store,
        transport: Arc<dyn Transport>,
        resolve: Resolve,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, RaftStartError> {
        Self::start_on(settings, store, transport, resolve, clock, tasks, file_backend).await
    }

    /// `start` with the log on a disk of the caller's.
    pub(super) async fn start_on<B: StorageBackend>(
        settings: RaftSettings,
        store: Store,
        transport: Arc<dyn Transport>,
        resolve: Resolve,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
        disk: impl FnOnce(&Path) -> Result<B, LogFileError> + Send + 'static,
    ) -> Result<Self, RaftStartError> {
        let RaftSettings { raft_id, timing, snapshots: policy, .. } = settings;
        let config = config(timing)?;
        let failure = Failure::default();
        let latch = failure.clone();
        let opened = tokio::task::spawn_blocking(move || open(&settings, latch, disk)).await;
        let (log, sealer, snapshots) = opened.map_err(|error| RaftStartError::Raft(error.to_string()))??;
        let compaction = Arc::new(Compaction::new(policy));
        let machine = StateMachine::new(store, snapshots.clone(), compaction.clone(), failure.clone());
        let network = Network {
            raft_id,
            transport,
            resolve: resolve.clone(),
            clock: clock.clone(),
            timing,
            snapshots: snapshots.clone(),
        };
        let raft = match Raft::new(raft_id, Arc::new(config), network, log.clone(), machine).await {
            Ok(raft) => raft,
            Err(error) => {
                let _ = log.close().await; // what is wrong with it has been said
                return Err(RaftStartError::Raft(failure.get().unwrap_or_else(|| error.to_string())));
            }
        };
        elect_alone(&raft, raft_id).await;
        let shared = Arc::new(Shared {
            server: Server::new(raft.clone(), raft_id, snapshots.clone()),
            raft,
            raft_id,
            timing,
            resolve,
            clock,
            failure,
            leadership: watch::Sender::new(Leadership::default()),
            pending: Semaphore::new(PROPOSALS_PENDING_BYTES_MAX / 1024),
            changing: Mutex::new(()),
            log,
            sealer,
            snapshots,
            compaction,
            stopping: AtomicBool::new(false),
            tasks: tasks.child(),
        });
        let (watcher, compactor) = (shared.clone(), shared.clone());
        shared.tasks.spawn_until_stopped(async move { watcher.watch().await });
        shared.tasks.spawn_until_stopped(async move {
            compactor.compaction.run(compactor.raft.clone()).await;
        });
        Ok(Self { shared })
    }

    /// Makes this member the first and only one of a new group, and waits until it leads.
    pub async fn initialize(&self, node: NodeId, addr: &str) -> Result<(), RaftStartError> {
        let member = super::types::RaftMember { node, addr: addr.into() };
        let members = std::collections::BTreeMap::from([(self.shared.raft_id, member)]);
        self.shared
            .raft
            .initialize(members)
            .await
            .map_err(|error| RaftStartError::Raft(error.to_string()))?;
        let mut leadership = self.watch();
        let leads = leadership.wait_for(|now| now.is_me).await.is_ok();
        leads.then_some(()).ok_or_else(|| RaftStartError::Raft(self.shared.stopped()))
    }

    /// Serves one raft stream of another manager to its end. The caller spawns it.
    pub async fn serve(&self, incoming: Incoming) {
        tokio::select! {
            () = self.shared.server.serve(incoming) => {}
            () = self.shared.tasks.stopping() => {}
        }
    }

    /// Set once raft can no longer keep its promises: the text says which file and why. The manager has to
    /// stop; nothing was acknowledged that is not on disk.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.watch()
    }

    /// Who leads, as it changes.
    pub fn watch(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.subscribe()
    }

    /// Makes a snapshot soon, whatever the policy says.
    pub async fn snapshot_now(&self) -> Result<(), super::ProposeError> {
        let triggered = self.shared.raft.trigger().snapshot().await;
        triggered.map_err(|_| super::ProposeError::Stopped(self.shared.stopped()))
    }

    /// Changes at once how often snapshots are made and what is kept.
    pub fn set_snapshot_policy(&self, policy: SnapshotPolicy, snapshots_kept: usize) {
        self.shared.compaction.set_policy(policy);
        self.shared.snapshots.set_keep_old(snapshots_kept);
    }

    /// Seals with `keys.current` from now on, and all that is on disk anew. When it returns, nothing on disk needs the
    /// key before any more. Whoever crashes before that needs both, and asks again.
    pub async fn reseal(&self, keys: &DataKeys) -> Result<(), ResealError> {
        self.shared.sealer.change(keys);
        self.shared.log.reseal().await.map_err(ResealError::Log)?;
        let snapshots = self.shared.snapshots.clone();
        let resealed = tokio::task::spawn_blocking(move || snapshots.reseal()).await;
        resealed.map_err(|error| ResealError::Log(std::io::Error::other(error)))??;
        Ok(())
    }

    /// Opens nothing any more with the key before: everything is under the present one.
    pub fn forget_key_before(&self, keys: &DataKeys) {
        self.shared.sealer.change(&DataKeys { previous: None, ..keys.clone() });
    }

    /// The version of the key that seals what is written.
    pub fn data_key_version(&self) -> u64 {
        self.shared.sealer.version()
    }

    /// Stops: first raft, then the log's writer with what it still holds, then the files are closed.
    pub async fn shutdown(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        if let Err(error) = self.shared.raft.shutdown().await {
            warn!(%error, "raft did not stop well");
        }
        self.shared.tasks.stop().await;
        if let Err(error) = self.shared.log.close().await {
            warn!(%error, "the raft log did not close well");
        }
        let snapshots = self.shared.snapshots.clone();
        // Waits for a snapshot that is being written.
        let _ = tokio::task::spawn_blocking(move || snapshots.close()).await;
    }
}

impl Shared {
    /// Why nothing more can be had from here.
    pub fn stopped(&self) -> String {
        self.failure.get().unwrap_or_else(|| "this manager is stopping".into())
    }

    /// Tells who leads, as it changes, and when raft has ended by itself.
    async fn watch(&self) {
        let mut metrics = self.raft.server_metrics();
        loop {
            let now = status::leadership(&metrics.borrow_and_update(), &self.resolve);
            self.leadership.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
            if metrics.changed().await.is_err() {
                break;
            }
        }
        self.leadership.send_modify(|now| {
            now.leader = None;
            now.leader_raft_id = None;
            now.is_me = false;
        });
        let state = self.raft.metrics().borrow_watched().running_state.clone();
        if let Err(error) = state
            && !self.stopping.load(Ordering::SeqCst)
        {
            self.failure.set(Report(&error));
        }
    }
}

/// A manager that is the only voter need not wait for a leader to be silent.
async fn elect_alone(raft: &Raft, raft_id: u64) {
    let alone = {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().eq([raft_id])
    };
    // Failing means that raft has stopped, which everybody is told in other ways.
    if alone && let Err(error) = raft.trigger().elect(false).await {
        warn!(%error, "no election at the start");
    }
}

fn config(timing: Timing) -> Result<Config, RaftStartError> {
    let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "swarm".into(),
        heartbeat_interval: ms(timing.heartbeat),
        election_timeout_min: ms(timing.election_min),
        election_timeout_max: ms(timing.election_max),
        enable_pre_vote: Some(true),
        // The commit mark on disk may lag, so a restarted leader cannot know that its state is the newest.
        enable_leader_restore: Some(false),
        // Both are `compact`'s, so that people can change them while the cluster runs.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // The bytes of a message are bounded by the log.
        max_payload_entries: 1024,
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        ..Config::default()
    }
    .validate()
    .map_err(|error| RaftStartError::Timing(error.to_string()))
}

fn open<B: StorageBackend>(
    settings: &RaftSettings,
    failure: Failure,
    disk: impl FnOnce(&Path) -> Result<B, LogFileError>,
) -> Result<(LogStore, Arc<Sealer>, Arc<Snapshots>), RaftStartError> {
    let owner = Owner { cluster: settings.cluster, raft_id: settings.raft_id };
    let sealer = Arc::new(Sealer::of(&settings.data_keys));
    folder::prepare(&settings.folder, owner)?;
    let snapshots = Arc::new(Snapshots::open(&settings.folder, sealer.clone(), settings.snapshots_kept)?);
    let path = folder::log_path(&settings.folder);
    let file = LogFile::open(&path, disk(&path)?, sealer.clone())?;
    if file.marks().owner.is_none() {
        folder::may_begin(&settings.folder, owner)?; // whole, and yet nobody's: not the log that was here
    }
    folder::claim(&settings.folder, file.owner_or(owner)?, owner)?;
    Ok((LogStore::new(file, failure)?, sealer, snapshots))
}
