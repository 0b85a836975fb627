//! Values of flags, as Docker's command line reads them.

pub mod address;
pub mod cpus;
pub mod csv;
pub mod device;
pub mod duration;
pub mod environment;
pub mod external_ca;
pub mod filter;
pub mod image;
pub mod members;
pub mod moment;
pub mod mount;
pub mod network;
pub mod number;
pub mod pair;
pub mod publish;
pub mod ready;
pub mod secret_reference;
pub mod service_value;
pub mod shell_words;
pub mod size;
pub mod ulimit;
