//! What a running node looks like from outside: for `/info`, and for `swarm gossip members`.

use std::sync::Arc;

use common::engine_api::system::GossipMember;
use common::gossip::{Member, MemberState};
use common::transport::Transport;
use common::wire::join::KnownManager;
use manager::api::{HostStatus, LocalState};

use super::running::Running;

pub fn status(running: &Arc<Running>, hostname: String) -> HostStatus {
    let identity = running.identity();
    let managers = running.managers().into_iter();
    let expired = identity.is_expired(running.setup.clock.now());
    let failure = running.failure.borrow().clone().or_else(|| {
        expired.then(|| {
            format!(
                "This node's certificate ended at {}. It asks the managers for the next one.",
                identity.not_after
            )
        })
    });
    HostStatus {
        state: failure.map_or(LocalState::Active, LocalState::Error),
        node: Some(running.node),
        role: Some(identity.role),
        advertise_ip: Some(running.file().advertise.ip()),
        hostname,
        managers: managers
            .map(|peer| KnownManager { node: peer.node, addr: peer.addr.to_string() })
            .collect(),
        warnings: running.mesh.problems(),
    }
}

pub fn gossip(running: &Arc<Running>) -> Vec<GossipMember> {
    let hostname = |member: &Member| {
        let tables = running.manager()?.store().snapshot();
        Some(tables.nodes.get(member.id.node)?.description.as_ref()?.hostname.clone())
    };
    let seen_by = running.node.to_string();
    let file = running.file();
    let me = GossipMember {
        node_id: running.node.to_string(),
        hostname: running.about.borrow().description.hostname.clone(),
        addr: file.advertise.to_string(),
        state: "alive".into(),
        generation: file.generation,
        manager: running.manager().is_some(),
        seen_by: seen_by.clone(),
        round_trip_ms: None,
    };
    let others = running.gossip.members();
    let others = others.iter().map(|member| GossipMember {
        node_id: member.id.node.to_string(),
        hostname: hostname(member).unwrap_or_default(),
        addr: member.id.addr.to_string(),
        state: word(member.state).into(),
        generation: member.id.generation,
        manager: member.id.manager,
        seen_by: seen_by.clone(),
        round_trip_ms: running.transport.round_trip(member.id.node).map(|time| time.as_secs_f64() * 1e3),
    });
    std::iter::once(me).chain(others).collect()
}

fn word(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Down => "down",
        MemberState::Left => "left",
    }
}
