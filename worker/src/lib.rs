//! A worker.
