//! What timers are for, and what is done when they fire.

use std::time::Duration;

use foca::{Incarnation, Message, State, Timer};

use crate::gossip::contacts::fraction;
use crate::gossip::facts::{Fact, LeaderHint};
use crate::gossip::identity::Identity;
use crate::gossip::presets::transmissions;
use crate::gossip::timers::Rank;
use crate::object::NodeId;
use crate::time::Monotonic;

use super::{Membership, Phase};

/// How often a leader repeats its hint; it rides on packets that are sent anyway.
const HINT_PERIOD: Duration = Duration::from_secs(5);
/// Members that are told of refused nodes per turn.
const PUSHES_PER_TURN: usize = 64;
const PUSH_PERIOD: Duration = Duration::from_millis(50);
/// A refusal is sent to everybody this often; comparing notes reaches whoever missed all of it.
pub(super) const PUSH_ROUNDS: u32 = 3;
const PUSH_ROUND_PERIOD: Duration = Duration::from_secs(1);
pub(super) const GOODBYE_ROUNDS: u32 = 3;
const GOODBYE_PERIOD: Duration = Duration::from_millis(40);
pub(super) const COMPARE_PERIOD_MIN: Duration = Duration::from_millis(300);
pub(super) const JOIN_PERIOD_MIN: Duration = Duration::from_millis(200);

/// What a timer is for.
#[derive(Debug)]
pub(super) enum Due {
    Foca(Timer<Identity>),
    /// The time of a member we suspect is over, unless our own health asks for more.
    Verdict {
        raised: Monotonic,
        member: Identity,
        incarnation: Incarnation,
    },
    /// A watched node has had its time to answer.
    AskAgain {
        member: Identity,
        asked: u32,
    },
    /// Ask a suspect directly.
    LastCall {
        member: Identity,
        incarnation: Incarnation,
    },
    Chore(Chore, Monotonic),
}

/// What is done again and again, one timer each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    Watch,
    Gossip,
    Join,
    Merge,
    Compare,
    Hint,
    Push,
    Goodbye,
}

impl Chore {
    pub(super) const COUNT: usize = 8;
}

impl Rank for Due {
    fn rank(&self) -> u8 {
        match self {
            // Foca's own order; the numbers only keep it.
            Due::Foca(Timer::SendIndirectProbe { .. }) => 0,
            Due::Foca(Timer::ProbeRandomMember(_)) => 1,
            Due::AskAgain { .. } | Due::LastCall { .. } => 2,
            Due::Verdict { .. } | Due::Foca(Timer::ChangeSuspectToDown { .. }) => 3,
            Due::Foca(
                Timer::PeriodicAnnounce(_)
                | Timer::PeriodicGossip(_)
                | Timer::PeriodicAnnounceDown(_)
                | Timer::RemoveDown(_),
            ) => 4,
            Due::Chore(..) => 5,
        }
    }
}

impl Membership {
    pub(super) fn fire(&mut self, due: Due, now: Monotonic) {
        match due {
            Due::Foca(timer) => {
                let forgotten = if let Timer::RemoveDown(id) = &timer { Some(*id) } else { None };
                self.misuse(|membership| membership.foca.handle_timer(timer, &mut membership.outbox));
                if let Some(id) = forgotten {
                    self.roster.forget(&id);
                }
            }
            Due::AskAgain { member, asked } => self.ask_again(member, asked, now),
            Due::Verdict { raised, member, incarnation } => self.verdict(raised, member, incarnation, now),
            Due::LastCall { member, incarnation } => self.last_call(member, incarnation, now),
            Due::Chore(chore, at) => {
                if self.chores[chore as usize] == Some(at) {
                    self.chores[chore as usize] = None;
                    self.do_chore(chore, now);
                }
            }
        }
    }

    pub(super) fn arm(&mut self, chore: Chore, after: Duration, now: Monotonic) {
        let at = self.health.awake(now).plus(after);
        let armed = &mut self.chores[chore as usize];
        if armed.is_none_or(|armed_at| at < armed_at) {
            *armed = Some(at);
            self.timers.set(at, Due::Chore(chore, at));
        }
    }

    fn do_chore(&mut self, chore: Chore, now: Monotonic) {
        match chore {
            Chore::Watch => self.watch(now),
            Chore::Gossip => self.gossip(now),
            Chore::Join => self.join(now),
            Chore::Merge => self.merge(now),
            Chore::Compare => self.compare(now),
            Chore::Hint => self.hint(now),
            Chore::Push => self.push(now),
            Chore::Goodbye => self.say_goodbye(now),
        }
    }

    pub(super) fn has_news_to_spread(&self, now: Monotonic) -> bool {
        let facts = self.foca.custom_broadcast_backlog() > 0 && now < self.spread_facts_until;
        self.connected && (self.foca.updates_backlog() > 0 || facts)
    }

