//! The leader's loop: wake, snapshot, decide, propose. It runs while this manager leads, and holds nothing that a
//! new leader would miss.
//!
//! - `leader`: starts and ends with leadership, and waits for the next event.
//! - `term`: what is known and what is to be looked at during one lead; one pass of decisions.
//! - `steps`: carries out one step of `decide::roles`.
//! - `rotation`: carries out one step of `decide::rotate_root`.
//! - `services`: the same loop's part about services and tasks.
//! - `wake`: what to look at, and when.

pub mod leader;
pub mod rotation;
pub mod services;
pub mod steps;
pub mod term;
pub mod wake;
