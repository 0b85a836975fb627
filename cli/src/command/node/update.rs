//! `swarm node update`

use serde_json::Value;

use crate::client::Client;
use crate::command::cluster_flags::member;
use crate::command::edit::{self, Edit};
use crate::command::{Availability, Role};
use crate::exit::{Exit, Failure};
use crate::output::print_line;
use crate::parse::pair;

/// Change a node's role, availability or labels
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm node update --availability drain node1
  swarm node update --label-add disk=ssd --label-add rack=7 node1
  swarm node update --label-rm disk node1")]
pub struct Args {
    /// Node by id, hostname, or start of an id
    pub node: String,

    /// Whether the node takes tasks
    #[arg(long, value_enum)]
    pub availability: Option<Availability>,

    /// Add a label, or give it a new value; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair::label)]
    pub label_add: Vec<(String, String)>,

    /// Remove a label; may be repeated
    #[arg(long, value_name = "KEY")]
    pub label_rm: Vec<String>,

    /// What the node is to be
    #[arg(long, value_enum)]
    pub role: Option<Role>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    edit::node(client, &args.node, |_, spec| change(&args, spec).map(|()| Edit::Write)).await?;
    print_line(&args.node)?;
    Ok(())
}

fn change(args: &Args, spec: &mut Value) -> anyhow::Result<()> {
    if let Some(role) = args.role {
        *member(spec, &["Role"]) = role.as_str().into();
    }
    if let Some(availability) = args.availability {
        *member(spec, &["Availability"]) = availability.as_str().into();
    }
    for (key, value) in &args.label_add {
        *member(spec, &["Labels", key]) = value.as_str().into();
    }
    for key in &args.label_rm {
        let labels = member(spec, &["Labels"]).as_object_mut();
        if labels.and_then(|labels| labels.remove(key)).is_none() {
            let text = format!("key {key} doesn't exist in node's labels");
            return Err(Failure::new(Exit::Failed, text).into());
        }
    }
    Ok(())
}
