//! What is said of a service, look by look.

use std::collections::BTreeSet;
use std::time::Duration;

use common::engine_api::service::Service;
use proptest::prelude::*;
use serde_json::json;

use super::assess::assess;
use super::fixture::{at, look, replicated, service, task, updating};
use super::watch::{View, Watch};
use super::{Intent, Overall, Shown, Verdict};

/// How far, and what follows, in one line.
fn brief(service: &Service, tasks: &[&str], seconds: u64) -> String {
    let progress = look(&mut Watch::default(), service, tasks, &["gone"], seconds);
    let overall = match progress.overall {
        Overall::Tasks { running, wanted, rolling_back } => {
            format!("{running}/{wanted}{}", if rolling_back { " back" } else { "" })
        }
        Overall::WaitingForTasks => "none".into(),
        Overall::Job { complete, total, active } => format!("{complete}/{total} {active:?}"),
    };
    format!("{overall} {}", verdict(&progress.verdict))
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Working => "working".into(),
        Verdict::Blocked { reason } => format!("blocked: {reason}"),
        Verdict::Verifying { left } => format!("verifying {left:?}"),
        Verdict::Converged { note } => format!("converged{}", note.as_deref().unwrap_or_default()),
        Verdict::JobComplete => "complete".into(),
        Verdict::RolledBack { message } => format!("rolled back: {message}"),
        Verdict::Failed { reason, task } => format!("failed: {reason} [{}]", task.as_deref().unwrap_or("-")),
    }
}

#[test]
fn replicated_services() {
    #[rustfmt::skip]
    let cases: [(&[&str], u64, &str); 12] = [ // tasks, now, expected
        (&[], 0, "0/2 working"),
        (&["a 1 running starting 0", "b 2 running running 0"], 9, "1/2 working"),
        (&["a 1 running running 0", "b 2 running running 2"], 3, "2/2 verifying 4s"),
        (&["a 1 running running 0", "b 2 running running 2"], 7, "2/2 converged"),
        // A clock of a node that is ahead.
        (&["a 1 running running 0", "b 2 running running 99"], 7, "2/2 verifying 5s"),
        // Scaled down, and the third is still there.
        (&["a 1 running running 0", "b 2 running running 0", "c 3 running running 0"], 9, "2/2 working"),
        (&["a 1 running running 0", "b 2 running running 0", "c 3 remove running 0"], 9, "2/2 converged"),
        // What is on a node that is down is gone.
        (&["a 1 running running 0", "b @gone running running 0"], 9, "1/2 working"),
        // The successor of a failed task waits for its time.
        (&["a 1 running running 0", "b 2 shutdown failed 1: boom", "c 2 ready ready 2"], 9, "1/2 working"),
        (&["a 1 running running 0", "b 2 running pending 0: no suitable node"], 9, "1/2 blocked: no suitable node"),
        (&["a 1 running preparing 0", "b 2 running pending 0: no suitable node"], 9, "0/2 working"),
        // Policy `any` without a bound starts it again in any case.
        (&["a 1 running running 0", "b 2 shutdown failed 1: boom"], 9, "1/2 working"),
    ];
    for (tasks, now, expected) in cases {
        assert_eq!(brief(&replicated(2), tasks, now), expected, "{tasks:?}");
    }
    assert_eq!(brief(&replicated(0), &[], 0), "0/0 converged");
}

#[test]
fn what_has_given_up_ends_the_wait() {
    let with_policy = |policy| {
        let mut service = replicated(1);
        service.spec.task_template.restart_policy = Some(serde_json::from_value(policy).expect("a policy"));
        service
    };
    #[rustfmt::skip]
    let cases = [
        (json!({"Condition": "none"}), "a 1 shutdown failed 0: boom",
         "0/1 failed: service web cannot converge: task web.1 is failed and not started again (restart condition none): boom [a]"),
        (json!({"Condition": "on-failure"}), "a 1 shutdown complete 0",
         "0/1 failed: service web cannot converge: task web.1 is complete and not started again (restart condition on-failure) [a]"),
        (json!({"Condition": "on-failure"}), "a 1 shutdown failed 0: boom", "0/1 working"),
        (json!({"Condition": "any", "MaxAttempts": 3}), "a 1 shutdown rejected 0: no image",
         "0/1 failed: service web cannot converge: task web.1 is rejected and not started again (at most 3 restarts): no image [a]"),
        (json!({"Condition": "none"}), "a 1 shutdown shutdown 0", "0/1 working"),
    ];
    for (policy, task, expected) in cases {
        assert_eq!(brief(&with_policy(policy), &[task], 9), expected);
    }
}

