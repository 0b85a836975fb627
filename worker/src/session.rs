//! This node's session with the leader: find it, register, stay in touch, follow it when it changes.
//!
//! Where to knock: the leader gossip names, else the one the last manager named, else the known managers in turn.
//! What the leader says of this node's place comes out as a watch; carrying it out is the daemon's. What it says of
//! tasks goes to the agent, and what the agent has to say goes back in few messages.

use std::sync::Arc;
use std::time::Duration;

use common::limits::{
    FRAME_BYTES_MAX, REPORTS_PER_MESSAGE_MAX, REPORTS_WINDOW, RESYNC_PAUSE, SESSION_CONNECT_WAIT,
    SESSION_RETRY_MAX, SESSION_RETRY_MIN,
};
use common::object::{NodeDescription, NodeId};
use common::random::Random;
use common::report::Report;
use common::transport::{Peer, Stream, StreamKind, TransportError};
use common::wire::frame::{FrameError, expect_message, read_message, write_message};
use common::wire::join::KnownManager;
use common::wire::session::{ManagerMessage, Membership, NodeMessage, Parting};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::agent::AgentHandle;

/// How a stream to a manager is had: over the network, or straight across when that manager is this node.
pub type Opener =
    Arc<dyn Fn(Peer, StreamKind) -> BoxFuture<'static, Result<Stream, TransportError>> + Send + Sync>;

/// What this node tells of itself; a change is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub description: NodeDescription,
    /// `ip:port` where other nodes reach this one.
    pub addr: String,
}

/// How the session stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// The leader that holds the session; none while there is no session.
    pub leader: Option<NodeId>,
    /// The last word of a leader about this node's place.
    pub membership: Option<Membership>,
    /// A leader said that this node is not part of the cluster any more.
    pub removed: bool,
}

/// Everything a session needs; the watches are written by others.
pub struct Session {
    pub open: Opener,
    pub about: watch::Receiver<About>,
    /// Gossip's word on who leads.
    pub leader: watch::Receiver<Option<Peer>>,
    /// Known managers, for when nobody knows who leads.
    pub managers: Arc<dyn Fn() -> Vec<Peer> + Send + Sync>,
    pub state: watch::Sender<SessionState>,
    /// Set to say goodbye, and why, and end.
    pub goodbye: watch::Receiver<Option<Parting>>,
    /// Who runs this node's tasks.
    pub agent: AgentHandle,
    pub random: Box<dyn Random>,
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    Goodbye,
    Removed,
    /// The leader is elsewhere, or nobody knows where.
    Redirected(Option<Peer>),
    Lost(String),
}

impl Session {
    /// Runs until goodbye, or until this node is removed.
    pub async fn run(mut self) {
        let mut hint: Option<Peer> = None;
        let mut turn = 0usize;
        let mut pause = SESSION_RETRY_MIN;
        loop {
            if self.goodbye.borrow().is_some() {
                return;
            }
            let named = hint.take().or(*self.leader.borrow_and_update());
            let target = named.or_else(|| {
                let managers = (self.managers)();
                turn = turn.wrapping_add(1);
                (!managers.is_empty()).then(|| managers[turn % managers.len()])
            });
            let end = match target {
                Some(target) => self.hold(target, &mut pause).await,
                None => End::Lost("no manager is known".into()),
            };
            self.state.send_if_modified(|state| state.leader.take().is_some());
            match end {
                End::Goodbye => return,
                End::Removed => {
                    info!("removed from the cluster");
                    self.state.send_modify(|state| state.removed = true);
                    return;
                }
                End::Redirected(leader) => hint = leader,
                End::Lost(reason) => debug!(manager = ?target, reason, "no session"),
            }
            self.wait(&mut pause).await;
        }
    }

    /// A growing, uneven pause, so that a thousand nodes do not knock in step; ended early by news of a leader.
    async fn wait(&mut self, pause: &mut Duration) {
        let uneven = pause.mul_f64(0.5 + self.random.fraction());
        *pause = (*pause * 2).min(SESSION_RETRY_MAX);
        tokio::select! {
            () = tokio::time::sleep(uneven) => {}
            _ = self.leader.changed() => {}
            _ = self.goodbye.changed() => {}
        }
    }

