//! A whole cluster in one thread and in virtual time: the leader's decisions, the store, what nodes are told, and the
//! real agent on every node, with crashes, partitions, and messages that are late, lost or doubled. One seed decides
//! everything.
//!
//! Real: `Planner`, `Store`, `Told`, `judge`, `Agent` with its runners and its journal. Pretended: the runtime (it
//! runs nothing), the network, the disk (files in memory), the clocks, and raft: proposals are applied late, lost, or
//! applied and reported as lost, in the order a raft log would have them.
//!
//! - `machine`: one node's agent, engine and disk. `link`: its session with the leader.
//! - `leader`: the control loop as the simulation runs it. `cluster`: all of them, one moment after the other.
//! - `story`: what people do and what breaks. `planted`: broken decisions that the invariants have to notice.

pub mod cluster;
mod leader;
mod link;
mod machine;
pub mod planted;
mod rules;
pub mod story;
