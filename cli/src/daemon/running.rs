//! This node while it is part of a cluster: transport, gossip, session, and a manager when it is one.
//!
//! Started from what is on disk, so that a start after init, after join and after a crash are the same start.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use common::gossip::{Gossip, Identity as GossipIdentity, Start};
use common::identity::{DataKey, DataKeys, Lock, NodeIdentity, StoredIdentity, file as identity_file};
use common::limits::{GOODBYE_WAIT, LOCAL_STREAM_BYTES, MANAGER_START_WAIT};
use common::object::service::RuntimeKind;
use common::object::{NodeId, Role};
use common::random::{Random, SystemRandom};
use common::shutdown::Tasks;
use common::time::Clock;
use common::transport::quic::{QuicSettings, QuicTransport};
use common::transport::{
    Arrivals, Incoming, Peer, PeerIdentity, Stream, StreamKind, Transport, TransportError,
};
use common::wire::join::KnownManager;
use common::wire::session::Parting;
use manager::audit::Audit;
use manager::manager::{Manager, Settings};
use manager::raft;
use tokio::sync::{Notify, watch};
use worker::agent::{Agent, AgentHandle, AgentSettings};
use worker::mesh::{Mesh, MeshSettings};
use worker::runtime::files::TaskFiles;
use worker::session::{About, Opener, Session, SessionState};

use super::describe::Describer;
use super::runtimes;
use super::state::{Folder, NodeFile};

/// What is the same for every start of this daemon.
#[derive(Clone)]
pub struct Setup {
    pub folder: Folder,
    pub describer: Describer,
    /// The runtimes this node offers.
    pub runtimes: Vec<RuntimeKind>,
    /// Secrets and configs of this node's tasks.
    pub files: Arc<TaskFiles>,
    pub clock: Arc<dyn Clock>,
    pub audit: Audit,
    pub tasks: Tasks,
}

pub struct Running {
    pub setup: Setup,
    pub node: NodeId,
    pub transport: Arc<QuicTransport>,
    pub gossip: Gossip,
    pub tasks: Tasks,
    /// Carries out the cluster's wishes; stopped first, so that it takes nothing up again that is being ended.
    pub supervisor: Tasks,
    pub about: watch::Sender<About>,
    pub session: watch::Receiver<SessionState>,
    /// Runs the tasks of this node.
    pub agent: AgentHandle,
    /// Carries connections to published ports.
    pub mesh: Mesh,
    /// Why the manager here had to stop.
    pub failure: watch::Sender<Option<String>>,
    /// The certificate is to be renewed now, with a new key.
    pub renew_soon: Notify,
    /// Held while the keys that this node's data is kept with change.
    pub at_rest_turn: tokio::sync::Mutex<()>,
    identity: watch::Sender<NodeIdentity>,
    /// What the identity file holds: the data keys are made when this node becomes a manager.
    stored: Mutex<StoredIdentity>,
    file: Mutex<NodeFile>,
    manager: watch::Sender<Option<Manager>>,
    goodbye: watch::Sender<Option<Parting>>,
}

