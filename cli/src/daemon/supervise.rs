//! Carries out what the cluster wants of this node while it runs: its role, its certificate, whom to refuse; and
//! keeps on disk what the next start needs.

use std::sync::Arc;
use std::time::Duration;

use common::gossip::{Event, News};
use common::identity::NodeIdentity;
use common::limits::{
    DESCRIBE_PERIOD, RENEW_RETRY_MAX, RENEW_RETRY_MIN, RENEW_WITHOUT_SESSION, RENEW_WITHOUT_SESSION_MAX,
};
use common::object::{NodeId, Role};
use common::random::SystemRandom;
use common::time::{Monotonic, Timestamp};
use common::transport::{Peer, Transport};
use common::wire::session::Membership;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use super::certificate;
use super::running::Running;

/// What the supervisor cannot do itself, because it would end with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cluster has removed this node: stop, and forget it.
    Removed,
}

/// Runs until the node stops.
pub async fn supervise(running: Arc<Running>, verdicts: mpsc::Sender<Verdict>) {
    let mut session = running.session.clone();
    let mut generation = running.gossip.generation();
    let mut manager = running.watch_manager();
    let mut news = running.gossip.subscribe();
    // What gossip heard before somebody listened, and what the store has, was told to nobody.
    refuse(&running);
    let mut describe = tokio::time::interval(DESCRIBE_PERIOD);
    describe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut retry = RENEW_RETRY_MIN;
    let mut renew_at = match running.stored().exposed {
        true => Timestamp(0), // a renewal that did not come before the last end
        false => running.identity().renew_at(&mut SystemRandom),
    };
    let mut stranded = Stranded::new(running.setup.clock.monotonic());
    loop {
        let state = session.borrow_and_update().clone();
        if state.removed {
            let _ = verdicts.send(Verdict::Removed).await; // without a listener the daemon is stopping
            return;
        }
        let settled = match &state.membership {
            Some(membership) => follow(&running, membership, state.leader).await,
            None => Ok(()),
        };
        let now = running.setup.clock.now();
        let settled = match settled {
            Ok(()) if now >= renew_at => renew(&running, state.leader).await,
            settled => settled,
        };
        let try_in = stranded.look(state.leader.is_some(), running.setup.clock.monotonic());
        if try_in.is_zero() {
            // Perhaps nobody wants this certificate any more, and its key still counts.
            if let Err(error) = renew(&running, None).await {
                debug!(error = format!("{error:#}"), "no session, and no other certificate");
            }
        }
        let wait = match settled {
            Ok(()) => {
                retry = RENEW_RETRY_MIN;
                renew_at = renewal_after(renew_at, &running.identity(), now);
                // Never longer than this, so that a wall clock that was set wrong and right again does no harm.
                renew_at.since(now).clamp(RENEW_RETRY_MIN, Duration::from_secs(600))
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "this node's place in the cluster is not taken up yet");
                retry = (retry * 2).min(RENEW_RETRY_MAX);
                retry
            }
        };
        let wait = if try_in.is_zero() { wait } else { wait.min(try_in) };
        let mut failure = failure_of(&manager.borrow_and_update().clone());
        tokio::select! {
            _ = session.changed() => {}
            _ = manager.changed() => {}
            Ok(()) = generation.changed() => {
                let generation = *generation.borrow_and_update();
                keep(running.remember(|file| file.generation = file.generation.max(generation)));
            }
            item = news.next() => match item {
                Some(News::Event(Event::Denied(_)) | News::Missed) => refuse(&running),
                Some(_) => {}
                None => return,
            },
            reason = async { match &mut failure {
                Some(failure) => failure.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone()),
                None => std::future::pending().await,
            }} => if let Some(reason) = reason {
                error!(reason, "the manager on this node has stopped: nothing is acknowledged any more");
                running.failure.send_replace(Some(reason));
                running.pause_manager().await;
            },
            _ = describe.tick() => {
                let description = running.setup.describer.describe(&running.identity()).await;
                running.about.send_if_modified(|about| {
                    std::mem::replace(&mut about.description, description.clone()) != description
                });
            }
            () = running.renew_soon.notified() => renew_at = Timestamp(0),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How long a node has been without a session, and when to do something about it.
struct Stranded {
    since: Monotonic,
    pause: Duration,
}

impl Stranded {
    fn new(now: Monotonic) -> Self {
        Self { since: now, pause: RENEW_WITHOUT_SESSION }
    }

    /// How long until another certificate is worth asking for: nothing means now. Longer each time.
    fn look(&mut self, in_session: bool, now: Monotonic) -> Duration {
        if in_session {
            *self = Self::new(now);
            return Duration::from_secs(600);
        }
        let waited = now.since(self.since);
        if waited < self.pause {
            return self.pause - waited;
        }
        *self = Self { since: now, pause: (self.pause * 2).min(RENEW_WITHOUT_SESSION_MAX) };
        Duration::ZERO
    }
}

fn failure_of(
    manager: &Option<manager::manager::Manager>,
) -> Option<tokio::sync::watch::Receiver<Option<String>>> {
    manager.as_ref().map(|manager| manager.failure())
}

/// A moment drawn anew only when the certificate is a new one.
fn renewal_after(before: Timestamp, identity: &NodeIdentity, now: Timestamp) -> Timestamp {
    let in_lifetime = before > identity.not_before && before < identity.not_after;
    if in_lifetime && before > now { before } else { identity.renew_at(&mut SystemRandom).max(now) }
}

/// Has the transport refuse all removed nodes: those that gossip remembers, and on a manager those of the store.
fn refuse(running: &Running) {
    let mut denied = running.gossip.denied();
    if let Some(manager) = running.manager()
        && let Some(cluster) = manager.store().snapshot().cluster()
    {
        denied.extend(cluster.denied.keys());
    }
    running.transport.deny(denied);
}

fn keep(saved: anyhow::Result<()>) {
    if let Err(error) = saved {
        warn!(error = format!("{error:#}"), "this node's state is not on disk");
    }
}

/// Takes up the place that the store has for this node.
async fn follow(running: &Arc<Running>, wanted: &Membership, leader: Option<NodeId>) -> anyhow::Result<()> {
    running.remember(|file| {
        if !wanted.managers.is_empty() {
            file.managers.clone_from(&wanted.managers);
        }
        file.liveness = wanted.liveness;
    })?;
    let present = running.identity();
    if !wanted.trust_pem.is_empty()
        && wanted.trust_pem != present.root_pem()
        // Where its own certificate is of a root that goes, the next one brings the roots with it.
        && let Ok(next) = present.trusting(&wanted.trust_pem)
    {
        info!("the roots to trust have changed");
        running.set_identity(next, None).await?;
    }
    let as_wanted = |identity: &NodeIdentity| {
        let issuer = &wanted.issuer_public_key;
        wanted.role == identity.role
            && (issuer.is_empty() || *issuer == identity.tls_info().issuer_public_key)
    };
    if !as_wanted(&running.identity()) {
        renew(running, leader).await?;
        anyhow::ensure!(as_wanted(&running.identity()), "the new certificate is not what the cluster wants");
    }
    let role = running.identity().role;
    let present = running.manager().and(running.file().raft_id);
    match (role, wanted.raft_id, present) {
        (Role::Manager, Some(wanted), None) if running.failure.borrow().is_none() => {
            if running.file().raft_id.is_some_and(|before| before != wanted) {
                running.end_manager().await?;
            }
            info!(raft.id = wanted, "becoming a manager");
            running.start_manager(wanted).await?;
        }
        (Role::Manager, Some(wanted), Some(present)) if wanted != present => {
            running.end_manager().await?;
            running.start_manager(wanted).await?;
        }
        (Role::Worker, _, _) if running.file().raft_id.is_some() => {
            info!("no longer a manager");
            running.end_manager().await?;
        }
        _ => {}
    }
    Ok(())
}

/// Gets the next certificate from the leader, or from any manager that answers.
async fn renew(running: &Arc<Running>, leader: Option<NodeId>) -> anyhow::Result<()> {
    let mut managers: Vec<Peer> = running.managers();
    managers.sort_by_key(|peer| Some(peer.node) != leader);
    let opener = running.opener();
    let mut last = anyhow::anyhow!("no manager is known");
    for manager in managers {
        match certificate::next(&opener, manager, &running.identity()).await {
            Ok((identity, lock)) => {
                info!(role = %identity.role, until = %identity.not_after, "certificate renewed");
                return running.set_identity(identity, lock).await;
            }
            Err(error) => {
                last = anyhow::Error::from(error).context(format!("renew at manager {}", manager.node))
            }
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_session_tries_ever_more_rarely() {
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        let mut stranded = Stranded::new(at(0));
        assert_eq!(stranded.look(false, at(1)), RENEW_WITHOUT_SESSION - Duration::from_secs(1));
        let mut now = at(0);
        let mut tries = 0;
        while now < at(3600) {
            match stranded.look(false, now) {
                Duration::ZERO => tries += 1,
                wait => now = now.plus(wait),
            }
        }
        assert!((50..=70).contains(&tries), "{tries}");
        stranded.look(true, now);
        assert_eq!(stranded.look(false, now), RENEW_WITHOUT_SESSION);
    }
}
