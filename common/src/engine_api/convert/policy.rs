//! Restart policies and update settings.

use super::{ConvertError, duration, nanoseconds, optional_duration};
use crate::engine_api::service::UpdateConfig as ApiUpdateConfig;
use crate::engine_api::task::RestartPolicy as ApiRestartPolicy;
use crate::object::policy::{
    FailureAction, Ratio, RestartCondition, RestartPolicy, UpdateConfig, UpdateOrder,
};

pub(super) fn restart_to_api(policy: &RestartPolicy) -> ApiRestartPolicy {
    ApiRestartPolicy {
        condition: policy.condition.map(|condition| condition.to_string()).unwrap_or_default(),
        delay: policy.delay.map(nanoseconds),
        max_attempts: policy.attempts_max,
        window: policy.window.map(nanoseconds),
        max_delay: policy.delay_max.map(nanoseconds),
    }
}

pub(super) fn restart_from_api(policy: ApiRestartPolicy) -> Result<RestartPolicy, ConvertError> {
    Ok(RestartPolicy {
        condition: optional_word::<RestartCondition>(&policy.condition, |word| ConvertError::Word {
            member: "RestartCondition",
            word,
        })?,
        delay: optional_duration("TaskSpec: restart-delay", policy.delay)?,
        attempts_max: policy.max_attempts,
        window: optional_duration("TaskSpec: restart-window", policy.window)?,
        delay_max: optional_duration("TaskSpec: restart-max-delay", policy.max_delay)?,
    })
}

pub(super) fn update_to_api(config: &UpdateConfig) -> ApiUpdateConfig {
    ApiUpdateConfig {
        parallelism: config.parallelism,
        delay: nanoseconds(config.delay),
        failure_action: config.failure_action.map(|action| action.to_string()).unwrap_or_default(),
        monitor: config.monitor.map(nanoseconds),
        max_failure_ratio: config.failure_ratio_max.value(),
        order: config.order.map(|order| order.to_string()).unwrap_or_default(),
        progress_deadline: config.progress_deadline.map(nanoseconds),
        min_healthy: config.healthy_min.map(nanoseconds),
    }
}

pub(super) fn update_from_api(config: ApiUpdateConfig) -> Result<UpdateConfig, ConvertError> {
    let unrecognized = |what| move |word| ConvertError::Unrecognized { what, word };
    Ok(UpdateConfig {
        parallelism: config.parallelism,
        delay: duration("TaskSpec: update-delay", config.delay)?,
        failure_action: optional_word::<FailureAction>(
            &config.failure_action,
            unrecognized("update failure action"),
        )?,
        monitor: optional_duration("TaskSpec: update-monitor", config.monitor)?,
        failure_ratio_max: Ratio::new(config.max_failure_ratio).ok_or(ConvertError::FailureRatio)?,
        order: optional_word::<UpdateOrder>(&config.order, unrecognized("update order"))?,
        progress_deadline: optional_duration("TaskSpec: update-progress-deadline", config.progress_deadline)?,
        healthy_min: optional_duration("TaskSpec: update-min-healthy", config.min_healthy)?,
    })
}

/// None for an empty word, which says nothing.
fn optional_word<T: std::str::FromStr>(
    word: &str,
    error: impl Fn(String) -> ConvertError,
) -> Result<Option<T>, ConvertError> {
    if word.is_empty() {
        return Ok(None);
    }
    word.parse().map(Some).map_err(|_| error(super::shortened(word)))
}
