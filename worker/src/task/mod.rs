//! A task on this node: what it needs next, and who does it.
//!
//! - `next_step`: pure, what to do next. `order`: what is wanted. `runner`: does it,
//!   one step at a time.
//! - `assigned`: what the managers gave to this node. `outbox`: what they are still to hear. Both pure.
//! - `table`: all that is known now. `slots`: how many steps run at a time.

pub mod assigned;
pub mod next_step;
pub mod order;
pub mod outbox;
pub mod runner;
pub mod slots;
pub mod table;
