//! Tasks as containers of a real Docker Engine.
//!
//! Each test is a node of its own on the engine of this machine, so that tests run beside each other, and beside
//! whatever else the engine does.

mod faults;
mod names;
mod registry;
mod restart;
mod secrets;
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use common::object::TaskSpec;
use common::object::container::{
    ContainerSpec, DnsConfig, Extra, HealthCheck, Mount, MountKind, TmpfsOptions, Ulimit, VolumeOptions,
};
use common::object::ports::{Port, PublishMode};
use common::object::resources::{Limits, Requirements, Reservations};
use common::object::service::NetworkAttachment;
use common::time::Timestamp;
use common::wire::logs::LogStream;
use futures_util::StreamExt;
use support::{Node, SOON, everything, shell, texts};
use tokio::time::timeout;
use worker::runtime::{Health, LogOptions, RunError, Seen};

#[tokio::test]
async fn a_task_lives_from_prepare_to_remove() {
    let Some(node) = Node::of("a_task_lives_from_prepare_to_remove") else { return };
    let task = node.task(shell("trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"));
    assert_eq!(node.look(&task).await, Seen::Absent);
    node.prepare(&task).await.unwrap();
    assert_eq!(node.look(&task).await, Seen::Prepared);
    assert_eq!(node.runtime.addresses(task.task).await, Ok(vec![]));
    node.runtime.start(&task).await.unwrap();
    let Seen::Running { container, ports, health } = node.look(&task).await else { panic!("it runs") };
    assert!(container.pid > 1 && container.id.len() == 64 && container.exit_code.is_none(), "{container:?}");
    assert!(ports.is_empty() && health == Health::Unchecked);
    assert_eq!(node.docker(&["inspect", "-f", "{{.Name}}", &container.id]), format!("/{}", task.name));
    assert!(!node.runtime.addresses(task.task).await.unwrap().is_empty());

    // The trap is set once the line is written.
    let mut options = everything();
    options.follow = true;
    let first = node.runtime.logs(task.task, options).await.unwrap().next().await.unwrap().unwrap();
    assert_eq!(first.data, b"up\n");
    node.runtime.stop(&task).await.unwrap();
    let Seen::Ended(exit) = node.look(&task).await else { panic!("it has ended") };
    assert_eq!((exit.code, exit.container.exit_code, exit.reason.as_str()), (3, Some(3), ""));
    node.runtime.stop(&task).await.unwrap();
    node.runtime.remove(task.task).await.unwrap();
    assert_eq!(node.look(&task).await, Seen::Absent);
    node.runtime.remove(task.task).await.unwrap();
    node.runtime.stop(&task).await.unwrap();
}

#[tokio::test]
async fn repeated_steps_go_on_where_they_were() {
    let Some(node) = Node::of("repeated_steps_go_on_where_they_were") else { return };
    let task = node.task(shell("exit 7"));
    assert!(matches!(node.runtime.start(&task).await, Err(RunError::Fatal(_))), "nothing to start");
    node.prepare(&task).await.unwrap();
    node.prepare(&task).await.unwrap();
    node.runtime.start(&task).await.unwrap();
    let exit = node.ended(&task).await;
    assert_eq!(exit.code, 7);
    // What has ended is neither made nor started again.
    node.prepare(&task).await.unwrap();
    node.runtime.start(&task).await.unwrap();
    assert_eq!(node.look(&task).await, Seen::Ended(exit));
}

#[tokio::test]
async fn a_node_finds_its_own_tasks_again_and_no_others() {
    let Some(node) = Node::of("a_node_finds_its_own_tasks_again_and_no_others") else { return };
    let other = Node::of("a_node_finds_its_own_tasks_again_and_no_others").unwrap();
    let (mine, theirs) = (node.task(ContainerSpec::default()), other.task(ContainerSpec::default()));
    let seen = node.run(&mine).await;
    other.run(&theirs).await;
    let again = node.again();
    assert_eq!(again.runtime.present().await, Ok(vec![mine.task]));
    assert_eq!(again.look(&mine).await, seen);
    assert_eq!(again.look(&theirs).await, Seen::Absent);
    assert_eq!(other.runtime.present().await, Ok(vec![theirs.task]));

    // A name that somebody else has is not taken for ours.
    let mut stranger = again.task(ContainerSpec::default());
    stranger.name = theirs.name.clone();
    let Err(RunError::Fatal(words)) = again.prepare(&stranger).await else { panic!("the name is taken") };
    assert!(words.contains(&theirs.name) && words.contains("not this task's"), "{words}");
}

