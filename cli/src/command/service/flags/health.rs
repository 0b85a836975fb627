//! Whether a task lives (health), whether it may get connections (readiness), and what runs before it stops.

use serde_json::{Value, json};

use super::{put, refused};
use crate::parse::duration::Nanoseconds;
use crate::parse::members::{look, member};
use crate::parse::number::boolean;
use crate::parse::ready;
use crate::parse::shell_words::Words;

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Health and readiness")]
pub struct HealthFlags {
    /// Shell command that fails when the task is unwell: it is then stopped and replaced
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub health_cmd: Option<String>,

    /// Time between two checks (ms|s|m|h) [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub health_interval: Option<Nanoseconds>,

    /// How long a check may take (ms|s|m|h) [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub health_timeout: Option<Nanoseconds>,

    /// Failures in a row that make a task unhealthy [default: 3]
    #[arg(long, value_name = "N")]
    pub health_retries: Option<u32>,

    /// Time at the start in which failures do not count (ms|s|m|h) [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub health_start_period: Option<Nanoseconds>,

    /// Time between two checks during the start period (ms|s|m|h) [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub health_start_interval: Option<Nanoseconds>,

    /// Ignore the health check of the image
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub no_healthcheck: Option<bool>,

    /// Command that succeeds when the task may get connections; it runs in the task, without a shell
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true, group = "ready")]
    pub ready_cmd: Option<Words>,

    /// The task may get connections when a GET of this answers with a status below 400
    #[arg(long, value_name = "PORT/PATH", value_parser = ready::http, group = "ready")]
    pub ready_http: Option<ready::Http>,

    /// The task may get connections when this port takes one
    #[arg(long, value_name = "PORT", value_parser = ready::port, group = "ready")]
    pub ready_tcp: Option<u16>,

    /// Time between two readiness checks (ms|s|m|h) [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub ready_interval: Option<Nanoseconds>,

    /// How long a readiness check may take (ms|s|m|h) [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub ready_timeout: Option<Nanoseconds>,

    /// Command run in the task before its stop signal is sent, without a shell
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub pre_stop: Option<Words>,
}

/// A duration that is not negative.
pub fn positive(text: &str) -> Result<Nanoseconds, String> {
    match text.parse() {
        Ok(Nanoseconds(value)) if value < 0 => Err("duration cannot be negative".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(crate::parse::duration::DurationError::to_string(&error)),
    }
}

impl HealthFlags {
    pub fn apply(&self, spec: &mut Value) -> anyhow::Result<()> {
        let container = member(spec, &["TaskTemplate", "ContainerSpec"]);
        self.apply_health(container)?;
        self.apply_ready(container)?;
        if let Some(Words(words)) = &self.pre_stop {
            put(container, "PreStop", if words.is_empty() { Value::Null } else { json!(words) });
        }
        Ok(())
    }

    fn apply_health(&self, container: &mut Value) -> anyhow::Result<()> {
        let times = [
            ("Interval", self.health_interval),
            ("Timeout", self.health_timeout),
            ("StartPeriod", self.health_start_period),
            ("StartInterval", self.health_start_interval),
        ];
        let any = self.health_cmd.is_some()
            || self.health_retries.is_some()
            || times.iter().any(|(_, time)| time.is_some());
        if self.no_healthcheck == Some(true) {
            if any {
                return Err(refused("--no-healthcheck conflicts with --health-* options"));
            }
            put(container, "Healthcheck", json!({"Test": ["NONE"]}));
            return Ok(());
        }
        if !any {
            return Ok(());
        }
        let check = member(container, &["Healthcheck"]);
        if look(check, &["Test"]).get(0).and_then(Value::as_str) == Some("NONE") {
            put(check, "Test", Value::Null);
        }
        for (key, time) in times {
            if let Some(Nanoseconds(time)) = time {
                put(check, key, time.into());
            }
        }
        if let Some(retries) = self.health_retries {
            put(check, "Retries", retries.into());
        }
        match self.health_cmd.as_deref() {
            None => {}
            Some("") => put(check, "Test", Value::Null),
            Some(command) => put(check, "Test", json!(["CMD-SHELL", command])),
        }
        Ok(())
    }

    fn apply_ready(&self, container: &mut Value) -> anyhow::Result<()> {
        let probe = match (&self.ready_cmd, &self.ready_http, self.ready_tcp) {
            (Some(Words(words)), ..) if words.is_empty() => {
                put(container, "ReadyCheck", Value::Null);
                return Ok(());
            }
            (Some(Words(words)), ..) => Some(("Test", json!(words))),
            (None, Some(http), _) => Some(("Http", json!({"Port": http.port, "Path": http.path}))),
            (None, None, Some(port)) => Some(("Tcp", json!({"Port": port}))),
            (None, None, None) => None,
        };
        let times = [("Interval", self.ready_interval), ("Timeout", self.ready_timeout)];
        if probe.is_none() && times.iter().all(|(_, time)| time.is_none()) {
            return Ok(());
        }
        if probe.is_none() && !look(container, &["ReadyCheck"]).is_object() {
            return Err(refused(
                "--ready-interval and --ready-timeout need one of --ready-cmd, --ready-http and --ready-tcp",
            ));
        }
        let check = member(container, &["ReadyCheck"]);
        if let Some((kind, value)) = probe {
            for other in ["Test", "Http", "Tcp"] {
                put(check, other, if other == kind { value.clone() } else { Value::Null });
            }
        }
        for (key, time) in times {
            if let Some(Nanoseconds(time)) = time {
                put(check, key, time.into());
            }
        }
        Ok(())
    }
}
