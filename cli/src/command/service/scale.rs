//! `swarm service scale`

use super::flags::scale::scale;
use super::flags::wait::WaitFlags;
use super::standing;
use crate::client::Client;
use crate::command::edit::{self, ServiceWrite};
use crate::exit::{Exit, Failure, join_errors};
use crate::output::{note, print_line};
use crate::parse::number;
use crate::progress::Intent;

/// Change the number of tasks of services
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm service scale web=5
  swarm service scale web=5 api=2 --detach")]
pub struct Args {
    /// Service, and how many tasks it is to have
    #[arg(required = true, value_name = "SERVICE=REPLICAS", value_parser = Specifier::parse)]
    pub services: Vec<Specifier>,

    #[command(flatten)]
    pub wait: WaitFlags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specifier {
    pub service: String,
    /// Read when its turn comes, so that one wrong number stops no other service.
    pub count: String,
}

impl Specifier {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((service, count)) if !service.is_empty() && !count.is_empty() => {
                Ok(Self { service: service.into(), count: count.into() })
            }
            _ => Err(format!("invalid scale specifier '{text}'")),
        }
    }
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut errors = Vec::new();
    let mut scaled = Vec::new();
    for Specifier { service, count } in &args.services {
        match one(client, service, count).await {
            Ok(id) => scaled.push((service, id)),
            Err(error) => errors.push(of_service(service, &error)),
        }
    }
    for (service, id) in scaled {
        if let Err(error) = standing::wait(client, &args.wait, &id, Intent::Apply).await {
            errors.push(of_service(service, &error));
        }
    }
    join_errors(errors)
}

async fn one(client: &Client, service: &str, count: &str) -> anyhow::Result<String> {
    let replicas = number::decimal(count, 64).map_err(|error| {
        let text = format!("invalid replicas value {count}: strconv.ParseUint: parsing {count:?}: {error}");
        Failure::new(Exit::Failed, text)
    })?;
    let edit = edit::service(client, service, ServiceWrite::default(), |spec| scale(spec, replicas));
    let (id, warnings) = edit.await?;
    for warning in warnings {
        note(&warning);
    }
    print_line(&format!("{service} scaled to {replicas}"))?;
    Ok(id)
}

/// Which of several services it is about.
fn of_service(service: &str, error: &anyhow::Error) -> anyhow::Error {
    let text = common::report::Report(error.as_ref()).to_string();
    Failure::new(Exit::of(error), format!("{service}: {text}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers() {
        let specifier = Specifier { service: "web".into(), count: "3".into() };
        assert_eq!(Specifier::parse("web=3"), Ok(specifier));
        for wrong in ["web", "web=", "=3", ""] {
            assert_eq!(Specifier::parse(wrong), Err(format!("invalid scale specifier '{wrong}'")));
        }
    }
}
