//! `swarm secret inspect`, `swarm config inspect`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::engine_api::payload::Payload;
use common::object::PayloadKind;
use serde_json::{Value, json};

use super::path;
use crate::client::{Client, escape};
use crate::exit::join_errors;
use crate::output::inspect::{self, Format};
use crate::output::{human, print};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// By name, id, or start of an id
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,

    /// Show in a form for people
    #[arg(long, conflicts_with = "format")]
    pub pretty: bool,
}

pub async fn run(args: Args, kind: PayloadKind, client: &Client) -> anyhow::Result<()> {
    let mut bodies = Vec::new();
    let mut errors: Vec<anyhow::Error> = Vec::new();
    for name in &args.names {
        match client.get_bytes(&format!("/{}/{}", path(kind), escape(name))).await {
            Ok(body) => bodies.push(body),
            Err(error) => errors.push(error.into()),
        }
    }
    match &args.format {
        None if args.pretty => {
            for body in &bodies {
                print(&pretty(&serde_json::from_slice(body)?, kind))?;
            }
        }
        None => print(&inspect::array(&bodies)?)?,
        Some(Format::Json) => print(&inspect::compact_array(&bodies))?,
        Some(format) => {
            for body in &bodies {
                let mut payload: Value = serde_json::from_slice(body)?;
                inspect::fill(&mut payload, &always(kind));
                print(&inspect::show(format, &payload)?)?;
            }
        }
    }
    join_errors(errors)
}

/// What templates may name although it is left out.
fn always(kind: PayloadKind) -> Value {
    match kind {
        PayloadKind::Secret => json!({"Spec": {"Data": "", "Driver": null, "Templating": null}}),
        PayloadKind::Config => json!({"Spec": {"Data": "", "Templating": null}}),
    }
}

/// As Docker has it, and which version is the newest.
fn pretty(payload: &Payload, kind: PayloadKind) -> String {
    let secret = kind == PayloadKind::Secret;
    // Docker lines them up with spaces in one, with tabs in the other.
    let (id, name, created, updated) = match kind {
        PayloadKind::Secret => {
            ("ID:              ", "Name:              ", "Created at:        ", "Updated at:        ")
        }
        PayloadKind::Config => {
            ("ID:\t\t\t", "Name:\t\t\t", "Created at:            \t", "Updated at:            \t")
        }
    };
    let mut lines = vec![format!("{id}{}", payload.id), format!("{name}{}", payload.spec.name)];
    if !payload.spec.labels.is_empty() {
        lines.push("Labels:".into());
    }
    for (key, value) in &payload.spec.labels {
        lines.push(format!(" - {key}{}{value}", if value.is_empty() { "" } else { "=" }));
    }
    if secret {
        let driver = payload.spec.driver.as_ref().map_or("", |driver| &driver.name);
        lines.push(format!("Driver:            {driver}"));
    }
    lines.push(format!("{created}{}", human::as_go_prints(&payload.created_at)));
    lines.push(format!("{updated}{}", human::as_go_prints(&payload.updated_at)));
    if payload.version_number > 1 {
        let version = if secret { "Version:           " } else { "Version:               \t" };
        lines.push(format!("{version}{}", payload.version_number));
    }
    if let Some(data) = payload.spec.data.as_ref().filter(|_| !secret) {
        let bytes = STANDARD.decode(data.reveal()).unwrap_or_default();
        lines.push(format!("Data:\n{}", String::from_utf8_lossy(&bytes)));
    }
    lines.join("\n") + "\n"
}
