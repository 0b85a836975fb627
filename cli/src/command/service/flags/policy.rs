//! When a task is started anew, and how an update rolls, forward and back.

use clap::ArgMatches;
use serde_json::{Value, json};

use super::put;
use crate::parse::duration::Nanoseconds;
use crate::parse::members::member;
use crate::parse::number::ratio;

#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Restarts")]
pub struct RestartFlags {
    /// Which ended tasks are started anew [default: any]
    #[arg(long, value_name = "WHEN", value_parser = ["none", "on-failure", "any"])]
    pub restart_condition: Option<String>,

    /// Pause before a restart (ns|us|ms|s|m|h) [default: 5s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub restart_delay: Option<Nanoseconds>,

    /// Longest pause that repeated failures grow to (ns|us|ms|s|m|h) [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub restart_max_delay: Option<Nanoseconds>,

    /// Restarts before giving up; 0 means any number
    #[arg(long, value_name = "N")]
    pub restart_max_attempts: Option<u64>,

    /// Time within which attempts count (ns|us|ms|s|m|h); 0 means all of them
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub restart_window: Option<Nanoseconds>,
}

impl RestartFlags {
    pub fn apply(&self, spec: &mut Value) {
        let mut set = |key: &str, value: Value| {
            *member(spec, &["TaskTemplate", "RestartPolicy", key]) = value;
        };
        if let Some(condition) = &self.restart_condition {
            set("Condition", condition.as_str().into());
        }
        let times = [
            ("Delay", self.restart_delay),
            ("MaxDelay", self.restart_max_delay),
            ("Window", self.restart_window),
        ];
        for (key, time) in times {
            if let Some(Nanoseconds(time)) = time {
                set(key, time.into());
            }
        }
        if let Some(count) = self.restart_max_attempts {
            set("MaxAttempts", count.into());
        }
    }
}

/// Flags of an update; those of a rollback are the same under another first word.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct RollFlags {
    /// Tasks replaced at the same time; 0 means all [default: 1]
    #[arg(long, id = "parallelism", value_name = "N")]
    pub parallelism: Option<u64>,

    /// Pause between a task that is done and the next (ns|us|ms|s|m|h) [default: 0s]
    #[arg(long, id = "delay", value_name = "DURATION", allow_hyphen_values = true)]
    pub delay: Option<Nanoseconds>,

    /// How long a new task is watched for failure (ns|us|ms|s|m|h) [default: 5s]
    #[arg(long, id = "monitor", value_name = "DURATION", allow_hyphen_values = true)]
    pub monitor: Option<Nanoseconds>,

    /// What to do when too many tasks fail [default: pause]
    #[arg(long, id = "failure-action", value_name = "ACTION", value_parser = ["pause", "continue", "rollback"])]
    pub failure_action: Option<String>,

    /// Share of tasks that may fail, 0 to 1 [default: 0]
    #[arg(long, id = "max-failure-ratio", value_name = "RATIO", value_parser = ratio, allow_hyphen_values = true)]
    pub max_failure_ratio: Option<f64>,

    /// Whether the old task stops first, or the new one starts first [default: stop-first]
    #[arg(long, id = "order", value_name = "ORDER", value_parser = ["start-first", "stop-first"])]
    pub order: Option<String>,

    /// Failed when no task was done for this long (ns|us|ms|s|m|h); 0 means never
    #[arg(long, id = "progress-deadline", value_name = "DURATION")]
    pub progress_deadline: Option<Nanoseconds>,

    /// A new task is done when it was healthy and ready for this long (ns|us|ms|s|m|h) [default: 0s]
    #[arg(long, id = "min-healthy", value_name = "DURATION")]
    pub min_healthy: Option<Nanoseconds>,
}

const ROLL_FLAGS: [&str; 8] = [
    "parallelism",
    "delay",
    "monitor",
    "failure-action",
    "max-failure-ratio",
    "order",
    "progress-deadline",
    "min-healthy",
];

impl RollFlags {
    pub fn is_empty(&self) -> bool {
        let mut untouched = Value::Null;
        self.apply(&mut untouched);
        untouched.is_null()
    }

    /// Leaves `config` alone when no flag was given. One that is new starts with what holds without any.
    pub fn apply(&self, config: &mut Value) {
        let nanoseconds = |time: Option<Nanoseconds>| time.map(|Nanoseconds(time)| Value::from(time));
        let members = [
            ("Parallelism", self.parallelism.map(Value::from)),
            ("Delay", nanoseconds(self.delay)),
            ("Monitor", nanoseconds(self.monitor)),
            ("FailureAction", self.failure_action.as_deref().map(Value::from)),
            ("MaxFailureRatio", self.max_failure_ratio.map(Value::from)),
            ("Order", self.order.as_deref().map(Value::from)),
            ("ProgressDeadline", nanoseconds(self.progress_deadline)),
            ("MinHealthy", nanoseconds(self.min_healthy)),
        ];
        for (key, value) in members {
            let Some(value) = value else { continue };
            if !config.is_object() {
                *config = json!({
                    "Parallelism": 1, "FailureAction": "pause", "MaxFailureRatio": 0.0, "Order": "stop-first",
                });
            }
            put(config, key, value);
        }
    }
}

/// `RollFlags` whose names begin with a word: `--update-delay`.
macro_rules! prefixed {
    ($name:ident, $word:literal, $heading:literal) => {
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name(pub RollFlags);

        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                // Ids of the tree have to differ too, so they are made from the same word.
                ROLL_FLAGS.iter().fold(command, |command, name| {
                    let flags = RollFlags::augment_args(clap::Command::new("flags"));
                    let flag = flags.get_arguments().find(|flag| flag.get_id() == *name);
                    let flag = flag.expect("each is a flag of `RollFlags`").clone();
                    let flag = match ($word, *name) {
                        // What has failed to go back cannot go back.
                        ("rollback", "failure-action") => flag.value_parser(["pause", "continue"]),
                        _ => flag,
                    };
                    let long = concat!($word, "-").to_owned() + name;
                    command.arg(flag.id(long.clone()).long(long).help_heading($heading))
                })
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(roll_flags($word, matches)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                self.0 = roll_flags($word, matches);
                Ok(())
            }
        }
    };
}

prefixed!(UpdateFlags, "update", "Updates");
prefixed!(RollbackFlags, "rollback", "Rollbacks");

fn roll_flags(word: &str, matches: &ArgMatches) -> RollFlags {
    fn get<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, word: &str, name: &str) -> Option<T> {
        matches.get_one::<T>(&format!("{word}-{name}")).cloned()
    }
    RollFlags {
        parallelism: get(matches, word, "parallelism"),
        delay: get(matches, word, "delay"),
        monitor: get(matches, word, "monitor"),
        failure_action: get(matches, word, "failure-action"),
        max_failure_ratio: get(matches, word, "max-failure-ratio"),
        order: get(matches, word, "order"),
        progress_deadline: get(matches, word, "progress-deadline"),
        min_healthy: get(matches, word, "min-healthy"),
    }
}
