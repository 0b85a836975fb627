//! Tables of what is done when, and the promise that a status only goes forward.

use super::*;
use TaskState::*;
use proptest::prelude::*;

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, ..TaskStatus::default() }
}

fn container() -> ContainerStatus {
    ContainerStatus { id: "c1".into(), pid: 7, exit_code: None }
}

fn running_with(health: Health) -> Seen {
    Seen::Running { container: container(), ports: Vec::new(), health }
}

fn exit(code: i64, reason: &str) -> Seen {
    Seen::Ended(Exit { container: container(), code, reason: reason.into() })
}

fn facts<'a>(desired: TaskState, status: &'a TaskStatus, seen: Option<&'a Seen>) -> Facts<'a> {
    Facts {
        desired,
        leaving: false,
        status,
        seen,
        stopping: None,
        drain: false,
        pre_stop: false,
        refusal: None,
        no_runtime: false,
        incomplete: false,
        missing: None,
        refresh_due: false,
        has_ready_check: false,
    }
}

/// A step in one word: what a report says, or the step's name.
fn word(step: &Step) -> String {
    match step {
        Step::Report(news) => format!("says {}", news.state),
        other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_lowercase(),
    }
}

#[test]
fn a_start_waits_for_secrets_and_says_so_and_what_runs_does_not() {
    let (absent, prepared, runs) = (Seen::Absent, Seen::Prepared, running_with(Health::Unchecked));
    #[rustfmt::skip]
    let cases = [ // said so far, there, next, next once that was said
        (Assigned,  &absent,   "says accepted",  "says accepted"),
        (Preparing, &absent,   "says preparing", "wait"),
        (Ready,     &prepared, "says starting",  "says starting"),
        (Starting,  &prepared, "says starting",  "wait"),
        (Starting,  &runs,     "says running",   "says running"),
    ];
    for (state, seen, first, then) in cases {
        let mut said = status(state);
        let with = |said: &TaskStatus| {
            word(&next_step(&Facts {
                missing: Some("waiting for secret key"),
                ..facts(Running, said, Some(seen))
            }))
        };
        assert_eq!(with(&said), first, "{state}");
        said.error = "waiting for secret key".into();
        assert_eq!(with(&said), then, "{state}");
    }
    let mut known = status(Running);
    known.container = Some(Box::new(container()));
    let stale = Facts { refresh_due: true, ..facts(Running, &known, Some(&runs)) };
    assert_eq!(next_step(&stale), Step::Refresh);
    assert_eq!(word(&next_step(&Facts { desired: Shutdown, ..stale })), "beginstop", "an end comes first");
}

