//! `swarm node promote` and `swarm node demote`

use crate::client::Client;
use crate::command::cluster_flags::member;
use crate::command::edit::{self, Edit, text};
use crate::exit::join_errors;
use crate::output::print_line;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Nodes by id, hostname, or start of an id
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Promote,
    Demote,
}

pub async fn run(args: Args, direction: Direction, client: &Client) -> anyhow::Result<()> {
    let role = match direction {
        Direction::Promote => "manager",
        Direction::Demote => "worker",
    };
    let mut errors = Vec::new();
    for reference in &args.nodes {
        let edited = edit::node(client, reference, |node, spec| {
            if text(spec, &["Role"]) == role {
                print_line(&format!("Node {} is already a {role}.", text(node, &["ID"])))?;
                return Ok(Edit::Leave);
            }
            *member(spec, &["Role"]) = role.into();
            Ok(Edit::Write)
        });
        match (edited.await, direction) {
            (Ok(None), _) => {}
            (Ok(Some(_)), Direction::Promote) => {
                print_line(&format!("Node {reference} promoted to a manager in the swarm."))?;
            }
            (Ok(Some(_)), Direction::Demote) => {
                print_line(&format!("Manager {reference} demoted in the swarm."))?;
            }
            (Err(error), _) => errors.push(error),
        }
    }
    join_errors(errors)
}
