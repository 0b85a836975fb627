//! What the tests of the whole program stand on.
//!
//! - `source`: Rust text for the tidy test.

pub mod source;