impl Running {
    pub async fn start(
        setup: Setup,
        mut file: NodeFile,
        stored: StoredIdentity,
    ) -> anyhow::Result<Arc<Self>> {
        let identity = stored.identity.clone();
        let local_key = stored.local_key.clone();
        // On disk before it is used: two lives under one generation could not be told apart.
        let seconds = setup.clock.now().0 / 1_000_000_000;
        file.generation = seconds.max(file.generation + 1);
        file.save(&setup.folder)?;
        let tasks = setup.tasks.child();
        super::port::check_free(file.listen).await?;
        let settings = QuicSettings::new(file.listen);
        let (transport, arrivals) =
            QuicTransport::start(settings, identity.clone(), &tasks, setup.clock.clone())?;
        let Arrivals { mut streams, datagrams } = arrivals;
        let is_manager = identity.role == Role::Manager;
        let start = Start {
            me: GossipIdentity::new(identity.node, file.advertise, file.generation, is_manager),
            preset: file.liveness,
            contacts: peers(&file.managers, identity.node),
            seed: SystemRandom.next_u64(),
        };
        let gossip = Gossip::start(start, transport.clone(), datagrams, setup.clock.clone(), &tasks);
        let description = setup.describer.describe(&identity).await;
        let (about, about_reader) = watch::channel(About { description, addr: file.advertise.to_string() });
        let (session_state, session) = watch::channel(SessionState::default());
        let (goodbye, goodbye_reader) = watch::channel(None);
        let runtimes = runtimes::make(&setup, identity.node, &tasks)?;
        let agent = Agent::start(AgentSettings {
            node: identity.node,
            hostname: setup.describer.hostname(),
            folder: setup.folder.tasks_folder(),
            local_key,
            runtimes,
            random: Box::new(SystemRandom),
            clock: setup.clock.clone(),
            tasks: tasks.clone(),
        })?;
        let mesh = Mesh::start(mesh_settings(&identity, &file, &transport, &gossip, &agent, &tasks));
        let running = Arc::new(Self {
            node: identity.node,
            transport,
            gossip,
            tasks: tasks.clone(),
            supervisor: tasks.child(),
            about,
            session,
            agent: agent.clone(),
            mesh,
            failure: watch::Sender::new(None),
            renew_soon: Notify::new(),
            at_rest_turn: tokio::sync::Mutex::new(()),
            identity: watch::Sender::new(identity),
            stored: Mutex::new(stored),
            file: Mutex::new(file),
            manager: watch::Sender::new(None),
            goodbye,
            setup,
        });
        running.resume_manager().await?;
        let router = running.clone();
        tasks.spawn_until_stopped(async move {
            while let Some(incoming) = streams.recv().await {
                router.route(incoming);
            }
        });
        let known = Arc::downgrade(&running);
        let session = Session {
            open: running.opener(),
            about: about_reader,
            leader: leader_peers(&running.gossip, &tasks),
            managers: Arc::new(move || known.upgrade().map(|running| running.managers()).unwrap_or_default()),
            state: session_state,
            goodbye: goodbye_reader,
            agent,
            random: Box::new(SystemRandom),
        };
        tasks.spawn_until_stopped(session.run());
        Ok(running)
    }

    pub fn identity(&self) -> NodeIdentity {
        self.identity.borrow().clone()
    }

    pub fn manager(&self) -> Option<Manager> {
        self.manager.borrow().clone()
    }

    pub fn watch_manager(&self) -> watch::Receiver<Option<Manager>> {
        self.manager.subscribe()
    }

    pub fn file(&self) -> NodeFile {
        self.file.lock().expect("no holder panics").clone()
    }

    /// Changes what this node remembers, on disk first.
    pub fn remember(&self, change: impl FnOnce(&mut NodeFile)) -> anyhow::Result<()> {
        let mut file = self.file.lock().expect("no holder panics");
        let mut next = file.clone();
        change(&mut next);
        if next != *file {
            next.save(&self.setup.folder)?;
            *file = next;
        }
        Ok(())
    }

    /// What the identity file holds.
    pub fn stored(&self) -> StoredIdentity {
        self.stored.lock().expect("no holder panics").clone()
    }

    /// Changes what the identity file holds, on disk first.
    pub fn store(&self, change: impl FnOnce(&mut StoredIdentity)) -> anyhow::Result<()> {
        let mut stored = self.stored.lock().expect("no holder panics");
        let mut next = stored.clone();
        change(&mut next);
        identity_file::save(&self.setup.folder.identity_file(), &next)?;
        *stored = next;
        Ok(())
    }

    /// Managers to ask, the ones gossip hears first.
    pub fn managers(&self) -> Vec<Peer> {
        let mut heard: Vec<Peer> = self
            .gossip
            .members()
            .iter()
            .filter(|member| member.id.manager && member.state.is_active())
            .map(|member| member.id.peer())
            .collect();
        if self.manager().is_some() {
            heard.push(Peer { node: self.node, addr: self.file().advertise });
        }
        let known: BTreeSet<NodeId> = heard.iter().map(|peer| peer.node).collect();
        let remembered = peers(&self.file().managers, self.node);
        heard.extend(remembered.into_iter().filter(|peer| !known.contains(&peer.node)));
        heard
    }

