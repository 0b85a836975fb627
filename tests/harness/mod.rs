//! What the tests of the whole program stand on: real processes, real sockets, and nothing left behind.
//!
//! - `run`: this test process's folder and addresses, cleaned up whatever happens; `binary`: the program under test.
//! - `node`: one daemon; `cluster`: several, as one; `netns`: hosts joined by a switch whose cables can be pulled.
//! - `disk`: a small disk that can be filled; `faketime`: a wall clock that can be set.
//! - `client`: the API over a node's socket; `docker`: the real `docker` command and an SDK against it.
//! - `commands`: command lines and what they print, as tables; `engine`: a Docker Engine of a test's own.
//! - `services`: their specs for each runtime, and what is seen of their tasks.
//! - `wait`: until a state is reached, with a deadline; `skip`: loudly, where the machine lacks something.
//! - `loads`: clients that write; `history`: what they saw; `linearizability`: whether one register could have done it.
//! - `figures`: what a measurement gave, beside its limit; `source`: Rust text for the tidy test.

pub mod binary;
pub mod client;
pub mod cluster;
pub mod commands;
pub mod disk;
pub mod docker;
pub mod engine;
pub mod faketime;
pub mod figures;
pub mod history;
pub mod linearizability;
pub mod loads;
pub mod netns;
pub mod node;
pub mod run;
pub mod services;
pub mod skip;
pub mod source;
pub mod wait;
