//! What nobody else may have: ports, subnets of networks, addresses on them.
//!
//! Pure. A subnet is given out when its network is made, by whoever makes it; ports and addresses by the leader, with
//! the services and tasks that they are for.

mod addresses;
mod networks;
mod ports;
mod space;

pub(super) use addresses::Addresses;
pub use networks::{SubnetError, ingress, subnets};
pub(super) use ports::ports;
pub use space::Space;
