//! The API as clients meet it: on a socket, over a cluster that is only a store.

mod bounds;
mod client;
mod docker;
mod engine;
mod fake;
mod nodes;
mod swarm;
mod system;
