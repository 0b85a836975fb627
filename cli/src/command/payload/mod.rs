//! `swarm secret …` and `swarm config …`: what tasks get as files. One code for both, two sets of words.
//!
//! - `secret`, `config`: the commands of each, and their help. `data`: where a value comes from.

pub mod config;
mod create;
mod data;
mod history;
mod inspect;
mod ls;
mod rm;
mod rotate;
pub mod secret;

use common::object::PayloadKind;

/// First segment of the kind's paths.
fn path(kind: PayloadKind) -> &'static str {
    match kind {
        PayloadKind::Secret => "secrets",
        PayloadKind::Config => "configs",
    }
}
