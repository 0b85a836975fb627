//! `swarm ca`: shows the root certificate, or has another one take its place and waits until it has.

use std::path::{Path, PathBuf};

use common::engine_api::node::Node;
use common::engine_api::swarm::{Swarm, TlsInfo};
use common::identity::token::{root_digest, to_hex};
use common::limits::{CA_FILE_BYTES_MAX, CA_POLL};
use common::object::sensitive::Sensitive;
use serde_json::{Value, json};

use super::cluster_flags::member;
use super::edit::{self, Rotate};
use crate::client::Client;
use crate::output::{note, print_line};
use crate::parse::duration::Nanoseconds;
use crate::parse::external_ca;

/// Show the root certificate, or replace it
///
/// A rotation cuts no connection: for a while every node trusts both roots, gets a certificate of the new one, and then
/// forgets the old one. Nodes that are down get in when they are back. Join tokens are new afterwards.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm ca                                              # the root certificate, PEM
  swarm ca --rotate                                     # a new root, made by the cluster
  swarm ca --rotate --ca-cert root.pem --ca-key root.key
  swarm ca --rotate --ca-cert root.pem --external-ca protocol=cfssl,url=https://ca.example/api/v1/cfssl/sign")]
pub struct Args {
    /// Replace the root; without a certificate the cluster makes one
    #[arg(long)]
    pub rotate: bool,

    /// The root certificate to use from now on, PEM
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,

    /// The key of that certificate, PEM and not encrypted
    #[arg(long, value_name = "FILE")]
    pub ca_key: Option<PathBuf>,

    /// How long a node's certificate is valid (ns|us|ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub cert_expiry: Option<Nanoseconds>,

    /// Endpoint that signs certificates instead of this cluster; may be repeated
    #[arg(long = "external-ca", value_name = "protocol=cfssl,url=URL[,cacert=FILE]", value_parser = external_ca::parse)]
    pub external_cas: Vec<Value>,

    /// Do not wait until the root is replaced
    #[arg(short, long)]
    pub detach: bool,

    /// Wait, and print nothing
    #[arg(short, long)]
    pub quiet: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    check(&args)?;
    if args.rotate {
        let wish = Wish::read(&args)?;
        edit::cluster(client, Rotate::default(), |spec| wish.apply(spec)).await?;
        if args.detach {
            return Ok(());
        }
        wait(client, args.quiet).await?;
        if args.quiet {
            return Ok(());
        }
    }
    let swarm: Swarm = client.get("/swarm").await?;
    let root = swarm.tls_info.trust_root.trim();
    anyhow::ensure!(!root.is_empty(), "No CA information available");
    print_line(root)?;
    Ok(())
}

/// Docker's rules on which flags go together, in its words.
fn check(args: &Args) -> anyhow::Result<()> {
    let given = [
        ("ca-cert", args.ca_cert.is_some()),
        ("ca-key", args.ca_key.is_some()),
        ("cert-expiry", args.cert_expiry.is_some()),
        ("external-ca", !args.external_cas.is_empty()),
    ];
    if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given && !args.rotate) {
        anyhow::bail!("`--{flag}` flag requires the `--rotate` flag to update the CA");
    }
    anyhow::ensure!(
        args.external_cas.is_empty() || args.ca_cert.is_some(),
        "rotating to an external CA requires the `--ca-cert` flag to specify the external CA's cert - to add an external CA with the current root CA certificate, use the `update` command instead"
    );
    anyhow::ensure!(
        args.ca_cert.is_none() || args.ca_key.is_some() || !args.external_cas.is_empty(),
        "the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well"
    );
    Ok(())
}

/// What is asked for, with the files read.
struct Wish {
    certificate: String,
    key: Sensitive,
    expiry: Option<i64>,
    external: Vec<Value>,
}