#[test]
fn a_task_goes_on_from_whatever_is_there() {
    let (absent, prepared) = (Seen::Absent, Seen::Prepared);
    let (runs, starts) = (running_with(Health::Unchecked), running_with(Health::Starting));
    let (well, sick) =
        (running_with(Health::Healthy), running_with(Health::Unhealthy { reason: "503".into() }));
    let (fine, failed) = (exit(0, ""), exit(3, ""));
    #[rustfmt::skip]
    let cases = [ // wanted, said so far, there, next
        (Running,  Assigned,  None,            "says accepted"),
        (Accepted, Accepted,  Some(&absent),   "wait"),
        (Running,  Accepted,  None,            "look"),
        (Running,  Accepted,  Some(&absent),   "says preparing"),
        (Running,  Preparing, Some(&absent),   "prepare"),
        (Running,  Preparing, Some(&prepared), "prepare"),
        (Ready,    Ready,     Some(&prepared), "wait"),
        (Ready,    Ready,     None,            "look"),
        (Running,  Ready,     Some(&prepared), "says starting"),
        (Running,  Ready,     Some(&absent),   "prepare"),
        (Running,  Starting,  Some(&prepared), "start"),
        (Running,  Starting,  Some(&absent),   "says failed"),
        (Running,  Starting,  Some(&starts),   "says starting"), // with its container
        (Running,  Starting,  Some(&runs),     "says running"),
        (Running,  Starting,  Some(&well),     "says running"),
        (Running,  Starting,  Some(&sick),     "beginstop"),
        (Complete, Ready,     Some(&prepared), "says starting"), // a job
        (Running,  Running,   None,            "look"),
        (Running,  Running,   Some(&absent),   "says failed"),
        (Running,  Running,   Some(&prepared), "says failed"),
        (Running,  Running,   Some(&sick),     "beginstop"),
        (Running,  Running,   Some(&fine),     "says complete"),
        (Running,  Running,   Some(&failed),   "says failed"),
        // A lost disk: what is there counts.
        (Running,  Accepted,  Some(&runs),     "says running"),
        (Running,  Accepted,  Some(&failed),   "says failed"),
        (Shutdown, Assigned,  None,            "look"),
        (Shutdown, Assigned,  Some(&absent),   "says shutdown"),
        (Shutdown, Preparing, Some(&absent),   "says shutdown"),
        (Shutdown, Ready,     Some(&prepared), "says shutdown"),
        (Shutdown, Running,   Some(&runs),     "beginstop"),
        (Remove,   Running,   Some(&runs),     "beginstop"),
        (Shutdown, Running,   Some(&failed),   "says failed"), // by itself, before anybody stopped it
        (Shutdown, Running,   Some(&fine),     "says complete"),
        (Shutdown, Failed,    None,            "wait"),
        (Running,  Complete,  None,            "wait"),
    ];
    for (desired, state, seen, next) in cases {
        let status = status(state);
        let step = next_step(&facts(desired, &status, seen));
        assert_eq!(word(&step), next, "wanted {desired}, said {state}, there {seen:?}");
    }
}

#[test]
fn a_stop_goes_in_order_and_is_called_by_its_reason() {
    let runs = running_with(Health::Unchecked);
    let status = status(Running);
    let wanted = Stopping::Wanted;
    let sick = Stopping::Unhealthy { reason: "GET / answered 503".into() };
    let step = |facts: Facts<'_>| word(&next_step(&facts));
    let base = facts(Shutdown, &status, Some(&runs));
    assert_eq!(step(base), "beginstop");
    assert_eq!(step(Facts { stopping: Some(&wanted), pre_stop: true, ..base }), "prestop");
    assert_eq!(step(Facts { stopping: Some(&wanted), pre_stop: true, drain: true, ..base }), "drain");
    let unhealthy = Stopping::Unhealthy { reason: String::new() };
    assert_eq!(step(Facts { stopping: Some(&unhealthy), drain: true, ..base }), "stop");
    assert_eq!(step(Facts { stopping: Some(&wanted), ..base }), "stop");
    // One that was found unhealthy is stopped to its end, even while it is wanted.
    assert_eq!(step(Facts { desired: Running, stopping: Some(&sick), ..base }), "stop");

    let killed = exit(137, "");
    let ended = Facts { seen: Some(&killed), ..base };
    #[rustfmt::skip]
    let cases = [ // wanted, why it was stopped, state, message, error
        (Shutdown, Some(&wanted), Shutdown, "", ""),
        (Running,  Some(&sick),   Failed,   "unhealthy: GET / answered 503", "task: non-zero exit (137): dockerexec: unhealthy container"),
        (Shutdown, None,          Failed,   "", "task: non-zero exit (137)"),
    ];
    for (desired, stopping, state, message, error) in cases {
        let Step::Report(news) = next_step(&Facts { desired, stopping, ..ended }) else {
            panic!("no report")
        };
        assert_eq!((news.state, &news.message[..], &news.error[..]), (state, message, error));
        assert_eq!(news.container.unwrap().exit_code, Some(137));
        assert!(!news.ready);
    }
    let out_of_memory = exit(137, "out of memory");
    let Step::Report(news) = next_step(&facts(Running, &status, Some(&out_of_memory))) else { panic!() };
    assert_eq!(news.error, "task: non-zero exit (137): out of memory");
}