#[tokio::test]
async fn an_end_is_told_at_once_with_its_reason() {
    let Some(node) = Node::of("an_end_is_told_at_once_with_its_reason") else { return };
    let task = node.task(ContainerSpec::default());
    let running = node.run(&task).await;
    let Seen::Running { container, .. } = &running else { panic!("it runs") };
    let changed = node.runtime.changed(task.task, &running);
    let killed = async {
        let id = container.id.clone();
        tokio::task::spawn_blocking(move || id).await.map(|id| node.docker(&["kill", &id])).unwrap();
    };
    // Far less than the time of a survey: an event tells it.
    let (seen, ()) = timeout(SOON / 2, async { tokio::join!(changed, killed) }).await.unwrap();
    let Ok(Seen::Ended(exit)) = seen else { panic!("it has ended: {seen:?}") };
    assert_eq!(exit.code, 137);

    // Somebody removed it.
    let ended = node.look(&task).await;
    let changed = node.runtime.changed(task.task, &ended);
    let removed = async { drop(node.docker(&["rm", &container.id])) };
    let (seen, ()) = timeout(SOON / 2, async { tokio::join!(changed, removed) }).await.unwrap();
    assert_eq!(seen, Ok(Seen::Absent));

    let limits = Limits { memory_bytes: 8 << 20, ..Limits::default() };
    let hungry = node.task_of(TaskSpec {
        container: shell("tail /dev/zero"),
        resources: Requirements { limits, swap_bytes: Some(0), ..Requirements::default() },
        ..TaskSpec::default()
    });
    node.run(&hungry).await;
    let exit = node.ended(&hungry).await;
    assert_eq!((exit.code, exit.reason.as_str()), (137, "out of memory"));
}

#[tokio::test]
async fn stopping_takes_the_signal_and_the_time_asked_for() {
    let Some(node) = Node::of("stopping_takes_the_signal_and_the_time_asked_for") else { return };
    let deaf = ContainerSpec {
        stop_grace_period: Some(Duration::from_secs(1)),
        ..shell("trap '' TERM; echo up; while :; do sleep 0.1; done")
    };
    let listens = ContainerSpec {
        stop_signal: "SIGINT".into(),
        ..shell("trap 'exit 5' INT; trap '' TERM; echo up; while :; do sleep 0.1; done")
    };
    for (spec, code) in [(deaf, 137), (listens, 5)] {
        let task = node.task(spec);
        node.run(&task).await;
        let options = LogOptions { follow: true, ..everything() };
        node.runtime.logs(task.task, options).await.unwrap().next().await.unwrap().unwrap();
        timeout(SOON, node.runtime.stop(&task)).await.unwrap().unwrap();
        assert_eq!(node.ended(&task).await.code, code);
    }
}

#[tokio::test]
async fn health_is_followed() {
    let Some(node) = Node::of("health_is_followed") else { return };
    let check = HealthCheck {
        test: ["CMD-SHELL", "cat /tmp/well || { echo not well; exit 1; }"].map(String::from).into(),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(10),
        retries: 1,
        ..HealthCheck::default()
    };
    let task = node.task(ContainerSpec { health: Some(check), ..shell("touch /tmp/well; sleep 1000") });
    node.run(&task).await;
    node.until(&task, |seen| matches!(seen, Seen::Running { health: Health::Healthy, .. })).await;
    node.inside(&task, "rm /tmp/well").await;
    let well = |seen: &Seen| matches!(seen, Seen::Running { health: Health::Unhealthy { .. }, .. });
    let Seen::Running { health: Health::Unhealthy { reason }, .. } = node.until(&task, well).await else {
        panic!("it is not well")
    };
    assert!(reason.starts_with("health check: ") && reason.contains("not well"), "{reason}");
}

