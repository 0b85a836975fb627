//! `swarm context`: daemons by name, with the certificates for them.

use clap::Subcommand;
use common::identity::certificate::certificates_from_pem;
use serde_json::{Value, json};

use crate::context::endpoint::Address;
use crate::context::store::{Found, Store, TlsContent};
use crate::context::{Asked, DEFAULT, chosen};
use crate::exit::{Failure, join_errors};
use crate::output::listing::{Format, Listing};
use crate::output::{inspect, note, print, print_line};
use crate::parse::csv;
use crate::paths::Host;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Create(CreateArgs),
    /// List contexts, Docker's own included
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show contexts in full
    Inspect(InspectArgs),
    /// Make a context the one that commands ask from now on
    Use {
        name: String,
    },
    /// Remove contexts
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Print the name of the context that commands ask
    Show,
}

/// Give a daemon a name
///
/// The certificates are copied. Docker's own client reads such a context as well, from its own folder.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Keys of --docker:
  host=tcp://HOST:PORT or unix:///PATH, ca=FILE, cert=FILE, key=FILE

Examples:
  swarm context create prod --docker host=tcp://m1:2376,ca=alice/ca.pem,cert=alice/cert.pem,key=alice/key.pem
  swarm context use prod")]
pub struct CreateArgs {
    pub name: String,

    /// Where it is, and the certificates for it
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub docker: Option<String>,

    /// Words for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub description: String,

