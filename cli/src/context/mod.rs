//! Which daemon a command asks: a local socket, or one on TCP with the certificates for it.
//!
//! In this order: `--host`, `--context`, `SWARM_HOST`, `SWARM_CONTEXT`, what `swarm context use` said, this user's
//! own socket. `store`: contexts on disk, ours and Docker's. `endpoint`: where a daemon is, and its certificates.

pub mod endpoint;
pub mod store;

use anyhow::Context as _;

use self::endpoint::{Address, Endpoint, TlsFiles};
use self::store::Store;
use crate::exit::Failure;
use crate::paths::Host;

/// The name of the context that is always there.
pub const DEFAULT: &str = "default";

/// What the command line says of the daemon to ask.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub host: Option<Address>,
    /// Whether the host stands on the command line, and not in the environment.
    pub host_is_given: bool,
    pub context: Option<String>,
    pub tls: TlsFiles,
}

/// The name of the context that counts; none where an address was given.
pub fn chosen(asked: &Asked, store: &Store) -> anyhow::Result<Option<String>> {
    if asked.host_is_given && asked.context.is_some() {
        return Err(Failure::usage("give --host or --context, not both").into());
    }
    if asked.host_is_given || (asked.host.is_some() && asked.context.is_none()) {
        return Ok(None);
    }
    let named = asked.context.clone().or_else(|| std::env::var("SWARM_CONTEXT").ok());
    let named = match named.filter(|name| !name.is_empty()) {
        Some(name) => Some(name),
        None => store.current()?,
    };
    Ok(Some(named.unwrap_or_else(|| DEFAULT.into())))
}

/// The daemon that is meant.
pub fn endpoint(asked: &Asked) -> anyhow::Result<Endpoint> {
    let store = Store::of_this_user();
    match chosen(asked, &store)? {
        None => match &asked.host {
            Some(address) => Endpoint::at(address, &asked.tls),
            None => Ok(Endpoint::Socket(Host::default_for_this_user())),
        },
        Some(name) if name == DEFAULT => Ok(Endpoint::Socket(Host::default_for_this_user())),
        Some(name) => {
            let found = store.find(&name)?;
            let address: Address =
                found.host().parse().with_context(|| format!("the address in context {name}"))?;
            Endpoint::at(&address, &found.tls_files()).with_context(|| format!("use context {name}"))
        }
    }
}