#[tokio::test]
async fn what_cannot_work_says_why() {
    let Some(node) = Node::of("what_cannot_work_says_why") else { return };
    let mount =
        |kind, source: &str| Mount { kind, source: source.into(), target: "/m".into(), ..Mount::default() };
    let bound = ContainerSpec { mounts: vec![mount(MountKind::Bind, "/x-none")], ..ContainerSpec::default() };
    let wired = TaskSpec {
        networks: vec![NetworkAttachment { target: "mine".into(), ..NetworkAttachment::default() }],
        ..TaskSpec::default()
    };
    let scarce = Requirements {
        limits: Limits { memory_bytes: 4096, ..Limits::default() },
        ..Requirements::default()
    };
    let prepared = [
        (
            node.task(bound),
            "invalid mount config for type \"bind\": bind source path does not exist: /x-none",
        ),
        (node.task_of(wired), "network mine: containers of this node join bridge, host or none alone"),
        (
            node.task_of(TaskSpec { resources: scarce, ..TaskSpec::default() }),
            "Minimum memory limit allowed is",
        ),
        (
            node.task(ContainerSpec { image: "UPPER CASE".into(), ..ContainerSpec::default() }),
            "invalid reference format",
        ),
    ];
    for (task, wanted) in prepared {
        match node.prepare(&task).await {
            Err(RunError::Fatal(words)) => assert!(words.contains(wanted), "{words}"),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let gpus =
        ContainerSpec { extra: Extra { gpus: "all".into(), ..Extra::default() }, ..ContainerSpec::default() };
    let started = [
        (
            ContainerSpec { command: vec!["/nope".into()], ..ContainerSpec::default() },
            "no such file or directory",
        ),
        (
            ContainerSpec { command: vec!["/etc/passwd".into()], ..ContainerSpec::default() },
            "permission denied",
        ),
        (gpus, "could not select device driver"),
    ];
    for (spec, wanted) in started {
        let task = node.task(spec);
        node.prepare(&task).await.unwrap();
        match node.runtime.start(&task).await {
            Err(RunError::Fatal(words)) => assert!(words.contains(wanted), "{words}"),
            other => panic!("{wanted}: {other:?}"),
        }
        assert_eq!(node.look(&task).await, Seen::Prepared);
    }
}

#[tokio::test]
async fn a_container_is_what_its_spec_says() {
    let Some(node) = Node::of("a_container_is_what_its_spec_says") else { return };
    let texts = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).into()).collect() };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "from the host").unwrap();
    let bind = Mount {
        kind: MountKind::Bind,
        source: folder.path().to_string_lossy().into(),
        target: "/bound".into(),
        read_only: true,
        ..Mount::default()
    };
    let tmpfs = Mount {
        kind: MountKind::Tmpfs,
        target: "/small".into(),
        tmpfs: Some(TmpfsOptions { size_bytes: 1 << 20, mode: 0o700, ..TmpfsOptions::default() }),
        ..Mount::default()
    };
    let volume_name = format!("swarm-tests-{}", node.id);
    let volume = Mount {
        source: volume_name.clone(),
        target: "/kept".into(),
        volume: Some(VolumeOptions {
            labels: BTreeMap::from([("mine".into(), "1".into())]),
            ..VolumeOptions::default()
        }),
        ..Mount::default()
    };
    let container = ContainerSpec {
        hostname: "somewhere".into(),
        env: texts(&["A=1 2"]),
        dir: "/tmp".into(),
        user: "12:34".into(),
        groups: texts(&["56"]),
        hosts: texts(&["10.1.2.3 far.example away"]),
        dns: Some(DnsConfig { nameservers: texts(&["10.9.9.9"]), ..DnsConfig::default() }),
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 77, hard: 88 }],
        sysctls: BTreeMap::from([("net.ipv4.ip_unprivileged_port_start".into(), "70".into())]),
        capabilities_drop: texts(&["ALL"]),
        init: Some(true),
        read_only: true,
        mounts: vec![bind, tmpfs, volume],
        oom_score_adj: 99,
        extra: Extra { shm_bytes: 1 << 20, cpuset_cpus: "0".into(), ..Extra::default() },
        ..ContainerSpec::default()
    };
    let resources = Requirements {
        limits: Limits { nano_cpus: 500_000_000, memory_bytes: 64 << 20, pids: 50 },
        reservations: Reservations { memory_bytes: 32 << 20, ..Reservations::default() },
        ..Requirements::default()
    };
    let task = node.task_of(TaskSpec { container, resources, ..TaskSpec::default() });
    let Seen::Running { container, .. } = node.run(&task).await else { panic!("it runs") };
    #[rustfmt::skip]
    let cases = [
        ("hostname", "somewhere"),
        ("echo $A", "1 2"),
        ("pwd", "/tmp"),
        ("id -u; id -g; id -G", "12\n34\n34 56"),
        ("grep -c -e '10.1.2.3.far.example' -e '10.1.2.3.away' /etc/hosts", "2"),
        ("cat /etc/resolv.conf | grep nameserver", "nameserver 10.9.9.9"),
        ("ulimit -n; ulimit -Hn", "77\n88"),
        ("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "70"),
        ("grep CapBnd /proc/self/status | cut -f2", "0000000000000000"),
        ("tr '\\0' ' ' </proc/1/cmdline | cut -d' ' -f1 | sed 's/.*-//'", "init"),
        ("touch /x 2>&1 | grep -o 'Read-only file system'", "Read-only file system"),
        ("cat /bound/file", "from the host"),
        ("touch /bound/x 2>&1 | grep -o 'Read-only file system'", "Read-only file system"),
        ("grep ' /small ' /proc/mounts | grep -o size=1024k", "size=1024k"),
        ("df -k /dev/shm | tail -1 | awk '{print $2}'", "1024"),
        ("cat /proc/1/oom_score_adj", "99"),
        ("grep Cpus_allowed_list /proc/self/status | cut -f2", "0"),
    ];
    for (line, wanted) in cases {
        assert_eq!(node.inside(&task, line).await, wanted, "{line}");
    }
    let engines = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.MemoryReservation}}";
    assert_eq!(node.docker(&["inspect", "-f", engines, &container.id]), "500000000 67108864 50 33554432");
    let labels = node.docker(&["volume", "inspect", "-f", "{{.Labels}}", &volume_name]);
    assert_eq!(labels, "map[mine:1]");
    // A named volume outlives its task.
    node.runtime.remove(task.task).await.unwrap();
    node.docker(&["volume", "rm", &volume_name]);
}

