//! A task from its start to its end: how it begins, what it has, how it is stopped, and that nothing is left.

use std::fs;
use std::time::Duration;

use common::object::container::HealthCheck;
use common::object::ports::{Port, PublishMode};
use futures_util::StreamExt;
use worker::runtime::{Health, LogOptions, RunError, Runtime, Seen};

use crate::world::{World, eventually, everything, processes, shell, shell_with, task, within};

#[tokio::test]
async fn a_task_lives_and_leaves_nothing() {
    let world = World::new();
    let web = shell("pwd; echo $HOSTNAME; exec sleep 1000");
    assert_eq!(world.look(&web).await, Seen::Absent);
    world.prepare(&web).await.unwrap();
    world.prepare(&web).await.unwrap();
    assert_eq!(world.look(&web).await, Seen::Prepared);
    assert!(world.runtime.addresses(web.task).await.unwrap().is_empty());
    world.start(&web).await;
    world.start(&web).await;
    let pid = world.pid(&web).await;
    assert_eq!(processes(&web), [pid]);
    let seen = world.look(&web).await;
    let Seen::Running { container, health: Health::Unchecked, .. } = &seen else { panic!("{seen:?}") };
    assert_eq!((container.id.clone(), container.exit_code), (format!("process-{pid}"), None));
    let addresses = world.runtime.addresses(web.task).await.unwrap();
    assert!(addresses.len() == 2 && addresses.iter().all(std::net::IpAddr::is_loopback), "{addresses:?}");
    assert_eq!(world.runtime.present().await.unwrap(), [web.task]);
    // It runs from its first instruction on: what it has to say takes it a moment longer.
    let options = LogOptions { follow: true, ..everything() };
    let said = world.runtime.logs(web.task, options).await.unwrap().take(2).collect::<Vec<_>>();
    assert_eq!(within(said).await.len(), 2);
    world.stop(&web).await;
    world.stop(&web).await;
    let exit = world.exit(&web).await;
    assert_eq!((exit.code, exit.container.pid, exit.reason.as_str()), (143, pid.into(), ""));
    assert_eq!(processes(&web), [0; 0]);
    let work = world.work(&web).canonicalize().unwrap();
    assert_eq!(world.output(&web).await, format!("{}\nhere\n", work.display()));
    world.runtime.remove(web.task).await.unwrap();
    world.runtime.remove(web.task).await.unwrap();
    assert_eq!(world.look(&web).await, Seen::Absent);
    assert_eq!(world.runtime.present().await.unwrap(), []);
    world.end().await;
}

