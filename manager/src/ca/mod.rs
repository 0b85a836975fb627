//! The cluster's authority on certificates: who may have one, with which role.
//!
//! - `admit`: whether a token lets a caller in, and as what. Pure.
//! - `clients`: certificates of those who use the API from afar.
//! - `known`: what the store knows of a caller beyond its certificate. Pure.
//! - `rotate`: from one root to the next.
//! - `serve`: answers callers. Any manager can: the authority's key is in the store, sealed on disk.
//! - `sign`: makes a certificate, here or at an external authority.

pub mod admit;
pub mod clients;
pub mod known;
pub mod rotate;
pub mod serve;
pub mod sign;
