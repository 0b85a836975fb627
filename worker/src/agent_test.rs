//! A node's whole life with the fake runtime, in virtual time.

use std::collections::BTreeSet;

use common::limits::{LEAVE_TASKS_WAIT, REPORTS_ANSWER_WAIT, START_PARALLEL_MAX, STOP_GRACE_DEFAULT};
use common::object::container::{ReadyCheck, ReadyProbe};
use common::object::sensitive::Sensitive;
use common::object::{PayloadId, ServiceId, Slot, TaskSpec};
use common::wire::assignment::{AssignedPayload, AssignedSpec, AssignedTask, digest};
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::payloads::tests::{payload, reference};
use crate::world_test::{World, start};
use TaskState::*;

#[tokio::test(start_paused = true)]
async fn a_task_lives_and_ends() {
    let mut world = World::new(&["FAKE_PREPARE_MS=3000", "FAKE_START_MS=500", "FAKE_RUN_MS=60000"]);
    let begin = Instant::now();
    world.tell(1, Running);
    let preparing = world.until_state(1, Preparing).await;
    assert!(!preparing.ready && preparing.container.is_none());
    world.until(1, "pulling", |status| status.message.starts_with("pretending to pull")).await;
    let starting = world.until_state(1, Starting).await;
    assert_eq!((&*starting.message, begin.elapsed().as_secs()), ("", 3));
    let running = world.until_state(1, Running).await;
    assert!(running.ready && running.error.is_empty());
    assert_eq!(running.container.unwrap().exit_code, None);
    assert_eq!(world.agent.running(), 1);
    let complete = world.until_state(1, Complete).await;
    assert_eq!((complete.container.unwrap().exit_code, complete.ready), (Some(0), false));
    assert_eq!(begin.elapsed().as_secs(), 63);
    assert_eq!(world.said().await, [(1, Complete)], "the newest, once");
    // It stays until the managers forget it.
    assert_eq!(world.engine.counts().removed, 0);
    world.take_off(1);
    world.until_known(0).await;
    assert_eq!(world.engine.counts().removed, 1);
    assert_eq!(world.said().await, []);
}

