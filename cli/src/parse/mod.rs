//! Values of flags, as Docker's command line reads them.

pub mod address;
pub mod duration;
pub mod external_ca;
pub mod filter;
pub mod pair;
pub mod size;
