//! `swarm service update`

use serde_json::Value;

use super::flags::container::{CredentialSpec, put_args, put_image};
use super::flags::lists::{Added, Items};
use super::flags::removals::Removals;
use super::flags::wait::WaitFlags;
use super::flags::{SpecFlags, merge, refused};
use super::image_flags::ImageFlags;
use super::{lookups, registry_auth, rollback, standing};
use crate::client::{Client, escape};
use crate::command::edit::{self, ServiceWrite, text};
use crate::output::{note, print_line};
use crate::parse::image;
use crate::parse::members::{look, member};
use crate::parse::number::boolean;
use crate::parse::shell_words::Words;
use crate::progress::Intent;

/// Change a service
///
/// Only what is named changes. Tasks are replaced when the change is about them, as the service's update flags say;
/// then it waits until the service stands again. It ends with 0 when it does, with 2 when the update was rolled back,
/// with 3 when --timeout has passed, and with 1 when the update is paused or cannot succeed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm service update --image nginx:1.27 web
  swarm service update --env-add LEVEL=debug --env-rm TRACE web
  swarm service update --update-parallelism 2 --update-delay 10s --update-failure-action rollback web
  swarm service update --secret-rm key-1 --secret-add source=key-2,target=key web
  swarm service update --publish-rm 80 --publish-add 8081:80 web
  swarm service update --force web                 start every task anew
  swarm service update --rollback web              back to the spec before")]
pub struct Args {
    /// Service by name, id, or start of an id
    pub service: String,

    /// Image of the tasks
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,

    /// Arguments of the tasks, as one line that is split into words; empty: the image's
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    pub args: Option<Words>,

    /// Replace every task, even when nothing changes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub force: Option<bool>,

    /// Go back to the spec before; stands alone
    #[arg(long)]
    pub rollback: bool,

    #[command(flatten)]
    pub wait: WaitFlags,
    #[command(flatten)]
    pub image_flags: ImageFlags,
    #[command(flatten)]
    pub flags: SpecFlags,
    #[command(flatten)]
    pub added: Added,
    #[command(flatten)]
    pub removed: Removals,
}

impl Args {
    /// Is anything named that changes the spec or how it is written?
    fn changes_anything(&self) -> bool {
        self.image.is_some()
            || self.args.is_some()
            || self.force.is_some()
            || self.image_flags != ImageFlags::default()
            || self.flags != SpecFlags::default()
            || self.added.0 != Items::default()
            || self.removed != Removals::default()
    }
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    if args.rollback {
        if args.changes_anything() {
            return Err(refused("other flags may not be combined with --rollback"));
        }
        return rollback::to_previous(client, &args.service, &args.wait).await;
    }
    let credential_config = match &args.flags.container.credential_spec {
        Some(CredentialSpec(Some(("Config", name)))) => Some(name.as_str()),
        _ => None,
    };
    let resolved = lookups::resolve(client, &args.added.0, &args.removed, credential_config).await?;
    let named = args.image.as_deref().map(|written| match image::parse(written) {
        Some(image) => image.tagged(),
        None => written.to_owned(),
    });
    let auth = auth(&args, named.as_deref(), client).await?;
    let pinned = match named.as_deref().filter(|image| args.image_flags.resolves(image)) {
        Some(image) => lookups::pin(client, image, auth.as_deref()).await?,
        None => None,
    };
    let write = ServiceWrite {
        query: if auth.is_some() { "" } else { "registryAuthFrom=spec" },
        registry_auth: auth.as_deref(),
    };
    let edited = edit::service(client, &args.service, write, |spec| {
        change(spec, &args, &resolved)?;
        if let Some(image) = &named {
            put_image(spec, image);
        }
        if let Some(pinned) = &pinned {
            lookups::put_pinned(spec, pinned);
        }
        Ok(())
    });
    let (id, warnings) = edited.await?;
    for warning in warnings {
        note(&warning);
    }
    print_line(&args.service)?;
    standing::wait(client, &args.wait, &id, Intent::Apply).await
}

/// Credentials for the new image, or for the one that stays.
async fn auth(args: &Args, named: Option<&str>, client: &Client) -> anyhow::Result<Option<String>> {
    if !args.image_flags.with_registry_auth {
        return Ok(None);
    }
    let image = match named {
        Some(image) => image.to_owned(),
        None => {
            let service: Value = client.get(&format!("/services/{}", escape(&args.service))).await?;
            text(&service, &["Spec", "TaskTemplate", "ContainerSpec", "Image"]).to_owned()
        }
    };
    registry_auth::for_image(&image).await.map(Some)
}

/// What the flags make of a spec.
fn change(spec: &mut Value, args: &Args, resolved: &merge::Resolved) -> anyhow::Result<()> {
    args.flags.apply(spec)?;
    if let Some(Words(words)) = &args.args {
        put_args(spec, words);
    }
    merge::apply(spec, &args.added.0, &args.removed, resolved)?;
    if args.force == Some(true) {
        let count = look(spec, &["TaskTemplate", "ForceUpdate"]).as_u64().unwrap_or_default();
        *member(spec, &["TaskTemplate", "ForceUpdate"]) = count.saturating_add(1).into();
    }
    Ok(())
}

#[cfg(test)]
#[path = "update_test.rs"]
mod tests;