#[test]
fn the_same_failure_again_and_again_ends_the_wait() {
    let mut watch = Watch::default();
    let service = replicated(1);
    let looks: [(&[&str], &str); 5] = [
        (&["a 1 shutdown failed 1: exit 1", "b 1 ready ready 1"], "working"),
        // Another error begins a new count, and history that is forgotten counts on.
        (&["b 1 shutdown failed 2: exit 2", "c 1 ready ready 2"], "working"),
        (&["c 1 shutdown failed 3: exit 2", "d 1 ready ready 3"], "working"),
        (&["d 1 running running 4"], "verifying 5s"),
        (
            &["d 1 shutdown failed 5: exit 2", "e 1 ready ready 5"],
            "failed: service web cannot converge: task web.1 has failed 3 times in a row: exit 2 [d]",
        ),
    ];
    for (second, (tasks, expected)) in looks.into_iter().enumerate() {
        let progress = look(&mut watch, &service, tasks, &[], 1 + second as u64);
        assert_eq!(verdict(&progress.verdict), expected, "second {second}");
    }
    let mut watch = Watch::default();
    let errors =
        ["container 3f2a9b8c7d6e5f40 died", "container 0123456789ab died", "container ffffffffffff1 died"];
    for (index, error) in errors.into_iter().enumerate() {
        let task = format!("t{index} 1 shutdown failed {index}: {error}");
        let progress = look(&mut watch, &service, &[&task], &[], 9);
        assert_eq!(matches!(progress.verdict, Verdict::Failed { .. }), index == 2, "{error}");
    }
}

#[test]
fn updates_decide_while_they_go_on() {
    let up: &[&str] = &["a 1 running running 0"];
    let failing: &[&str] = &["a 1 shutdown failed 0: boom", "b 1 running starting 1"];
    #[rustfmt::skip]
    let cases = [
        ("updating",           up,      "1/1 working"),
        ("updating",           failing, "0/1 working"),
        ("completed",          up,      "1/1 converged"),
        ("paused",             failing, "0/1 failed: service update paused: the message [a]"),
        ("rollback_started",   up,      "1/1 back working"),
        ("rollback_paused",    up,      "1/1 back failed: service rollback paused: the message [-]"),
        ("rollback_completed", up,      "1/1 back rolled back: the message"),
        ("rollback_completed", failing, "0/1 back working"),
        ("from the future",    up,      "1/1 converged"),
    ];
    for (state, tasks, expected) in cases {
        assert_eq!(brief(&updating(1, state), tasks, 9), expected, "{state}");
    }
    let service = updating(1, "rollback_completed");
    let tasks = [task("a 1 running running 0")];
    let view = View { service: &service, tasks: &tasks, down: &BTreeSet::new(), now: at(9) };
    let progress = assess(&view, &Watch::default(), Intent::RollBack).expect("a mode");
    assert_eq!(progress.verdict, Verdict::Converged { note: Some("the message".into()) });
}

/// A passed check tells at once what else takes the monitor's time, unless somebody has set that.
#[test]
fn how_long_a_running_task_is_watched() {
    let mut checked = replicated(1);
    let container = checked.spec.task_template.container_spec.as_mut().expect("has one");
    container.health_check =
        Some(serde_json::from_value(json!({"Test": ["CMD-SHELL", "true"]})).expect("a check"));
    let mut with_monitor = checked.clone();
    with_monitor.spec.update_config =
        Some(serde_json::from_value(json!({"Monitor": 2_000_000_000})).expect("a config"));
    let mut disabled = checked.clone();
    let container = disabled.spec.task_template.container_spec.as_mut().expect("has one");
    container.health_check = Some(serde_json::from_value(json!({"Test": ["NONE"]})).expect("a check"));
    let mut watched = updating(1, "completed");
    watched.update_status.as_mut().expect("has one").completed_at = Some(at(1).to_rfc3339());
    #[rustfmt::skip]
    let cases = [
        (&checked,      "1/1 converged"),
        (&with_monitor, "1/1 verifying 1s"),
        (&disabled,     "1/1 verifying 4s"),
        (&watched,      "1/1 converged"),
    ];
    for (service, expected) in cases {
        assert_eq!(brief(service, &["a 1 running running 1"], 2), expected);
    }
}