#[test]
fn a_task_that_is_taken_off_the_node_leaves_nothing() {
    let (absent, prepared, ended) = (Seen::Absent, Seen::Prepared, exit(0, ""));
    let runs = running_with(Health::Unchecked);
    #[rustfmt::skip]
    let cases = [ // there, stop begun, next
        (None,            false, "look"),
        (Some(&absent),   false, "forget"),
        (Some(&prepared), false, "remove"),
        (Some(&ended),    false, "remove"),
        (Some(&runs),     false, "beginstop"),
        (Some(&runs),     true,  "stop"),
    ];
    for state in [Accepted, Preparing, Running, Failed, Complete] {
        for (seen, begun, next) in cases {
            let status = status(state);
            let stopping = begun.then_some(&Stopping::Wanted);
            let facts = Facts { leaving: true, stopping, ..facts(Running, &status, seen) };
            assert_eq!(word(&next_step(&facts)), next, "{state}, there {seen:?}");
        }
    }
    let status = status(Running);
    let gone = Facts { leaving: true, no_runtime: true, ..facts(Running, &status, None) };
    assert_eq!(next_step(&gone), Step::Forget);
}

#[test]
fn what_cannot_run_here_is_refused_before_it_is_taken_and_only_then() {
    let (fresh, taken) = (status(Assigned), status(Running));
    let refused = Facts { refusal: Some("no such field"), ..facts(Running, &fresh, None) };
    let Step::Report(news) = next_step(&refused) else { panic!("no report") };
    assert_eq!((news.state, &news.error[..]), (Rejected, "no such field"));
    assert_eq!(next_step(&Facts { status: &taken, ..refused }), Step::Wait);
    // Without the credentials that the disk does not have, it waits for the next session.
    let preparing = status(Preparing);
    let incomplete = Facts { incomplete: true, ..facts(Running, &preparing, Some(&Seen::Absent)) };
    assert_eq!(next_step(&incomplete), Step::Wait);
}

#[test]
fn a_failure_is_final_or_tried_again() {
    let fatal = || RunError::Fatal("no such image".into());
    let temporary = || RunError::Temporary("the engine is away".into());
    let retry = |error: &str| Failure::Retry { error: error.into() };
    let after = |step: Step, error, state| {
        let status = status(state);
        after_failure(&step, error, &facts(Running, &status, None))
    };
    let said = |failure| match failure {
        Failure::Report(news) => (news.state, news.error),
        Failure::Retry { error } => panic!("tried again: {error}"),
    };
    assert_eq!(after(Step::Prepare, temporary(), Preparing), retry("the engine is away"));
    assert_eq!(said(after(Step::Prepare, fatal(), Preparing)), (Rejected, "no such image".into()));
    assert_eq!(
        said(after(Step::Start, fatal(), Starting)),
        (Failed, "starting container failed: no such image".into())
    );
    // What may still run is not called ended.
    assert_eq!(after(Step::Stop, fatal(), Running), retry("no such image"));
    assert_eq!(after(Step::Look, fatal(), Running), retry("no such image"));
}

#[test]
fn pauses_grow_up_to_a_bound() {
    let seconds: Vec<u64> = (0..8).map(|failures| retry_pause(failures).as_secs()).collect();
    assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(retry_pause(u32::MAX), STEP_RETRY_MAX);
}

fn any_state() -> impl Strategy<Value = TaskState> {
    prop::sample::select(vec![
        New, Pending, Assigned, Accepted, Preparing, Ready, Starting, Running, Complete, Shutdown, Failed,
        Rejected, Remove, Orphaned,
    ])
}

fn any_seen() -> impl Strategy<Value = Option<Seen>> {
    let health = prop_oneof![
        Just(Health::Unchecked),
        Just(Health::Starting),
        Just(Health::Healthy),
        "[a-z]{0,3}".prop_map(|reason| Health::Unhealthy { reason }),
    ];
    prop_oneof![
        Just(None),
        Just(Some(Seen::Absent)),
        Just(Some(Seen::Prepared)),
        health.prop_map(|health| Some(running_with(health))),
        (0..3i64).prop_map(|code| Some(exit(code, ""))),
    ]
}

fn any_stopping() -> impl Strategy<Value = Option<Stopping>> {
    prop::sample::select(vec![
        None,
        Some(Stopping::Wanted),
        Some(Stopping::Unhealthy { reason: String::new() }),
    ])
}

