//! Who is alive, agreed on by all nodes without asking a manager: SWIM with suspicion, by foca.
//!
//! `membership` is the protocol without input or output, `shell` the task that drives it over a transport. Gossip says
//! alive or not; what follows from that is decided elsewhere. The only code that names foca is in this folder.

mod contacts;
mod digest;
mod facts;
mod health;
mod identity;
mod membership;
mod outbox;
mod packet;
mod presets;
mod roster;
mod shell;
mod timers;

pub use facts::{Denied, LeaderHint};
pub use identity::Identity;
pub use membership::{Counters, Membership, Start};
pub use presets::Preset;
pub use roster::{Event, Member, MemberState};
pub use shell::{Changes, Gossip, GossipClosed, News};
