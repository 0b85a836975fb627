//! Services and tasks: how long what people ask for takes, and what it costs.
//!
//! - `replicas`: made, scaled; `rolling`: updated; `moving`: replaced, drained, lost.
//! - `creates`, `objects`, `reports`, `standing`: what managers do, with tasks that cost nothing.
//! - `scene`: a cluster and what is asked of it; `engine`: the bare container engine, as the limit.

pub mod creates;
pub mod engine;
pub mod moving;
pub mod objects;
pub mod replicas;
pub mod reports;
pub mod rolling;
pub mod scene;
pub mod standing;
