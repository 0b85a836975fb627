//! The flags of `service create` and `service update`, and what each does to a spec.
//!
//! A spec is edited as JSON: what this program does not know of it survives. Each file has the flags of one subject
//! and their edit, a function of flags and spec alone. Lists have two forms: `--env` of create is `--env-add` of
//! update, beside `--env-rm`.
//!
//! Not here: what has to be asked first, as ids of secrets and networks and the image's digest (`super::lookups`).

pub mod container;
pub mod extra;
pub mod health;
pub mod lists;
pub mod merge;
pub mod policy;
pub mod ports;
pub mod removals;
pub mod resources;
pub mod scale;
pub mod wait;

use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::parse::members::member;

/// The flags that create and update have under the same names.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct SpecFlags {
    #[command(flatten)]
    pub scale: scale::ScaleFlags,
    #[command(flatten)]
    pub container: container::ContainerFlags,
    #[command(flatten)]
    pub resources: resources::ResourceFlags,
    #[command(flatten)]
    pub health: health::HealthFlags,
    #[command(flatten)]
    pub restart: policy::RestartFlags,
    #[command(flatten)]
    pub update: policy::UpdateFlags,
    #[command(flatten)]
    pub rollback: policy::RollbackFlags,
    #[command(flatten)]
    pub endpoint: ports::EndpointFlags,
    #[command(flatten)]
    pub extra: extra::ExtraFlags,
}

impl SpecFlags {
    pub fn apply(&self, spec: &mut Value) -> anyhow::Result<()> {
        self.scale.apply(spec)?;
        self.container.apply(spec);
        self.resources.apply(spec);
        self.health.apply(spec)?;
        self.restart.apply(spec);
        self.update.0.apply(member(spec, &["UpdateConfig"]));
        self.rollback.0.apply(member(spec, &["RollbackConfig"]));
        self.endpoint.apply(spec);
        self.extra.apply(spec);
        tidy(spec);
        let is_job = scale::is_job(spec);
        if is_job && (!self.update.0.is_empty() || !self.rollback.0.is_empty()) {
            return Err(refused("update and rollback configuration is not supported for jobs"));
        }
        Ok(())
    }
}

/// Members that were only looked at do not stay as `null`.
fn tidy(spec: &mut Value) {
    if let Value::Object(members) = spec {
        members.retain(|key, value| {
            !(value.is_null() && matches!(key.as_str(), "UpdateConfig" | "RollbackConfig"))
        });
    }
}

/// Flags that are fine each, and do not go together or not with this service.
pub fn refused(text: impl Into<String>) -> anyhow::Error {
    Failure::new(Exit::Failed, text).into()
}

/// Where most of it goes.
pub fn container_member<'v>(spec: &'v mut Value, key: &str) -> &'v mut Value {
    member(spec, &["TaskTemplate", "ContainerSpec", key])
}

/// Puts a text; an empty one takes away what was there.
pub fn put_text(object: &mut Value, key: &str, text: Option<&String>) {
    let Some(text) = text else { return };
    put(object, key, if text.is_empty() { Value::Null } else { text.as_str().into() });
}

/// Puts a member; null takes it away.
pub fn put(object: &mut Value, key: &str, value: Value) {
    if !object.is_object() {
        *object = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = object else { return };
    if value.is_null() {
        members.remove(key);
    } else {
        members.insert(key.into(), value);
    }
}
