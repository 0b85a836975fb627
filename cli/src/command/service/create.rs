//! `swarm service create`

use serde_json::{Value, json};

use super::flags::container::{CredentialSpec, put_args, put_image};
use super::flags::lists::{EnvFiles, Items};
use super::flags::removals::Removals;
use super::flags::wait::WaitFlags;
use super::flags::{SpecFlags, extra::Runtime, merge, scale::Mode};
use super::image_flags::ImageFlags;
use super::{lookups, registry_auth, standing};
use crate::client::Client;
use crate::command::edit::{text, warnings};
use crate::exit::Failure;
use crate::output::{note, print_line};
use crate::parse::members::member;
use crate::parse::{environment, image};
use crate::progress::Intent;

/// Create a service
///
/// Prints the service's id, and then waits until its tasks run and are known to be well. It ends with 0 when they
/// are, with 3 when --timeout has passed, and with 1 as soon as it is clear that they cannot: then it shows the
/// failed task's own error and the last lines of its log.
#[derive(Clone, Debug, clap::Args)]
#[command(override_usage = "swarm service create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
#[command(after_help = "\
Examples:
  swarm service create --name web --replicas 3 -p 8080:80 nginx
  swarm service create --name agent --mode global --mount type=bind,src=/var/log,dst=/logs,ro example/agent
  swarm service create --name api --secret db-password --health-cmd 'curl -f localhost/health' \\
    --ready-http 8080/ready --update-order start-first --update-failure-action rollback example/api:1.4
  swarm service create --name job --mode replicated-job --replicas 10 --max-concurrent 2 alpine sh -c 'sleep 3'
  swarm service create --name clock --runtime process sh -c 'while date; do sleep 1; done'

Flags come before the image: what follows it is the task's command.")]
pub struct Args {
    /// Image of the tasks and the arguments they are started with; with --runtime process, program and arguments
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", trailing_var_arg = true, num_args = 0..)]
    pub what: Vec<String>,

    /// Name of the service [default: a random one]
    #[arg(long)]
    pub name: Option<String>,

    /// How many tasks there are, and whether they end
    #[arg(long, value_enum, default_value = "replicated", hide_default_value = true)]
    pub mode: Mode,

    #[command(flatten)]
    pub wait: WaitFlags,
    #[command(flatten)]
    pub image: ImageFlags,
    #[command(flatten)]
    pub flags: SpecFlags,
    #[command(flatten)]
    pub items: Items,
    #[command(flatten)]
    pub env_files: EnvFiles,
}

pub async fn run(mut args: Args, client: &Client) -> anyhow::Result<()> {
    args.items.env = variables(&args)?;
    let mut spec = new_spec(&args)?;
    let credential_config = match &args.flags.container.credential_spec {
        Some(CredentialSpec(Some(("Config", name)))) => Some(name.as_str()),
        _ => None,
    };
    let resolved = lookups::resolve(client, &args.items, &Removals::default(), credential_config).await?;
    merge::apply(&mut spec, &args.items, &Removals::default(), &resolved)?;

    let image = text(&spec, &["TaskTemplate", "ContainerSpec", "Image"]).to_owned();
    let auth = match args.image.with_registry_auth {
        true => Some(registry_auth::for_image(&image).await?),
        false => None,
    };
    if args.image.resolves(&image)
        && let Some(pinned) = lookups::pin(client, &image, auth.as_deref()).await?
    {
        lookups::put_pinned(&mut spec, &pinned);
    }
    let created: Value = client.post_with("/services/create", &spec, auth.as_deref()).await?;
    for warning in warnings(&created) {
        note(&warning);
    }
    let id = text(&created, &["ID"]);
    print_line(id)?;
    standing::wait(client, &args.wait, id, Intent::Apply).await
}

/// Those of files first, so that a flag has the last word.
fn variables(args: &Args) -> anyhow::Result<Vec<String>> {
    let mut variables = Vec::new();
    for path in &args.env_files.env_files {
        variables.extend(environment::file(path).map_err(super::flags::refused)?);
    }
    variables.extend(args.items.env.iter().cloned());
    Ok(environment::merge(variables))
}

/// The spec as far as the flags alone say it.
fn new_spec(args: &Args) -> anyhow::Result<Value> {
    let mut spec = json!({
        "Name": args.name.as_deref().unwrap_or_default(),
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {},
            "Resources": {"Limits": {}, "Reservations": {}},
            "Placement": {},
            "ForceUpdate": 0,
        },
        "Mode": args.flags.scale.new_mode(args.mode)?,
        "EndpointSpec": {"Mode": "vip"},
    });
    match (args.flags.extra.runtime, args.what.split_first()) {
        (None | Some(Runtime::Container), None) => {
            let text = "\"swarm service create\" requires at least 1 argument: the image. See 'swarm service create --help'";
            return Err(Failure::usage(text).into());
        }
        // The program of a process stands where an image's entrypoint would.
        (Some(Runtime::Process), Some((program, rest))) if args.flags.container.entrypoint.is_none() => {
            *member(&mut spec, &["TaskTemplate", "ContainerSpec", "Command"]) = json!([program]);
            put_args(&mut spec, rest);
        }
        (Some(Runtime::Process), _) => put_args(&mut spec, &args.what),
        (Some(Runtime::Fake), None) => {}
        (None | Some(Runtime::Container | Runtime::Fake), Some((written, rest))) => {
            let tagged = image::parse(written).map_or_else(|| written.clone(), |image| image.tagged());
            put_image(&mut spec, &tagged);
            put_args(&mut spec, rest);
        }
    }
    args.flags.apply(&mut spec)?;
    Ok(spec)
}
