//! `swarm client-cert`: who may use the API from afar.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Subcommand;
use common::engine_api::access::{ClientCert, ClientCertIssued, ClientCertRequest, ClientCertsRevoked};
use common::identity::NodeKey;
use common::identity::client::request_to_pem;
use serde_json::{Value, json};

use crate::client::{Client, escape};
use crate::context::store;
use crate::exit::{Exit, Failure, join_errors};
use crate::output::listing::{Format, Listing};
use crate::output::{print, print_line};
use crate::parse::duration::Nanoseconds;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Create(CreateArgs),
    /// List the client certificates on record
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    Revoke(RevokeArgs),
}

/// Make a certificate with which the API can be used on TCP
///
/// The key is made here and stays here. ca.pem, cert.pem and key.pem are named as Docker's client wants them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Roles:
  viewer    sees nodes, services, tasks, configs, events and logs; no secret of any kind
  operator  also changes services, secrets, configs, and labels and availability of nodes. What an operator runs may
            mount what is on a node, so give this role to those only whom you would let onto your nodes
  admin     everything, with join tokens, keys, and the Docker Engines of managers, which are root on their machines

Examples:
  swarm client-cert create --role operator --expires 30d alice
  docker --tlsverify --tlscacert alice/ca.pem --tlscert alice/cert.pem --tlskey alice/key.pem -H tcp://m1:2376 node ls
  swarm context create prod --docker host=tcp://m1:2376,ca=alice/ca.pem,cert=alice/cert.pem,key=alice/key.pem")]
pub struct CreateArgs {
    /// Who it is for: the name stands in the audit record
    pub name: String,

    /// What its holder may do
    #[arg(long, value_enum, value_name = "ROLE")]
    pub role: Role,

    /// For how long: 12h, 30d
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    pub expires: Expires,

    /// Folder for the three files [default: ./NAME]
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A duration in which days may be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expires(i64);

impl FromStr for Expires {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const DAY: i64 = 86_400_000_000_000;
        let days = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
        let nanoseconds = match days {
            Some(days) => days.checked_mul(DAY).ok_or_else(|| format!("{text} is too long"))?,
            None => text.parse::<Nanoseconds>().map_err(|error| format!("{error}; days are 30d"))?.0,
        };
        if nanoseconds > 0 {
            Ok(Self(nanoseconds))
        } else {
            Err(format!("{text} is no time to be valid for"))
        }
    }
}

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Columns for --format:
  .Serial .Name .Role .Issued .Expires .Revoked .State")]
pub struct LsArgs {
    /// `table`, `table TEMPLATE`, `json`, or a Go template for each certificate
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,

    /// Print serial numbers only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Refuse client certificates from now on, and cut their connections
///
/// A name means all certificates that have it, a serial number the one.
#[derive(Clone, Debug, clap::Args)]
pub struct RevokeArgs {
    #[arg(required = true, value_name = "NAME|SERIAL")]
    pub certificates: Vec<String>,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("Serial", "SERIAL"),
        ("Name", "NAME"),
        ("Role", "ROLE"),
        ("Issued", "ISSUED"),
        ("Expires", "EXPIRES"),
        ("Revoked", "REVOKED"),
        ("State", "STATE"),
    ],
    table: "{{.Serial}}\t{{.Name}}\t{{.Role}}\t{{.State}}\t{{.Expires}}",
};

const PATH: &str = "/swarm/x/client-certs";

pub async fn run(command: Command, client: &Client) -> anyhow::Result<()> {
    match command {
        Command::Create(args) => create(&args, client).await,
        Command::Ls(args) => ls(&args, client).await,
        Command::Revoke(args) => revoke(&args, client).await,
    }
}

async fn create(args: &CreateArgs, client: &Client) -> anyhow::Result<()> {
    let folder = args.out.clone().unwrap_or_else(|| Path::new(".").join(&args.name));
    let files = ["key.pem", "cert.pem", "ca.pem"].map(|file| folder.join(file));
    if let Some(there) = files.iter().find(|file| file.exists()) {
        let text = format!(
            "{} is there already: choose another folder with --out, or move it away",
            there.display()
        );
        return Err(Failure::new(Exit::Conflict, text).into());
    }
    let key = NodeKey::generate()?;
    let [key_file, certificate_file, ca_file] = files;
    // Before anything is asked for: a certificate without its key would be on record for nothing.
    store::write(&key_file, key.to_pem().reveal())?;
    let request = ClientCertRequest {
        name: args.name.clone(),
        role: args.role.as_str().into(),
        valid_for: args.expires.0,
        csr: request_to_pem(&key)?,
    };
    let issued: ClientCertIssued = match client.post_for(PATH, &request).await {
        Ok(issued) => issued,
        Err(error) => {
            let _ = std::fs::remove_file(&key_file); // it opens nothing
            let _ = std::fs::remove_dir(&folder); // ours if it is empty
            return Err(error.into());
        }
    };
    store::write(&certificate_file, &issued.certificate)?;
    store::write(&ca_file, &issued.ca)?;
    print(&format!(
        "Client certificate {} of {} ({}), valid until {}:\n  {}\n  {}\n  {}\n",
        issued.serial,
        args.name,
        args.role.as_str(),
        issued.expires,
        ca_file.display(),
        certificate_file.display(),
        key_file.display(),
    ))?;
    Ok(())
}

async fn ls(args: &LsArgs, client: &Client) -> anyhow::Result<()> {
    let mut certificates: Vec<ClientCert> = client.get(PATH).await?;
    certificates.sort_by(|left, right| (&left.name, &left.issued).cmp(&(&right.name, &right.issued)));
    let rows: Vec<Value> = certificates
        .iter()
        .map(|certificate| {
            json!({
                "Serial": certificate.serial,
                "Name": certificate.name,
                "Role": certificate.role,
                "Issued": certificate.issued,
                "Expires": certificate.expires,
                "Revoked": certificate.revoked,
                "State": certificate.state,
            })
        })
        .collect();
    let format = match &args.format {
        Format::Table if args.quiet => "{{.Serial}}".parse().map_err(Failure::usage)?,
        format => format.clone(),
    };
    print(&LISTING.show(&format, false, &rows)?)?;
    Ok(())
}

async fn revoke(args: &RevokeArgs, client: &Client) -> anyhow::Result<()> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    for text in &args.certificates {
        match client.delete_for::<ClientCertsRevoked>(&format!("{PATH}/{}", escape(text))).await {
            Ok(revoked) => {
                for serial in revoked.serials {
                    print_line(&serial)?;
                }
            }
            Err(error) => errors.push(error.into()),
        }
    }
    join_errors(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_durations_too() {
        #[rustfmt::skip]
        let cases = [
            ("30d", Ok(2_592_000_000_000_000)), ("12h", Ok(43_200_000_000_000)), ("90s", Ok(90_000_000_000)),
            ("0", Err(())), ("-1h", Err(())), ("-3d", Err(())), ("d", Err(())), ("30", Err(())),
            ("9999999999d", Err(())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Expires>().map(|expires| expires.0).map_err(drop), expected, "{text}");
        }
    }
}
