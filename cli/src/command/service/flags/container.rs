//! What a task runs, as whom, and how it is stopped and logged.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::merge::capabilities;
use super::{container_member, put, put_text};
use crate::parse::duration::Nanoseconds;
use crate::parse::members::member;
use crate::parse::number::boolean;
use crate::parse::service_value::{capability, option};
use crate::parse::shell_words::Words;

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "What a task runs")]
pub struct ContainerFlags {
    /// Command line instead of the image's entrypoint
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub entrypoint: Option<Words>,

    /// Working folder in the task
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// Name or id of the user, and of the group: USER[:GROUP]
    #[arg(short, long)]
    pub user: Option<String>,

    /// Hostname in the task; templates like {{.Node.Hostname}} are filled in
    #[arg(long)]
    pub hostname: Option<String>,

    /// Small init as first process, which forwards signals and reaps children [default: as the engine is set up]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub init: Option<bool>,

    /// Give the task a terminal
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub tty: Option<bool>,

    /// Mount the root file system read-only
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub read_only: Option<bool>,

    /// Time between the stop signal and the end by force (ns|us|ms|s|m|h) [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub stop_grace_period: Option<Nanoseconds>,

    /// Signal that asks the task to stop [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,

    /// Add a capability, or ALL; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,

    /// Drop a capability, or ALL; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,

    /// Who takes what the task writes [default: as the engine is set up]
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,

    /// Option of the log driver; may be repeated
    #[arg(long = "log-opt", value_name = "KEY=VALUE", value_parser = option)]
    pub log_options: Vec<(String, String)>,

    /// Isolation (Windows)
    #[arg(long, value_name = "KIND", hide_short_help = true)]
    pub isolation: Option<String>,

    /// Credential spec (Windows): config://, file:// or registry://
    #[arg(long, value_name = "SPEC", hide_short_help = true, value_parser = CredentialSpec::parse)]
    pub credential_spec: Option<CredentialSpec>,
}

/// Which member of the spec's `CredentialSpec`, and its value; none takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSpec(pub Option<(&'static str, String)>);

impl CredentialSpec {
    fn parse(text: &str) -> Result<Self, String> {
        crate::parse::service_value::credential_spec(text).map(Self)
    }
}

impl ContainerFlags {
    pub fn apply(&self, spec: &mut Value) {
        let container = member(spec, &["TaskTemplate", "ContainerSpec"]);
        if let Some(Words(words)) = &self.entrypoint {
            put(container, "Command", if words.is_empty() { Value::Null } else { json!(words) });
        }
        put_text(container, "Dir", self.workdir.as_ref());
        put_text(container, "User", self.user.as_ref());
        put_text(container, "Hostname", self.hostname.as_ref());
        put_text(container, "StopSignal", self.stop_signal.as_ref());
        put_text(container, "Isolation", self.isolation.as_ref());
        for (key, value) in [("Init", self.init), ("TTY", self.tty), ("ReadOnly", self.read_only)] {
            if let Some(value) = value {
                put(container, key, value.into());
            }
        }
        if let Some(Nanoseconds(period)) = self.stop_grace_period {
            put(container, "StopGracePeriod", period.into());
        }
        if let Some(CredentialSpec(chosen)) = &self.credential_spec {
            let value = chosen.as_ref().map_or(Value::Null, |(key, value)| json!({*key: value}));
            put(member(container, &["Privileges"]), "CredentialSpec", value);
        }
        if !self.cap_add.is_empty() || !self.cap_drop.is_empty() {
            let normal = |list: &[String]| list.iter().map(|name| capability(name)).collect();
            capabilities(container, normal(&self.cap_add), normal(&self.cap_drop));
        }
        self.apply_log_driver(spec);
    }

    /// The options go with the driver: naming one replaces both.
    fn apply_log_driver(&self, spec: &mut Value) {
        let options: BTreeMap<_, _> = self.log_options.iter().cloned().collect();
        let driver = self.log_driver.as_deref().filter(|driver| !driver.is_empty());
        if let Some(driver) = driver {
            let mut value = json!({"Name": driver});
            if !options.is_empty() {
                value["Options"] = json!(options);
            }
            *member(spec, &["TaskTemplate", "LogDriver"]) = value;
        }
    }
}

/// `--image` of update, and the image of create.
pub fn put_image(spec: &mut Value, image: &str) {
    *container_member(spec, "Image") = image.into();
}

/// `--args` of update, and what follows the image of create.
pub fn put_args(spec: &mut Value, args: &[String]) {
    let value = if args.is_empty() { Value::Null } else { json!(args) };
    put(member(spec, &["TaskTemplate", "ContainerSpec"]), "Args", value);
}