    /// How a stream to a manager is had: straight across when that manager is this node.
    pub fn opener(self: &Arc<Self>) -> Opener {
        let running = Arc::downgrade(self);
        Arc::new(move |peer, kind| {
            let running = running.upgrade();
            Box::pin(async move {
                let running = running.ok_or(TransportError::Closed)?;
                if peer.node != running.node {
                    return running.transport.open(peer, kind).await;
                }
                let Some(manager) = running.manager() else {
                    let reason = "this node is not a manager".into();
                    return Err(TransportError::Unreachable { node: peer.node, addr: peer.addr, reason });
                };
                let identity = running.identity();
                let from =
                    PeerIdentity { node: identity.node, role: identity.role, cluster: identity.cluster };
                let (near, far) = tokio::io::duplex(LOCAL_STREAM_BYTES);
                let incoming = Incoming { from: Some(from), addr: peer.addr, kind, stream: whole(far) };
                running.tasks.spawn_until_stopped(async move { manager.serve(incoming).await });
                Ok(whole(near))
            })
        })
    }

    /// Uses a new certificate and the lock that came with it, on disk first; the keys of the raft log are wrapped anew.
    pub async fn set_identity(&self, identity: NodeIdentity, lock: Option<Lock>) -> anyhow::Result<()> {
        self.store(|stored| stored.renew(identity.clone(), lock))?;
        self.transport.set_identity(identity.clone())?;
        let _ = self.gossip.set_manager(identity.role == Role::Manager).await; // gossip may have stopped
        let description = self.setup.describer.describe(&identity).await;
        self.identity.send_replace(identity);
        self.about.send_if_modified(|about| {
            std::mem::replace(&mut about.description, description.clone()) != description
        });
        Ok(())
    }

    /// Becomes a member of the raft group under `raft_id`, or begins the group.
    pub async fn start_manager(&self, raft_id: u64) -> anyhow::Result<Manager> {
        let fresh = || DataKeys { current: DataKey::generate(&mut SystemRandom), version: 0, previous: None };
        self.store(|stored| {
            stored.data_keys.get_or_insert_with(fresh);
        })?;
        let data_keys = self.stored().data_keys.context("the key of the raft log is gone")?;
        self.remember(|file| file.raft_id = Some(raft_id))?;
        let file = self.file();
        let settings = Settings {
            cluster: self.identity().cluster,
            node: self.node,
            address: file.advertise,
            raft_folder: self.setup.folder.raft_folder(),
            secret_drivers_folder: self.setup.folder.secret_drivers_folder(),
            raft_id,
            data_keys,
            preset: file.liveness,
            identity: self.identity.subscribe(),
        };
        let transport: Arc<dyn Transport> = self.transport.clone();
        let manager =
            Manager::start(settings, transport, self.gossip.clone(), self.setup.clock.clone(), &self.tasks)
                .await?;
        manager.keep_record_in(self.setup.audit.clone());
        let (agent, tasks) = (self.agent.clone(), self.tasks.clone());
        manager.reach_this_node_by(Arc::new(move |kind| {
            let (near, far) = tokio::io::duplex(LOCAL_STREAM_BYTES);
            let agent = agent.clone();
            if kind == StreamKind::Logs {
                tasks.spawn_until_stopped(async move { agent.serve_logs(whole(far)).await });
            }
            // A stream of any other kind ends at once: nothing else is asked of a node's own side.
            Box::pin(std::future::ready(Ok(whole(near))))
        }));
        self.transport.vouch(Some(manager.voucher()));
        self.manager.send_replace(Some(manager.clone()));
        Ok(manager)
    }

    /// Stops being a manager and forgets the raft log. The id is never used again.
    pub async fn end_manager(&self) -> anyhow::Result<()> {
        self.pause_manager().await;
        self.remember(|file| file.raft_id = None)?;
        raft::wipe(&self.setup.folder.raft_folder())?;
        let _turn = self.at_rest_turn.lock().await;
        self.store(StoredIdentity::forget_manager)
    }

    /// Stops the manager and leaves its files as they are.
    pub async fn pause_manager(&self) {
        self.transport.vouch(None);
        if let Some(manager) = self.manager.send_replace(None) {
            manager.stop().await;
        }
    }

    /// Stops in order and with goodbyes; files stay.
    pub async fn stop(&self, parting: Parting) {
        self.supervisor.stop().await;
        if let Some(manager) = self.manager() {
            manager.hand_over().await;
        }
        self.goodbye.send_replace(Some(parting));
        let mut session = self.session.clone();
        let _ =
            tokio::time::timeout(GOODBYE_WAIT, session.wait_for(|session| session.leader.is_none())).await;
        self.gossip.leave().await;
        self.pause_manager().await;
        self.mesh.stop().await;
        self.agent.stop().await;
        self.transport.stop().await;
        self.tasks.stop().await;
    }

