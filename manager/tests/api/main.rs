//! The API as clients meet it: on a socket, over a cluster that is only a store.

mod bounds;
mod client;
mod docker;
mod docker_networks;
mod docker_payloads;
mod docker_services;
mod engine;
mod events;
mod fake;
mod logs;
mod networks;
mod nodes;
mod payloads;
mod sdk;
mod services;
mod swarm;
mod system;
mod tasks;
mod work;
