//! `swarm secret rotate`, `swarm config rotate`

use common::engine_api::payload::{RotateRequest, Rotated};
use common::object::PayloadKind;

use super::data::{self, DataArgs};
use super::path;
use crate::client::{Client, escape};
use crate::command::service;
use crate::command::service::flags::wait::WaitFlags;
use crate::exit::join_errors;
use crate::output::{note, print_line};
use crate::progress::Intent;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// By name, id, or start of an id
    pub name: String,

    #[command(flatten)]
    pub data: DataArgs,

    #[command(flatten)]
    pub wait: WaitFlags,
}

pub async fn run(args: Args, kind: PayloadKind, client: &Client) -> anyhow::Result<()> {
    let Some(data) = args.data.read()? else { return Err(data::missing()) };
    let path = format!("/swarm/x/{}/{}/rotate", path(kind), escape(&args.name));
    let rotated: Rotated = client.post_for(&path, &RotateRequest { data: Some(data) }).await?;
    print_line(&args.name)?;
    let names: Vec<&str> = rotated.services.iter().map(|service| service.name.as_str()).collect();
    if !args.wait.quiet {
        let services = if names.is_empty() { "no service".into() } else { names.join(", ") };
        note(&format!("{kind} {} is at version {}; rolling to it: {services}", args.name, rotated.version));
    }
    let mut errors = Vec::new();
    for rolling in &rotated.services {
        if args.wait.waits() && !args.wait.quiet && names.len() > 1 {
            note(&format!("{}:", rolling.name));
        }
        // What goes wrong with one says nothing of the others.
        if let Err(error) =
            service::wait_until_it_stands(client, &args.wait, &rolling.id, Intent::Apply).await
        {
            errors.push(error.context(format!("service {}", rolling.name)));
        }
    }
    join_errors(errors)
}
