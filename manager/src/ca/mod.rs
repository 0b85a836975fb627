//! The cluster's authority on certificates: who may have one, with which role.
//!
//! - `admit`: whether a token lets a caller in, and as what. Pure.
//! - `clients`: certificates of those who use the API from afar.
//! - `serve`: answers callers. Any manager can: the authority's key is in the store, sealed on disk.

pub mod admit;
pub mod clients;
pub mod serve;
