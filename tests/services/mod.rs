//! A cluster of services in virtual time: the planner, the store, and workers that do as they are told to.
//!
//! - `world`: the cluster, its time, and the rules that hold after every write.
//! - `worker`: a node's side of its tasks, scripted by image.
//! - `random`: operators and machines that do anything at any time.
//! - `script`: commands as an operator would write them; `show`: what they show.
//! - `secrets`: secrets, their versions and their rotation. `networks`: networks, and who has which address.

pub mod networks;
pub mod random;
pub mod script;
mod secrets;
pub mod show;
pub mod worker;
pub mod world;
