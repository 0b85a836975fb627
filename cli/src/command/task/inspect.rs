//! `swarm task inspect`

use serde_json::Value;

use crate::client::{Client, escape};
use crate::exit::join_errors;
use crate::output::inspect::{self, Format};
use crate::output::print;

/// Show everything about tasks
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm task inspect 4xab
  swarm task inspect --format '{{.Status.State}} {{.Status.Message}}' 4xab")]
pub struct Args {
    /// Tasks by id, name, or start of an id
    #[arg(required = true, value_name = "TASK")]
    pub tasks: Vec<String>,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut bodies = Vec::new();
    let mut errors = Vec::new();
    for reference in &args.tasks {
        match client.get_bytes(&format!("/tasks/{}", escape(reference))).await {
            Ok(body) => bodies.push(body),
            Err(error) => errors.push(error.into()),
        }
    }
    match &args.format {
        None => print(&inspect::array(&bodies)?)?,
        Some(Format::Json) => print(&inspect::compact_array(&bodies))?,
        Some(format) => {
            for body in bodies {
                let task: Value = serde_json::from_slice(&body)?;
                print(&inspect::show(format, &task)?)?;
            }
        }
    }
    join_errors(errors)
}
