//! What foca and the facts say, and what follows from it.

use std::time::Duration;

use foca::{Member as Update, OwnedNotification, State, Timer};

use crate::gossip::contacts::fraction;
use crate::gossip::facts::{Fact, Listed};
use crate::gossip::identity::Identity;
use crate::gossip::roster::Event;
use crate::object::NodeId;
use crate::time::Monotonic;

use super::due::{COMPARE_PERIOD_MIN, Chore, Due, JOIN_PERIOD_MIN};
use super::{Membership, Phase};

/// New facts get packets of their own for so many gossip periods; then they ride on others.
const SPREAD_PERIODS: u32 = 8;

impl Membership {
    /// Acts on all that the last call brought about.
    pub(super) fn settle(&mut self, now: Monotonic) {
        loop {
            let notifications = std::mem::take(&mut self.outbox.notifications);
            let news = std::mem::take(&mut self.book.open().news);
            if notifications.is_empty() && news.is_empty() {
                break;
            }
            // Facts first: a goodbye that comes with the news of a silence explains it.
            news.into_iter().for_each(|fact| self.learned(fact, now));
            notifications.into_iter().for_each(|notification| self.notified(notification, now));
        }
        for (after, timer) in std::mem::take(&mut self.outbox.timers) {
            self.schedule(timer, after, now);
        }
        if self.has_news_to_spread(now) && self.phase == Phase::Member {
            self.arm(Chore::Gossip, self.preset.gossip_period / 4, now);
        }
    }

    fn learned(&mut self, fact: Fact, now: Monotonic) {
        match fact {
            Fact::Leader { hint, .. } => {
                self.spread_facts_until = now.plus(self.preset.gossip_period * SPREAD_PERIODS);
                self.roster.events.push_back(Event::LeaderHint(hint));
            }
            Fact::Left { node, generation } => {
                self.spread_facts_until = now.plus(self.preset.gossip_period * SPREAD_PERIODS);
                if node != self.me().node && self.roster.left(node, generation, now) {
                    self.take_down(node);
                }
            }
            Fact::Denied(denied) => {
                self.roster.events.push_back(Event::Denied(denied));
                self.contacts.remove(denied.node);
                if let Some(id) = self.roster.get(denied.node).map(|member| member.id) {
                    self.take_down(denied.node);
                    self.roster.down(id, now);
                    self.roster.forget(&id);
                }
            }
            Fact::Compare(theirs) => {
                if let Some(speaker) = self.speaker.filter(|speaker| self.roster.is_active(speaker.node)) {
                    self.tell_members(speaker, &theirs, now);
                    self.tell_facts(speaker);
                }
            }
            Fact::Members(members) => self.learned_members(members),
            Fact::Outlived { node, generation } => {
                let me = *self.me();
                if node == me.node && generation >= me.generation {
                    self.become_identity(Identity { generation: generation + 1, ..me }, now);
                }
            }
        }
    }

    fn learned_members(&mut self, mut members: Vec<Listed>) {
        // Who is gone matters only for those we believe to be there.
        members.retain(|member| member.active || self.roster.is_active(member.id.node));
        if !self.has_room_for(members.iter().map(|member| &member.id)) {
            self.counters.over_full += 1;
            return;
        }
        let updates = members.into_iter().map(|member| {
            let state = if member.active { State::Alive } else { State::Down };
            Update::new(member.id, member.incarnation, state)
        });
        self.misuse(|membership| membership.foca.apply_many(updates, false, &mut membership.outbox));
    }

    fn notified(&mut self, notification: OwnedNotification<Identity>, now: Monotonic) {
        match notification {
            OwnedNotification::MemberUp(id) if id.node == self.me().node => {}
            OwnedNotification::MemberUp(id) => {
                let (left, denied) = {
                    let book = self.book.open();
                    (book.has_left(&id), book.is_denied(id.node))
                };
                if left || denied {
                    self.apply(Update::down(id)); // late news of somebody who is gone
                    return;
                }
                self.meet_member(&id);
                self.roster.up(id, now);
                self.compare_soon(COMPARE_PERIOD_MIN, now);
            }
            OwnedNotification::MemberDown(id) => {
                if self.book.open().has_left(&id) {
                    self.roster.left(id.node, id.generation, now);
                } else {
                    self.roster.down(id, now);
                }
                self.suspicions.remove(&id.node);
                self.asked.remove(&id.node);
                // Much of what is sent about many dead is sent to the dead.
                self.compare_soon(COMPARE_PERIOD_MIN, now);
                let first = self.preset.merge_period.mul_f64(0.5 + fraction(&mut self.rng));
                self.arm(Chore::Merge, first, now);
            }
            OwnedNotification::Rename(_, id) => {
                self.meet_member(&id);
                self.roster.replace(id);
                self.suspicions.remove(&id.node);
            }
            OwnedNotification::Active => {
                self.connected = true;
                self.join_period = JOIN_PERIOD_MIN;
                self.compare_soon(COMPARE_PERIOD_MIN / 10, now);
                self.arm(Chore::Merge, self.preset.merge_period, now);
                let first = self.preset.watch_period.mul_f64(fraction(&mut self.rng));
                self.arm(Chore::Watch, first, now);
            }
            OwnedNotification::Idle | OwnedNotification::Defunct => self.disconnected(now),
            OwnedNotification::Rejoin(id) => {
                self.roster.events.push_back(Event::Renewed { generation: id.generation });
                self.disconnected(now);
            }
        }
    }

    /// Looks for what we have missed while much happens.
    fn compare_soon(&mut self, after: Duration, now: Monotonic) {
        self.compare_period = COMPARE_PERIOD_MIN;
        self.arm(Chore::Compare, after, now);
    }

    fn disconnected(&mut self, now: Monotonic) {
        self.connected = false;
        self.suspicions.clear(); // alone, we are no judge
        self.asked.clear();
        self.join_period = JOIN_PERIOD_MIN;
        self.arm(Chore::Join, Duration::ZERO, now);
    }

    pub(super) fn become_identity(&mut self, id: Identity, now: Monotonic) {
        self.misuse(|membership| membership.foca.change_identity(id, &mut membership.outbox));
        self.roster.events.push_back(Event::Renewed { generation: id.generation });
        self.disconnected(now);
    }

    fn meet_member(&mut self, id: &Identity) {
        if id.manager {
            self.contacts.learn(id.peer());
        }
    }

    fn take_down(&mut self, node: NodeId) {
        if let Some(member) = self.roster.get(node) {
            self.apply(Update::down(member.id));
        }
    }

    pub(super) fn apply(&mut self, update: Update<Identity>) {
        self.misuse(|membership| {
            membership.foca.apply_many(std::iter::once(update), true, &mut membership.outbox)
        });
    }

    fn schedule(&mut self, timer: Timer<Identity>, after: Duration, now: Monotonic) {
        let at = self.health.awake(now).plus(after);
        match timer {
            // The verdict is ours, so that we can take longer.
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                self.suspect(member_id, incarnation, now);
            }
            timer => self.timers.set(at, Due::Foca(timer)),
        }
    }
}