/// What happens to a task from outside, in one go.
#[derive(Clone, Debug)]
enum Event {
    Wants(TaskState),
    Leaves,
    /// The daemon starts anew: what was said and begun is known, what was seen is not.
    Restarts,
    /// Something else than we did.
    Finds(Option<Seen>),
    Refused(bool),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any_state().prop_map(Event::Wants),
        Just(Event::Leaves),
        Just(Event::Restarts),
        any_seen().prop_map(Event::Finds),
        any::<bool>().prop_map(Event::Refused),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn a_status_never_goes_back_and_every_report_says_something_new(
        desired in any_state(),
        state in any_state(),
        seen in any_seen(),
        stopping in any_stopping(),
        flags: [bool; 9],
    ) {
        let [drain, leaving, pre_stop, refused, incomplete, no_runtime, has_ready_check, missing, refresh_due] = flags;
        let missing = missing.then_some("waiting");
        let status = TaskStatus { ready: has_ready_check, ..status(state) };
        let refusal = refused.then_some("no");
        let facts = Facts {
            desired, leaving, status: &status, seen: seen.as_ref(), stopping: stopping.as_ref(), drain, pre_stop,
            refusal, no_runtime, incomplete, missing, refresh_due, has_ready_check,
        };
        if let Step::Report(news) = next_step(&facts) {
            prop_assert!(state.advance(news.state).is_ok(), "{state} to {}", news.state);
            let explains = missing == Some(news.error.as_str());
            prop_assert!(news.state != state || news.container.is_some() || explains, "says {state} again");
            prop_assert!(!leaving, "nobody hears of a task that is not ours");
        }
    }

    /// Steps and events in any order: forward only, it comes to rest, and what was started once is never started again.
    #[test]
    fn a_life_goes_forward_and_comes_to_rest(
        events in prop::collection::vec((any_event(), 0..12usize), 0..12),
    ) {
        let mut status = status(Assigned);
        let (mut desired, mut leaving, mut refused) = (Running, false, false);
        let (mut there, mut seen, mut stopping) = (Seen::Absent, None, None);
        let mut starts = 0;
        // Each event comes after so many steps of the life before it, or once that is at rest.
        let last = (Event::Restarts, 40);
        for (event, steps_max) in events.into_iter().chain([last]) {
            match event {
                Event::Wants(state) => desired = state,
                Event::Leaves => leaving = true,
                Event::Restarts => seen = None,
                // Nobody makes a task ready for a start a second time.
                Event::Finds(Some(Seen::Prepared)) if starts > 0 => {}
                Event::Finds(found) => { there = found.clone().unwrap_or(Seen::Absent); seen = found; }
                Event::Refused(now) => refused = now,
            }
            let mut steps = 0;
            while steps < steps_max {
                let facts = Facts {
                    leaving,
                    stopping: stopping.as_ref(),
                    refusal: refused.then_some("no"),
                    ..facts(desired, &status, seen.as_ref())
                };
                let step = next_step(&facts);
                steps += 1;
                prop_assert!(steps < 30, "no rest: {step:?}");
                match step {
                    Step::Wait | Step::Watch | Step::Forget => break,
                    Step::Look => seen = Some(there.clone()),
                    Step::Report(news) => {
                        prop_assert!(status.state.advance(news.state).is_ok());
                        status.state = news.state;
                        status.container = news.container.map(Box::new).or(status.container);
                    }
                    Step::Prepare => {
                        there = Seen::Prepared;
                        seen = Some(Seen::Prepared);
                        if let Some(news) = after_success(&Step::Prepare, status.state) {
                            status.state = news.state;
                        }
                    }
                    Step::Start => {
                        starts += 1;
                        there = running_with(Health::Unchecked);
                        seen = None;
                    }
                    Step::BeginStop(why) => stopping = Some(why),
                    Step::Drain | Step::PreStop | Step::Refresh => {
                        prop_assert!(false, "there is no connection, no command, and no file")
                    }
                    Step::Stop => { there = exit(143, ""); seen = None; }
                    Step::Remove => { there = Seen::Absent; seen = None; }
                }
            }
        }
        prop_assert!(starts <= 1, "started {starts} times");
    }
}
