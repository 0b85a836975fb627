//! `swarm secret rm`, `swarm config rm`

use common::object::PayloadKind;

use super::path;
use crate::client::{Client, escape};
use crate::exit::join_errors;
use crate::output::print_line;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// By name, id, or start of an id
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

pub async fn run(args: Args, kind: PayloadKind, client: &Client) -> anyhow::Result<()> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    for name in &args.names {
        match client.delete(&format!("/{}/{}", path(kind), escape(name))).await {
            Ok(()) => print_line(name)?,
            Err(error) => errors.push(error.into()),
        }
    }
    join_errors(errors)
}
