//! Messages between nodes. Each starts with its format version; all are bounded before they are read.

pub mod assignment;
pub mod codec;
pub mod frame;
pub mod join;
pub mod logs;
pub mod mesh;
pub mod session;