    async fn resume_manager(&self) -> anyhow::Result<()> {
        let Some(raft_id) = self.file().raft_id else { return Ok(()) };
        if self.identity().role != Role::Manager {
            return Ok(()); // demoted while it was away; the rest follows with the first session
        }
        self.start_manager(raft_id).await.map(drop)
    }

    /// Hands a stream to the agent, to the mesh or to the manager here. A node that is just becoming a manager lets its callers
    /// wait a moment, so that the leader need not knock again; elsewhere the stream ends at once, and the caller asks
    /// another node.
    fn route(&self, incoming: Incoming) {
        if incoming.kind == StreamKind::Logs {
            // A manager that was demoted has its certificate for a moment longer, and nothing to ask for here.
            let managers = self.file().managers;
            if !incoming.from.is_some_and(|from| managers.iter().any(|known| known.node == from.node)) {
                return;
            }
            let agent = self.agent.clone();
            self.tasks.spawn_until_stopped(async move { agent.serve_logs(incoming.stream).await });
            return;
        }
        if incoming.kind == StreamKind::Mesh {
            let mesh = self.mesh.clone();
            self.tasks.spawn_until_stopped(async move { mesh.serve(incoming.stream).await });
            return;
        }
        let mut manager = self.manager.subscribe();
        let becoming = self.identity.borrow().role == Role::Manager;
        self.tasks.spawn_until_stopped(async move {
            let patience = if becoming { MANAGER_START_WAIT } else { Duration::ZERO };
            let started = tokio::time::timeout(patience, manager.wait_for(Option::is_some)).await;
            let Ok(Ok(Some(manager))) = started.map(|started| started.map(|manager| manager.clone())) else {
                return;
            };
            manager.serve(incoming).await;
        });
    }
}

/// Published ports are listened on everywhere; on a machine of several nodes, each on its own loopback address.
fn mesh_settings(
    identity: &NodeIdentity,
    file: &NodeFile,
    transport: &Arc<QuicTransport>,
    gossip: &Gossip,
    agent: &AgentHandle,
    tasks: &Tasks,
) -> MeshSettings {
    let own = [file.listen.ip(), file.advertise.ip()].into_iter().find(|address| address.is_loopback());
    let (opening, suspecting, gossip) = (transport.clone(), transport.clone(), gossip.clone());
    MeshSettings {
        node: identity.node,
        agent: agent.clone(),
        open: Arc::new(move |peer, kind| {
            let transport = opening.clone();
            Box::pin(async move { transport.open(peer, kind).await })
        }),
        find: Arc::new(move |node| {
            gossip.member(node).map(|member| (member.id.peer(), member.state.is_active()))
        }),
        suspect: Arc::new(move |node| suspecting.suspect(node)),
        listen: own,
        random: Box::new(SystemRandom),
        tasks: tasks.clone(),
    }
}

/// Both directions of one end of an in-process stream.
fn whole(io: tokio::io::DuplexStream) -> Stream {
    let (recv, send) = tokio::io::split(io);
    Stream { send: Box::new(send), recv: Box::new(recv) }
}

fn peers(managers: &[KnownManager], me: NodeId) -> Vec<Peer> {
    let peer = |known: &KnownManager| Some(Peer { node: known.node, addr: known.addr.parse().ok()? });
    managers.iter().filter(|known| known.node != me).filter_map(peer).collect()
}

/// Gossip's hint on who leads, as a destination.
fn leader_peers(gossip: &Gossip, tasks: &Tasks) -> watch::Receiver<Option<Peer>> {
    let mut hints = gossip.leader();
    let (sender, receiver) = watch::channel(None);
    tasks.spawn_until_stopped(async move {
        loop {
            let hint = *hints.borrow_and_update();
            let peer = hint.map(|hint| Peer { node: hint.node, addr: hint.addr });
            sender.send_if_modified(|now| std::mem::replace(now, peer) != peer);
            if hints.changed().await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Removes a folder and what is in it; nothing where there is none.
pub fn remove_folder(path: PathBuf) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