/// What the engine was given for a task: contents, and the signals of refreshes.
fn files(world: &World, id: u128) -> (Vec<String>, Vec<String>) {
    let (files, signals) = world.engine.files(TaskId(id));
    let text = |file: crate::runtime::TaskFile| String::from_utf8_lossy(file.data.reveal()).into_owned();
    (files.into_iter().map(text).collect(), signals)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_task_has_its_secrets_until_its_end_and_no_longer() {
    let mut world = World::new(&[]);
    world.spec.container.secrets = vec![reference(1, 1, None)];
    world.payloads.insert((PayloadId(1), 1), payload(1, 1, "value"));
    world.tell(1, Running);
    world.until_state(1, Running).await;
    assert_eq!(files(&world, 1).0, ["value"]);
    assert_eq!(world.agent.payloads(), [(PayloadId(1), 1)]);
    let on_disk = std::fs::read(world.folder.path().join("agent").join(crate::disk::FILE)).unwrap();
    assert!(!on_disk.is_empty() && !on_disk.windows(5).any(|bytes| bytes == b"value"));
    world.engine.end(TaskId(1), 0);
    world.until_state(1, Complete).await;
    world.give(None, Some((PayloadId(1), 1)));
    world.said().await;
    assert_eq!((files(&world, 1).0.len(), world.agent.payloads().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_without_its_secrets_and_what_is_to_start_waits_for_them() {
    let mut world = World::new(&["FAKE_PREPARE_MS=5000"]);
    world.spec.container.secrets = vec![reference(1, 1, None)];
    world.payloads.insert((PayloadId(1), 1), payload(1, 1, "value"));
    world.tell(1, Running);
    world.until_state(1, Running).await;
    world.tell(2, Running);
    world.until_state(2, Preparing).await;
    world.restart().await;
    let waiting = world.until(2, "waiting", |status| !status.error.is_empty()).await;
    assert_eq!(&*waiting.error, "waiting for secret p1 (version 1): no manager has sent it yet");
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.until_state(1, Running).await;
    assert_eq!(world.engine.counts().started, 1);
    world.agent.session_opened();
    world.tell_all();
    let running = world.until_state(2, Running).await;
    assert_eq!((&*running.error, files(&world, 2).0), ("", texts(&["value"])));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_made_is_a_rejection_that_does_not_show_it() {
    let mut world = World::new(&[]);
    world.spec.container.secrets = vec![reference(1, 1, None)];
    let template = AssignedPayload { templated: true, ..payload(1, 1, "hunter2 {{secret `none`}}") };
    world.payloads.insert((PayloadId(1), 1), template);
    world.tell(1, Running);
    let rejected = world.until_state(1, Rejected).await;
    let reason = "secret p1: expanding it failed: it names a secret or config that the task does not have";
    assert_eq!(&*rejected.error, reason);
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_reaches_what_runs_once_also_after_a_restart() {
    let mut world = World::new(&[]);
    world.spec.container.secrets = vec![reference(1, 1, Some("SIGHUP"))];
    let key = |version| (PayloadId(1), version);
    world.payloads.insert(key(1), payload(1, 1, "one"));
    world.tell(1, Running);
    world.until_state(1, Running).await;
    world.give(Some(payload(1, 2, "two")), Some(key(1)));
    world.said().await;
    assert_eq!(files(&world, 1), (texts(&["two"]), texts(&["SIGHUP"])));
    world.restart().await;
    world.payloads = [(key(3), payload(1, 3, "three"))].into();
    world.agent.session_opened();
    world.tell_all();
    world.said().await;
    assert_eq!(files(&world, 1), (texts(&["three"]), texts(&["SIGHUP", "SIGHUP"])));
    // One that cannot be made changes nothing that runs.
    let template = AssignedPayload { templated: true, ..payload(1, 4, "{{nothing}}") };
    world.give(Some(template), Some(key(3)));
    let running = world.until(1, "shown", |status| status.error.contains("not defined")).await;
    assert_eq!((running.state, files(&world, 1).0), (Running, texts(&["three"])));
    world.give(Some(payload(1, 5, "five")), Some(key(4)));
    world.until(1, "well again", |status| status.error.is_empty()).await;
    assert_eq!(files(&world, 1).0, ["five"]);
    world.engine.end(TaskId(1), 1);
    world.until_state(1, Failed).await;
}

#[tokio::test(start_paused = true)]
async fn ends_are_called_by_their_names() {
    #[rustfmt::skip]
    let cases = [ // what it does, how it ends, error
        (&["FAKE_RUN_MS=1000", "FAKE_EXIT=3"][..],    Failed,   "task: non-zero exit (3)"),
        (&["FAKE_RUN_MS=1000"],                       Complete, ""),
        (&["FAKE_REJECT=no such image: x"],           Rejected, "no such image: x"),
        (&["FAKE_START_FAIL=exec: not found"],        Failed,   "starting container failed: exec: not found"),
        (&["FAKE_UNHEALTHY_AFTER_MS=5000"],           Failed,   "task: non-zero exit (143): dockerexec: unhealthy container"),
        (&["WHO={{.Service.Labels.none}}"],           Rejected, "expanding env failed: map has no entry for key \"none\" in template \"{{.Service.Labels.none}}\""),
    ];
    for (env, state, error) in cases {
        let mut world = World::new(env);
        world.tell(1, Running);
        let end = world.until(1, "ended", |status| status.state.is_final()).await;
        assert_eq!((end.state, &*end.error), (state, error), "{env:?}");
        assert!(!end.ready);
    }
    // A runtime this node does not have.
    let mut world = World::new(&[]);
    world.spec.runtime = RuntimeKind::Process;
    world.tell(1, Running);
    assert_eq!(&*world.until_state(1, Rejected).await.error, "this node runs no tasks of this kind");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_held_before_its_start() {
    let mut world = World::new(&[]);
    world.tell(1, Ready);
    world.until_state(1, Ready).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((world.engine.counts().prepared, world.engine.counts().started), (1, 0));
    world.tell(1, Running);
    world.until_state(1, Running).await;
    assert_eq!((world.engine.counts().prepared, world.engine.counts().started), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_dropped_when_the_task_is_not_wanted_any_more() {
    let mut world = World::new(&["FAKE_PREPARE_MS=600000"]);
    world.tell(1, Running);
    world.until(1, "pulling", |status| !status.message.is_empty()).await;
    let begin = Instant::now();
    world.tell(1, Shutdown);
    world.until_state(1, Shutdown).await;
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!((world.engine.counts().prepared, world.engine.counts().started), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_task_end_and_runs_the_command_before() {
    let mut world = World::new(&["FAKE_STOP_MS=4000"]);
    world.spec.container.extra.pre_stop = vec!["drain".into()];
    world.tell(1, Running);
    world.until_state(1, Running).await;
    let begin = Instant::now();
    world.tell(1, Shutdown);
    // No connections from the first moment on, still running.
    world.until(1, "not ready", |status| status.state == Running && !status.ready).await;
    let end = world.until_state(1, Shutdown).await;
    assert_eq!((begin.elapsed().as_secs(), end.container.unwrap().exit_code), (4, Some(143)));
    // One that does not listen is killed after its grace period.
    let mut world = World::new(&["FAKE_STOP_MS=600000"]);
    world.tell(2, Running);
    world.until_state(2, Running).await;
    let begin = Instant::now();
    world.tell(2, Shutdown);
    let end = world.until_state(2, Shutdown).await;
    assert_eq!((begin.elapsed(), end.container.unwrap().exit_code), (STOP_GRACE_DEFAULT, Some(137)));
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_its_check_and_stops_nothing() {
    let mut world = World::new(&["FAKE_READY_AFTER_MS=5500"]);
    let check = ReadyProbe::Command(vec!["ready?".into()]);
    world.spec.container.extra.ready =
        Some(ReadyCheck { probe: check, interval: Duration::ZERO, timeout: Duration::ZERO });
    world.tell(1, Running);
    let running = world.until(1, "unready", |status| status.error.starts_with("not ready")).await;
    assert!(running.state == Running && !running.ready);
    assert_eq!(&*running.error, "not ready: its check exited with 1");
    let begin = Instant::now();
    let ready = world.until(1, "ready", |status| status.ready).await;
    assert!(ready.error.is_empty() && (5..=7).contains(&begin.elapsed().as_secs()));
    assert_eq!(world.engine.counts().stopped, 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_restarts_finds_its_tasks_and_touches_none() {
    let mut world = World::new(&["FAKE_STOP_MS=1000"]);
    for id in 1..=20 {
        world.want(id, Running);
    }
    world.want(21, Ready);
    world.tell_all();
    for id in 1..=20 {
        world.until_state(id, Running).await;
    }
    world.until_state(21, Ready).await;
    let before = world.engine.counts();
    for _ in 0..10 {
        world.restart().await;
        world.until_known(21).await;
        for id in 1..=20 {
            world.until_state(id, Running).await;
        }
        // No leader yet, for long: all goes on.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!((world.engine.running(), world.engine.counts()), (20, before));
    }
    // One ends while nobody looks, one goes on its way out.
    world.agent.stop().await;
    world.engine.end(TaskId(1), 7);
    world.agent = start(&world.folder, &world.engine, world.clock.clone());
    assert_eq!(&*world.until_state(1, Failed).await.error, "task: non-zero exit (7)");
    world.agent.session_opened();
    let said: BTreeSet<_> = world.said().await.into_iter().collect();
    assert_eq!(said.len(), 21, "a new session hears of all");
    assert!(said.contains(&(1, Failed)) && said.contains(&(20, Running)) && said.contains(&(21, Ready)));
    world.tell_all();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.engine.counts(), before);
    // In the middle of a stop: it goes on; one that has ended meanwhile is called stopped and not failed.
    world.tell(2, Shutdown);
    world.tell(3, Shutdown);
    for id in [2, 3] {
        world.until(id, "stopping", |status| !status.ready).await;
    }
    world.agent.stop().await;
    world.engine.end(TaskId(3), 143);
    world.agent = start(&world.folder, &world.engine, world.clock.clone());
    world.until_state(2, Shutdown).await;
    world.until_state(3, Shutdown).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_waited_for() {
    let mut world = World::new(&[]);
    world.tell(1, Running);
    world.until_state(1, Running).await;
    world.engine.set_away(true);
    let away = world.until(1, "shown", |status| !status.error.is_empty()).await;
    assert_eq!((away.state, &*away.error), (Running, "the fake engine is away"));
    world.tell(2, Running);
    let waits = world.until(2, "shown", |status| !status.error.is_empty()).await;
    assert_eq!(waits.state, Accepted);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world.engine.set_away(false);
    let begin = Instant::now();
    let back = world.until(1, "well", |status| status.error.is_empty()).await;
    assert_eq!(back.state, Running);
    assert!(world.until_state(2, Running).await.error.is_empty());
    assert!(begin.elapsed() < Duration::from_secs(60));
    assert_eq!(world.engine.counts().started, 2, "nothing was started twice");
}

#[tokio::test(start_paused = true)]
async fn many_tasks_start_side_by_side_up_to_a_bound() {
    let mut world = World::new(&["FAKE_START_MS=100"]);
    let begin = Instant::now();
    for id in 1..=200 {
        world.want(id, Running);
    }
    world.tell_all();
    for id in 1..=200 {
        world.until_state(id, Running).await;
    }
    assert_eq!(world.engine.counts().busy_max, START_PARALLEL_MAX);
    assert!(begin.elapsed() < Duration::from_millis(200 / START_PARALLEL_MAX as u64 * 100 + 500));
}

#[tokio::test(start_paused = true)]
async fn slow_pulls_do_not_hold_up_others() {
    let mut world = World::new(&["FAKE_PREPARE_MS=600000"]);
    for id in 1..=40 {
        world.want(id, Running);
    }
    world.tell_all();
    world.until(1, "pulling", |status| !status.message.is_empty()).await;
    let begin = Instant::now();
    world.spec.container.env.clear();
    // Another service, whose image is here.
    world.want(100, Running);
    world.wanted.get_mut(&TaskId(100)).unwrap().spec = 2;
    let task = world.wanted[&TaskId(100)].clone();
    let mut update = world.update(world.number, vec![task], Vec::new());
    update.specs[0].number = 2;
    world.agent.update(update).unwrap();
    world.until_state(100, Running).await;
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_gap_changes_nothing_and_a_whole_set_puts_it_right() {
    let mut world = World::new(&[]);
    world.tell(1, Running);
    world.until_state(1, Running).await;
    world.want(2, Running);
    let late = world.update(7, vec![world.wanted[&TaskId(2)].clone()], Vec::new());
    assert_eq!(world.agent.update(late), Err(Gap::Order { expected: 1, found: 7 }));
    assert!(world.agent.watch(TaskId(2)).is_none());
    world.tell_all();
    world.until_state(2, Running).await;
}

#[tokio::test(start_paused = true)]
async fn a_whole_set_removes_what_is_not_in_it() {
    let mut world = World::new(&[]);
    for id in 1..=4 {
        world.want(id, Running);
    }
    world.tell_all();
    for id in 1..=4 {
        world.until_state(id, Running).await;
    }
    // The disk is lost: nobody knows the tasks, and they stay until a session says so.
    world.agent.stop().await;
    std::fs::remove_file(world.folder.path().join("agent").join(crate::disk::FILE)).unwrap();
    world.agent = start(&world.folder, &world.engine, world.clock.clone());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((world.agent.known(), world.engine.running()), (0, 4));
    world.agent.session_opened();
    world.wanted.remove(&TaskId(3));
    world.tell_all();
    world.until_state(1, Running).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((world.engine.running(), world.engine.counts().started), (3, 4), "found again, and one gone");
    // What this node knows and the managers do not goes in good order.
    world.wanted.remove(&TaskId(4));
    world.tell_all();
    world.until_known(2).await;
    assert_eq!((world.engine.running(), world.engine.counts().stopped), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_keeps_nothing() {
    let mut world = World::new(&["FAKE_STOP_MS=2000"]);
    for id in 1..=30 {
        world.want(id, Running);
    }
    world.tell_all();
    for id in 1..=30 {
        world.until_state(id, Running).await;
    }
    world.agent.leave().await;
    assert_eq!((world.agent.known(), world.engine.running()), (0, 0));
    assert_eq!(world.engine.present().await.unwrap(), []);
    world.restart().await;
    assert_eq!(world.agent.known(), 0);
    // One that does not listen goes as it is.
    let mut world = World::new(&["FAKE_STOP_MS=600000"]);
    world.spec.container.stop_grace_period = Some(Duration::from_secs(600));
    world.tell(1, Running);
    world.until_state(1, Running).await;
    let begin = Instant::now();
    world.agent.leave().await;
    assert!(world.engine.present().await.unwrap().is_empty());
    assert!(begin.elapsed() <= LEAVE_TASKS_WAIT);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_off_does_not_run_a_second_time() {
    let mut world = World::new(&["FAKE_STOP_MS=5000"]);
    world.tell(1, Running);
    world.until_state(1, Running).await;
    world.take_off(1);
    world.tell(1, Running);
    let end = world.until_state_of_any_entry(1, Failed).await;
    assert!(end.error.contains("given to it again"), "{}", end.error);
    assert_eq!((world.engine.counts().started, world.engine.running()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn reports_are_said_again_until_they_are_heard() {
    let mut world = World::new(&[]);
    world.tell(1, Running);
    world.until_state(1, Running).await;
    world.agent.wait_for_reports().await;
    let (first, reports) = world.agent.take_reports().unwrap();
    assert_eq!(reports[0].status.state, Running);
    let begin = Instant::now();
    world.agent.wait_for_reports().await;
    assert!(begin.elapsed() >= REPORTS_ANSWER_WAIT);
    let (second, again) = world.agent.take_reports().unwrap();
    assert!(second > first && again == reports);
    world.agent.reported(second);
    assert_eq!(world.said().await, []);
}

#[tokio::test(start_paused = true)]
async fn without_credentials_a_task_waits_for_the_session() {
    let mut world = World::new(&["FAKE_PREPARE_MS=60000"]);
    world.spec.registry_auth = Some(Sensitive::new("hunter2hunter2".into()));
    world.tell(1, Running);
    world.until(1, "pulling", |status| !status.message.is_empty()).await;
    world.restart().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    world.until_state(1, Preparing).await;
    world.agent.session_opened();
    world.tell_all();
    world.until_state(1, Running).await;
    assert_eq!(world.engine.counts().prepared, 1);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_journal_costs_knowledge_and_no_task() {
    let mut world = World::new(&[]);
    world.tell(1, Running);
    world.until_state(1, Running).await;
    world.agent.stop().await;
    let journal = world.folder.path().join("agent").join(crate::disk::FILE);
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0xff;
    std::fs::write(&journal, bytes).unwrap();
    world.agent = start(&world.folder, &world.engine, world.clock.clone());
    world.agent.session_opened();
    world.tell_all();
    world.until_state(1, Running).await;
    assert_eq!(world.engine.counts().started, 1);
    assert!(
        std::fs::read_dir(journal.parent().unwrap())
            .unwrap()
            .any(|file| { file.unwrap().file_name().to_string_lossy().contains("damaged") })
    );
}

fn any_update() -> impl Strategy<Value = AssignmentUpdate> {
    let text = prop::sample::select(vec!["", "{{", "{{.Nope}}", "x", "\u{0}", "{{.Service.Name}}"]);
    let spec =
        (0..3u128, 0..3u64, text.clone(), text, 0..3usize).prop_map(|(service, number, env, name, kind)| {
            let runtime = [RuntimeKind::Fake, RuntimeKind::Container, RuntimeKind::Process][kind];
            let mut task = TaskSpec { runtime, ..TaskSpec::default() };
            task.container.env = vec![env.into()];
            task.container.extra.pre_stop = vec![name.into()];
            task.container.extra.ready = Some(ReadyCheck {
                probe: ReadyProbe::Http { port: 0, path: env.into() },
                interval: Duration::MAX,
                timeout: Duration::MAX,
            });
            task.container.stop_grace_period = Some(Duration::MAX);
            AssignedSpec {
                service: ServiceId(service),
                number,
                service_name: name.into(),
                service_labels: BTreeMap::new(),
                task: Arc::new(task),
                ports: Vec::new(),
            }
        });
    let states =
        prop::sample::select(vec![New, Accepted, Ready, Running, Complete, Shutdown, Remove, Orphaned]);
    let task = (0..4u128, 0..3u128, 0..3u64, states).prop_map(|(id, service, spec, desired)| AssignedTask {
        id: TaskId(id),
        service: ServiceId(service),
        slot: Slot::Number(u64::MAX),
        spec,
        desired,
        granted: None,
        iteration: Some(u64::MAX),
    });
    let numbers = (0..3u64, prop::sample::select(vec![0, 1, 2, u64::MAX]));
    (numbers, any::<bool>(), prop::collection::vec(spec, 0..4), prop::collection::vec(task, 0..4), 0..5u128)
        .prop_map(|((applies_to, results_in), more, specs, tasks, removed)| AssignmentUpdate {
            applies_to,
            results_in,
            more,
            digest: if applies_to == 0 { digest(tasks.iter(), std::iter::empty()) } else { 0 },
            specs,
            tasks,
            removed: vec![TaskId(removed)],
            ..AssignmentUpdate::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever managers send, the agent goes on, and states go forward.
    #[test]
    fn no_update_breaks_the_agent(updates in prop::collection::vec(any_update(), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new(&[]);
            for update in updates {
                let _ = world.agent.update(update);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            world.agent.stop().await;
        });
    }
}
