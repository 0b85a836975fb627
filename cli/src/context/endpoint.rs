//! Where a daemon is, and the certificates that open its door.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use common::transport::tls::TlsClient;

use super::store;
use crate::exit::Failure;
use crate::paths::{Host, HostError};

/// What `--host` and `SWARM_HOST` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Socket(Host),
    /// Name or address, and port.
    Tcp(String, u16),
}

/// Docker's port for its API under TLS.
const PORT: u16 = 2376;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error(transparent)]
    Socket(#[from] HostError),
    #[error("the daemon's address on TCP has the form tcp://HOST:PORT")]
    NotTcp,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(place) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("https://")) else {
            return Ok(Self::Socket(text.parse()?));
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(AddressError::NotTcp)?)),
            None => match place.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_| AddressError::NotTcp)?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        if host.is_empty() || port == 0 || !host.chars().all(plain) {
            return Err(AddressError::NotTcp);
        }
        Ok(Self::Tcp(host.into(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(host) => host.fmt(f),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
        }
    }
}

/// Where the certificates are, as far as somebody said.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct TlsFiles {
    /// Check the daemon's certificate and show one: always so on TCP, and accepted because Docker has it
    #[arg(long, display_order = 903)]
    pub tlsverify: bool,

    /// Certificates of the authority that the daemon's one leads to [default: ca.pem in $SWARM_CERT_PATH,
    /// $DOCKER_CERT_PATH or ~/.config/swarm]
    #[arg(long, value_name = "FILE", display_order = 904)]
    pub tlscacert: Option<PathBuf>,

    /// Certificate of this client [default: cert.pem there]
    #[arg(long, value_name = "FILE", display_order = 905)]
    pub tlscert: Option<PathBuf>,

    /// Key of this client [default: key.pem there]
    #[arg(long, value_name = "FILE", display_order = 906)]
    pub tlskey: Option<PathBuf>,
}

impl TlsFiles {
    /// The three files of a folder, as Docker names them.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            tlsverify: true,
            tlscacert: Some(folder.join("ca.pem")),
            tlscert: Some(folder.join("cert.pem")),
            tlskey: Some(folder.join("key.pem")),
        }
    }

    fn client(&self) -> anyhow::Result<TlsClient> {
        let folder = ["SWARM_CERT_PATH", "DOCKER_CERT_PATH"]
            .into_iter()
            .find_map(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from));
        let usual = Self::in_folder(&folder.unwrap_or_else(store::config_dir));
        let read = |what: &str, given: &Option<PathBuf>, usual: &Option<PathBuf>| {
            let path = given.clone().or_else(|| usual.clone()).unwrap_or_default();
            std::fs::read_to_string(&path).map_err(|error| {
                let text = format!(
                    "read the {what} {}: {error}. Get one with `swarm client-cert create` on a manager, and name it with --tlscacert, --tlscert and --tlskey, with SWARM_CERT_PATH, or in a context",
                    path.display()
                );
                anyhow::Error::from(Failure::usage(text))
            })
        };
        let ca = read("certificate of the authority", &self.tlscacert, &usual.tlscacert)?;
        let certificate = read("client certificate", &self.tlscert, &usual.tlscert)?;
        let key = common::object::sensitive::Sensitive::new(read("client key", &self.tlskey, &usual.tlskey)?);
        Ok(TlsClient::new(&ca, Some((&certificate, key.reveal())))?)
    }
}

/// A daemon, and all that is needed to talk to it.
#[derive(Clone, Debug)]
pub enum Endpoint {
    Socket(Host),
    Tcp { host: String, port: u16, tls: TlsClient },
}

impl Endpoint {
    pub fn at(address: &Address, tls: &TlsFiles) -> anyhow::Result<Self> {
        Ok(match address {
            Address::Socket(host) => Self::Socket(host.clone()),
            Address::Tcp(host, port) => {
                let tls = tls.client().with_context(|| format!("talk to {address}"))?;
                Self::Tcp { host: host.clone(), port: *port, tls }
            }
        })
    }

    /// The local socket, for who can start a daemon there.
    pub fn socket(&self) -> Option<&Host> {
        match self {
            Self::Socket(host) => Some(host),
            Self::Tcp { .. } => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(host) => host.fmt(f),
            Self::Tcp { host, port, .. } => Address::Tcp(host.clone(), *port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |host: &str, port| Ok(Address::Tcp(host.into(), port));
        #[rustfmt::skip]
        let cases = [
            ("tcp://m1:2376",         tcp("m1", 2376)),
            ("tcp://m1",              tcp("m1", 2376)),
            ("https://10.0.0.1:99/",  tcp("10.0.0.1", 99)),
            ("tcp://[::1]:2376",      tcp("::1", 2376)),
            ("tcp://[fe80::1]",       tcp("fe80::1", 2376)),
            ("tcp://",                Err(AddressError::NotTcp)),
            ("tcp://:2376",           Err(AddressError::NotTcp)),
            ("tcp://m1:0",            Err(AddressError::NotTcp)),
            ("tcp://m1:x",            Err(AddressError::NotTcp)),
            ("tcp://m 1:2",           Err(AddressError::NotTcp)),
            ("ssh://m1",              Err(AddressError::Socket(HostError::NotUnix))),
            ("unix:///run/a.sock",    Ok(Address::Socket(Host::from_socket("/run/a.sock")))),
        ];
        for (text, expected) in cases {
            let address = text.parse::<Address>();
            assert_eq!(address, expected, "{text}");
            if let Ok(address) = address {
                assert_eq!(address.to_string().parse(), Ok(address), "{text}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let files = TlsFiles::in_folder(Path::new("/does/not/exist"));
        let error = Endpoint::at(&Address::Tcp("m1".into(), 1), &files).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("/does/not/exist/ca.pem") && text.contains("client-cert create"), "{text}");
    }
}