#[tokio::test]
async fn exit_codes_say_how_it_ended() {
    let world = World::new();
    #[rustfmt::skip]
    let cases = [ // what it does, code, reason
        ("exit 0",              0,   ""),
        ("exit 7",              7,   ""),
        ("kill -SEGV $$",       139, "ended by SIGSEGV"),
        ("kill -KILL $$",       137, "ended by SIGKILL"),
        ("sleep 1000 & exit 3", 3,   ""),
    ];
    for (line, code, reason) in cases {
        let job = shell(line);
        world.start(&job).await;
        let exit = world.exit(&job).await;
        assert_eq!((exit.code, exit.reason.as_str()), (code, reason), "{line}");
        assert_eq!(exit.container.exit_code, Some(code));
        assert_eq!(processes(&job), [0; 0], "{line}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_program_that_cannot_run_says_why() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "text").unwrap();
    let script = folder.path().join("script");
    // By another process: a file that this one has open to write is busy as long as a child of another thread has too.
    let write = "echo '#!/no/such/interpreter' >\"$0\" && chmod 755 \"$0\"";
    assert!(std::process::Command::new("sh").args(["-c", write]).arg(&script).status().unwrap().success());
    let path = |path: &std::path::Path| path.display().to_string();
    let cases = [
        ("nosuchprogram".to_owned(), "executable file not found in $PATH"),
        ("/no/such/program".to_owned(), "no such file"),
        (path(&plain), "permission denied"),
        (path(folder.path()), "it is a folder"),
        (path(&script), "the interpreter it names is not there"),
    ];
    for (program, reason) in cases {
        let web = task(|spec| spec.container.command = vec![program.clone()]);
        let error = world.try_start(&web).await.unwrap_err();
        let expected = format!("starting process failed: exec: \"{program}\": {reason}");
        assert_eq!(error, RunError::Fatal(expected));
        assert_eq!(world.look(&web).await, Seen::Prepared);
    }
    let lost = shell_with("true", |spec| spec.dir = "/no/such/folder".into());
    let error = world.try_start(&lost).await.unwrap_err().to_string();
    assert!(error.contains("enter folder /no/such/folder"), "{error}");
    let refused = shell_with("true", |spec| spec.user = "nosuchuser".into());
    let error = world.prepare(&refused).await.unwrap_err();
    assert_eq!(error, RunError::Fatal("no user is named 'nosuchuser' on this node".into()));
    assert_eq!(world.look(&refused).await, Seen::Absent);
    world.end().await;
}

#[tokio::test]
async fn stopping_ends_everybody_however_far_they_went() {
    let world = World::new();
    // One in its session, one in a session of its own, one that became a daemon.
    let line =
        "sleep 1000 & setsid sleep 1001 & (setsid sh -c 'sleep 1002 & exec sleep 1003' &) ; echo ready; wait";
    let web = shell(line);
    world.start(&web).await;
    eventually("its processes are there", || processes(&web).len() == 5).await;
    world.stop(&web).await;
    assert_eq!(processes(&web), [0; 0]);
    world.end().await;
}

#[tokio::test]
async fn whoever_ignores_the_stop_signal_is_killed_after_the_grace_period() {
    let world = World::new();
    let stubborn = shell_with("trap '' TERM; echo ready; while :; do sleep 1; done", |spec| {
        spec.stop_grace_period = Some(Duration::from_millis(300));
    });
    world.start(&stubborn).await;
    world.ready(&stubborn).await;
    let begun = tokio::time::Instant::now();
    world.stop(&stubborn).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let exit = world.exit(&stubborn).await;
    assert_eq!(exit.code, 137);
    assert_eq!(exit.reason, "it did not end within 300ms of SIGTERM and was killed");
    assert_eq!(processes(&stubborn), [0; 0]);
    world.end().await;
}

#[tokio::test]
async fn the_stop_signal_is_the_services_and_reaches_the_whole_group() {
    let world = World::new();
    let line = "(trap 'echo child; exit' USR1; echo ready; while :; do :; done) & \
        trap 'wait; echo parent; exit 5' USR1; while :; do wait; done";
    for signal in ["SIGUSR1", "usr1", "10"] {
        let polite = shell_with(line, |spec| spec.stop_signal = signal.into());
        world.start(&polite).await;
        world.ready(&polite).await;
        world.stop(&polite).await;
        assert_eq!(world.exit(&polite).await.code, 5);
        assert_eq!(world.output(&polite).await, "ready\nchild\nparent\n");
    }
    world.end().await;
}

#[tokio::test]
async fn a_task_stopped_before_it_starts_never_does() {
    let world = World::new();
    let web = shell("exec sleep 1000");
    world.stop(&web).await;
    world.prepare(&web).await.unwrap();
    world.stop(&web).await;
    let error = within(world.runtime.start(&web)).await.unwrap_err();
    assert_eq!(error, RunError::Fatal("it was told to stop before it started".into()));
    assert_eq!(processes(&web), [0; 0]);
    world.end().await;
}

#[tokio::test]
async fn commands_run_inside_as_the_task_does() {
    let world = World::new();
    let web = shell_with("exec sleep 1000", |spec| spec.env = vec!["COLOUR=green".into()]);
    let run = |line: &str, limit| {
        let command = ["/bin/sh", "-c", line].map(str::to_owned);
        let runtime = &world.runtime;
        async move { within(runtime.run_inside(web.task, &command, limit)).await }
    };
    let long = Duration::from_secs(20);
    world.prepare(&web).await.unwrap();
    assert!(run("true", long).await.is_err(), "it does not run yet");
    world.start(&web).await;
    let result = run("echo $COLOUR; pwd >&2; exit 4", long).await.unwrap();
    let work = world.work(&web).canonicalize().unwrap();
    assert_eq!((result.code, result.output), (4, format!("green\n{}\n", work.display())));
    let command = ["nosuchprogram".to_owned()];
    let result = within(world.runtime.run_inside(web.task, &command, long)).await.unwrap();
    assert_eq!(result.code, 126);
    assert!(result.output.contains("not found in $PATH"), "{}", result.output);
    // What it leaves behind ends with it, and it ends with our patience.
    run("setsid sleep 1000 & true", long).await.unwrap();
    assert_eq!(processes(&web).len(), 1);
    let error = run("setsid sleep 1000 & sleep 1001", Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.to_string(), "it did not end within 100ms");
    assert_eq!(processes(&web).len(), 1);
    let given_up = tokio::time::timeout(Duration::from_millis(300), run("sleep 1000", long)).await;
    assert!(given_up.is_err());
    eventually("the command we let go of ends", || processes(&web).len() == 1).await;
    world.end().await;
}

#[tokio::test]
async fn health_is_what_its_checks_say() {
    let world = World::new();
    let check = HealthCheck {
        test: vec!["CMD-SHELL".into(), "test -e well || { echo no file; exit 2; }".into()],
        interval: Duration::from_millis(50),
        retries: 2,
        ..HealthCheck::default()
    };
    let web = shell_with("exec sleep 1000", |spec| spec.health = Some(check));
    world.start(&web).await;
    let health = |seen: &Seen| match seen {
        Seen::Running { health, .. } => health.clone(),
        other => panic!("{other:?}"),
    };
    fs::write(world.work(&web).join("well"), "").unwrap();
    world.until(&web, |seen| health(seen) == Health::Healthy).await;
    fs::remove_file(world.work(&web).join("well")).unwrap();
    let seen = world.until(&web, |seen| matches!(health(seen), Health::Unhealthy { .. })).await;
    let reason = "its health check failed 2 times in a row: exit code 2: no file".to_owned();
    assert_eq!(health(&seen), Health::Unhealthy { reason });
    world.end().await;
}

#[tokio::test]
async fn ports_are_told_to_the_task_and_free_ones_found() {
    let world = World::new();
    let mut web = shell("echo $SWARM_PORT_80 $SWARM_PORT_443");
    let port = |target, published| Port { target, published, mode: PublishMode::Host, ..Port::default() };
    web.ports = vec![port(80, 18_080), port(443, 0)];
    world.start(&web).await;
    let output = world.output(&web).await;
    let (fixed, dynamic) = output.trim().split_once(' ').unwrap();
    assert_eq!(fixed, "18080");
    assert!(dynamic.parse::<u16>().unwrap() > 0);
    let mut long = shell("exec sleep 1000");
    long.ports = web.ports.clone();
    world.start(&long).await;
    let Seen::Running { ports, .. } = world.look(&long).await else { panic!("it does not run") };
    assert_eq!(ports[0], web.ports[0]);
    assert!(ports[1].published > 0 && ports[1].published.to_string() != dynamic);
    world.end().await;
}