#[tokio::test]
async fn commands_run_inside() {
    let Some(node) = Node::of("commands_run_inside") else { return };
    let task = node.task(ContainerSpec::default());
    let command = |line: &str| ["sh", "-c", line].map(String::from);
    let run = async |line: &str, limit| node.runtime.run_inside(task.task, &command(line), limit).await;
    assert!(matches!(run("true", SOON).await, Err(RunError::Fatal(_))), "there is no container");
    node.run(&task).await;
    let result = run("echo out; echo err >&2; exit 4", SOON).await.unwrap();
    // The engine reads the two streams apart: their order in between is chance.
    let mut lines: Vec<&str> = result.output.lines().collect();
    lines.sort_unstable();
    assert_eq!((result.code, lines), (4, vec!["err", "out"]));
    let result = run("yes | head -c 1000000; echo end", SOON).await.unwrap();
    assert!(result.code == 0 && result.output.len() <= 4096 && result.output.ends_with("y\nend\n"));
    let Err(RunError::Temporary(words)) = run("exec sleep 999", Duration::from_millis(300)).await else {
        panic!("it takes too long")
    };
    assert_eq!(words, "the command did not end within 300ms");
    let left = run("ps | grep -c '[s]leep 999'", SOON).await.unwrap();
    assert_eq!(left.output.trim(), "0", "nothing of it is left");
}

#[tokio::test]
async fn ports_are_published_on_the_node() {
    let Some(node) = Node::of("ports_are_published_on_the_node") else { return };
    let mut task = node.task(shell("echo hello >/tmp/index.html; exec httpd -f -p 8000 -h /tmp"));
    task.ports = vec![Port { target: 8000, mode: PublishMode::Host, ..Port::default() }];
    let Seen::Running { ports, .. } = node.run(&task).await else { panic!("it runs") };
    assert!(ports.len() == 1 && ports[0].target == 8000 && ports[0].published > 0, "{ports:?}");
    let address = node.runtime.addresses(task.task).await.unwrap()[0];
    for to in [SocketAddr::new([127, 0, 0, 1].into(), ports[0].published), SocketAddr::new(address, 8000)] {
        let page = tokio::task::spawn_blocking(move || page(to)).await.unwrap();
        assert!(page.ends_with("hello\n"), "{to}: {page}");
    }

    // A port that is taken is the task's own trouble.
    let mut second = node.task(ContainerSpec::default());
    second.ports = vec![Port { published: ports[0].published, ..task.ports[0].clone() }];
    node.prepare(&second).await.unwrap();
    let Err(RunError::Fatal(words)) = node.runtime.start(&second).await else { panic!("the port is taken") };
    assert!(words.contains("port is already allocated"), "{words}");

    let host = NetworkAttachment { target: "host".into(), ..NetworkAttachment::default() };
    let on_host = node.task_of(TaskSpec { networks: vec![host], ..TaskSpec::default() });
    node.run(&on_host).await;
    assert_eq!(node.runtime.addresses(on_host.task).await, Ok(vec![IpAddr::from([127, 0, 0, 1])]));
    let none = NetworkAttachment { target: "none".into(), ..NetworkAttachment::default() };
    let alone = node.task_of(TaskSpec { networks: vec![none], ..TaskSpec::default() });
    node.run(&alone).await;
    assert_eq!(node.runtime.addresses(alone.task).await, Ok(vec![]));
}