    /// One session from connect to end.
    async fn hold(&mut self, target: Peer, pause: &mut Duration) -> End {
        let about = self.about.borrow_and_update().clone();
        let mut stream = match tokio::time::timeout(
            SESSION_CONNECT_WAIT,
            (self.open)(target, StreamKind::Session),
        )
        .await
        {
            Ok(Ok(stream)) => stream,
            // The far end has proved to be a manager of this cluster, so its word counts.
            Ok(Err(TransportError::Removed { .. })) => return End::Removed,
            Ok(Err(error)) => return End::Lost(error.to_string()),
            Err(_) => return End::Lost("no connection in time".into()),
        };
        let opening = tokio::time::timeout(SESSION_CONNECT_WAIT, register(&mut stream, about));
        let heartbeat_period = match opening.await {
            Ok(Ok(Ok(period))) => period,
            Ok(Ok(Err(end))) => return end,
            Ok(Err(error)) => return End::Lost(Report(&error).to_string()),
            Err(_) => return End::Lost("no answer in time".into()),
        };
        *pause = SESSION_RETRY_MIN;
        self.state.send_modify(|state| state.leader = Some(target.node));
        let Stream { mut send, mut recv } = stream;
        let state = self.state.clone();
        let agent = self.agent.clone();
        agent.session_opened();
        let (lost, mut is_lost) = watch::channel(false);
        let reading = async {
            loop {
                match read_message::<ManagerMessage>(&mut recv, FRAME_BYTES_MAX).await {
                    Ok(Some(ManagerMessage::Membership(membership))) => {
                        state.send_modify(|state| state.membership = Some(membership));
                    }
                    Ok(Some(ManagerMessage::Removed)) => return End::Removed,
                    Ok(Some(ManagerMessage::NotLeader { leader })) => {
                        return End::Redirected(to_peer(leader));
                    }
                    Ok(Some(ManagerMessage::Goodbye)) => return End::Goodbye,
                    Ok(Some(ManagerMessage::Assignments(update))) => {
                        if let Err(gap) = agent.update(update) {
                            warn!(manager = ?target, %gap, "assignments do not fit: asking for all of them");
                            lost.send_replace(true);
                        }
                    }
                    Ok(Some(ManagerMessage::Reported { number })) => agent.reported(number),
                    Ok(Some(ManagerMessage::Welcome { .. })) => {}
                    Ok(None) => return End::Lost("the manager ended the session".into()),
                    Err(error) => return End::Lost(Report(&error).to_string()),
                }
            }
        };
        let writing = async {
            let mut beat = tokio::time::interval(heartbeat_period);
            beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let (mut reports_at, mut resync_at) = (Instant::now(), Instant::now());
            loop {
                // Each waits first for its reason, so that an idle session has no timer but its heartbeat.
                let reports = async {
                    agent.wait_for_reports().await;
                    tokio::time::sleep_until(reports_at).await;
                };
                let resync = async {
                    let lost = is_lost.wait_for(|lost| *lost).await.is_ok();
                    tokio::time::sleep_until(resync_at).await;
                    lost
                };
                let message = tokio::select! {
                    _ = beat.tick() => NodeMessage::Heartbeat,
                    Ok(()) = self.about.changed() => describe(self.about.borrow_and_update().clone()),
                    Some(parting) = wait_for_goodbye(&mut self.goodbye) => NodeMessage::Goodbye(parting),
                    () = reports => match agent.take_reports() {
                        Some((number, reports)) => {
                            // A full message says that more waits.
                            let window = if reports.len() < REPORTS_PER_MESSAGE_MAX { REPORTS_WINDOW } else { Duration::ZERO };
                            reports_at = Instant::now() + window;
                            NodeMessage::Reports { number, reports }
                        }
                        None => continue,
                    },
                    true = resync => {
                        lost.send_replace(false);
                        resync_at = Instant::now() + RESYNC_PAUSE;
                        NodeMessage::Resync
                    }
                    Ok(()) = self.leader.changed() => {
                        let leader = *self.leader.borrow_and_update();
                        match leader {
                            Some(leader) if leader.node != target.node => return End::Redirected(Some(leader)),
                            _ => continue,
                        }
                    }
                };
                let goodbye = matches!(message, NodeMessage::Goodbye(_));
                if let Err(error) = write_message(&mut send, &message).await {
                    return End::Lost(Report(&error).to_string());
                }
                if goodbye {
                    // The answer ends the session from the other side.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            end = reading => end,
            end = writing => end,
        }
    }
}

/// None when nobody is there any more to have this node say goodbye.
async fn wait_for_goodbye(goodbye: &mut watch::Receiver<Option<Parting>>) -> Option<Parting> {
    goodbye.wait_for(Option::is_some).await.ok().and_then(|goodbye| *goodbye)
}

fn describe(about: About) -> NodeMessage {
    NodeMessage::Describe { description: Box::new(about.description), addr: about.addr }
}

/// Says who we are, and hears how often to say that we are still here.
async fn register(stream: &mut Stream, about: About) -> Result<Result<Duration, End>, FrameError> {
    write_message(&mut stream.send, &describe(about)).await?;
    Ok(match expect_message(&mut stream.recv, FRAME_BYTES_MAX).await? {
        ManagerMessage::Welcome { heartbeat_period } => Ok(heartbeat_period.max(Duration::from_millis(10))),
        ManagerMessage::NotLeader { leader } => Err(End::Redirected(to_peer(leader))),
        ManagerMessage::Removed => Err(End::Removed),
        ManagerMessage::Membership(_)
        | ManagerMessage::Goodbye
        | ManagerMessage::Assignments(_)
        | ManagerMessage::Reported { .. } => Err(End::Lost("an answer out of turn".into())),
    })
}

fn to_peer(known: Option<KnownManager>) -> Option<Peer> {
    let known = known?;
    Some(Peer { node: known.node, addr: known.addr.parse().ok()? })
}

#[cfg(test)]
#[path = "session_test.rs"]
mod tests;
