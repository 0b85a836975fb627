//! What must hold after every event of a simulation. One file per property, with why it must hold.
//! Those of services are listed by `cluster_simulation.rs`, which alone uses them.

pub mod group_is_never_lost;
pub mod heard_is_never_down;
pub mod raft_ids_are_given_once;
pub mod silent_is_down_soon;
pub mod time_goes_forward;