    fn gossip(&mut self, now: Monotonic) {
        let suspects = self.foca.iter_members().filter(|member| member.state() == State::Suspect);
        self.roster.suspect(suspects.map(|member| member.id().node).collect());
        let wanted = transmissions(self.foca.num_members() + 1, self.foca.updates_backlog());
        if wanted != self.transmissions {
            self.transmissions = wanted;
            self.misuse(|membership| membership.foca.set_config(membership.preset.config(wanted)));
        }
        if self.has_news_to_spread(now) {
            self.misuse(|membership| membership.foca.gossip(&mut membership.outbox));
            self.arm(Chore::Gossip, self.preset.gossip_period, now);
        }
    }

    fn join(&mut self, now: Monotonic) {
        if self.connected {
            return;
        }
        let Some(target) = self.contacts.whom_to_join(&self.roster, &mut self.rng) else { return };
        self.announce(target);
        let jitter = 0.75 + fraction(&mut self.rng) / 2.0;
        self.arm(Chore::Join, self.join_period.mul_f64(jitter), now);
        self.join_period = (self.join_period * 3 / 2).min(self.preset.join_period_max);
    }

    fn merge(&mut self, now: Monotonic) {
        if !self.connected || !self.contacts.misses_somebody(&self.roster) {
            return;
        }
        if let Some(target) = self.contacts.whom_to_merge(&self.roster, now, &mut self.rng) {
            self.announce(target);
        }
        self.arm(Chore::Merge, self.preset.merge_period, now);
    }

    fn compare(&mut self, now: Monotonic) {
        if !self.connected {
            return;
        }
        if let Some(target) = self.contacts.whom_to_compare(&self.roster, &mut self.rng) {
            let compare = Fact::Compare(self.digest());
            self.tell(target, Message::Broadcast, &[], &[compare.encode()]);
        }
        let members = self.foca.num_members();
        let learning = members > self.members_at_compare;
        self.members_at_compare = members;
        if !learning {
            self.compare_period = (self.compare_period * 2).min(self.preset.compare_period);
        }
        let jitter = 0.75 + fraction(&mut self.rng) / 2.0;
        self.arm(Chore::Compare, self.compare_period.mul_f64(jitter), now);
    }

    fn announce(&mut self, target: Identity) {
        self.misuse(|membership| membership.foca.announce(target, &mut membership.outbox));
    }

    fn hint(&mut self, now: Monotonic) {
        let Some(term) = self.leading else { return };
        let me = *self.me();
        let hint = LeaderHint { term, node: me.node, addr: me.addr };
        let fact = self.book.open().next_hint(hint).encode();
        self.misuse(|membership| membership.foca.add_broadcast(&fact).map(|_| ()));
        let is_new = self.book.open().news.iter().any(|news| matches!(news, Fact::Leader { .. }));
        if is_new && self.connected {
            self.misuse(|membership| membership.foca.gossip(&mut membership.outbox));
        }
        self.arm(Chore::Hint, HINT_PERIOD, now);
    }

    fn push(&mut self, now: Monotonic) {
        let after = self.push.after;
        let targets: Vec<Identity> = self
            .roster
            .after(after)
            .filter(|member| member.state.is_active())
            .map(|member| member.id)
            .take(PUSHES_PER_TURN)
            .collect();
        for target in &targets {
            self.tell_facts(*target);
        }
        match targets.last().filter(|_| targets.len() == PUSHES_PER_TURN) {
            Some(last) => {
                self.push.after = last.node;
                self.arm(Chore::Push, PUSH_PERIOD, now);
            }
            None => {
                self.push.after = NodeId::default();
                self.push.rounds_left = self.push.rounds_left.saturating_sub(1);
                if self.push.rounds_left > 0 {
                    self.arm(Chore::Push, PUSH_ROUND_PERIOD, now);
                }
            }
        }
    }

    fn say_goodbye(&mut self, now: Monotonic) {
        let Phase::Leaving { rounds_left } = self.phase else { return };
        if rounds_left == 0 || self.foca.num_members() == 0 {
            self.misuse(|membership| membership.foca.leave_cluster(&mut membership.outbox));
            self.outbox.notifications.clear();
            self.timers.clear();
            self.phase = Phase::Gone;
            return;
        }
        self.phase = Phase::Leaving { rounds_left: rounds_left - 1 };
        let goodbye = self.goodbye().encode();
        for target in self.told_directly() {
            self.tell(target, Message::Broadcast, &[], std::slice::from_ref(&goodbye));
        }
        self.misuse(|membership| membership.foca.gossip(&mut membership.outbox));
        self.arm(Chore::Goodbye, GOODBYE_PERIOD, now);
    }

    pub(super) fn goodbye(&self) -> Fact {
        Fact::Left { node: self.me().node, generation: self.me().generation }
    }
}
