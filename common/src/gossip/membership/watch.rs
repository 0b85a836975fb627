//! Watching one certain node, suspecting, and the verdict.
//!
//! Each node watches the next active one in the order of ids, all round. So everybody is asked by somebody in every
//! period, where foca's random probes leave a silent node unasked for seconds when luck is bad. Those probes go on, less
//! often: they find who is silent to others than its watcher, and several neighbours that fail together.

use foca::{Incarnation, Member as Update, Message, State};

use crate::gossip::identity::Identity;
use crate::object::NodeId;
use crate::time::Monotonic;

use super::Membership;
use super::due::{Chore, Due};

/// Times a watched node is asked before it is a suspect.
const ASKED_MAX: u32 = 3;
/// Times a suspect is asked directly before the verdict.
const LAST_CALLS: u32 = 6;

impl Membership {
    pub(super) fn watch(&mut self, now: Monotonic) {
        if !self.connected {
            return;
        }
        self.watch_next(now);
        self.arm(Chore::Watch, self.preset.watch_period, now);
    }

    /// Asks the first node after us that is not under question already.
    fn watch_next(&mut self, now: Monotonic) {
        let me = self.me().node;
        let free =
            |id: &Identity| !self.suspicions.contains_key(&id.node) && !self.asked.contains_key(&id.node);
        let behind = self.roster.after(me).filter(|member| member.state.is_active()).map(|member| member.id);
        let around = self.roster.active().map(|member| member.id).take_while(|id| id.node < me);
        let next = behind.chain(around).find(free);
        if let Some(member) = next {
            self.asked.insert(member.node, member.generation);
            self.ask(member, 1, now);
        }
    }

    /// Asks, or has asked often enough.
    pub(super) fn ask(&mut self, member: Identity, asked: u32, now: Monotonic) {
        // The number means nothing: any answer of this node will do.
        self.tell(member, Message::Ping(0), &[], &[]);
        let at = self.health.awake(now).plus(self.preset.watch_timeout);
        self.timers.set(at, Due::AskAgain { member, asked });
    }

    pub(super) fn ask_again(&mut self, member: Identity, asked: u32, now: Monotonic) {
        if self.asked.get(&member.node) != Some(&member.generation) {
            return; // it has answered
        }
        if asked < ASKED_MAX {
            self.ask(member, asked + 1, now);
            return;
        }
        self.asked.remove(&member.node);
        let seen = self.foca.iter_members().find(|seen| *seen.id() == member);
        if let Some(incarnation) = seen.map(|seen| seen.incarnation()) {
            self.apply(Update::new(member, incarnation, State::Suspect));
            self.suspect(member, incarnation, now);
        }
        // Its watcher is gone for whoever comes after it.
        self.watch_next(now);
    }

    pub(super) fn answered(&mut self, node: NodeId) {
        self.asked.remove(&node);
    }

    /// A member did not answer us: from here on it is asked directly until the verdict.
    pub(super) fn suspect(&mut self, member: Identity, incarnation: Incarnation, now: Monotonic) {
        if self.roster.get(member.node).is_none_or(|known| known.id != member) {
            return; // foca's probe was of an earlier life
        }
        self.health.unanswered(member.node);
        let suspicion = (member.generation, incarnation);
        if self.suspicions.insert(member.node, suspicion) != Some(suspicion) {
            let raised = self.health.awake(now);
            let verdict = Due::Verdict { raised, member, incarnation };
            self.timers.set(raised.plus(self.preset.suspicion), verdict);
            self.last_call(member, incarnation, now);
        }
    }

    /// Tells a suspect what is said of it. If it hears this, its answer alone settles the matter.
    pub(super) fn last_call(&mut self, member: Identity, incarnation: Incarnation, now: Monotonic) {
        if self.still_suspect(&member, incarnation) {
            // The objection is in the header of the answer.
            let suspicion = Update::new(member, incarnation, State::Suspect);
            self.tell(member, Message::Ping(0), &[suspicion], &[]);
            let again_at = self.health.awake(now).plus(self.preset.suspicion / LAST_CALLS);
            self.timers.set(again_at, Due::LastCall { member, incarnation });
        }
    }

    /// The time to object is over, unless our own health asks for more.
    pub(super) fn verdict(
        &mut self,
        raised: Monotonic,
        member: Identity,
        incarnation: Incarnation,
        now: Monotonic,
    ) {
        if !self.still_suspect(&member, incarnation) {
            return;
        }
        let awake = self.health.awake(now);
        let due_at = raised.plus(self.health.stretch(self.preset.suspicion, now));
        if due_at > awake {
            let look_again_at = due_at.min(awake.plus(self.preset.watch_period));
            self.timers.set(look_again_at, Due::Verdict { raised, member, incarnation });
            return;
        }
        self.suspicions.remove(&member.node);
        let down = Update::new(member, incarnation, State::Down);
        self.apply(down.clone());
        self.tell_managers(&down);
        // Should it hear this after all, it knows that it has to come back.
        self.tell(member, Message::TurnUndead, &[], &[]);
    }

    fn still_suspect(&mut self, member: &Identity, incarnation: Incarnation) -> bool {
        if self.suspicions.get(&member.node) != Some(&(member.generation, incarnation)) {
            return false;
        }
        let suspect = self.foca.iter_members().any(|seen| {
            seen.id() == member && seen.incarnation() == incarnation && seen.state() == State::Suspect
        });
        if !suspect {
            self.suspicions.remove(&member.node);
        }
        suspect
    }
}
