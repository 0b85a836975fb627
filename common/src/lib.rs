//! What every program of the cluster shares.
//!
//! - `object`: what the cluster stores; `engine_api`: Docker's JSON for it.
//! - `wire`: messages between nodes; `transport`: how they travel; `identity`: who may send them.
//! - `gossip`: who is alive.
//! - `backup`: the cluster in one sealed file.
//! - `time`, `random`, `limits`, `pace`, `places`, `report`, `shutdown`, `disk`, `journal`: small things
//!   everybody needs.

pub mod backup;
pub mod disk;
pub mod engine_api;
pub mod gossip;
pub mod identity;
pub mod journal;
pub mod limits;
pub mod object;
pub mod pace;
pub mod places;
pub mod random;
pub mod report;
pub mod shutdown;
pub mod time;
pub mod transport;
pub mod wire;