#[test]
fn a_task_that_is_not_ready_is_not_up() {
    let mut service = replicated(1);
    let container = service.spec.task_template.container_spec.as_mut().expect("has one");
    container.ready_check = Some(serde_json::from_value(json!({"Tcp": {"Port": 80}})).expect("a check"));
    let mut running = task("a 1 running running 0");
    for (ready, expected) in [(false, Verdict::Working), (true, Verdict::Converged { note: None })] {
        running.status.ready = ready;
        let view = View {
            service: &service,
            tasks: std::slice::from_ref(&running),
            down: &BTreeSet::new(),
            now: at(9),
        };
        let progress = assess(&view, &Watch::default(), Intent::Apply).expect("a mode");
        assert_eq!(progress.verdict, expected, "ready: {ready}");
    }
}

#[test]
fn global_services_and_jobs() {
    let global = service(json!({"Global": {}}));
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 4] = [
        (&[], "none blocked: no node takes a task of this service"),
        (&["a @n1 running running 0", "b @n2 running starting 0"], "1/2 working"),
        (&["a @n1 running running 0", "b @n2 shutdown shutdown 0"], "1/1 converged"),
        (&["a @n1 running running 0", "b @gone running running 0"], "1/1 converged"),
    ];
    for (tasks, expected) in cases {
        assert_eq!(brief(&global, tasks, 9), expected, "{tasks:?}");
    }
    let job = service(json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}}));
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 4] = [
        (&[], "0/3 Some((0, 2)) working"),
        (&["a 0 complete complete 0", "b 1 complete running 0"], "1/3 Some((1, 2)) working"),
        (&["a 0 complete complete 0", "b 1 complete complete 0", "c 2 complete starting 0"], "2/3 Some((1, 1)) working"),
        (&["a 0 complete complete 0", "b 1 complete complete 0", "c 2 complete complete 0", "d 2 shutdown failed 0: x"],
         "3/3 Some((0, 0)) complete"),
    ];
    for (tasks, expected) in cases {
        assert_eq!(brief(&job, tasks, 9), expected, "{tasks:?}");
    }
    let unknown = service(json!({}));
    let view = View { service: &unknown, tasks: &[], down: &BTreeSet::new(), now: at(0) };
    let error = assess(&view, &Watch::default(), Intent::Apply).unwrap_err();
    assert_eq!(error, "unrecognized service mode");
}

#[test]
fn rows_stand_in_the_order_of_slots() {
    let tasks = ["c 7 running new 0", "a 1 running running 0", "b 2 running pending 0: no suitable node"];
    let progress = look(&mut Watch::default(), &replicated(4), &tasks, &[], 9);
    let state = |state: &str, step| Shown::State { state: state.into(), step, steps: 9 };
    let shown: Vec<_> = progress.rows.into_iter().map(|row| (row.label, row.shown)).collect();
    let expected = [
        ("1/4", state("running", 9)),
        ("2/4", Shown::Error("no suitable node".into())),
        ("3/4", state("new", 1)),
        ("4/4", Shown::Nothing),
    ];
    assert_eq!(shown, expected.map(|(label, shown)| (label.to_owned(), shown)));
    assert!(look(&mut Watch::default(), &replicated(21), &tasks, &[], 9).rows.is_empty());
}

proptest! {
    /// Whatever the daemon says, there is an answer, and it never claims more than it sees.
    #[test]
    fn it_never_says_converged_without_all_tasks(
        wanted in 0_u64..4,
        tasks in prop::collection::vec(
            (1_u64..5, prop::sample::select(vec!["ready", "running", "shutdown", "remove"]),
             prop::sample::select(vec!["new", "pending", "starting", "running", "failed", "complete", "odd"])), 0..6),
        update in prop::sample::select(vec!["", "updating", "completed", "rollback_completed"]),
    ) {
        let texts: Vec<String> = tasks.iter().enumerate()
            .map(|(index, (slot, desired, state))| format!("t{index} {slot} {desired} {state} 0")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let service = updating(wanted, update);
        let progress = look(&mut Watch::default(), &service, &texts, &[], 60);
        let running = tasks.iter().filter(|(_, desired, state)| {
            *state == "running" && matches!(*desired, "ready" | "running")
        });
        let slots: BTreeSet<u64> = running.map(|(slot, ..)| *slot).collect();
        let claims = matches!(progress.verdict, Verdict::Converged { .. } | Verdict::RolledBack { .. } | Verdict::Verifying { .. });
        prop_assert!(!claims || slots.len() as u64 >= wanted, "{:?}", progress);
        if let Verdict::Verifying { left } = progress.verdict {
            prop_assert!(left <= Duration::from_secs(5));
        }
    }
}
