//! `swarm service rm`

use crate::client::{Client, escape};
use crate::exit::join_errors;
use crate::output::print_line;

/// Remove services and their tasks
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Services by name, id, or start of an id
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut errors: Vec<anyhow::Error> = Vec::new();
    for reference in &args.services {
        match client.delete(&format!("/services/{}", escape(reference))).await {
            Ok(()) => print_line(reference)?,
            Err(error) => errors.push(error.into()),
        }
    }
    join_errors(errors)
}