    /// Copy what another context says
    #[arg(long, value_name = "CONTEXT", conflicts_with = "docker")]
    pub from: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct LsArgs {
    /// `table`, `table TEMPLATE`, `json`, or a Go template for each context
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,

    /// Print names only
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// Contexts by name [default: the one that commands ask]
    #[arg(value_name = "CONTEXT")]
    pub names: Vec<String>,

    /// `json`, or a Go template for each context
    #[arg(short, long)]
    pub format: Option<inspect::Format>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RmArgs {
    #[arg(required = true, value_name = "CONTEXT")]
    pub names: Vec<String>,

    /// Remove it even if it is in use, and be content where there is none
    #[arg(short, long)]
    pub force: bool,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("Name", "NAME"),
        ("Current", ""),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ],
    table: "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
};

pub fn run(command: Command, asked: &Asked) -> anyhow::Result<()> {
    let store = Store::of_this_user();
    match command {
        Command::Create(args) => create(&args, &store)?,
        Command::Ls(args) => ls(&args, asked, &store)?,
        Command::Inspect(args) => inspect(&args, asked, &store)?,
        Command::Use { name } => {
            store.set_current(&name)?;
            print_line(&name)?;
            if std::env::var_os("SWARM_HOST").is_some_and(|host| !host.is_empty()) {
                note("SWARM_HOST is set, and goes before this context as long as it is.");
            }
        }
        Command::Rm(args) => {
            let mut errors = Vec::new();
            for name in &args.names {
                match store.remove(name, args.force) {
                    Ok(()) => print_line(name)?,
                    Err(error) => errors.push(error),
                }
            }
            join_errors(errors)?;
        }
        Command::Show => print_line(&chosen(asked, &store)?.unwrap_or_else(|| DEFAULT.into()))?,
    }
    Ok(())
}

fn create(args: &CreateArgs, store: &Store) -> anyhow::Result<()> {
    let (host, tls) = match (&args.docker, &args.from) {
        (Some(text), _) => read_docker(text)?,
        (None, Some(from)) => {
            let found = store.find(from)?;
            let file = |name: &str| std::fs::read_to_string(found.tls_folder().join(name)).ok();
            let tls = TlsContent { ca: file("ca.pem"), certificate: file("cert.pem"), key: file("key.pem") };
            (found.host().to_owned(), tls)
        }
        (None, None) => return Err(Failure::usage("say where it is: --docker host=tcp://HOST:PORT,…").into()),
    };
    store.create(&args.name, &args.description, &host, &tls)?;
    print_line(&args.name)?;
    note(&format!("Successfully created context \"{}\"", args.name));
    Ok(())
}

fn read_docker(text: &str) -> anyhow::Result<(String, TlsContent)> {
    let (mut host, mut tls) = (None, TlsContent::default());
    let usage = |text: String| anyhow::Error::from(Failure::usage(text));
    for field in csv::fields(text).map_err(usage)? {
        let (key, value) =
            field.split_once('=').ok_or_else(|| usage(format!("'{field}' in --docker is not KEY=VALUE")))?;
        let read = || {
            std::fs::read_to_string(value).map(Some).map_err(|error| usage(format!("read {value}: {error}")))
        };
        match key.trim() {
            "host" => host = Some(value.to_owned()),
            "ca" => tls.ca = read()?,
            "cert" => tls.certificate = read()?,
            "key" => tls.key = read()?,
            "skip-tls-verify" if value == "false" => {}
            "skip-tls-verify" => {
                return Err(usage(
                    "skip-tls-verify is not taken: who does not check a daemon's certificate talks to anybody".into(),
                ));
            }
            other => {
                return Err(usage(format!("unknown key '{other}' in --docker: use host, ca, cert, key")));
            }
        }
    }
    let host = host.ok_or_else(|| usage("host=… is missing in --docker".into()))?;
    let address: Address = host.parse().map_err(|error| usage(format!("{host}: {error}")))?;
    if let Address::Tcp(..) = address {
        let all = [("ca", &tls.ca), ("cert", &tls.certificate), ("key", &tls.key)];
        if let Some((missing, _)) = all.into_iter().find(|(_, content)| content.is_none()) {
            return Err(usage(format!(
                "{missing}=FILE is missing in --docker: a daemon on TCP needs ca, cert and key"
            )));
        }
        for (name, content) in [("ca", &tls.ca), ("cert", &tls.certificate)] {
            if certificates_from_pem(content.as_deref().unwrap_or_default()).is_err() {
                return Err(usage(format!("the file of {name}= holds no certificate as PEM text")));
            }
        }
    }
    Ok((address.to_string(), tls))
}

fn ls(args: &LsArgs, asked: &Asked, store: &Store) -> anyhow::Result<()> {
    let current = chosen(asked, store)?;
    let is_current = |name: &str| current.as_deref() == Some(name);
    let mut rows = vec![json!({
        "Name": DEFAULT,
        "Current": is_current(DEFAULT),
        "Description": "The daemon of this user",
        "DockerEndpoint": Host::default_for_this_user().to_string(),
        "Error": "",
    })];
    rows.extend(store.all().iter().map(|found| {
        json!({
            "Name": found.meta.name,
            "Current": is_current(&found.meta.name),
            "Description": found.meta.metadata.description,
            "DockerEndpoint": found.host(),
            "Error": found.host().parse::<Address>().err().map(|error| error.to_string()).unwrap_or_default(),
        })
    }));
    let format = match &args.format {
        Format::Table if args.quiet => "{{.Name}}".parse().map_err(Failure::usage)?,
        format => format.clone(),
    };
    print(&LISTING.show(&format, false, &rows)?)?;
    Ok(())
}

fn inspect(args: &InspectArgs, asked: &Asked, store: &Store) -> anyhow::Result<()> {
    let names = match args.names.as_slice() {
        [] => vec![chosen(asked, store)?.unwrap_or_else(|| DEFAULT.into())],
        names => names.to_vec(),
    };
    let shown: anyhow::Result<Vec<Value>> = names.iter().map(|name| document(store, name)).collect();
    let shown = shown?;
    match &args.format {
        None => print(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?,
        Some(format) => {
            for context in &shown {
                print(&inspect::show(format, context)?)?;
            }
        }
    }
    Ok(())
}

fn document(store: &Store, name: &str) -> anyhow::Result<Value> {
    if name == DEFAULT {
        let host = Host::default_for_this_user().to_string();
        return Ok(json!({
            "Name": DEFAULT,
            "Metadata": {"Description": "The daemon of this user"},
            "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}},
            "TLSMaterial": {},
            "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
        }));
    }
    let found: Found = store.find(name)?;
    let files = ["ca.pem", "cert.pem", "key.pem"];
    let present: Vec<_> = files.into_iter().filter(|file| found.tls_folder().join(file).exists()).collect();
    let mut document = serde_json::to_value(&found.meta)?;
    document["TLSMaterial"] = if present.is_empty() { json!({}) } else { json!({"docker": present}) };
    document["Storage"] = json!({
        "MetadataPath": found.meta_folder().display().to_string(),
        "TLSPath": found.tls_folder().parent().map(|folder| folder.display().to_string()),
    });
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_says_is_checked() {
        #[rustfmt::skip]
        let cases = [
            ("",                                   "EOF"),
            ("ca=/nowhere",                        "read /nowhere"),
            ("tcp://m1",                           "is not KEY=VALUE"),
            ("colour=red",                         "unknown key 'colour'"),
            ("host=tcp://m1:2376",                 "ca=FILE is missing"),
            ("host=ssh://m1",                      "ssh://m1: the daemon's address"),
            ("host=tcp://m1,skip-tls-verify=true", "skip-tls-verify is not taken"),
        ];
        for (text, expected) in cases {
            let error = read_docker(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(read_docker("host=unix:///run/a.sock").expect("a socket").0, "unix:///run/a.sock");
    }
}
