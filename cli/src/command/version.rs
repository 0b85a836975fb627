//! `swarm version`: of this program and of the daemon it talks to.

use common::engine_api::API_VERSION;
use serde_json::{Value, json};

use super::edit::text;
use crate::client::Client;
use crate::output::inspect::{self, Format};
use crate::output::print;

/// Show the versions of this program and of the daemon
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm version
  swarm version --format '{{.Server.Version}}'")]
pub struct Args {
    /// `json`, or a Go template over .Client and .Server
    #[arg(short, long)]
    pub format: Option<Format>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let this = json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": API_VERSION,
        "Os": std::env::consts::OS,
        "Arch": architecture(),
    });
    let server = client.get::<Value>("/version").await;
    let shown = server.as_ref().unwrap_or(&Value::Null);
    let text = match &args.format {
        Some(format) => inspect::show(format, &json!({ "Client": this, "Server": shown }))?,
        None => match shown {
            Value::Null => format!("Client:\n{}", block(&this)),
            server => format!("Client:\n{}\nServer:\n{}", block(&this), block(server)),
        },
    };
    print(&text)?;
    // What could be said has been said; that no daemon answered is an error still.
    server?;
    Ok(())
}

fn block(version: &Value) -> String {
    let minimum = match text(version, &["MinAPIVersion"]) {
        "" => String::new(),
        minimum => format!(" (minimum version {minimum})"),
    };
    format!(
        " Version:           {}\n API version:       {}{minimum}\n OS/Arch:           {}/{}\n",
        text(version, &["Version"]),
        text(version, &["ApiVersion"]),
        text(version, &["Os"]),
        text(version, &["Arch"])
    )
}

/// Go's name, which the Engine API uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