/// The page of a server that may still be starting.
fn page(to: SocketAddr) -> String {
    for _ in 0..500 {
        if let Ok(mut stream) = TcpStream::connect(to)
            && stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").is_ok()
        {
            let mut page = String::new();
            if stream.read_to_string(&mut page).is_ok() && !page.is_empty() {
                return page;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("nobody answers at {to}");
}

#[tokio::test]
async fn logs_come_line_by_line() {
    use LogStream::{Stderr, Stdout};
    let Some(node) = Node::of("logs_come_line_by_line") else { return };
    let begun = Timestamp(common::time::Clock::now(&common::time::SystemClock).0 - 1);
    let line = "echo one; echo two >&2; until [ -e /tmp/go ]; do sleep 0.05; done; printf three";
    let task = node.task(shell(line));
    node.run(&task).await;
    // Followed to the end, which is the task's.
    let follow = LogOptions { follow: true, ..everything() };
    let mut following = node.runtime.logs(task.task, follow).await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = timeout(SOON, following.next()).await.expect("the log goes on and ends") {
        lines.push(line.unwrap());
        if lines.len() == 2 {
            node.inside(&task, "touch /tmp/go").await;
        }
    }
    let wanted = [(Stdout, "one\n"), (Stderr, "two\n"), (Stdout, "three")]
        .map(|(stream, text)| (stream, text.to_string()));
    // The engine reads both streams at once: in which order it notes the first two is its own.
    let mut sorted = lines.clone();
    sorted[..2].sort_by_key(|line| line.stream);
    assert_eq!(texts(&sorted), wanted);
    assert!(lines.iter().all(|line| line.task == task.task && line.at > begun), "{lines:?}");

    assert_eq!(node.logs(&task, everything()).await, lines);
    let of_stderr = LogOptions { stdout: false, ..everything() };
    assert_eq!(texts(&node.logs(&task, of_stderr).await), [wanted[1].clone()]);
    let last = LogOptions { tail: Some(1), ..everything() };
    assert_eq!(texts(&node.logs(&task, last).await), [wanted[2].clone()]);
    let since = LogOptions { since: Some(sorted[2].at), ..everything() };
    assert_eq!(texts(&node.logs(&task, since).await), [wanted[2].clone()]);
    let until = LogOptions { until: Some(Timestamp(sorted[2].at.0 - 1)), ..everything() };
    assert_eq!(node.logs(&task, until).await.len(), 2);

    let nothing = LogOptions { stdout: false, stderr: false, ..everything() };
    assert!(matches!(node.runtime.logs(task.task, nothing).await, Err(RunError::Fatal(_))));
    let gone = node.task(ContainerSpec::default());
    assert!(matches!(node.runtime.logs(gone.task, everything()).await, Err(RunError::Fatal(_))));
}

#[tokio::test]
async fn a_terminals_log_and_a_long_line_come_whole() {
    let Some(node) = Node::of("a_terminals_log_and_a_long_line_come_whole") else { return };
    for tty in [false, true] {
        let line = "echo begin; head -c 50000 /dev/zero | tr '\\0' x; echo; echo end";
        let task = node.task(ContainerSpec { tty, ..shell(line) });
        node.run(&task).await;
        node.ended(&task).await;
        let lines = node.logs(&task, everything()).await;
        assert!(lines.iter().all(|line| line.stream == LogStream::Stdout && line.at > Timestamp(0)));
        assert!(lines.iter().all(|line| line.data.len() <= 16 << 10), "in parts that fit in memory");
        let text: String = texts(&lines).into_iter().map(|(_, text)| text).collect();
        let whole = format!("begin\n{}\nend\n", "x".repeat(50_000));
        assert!(text.replace('\r', "") == whole, "terminal: {tty}: {} bytes", text.len());
    }
}
