//! A worker: every node runs one, managers too.
//!
//! - `agent`: takes what the managers assign, has it run, says what became of it.
//! - `session`: finds the leader, registers, follows it wherever it goes.
//! - `runtime`: what runs tasks: containers, processes, nothing.
//! - `task`: what each task needs next, and who does it.
//! - `setup`: an assigned task as a runtime is given it; `ready`: whether a task may get connections; `logs`: what it wrote.
//! - `mesh`: connections to published ports, from any node to a task.
//! - `payloads`: secrets and configs that tasks here use, in memory alone.
//! - `mesh`: names of services, and who answers for them.
//! - `disk`: what this node was told and has done, across restarts.
//! - `describe`: resources and platform of this machine.

pub mod agent;
pub mod describe;
pub mod disk;
pub mod logs;
pub mod mesh;
pub mod payloads;
pub mod ready;
pub mod runtime;
pub mod session;
pub mod setup;
pub mod task;
#[cfg(test)]
mod world_test;