impl Wish {
    fn read(args: &Args) -> anyhow::Result<Self> {
        let certificate = args.ca_cert.as_deref().map(read).transpose()?;
        let key = args.ca_key.as_deref().map(read).transpose()?;
        Ok(Self {
            certificate: certificate.unwrap_or_default(),
            key: Sensitive::new(key.unwrap_or_default()),
            expiry: args.cert_expiry.map(|Nanoseconds(expiry)| expiry),
            external: args.external_cas.clone(),
        })
    }

    fn apply(&self, spec: &mut Value) {
        if let Some(expiry) = self.expiry {
            *member(spec, &["CAConfig", "NodeCertExpiry"]) = expiry.into();
        }
        if !self.external.is_empty() {
            let external = self.external.iter().map(|external| {
                let mut external = external.clone();
                external["CACert"] = self.certificate.as_str().into();
                external
            });
            *member(spec, &["CAConfig", "ExternalCAs"]) = json!(external.collect::<Vec<_>>());
        }
        *member(spec, &["CAConfig", "SigningCACert"]) = self.certificate.as_str().into();
        *member(spec, &["CAConfig", "SigningCAKey"]) = self.key.reveal().into();
        if self.certificate.is_empty() && self.key.reveal().is_empty() {
            let count = member(spec, &["CAConfig", "ForceRotate"]);
            *count = (count.as_u64().unwrap_or_default() + 1).into();
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    use anyhow::Context;
    let name = || format!("read {}", path.display());
    let size = std::fs::metadata(path).with_context(name)?.len();
    anyhow::ensure!(size <= CA_FILE_BYTES_MAX, "{} is larger than {CA_FILE_BYTES_MAX} bytes", path.display());
    std::fs::read_to_string(path).with_context(name)
}

/// Waits until all living nodes have a certificate of the new root and trust it alone.
async fn wait(client: &Client, quiet: bool) -> anyhow::Result<()> {
    let mut shown = String::new();
    loop {
        let swarm: Swarm = client.get("/swarm").await?;
        let nodes: Vec<Node> = client.get("/nodes").await?;
        let progress = Progress::of(&swarm, &nodes);
        let lines = progress.lines(&swarm);
        if !quiet && lines != shown {
            note(&lines);
            shown = lines;
        }
        if progress.is_done(&swarm) {
            if progress.away > 0 && !quiet {
                note(&format!(
                    "{} nodes are down: they get their certificates when they are back",
                    progress.away
                ));
            }
            return Ok(());
        }
        tokio::time::sleep(CA_POLL).await;
    }
}

/// How many nodes have what. Those that are down are not waited for.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    living: usize,
    certificates: usize,
    roots: usize,
    away: usize,
}

impl Progress {
    fn of(swarm: &Swarm, nodes: &[Node]) -> Self {
        let wanted = &swarm.tls_info;
        let issued = |tls: &TlsInfo| {
            tls.cert_issuer_subject == wanted.cert_issuer_subject
                && tls.cert_issuer_public_key == wanted.cert_issuer_public_key
        };
        let living = || nodes.iter().filter(|node| node.status.state != "down");
        let of_living =
            |has: &dyn Fn(&TlsInfo) -> bool| living().filter(|node| has(&node.description.tls_info)).count();
        let away = nodes.iter().filter(|node| node.status.state == "down");
        Self {
            living: living().count(),
            certificates: of_living(&issued),
            roots: if swarm.root_rotation_in_progress {
                0
            } else {
                of_living(&|tls| tls.trust_root == wanted.trust_root)
            },
            away: away.filter(|node| !issued(&node.description.tls_info)).count(),
        }
    }

    fn is_done(&self, swarm: &Swarm) -> bool {
        !swarm.root_rotation_in_progress && self.certificates == self.living && self.roots == self.living
    }

    fn lines(&self, swarm: &Swarm) -> String {
        let digest = to_hex(&root_digest(&swarm.tls_info.trust_root));
        format!(
            "desired root digest: sha256:{digest}\n  rotated TLS certificates: {}/{} nodes\n  rotated CA certificates: {}/{} nodes",
            self.certificates, self.living, self.roots, self.living
        )
    }
}

#[cfg(test)]
#[path = "ca_test.rs"]
mod tests;
