//! The real `docker` client's service commands on our socket. Tasks are put into the store by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::object::{NodeId, NodeState, Role, ServiceMode, Slot, TaskState};
use common::wire::frame::write_message;
use common::wire::logs::{LogLine, LogMessage, LogStream};
use manager::api::EngineSettings;

use crate::client::Api;
use crate::docker::{ENGINE, has_client, printed, ran, skip};
use crate::fake::{FakeCluster, FakeHost, NOW, id_of};

fn served() -> (Api, Arc<FakeCluster>) {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Worker, "host-2", NodeState::Ready);
    (Api::new(FakeHost::manager(&cluster)), cluster)
}

/// What a table shows, word by word.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test]
async fn service_commands() {
    if !has_client("service_commands").await {
        return;
    }
    let (api, cluster) = served();
    let create = [
        "service",
        "create",
        "-d",
        "-q",
        "--name",
        "web",
        "--replicas",
        "2",
        "--network",
        "host",
        "--env",
        "A=b",
        "--label",
        "tier=front",
        "--publish",
        "published=8080,target=80,mode=host",
        "--restart-condition",
        "on-failure",
        "--constraint",
        "node.role==worker",
        "--limit-cpu",
        "0.5",
        "--reserve-memory",
        "64M",
        "--update-order",
        "start-first",
        "--mount",
        "type=tmpfs,target=/scratch",
        "nginx:1.25",
    ];
    let id = printed(&api, &create).await.trim().to_string();
    let service = cluster.service("web");
    assert_eq!(service.id.to_string(), id);
    assert_eq!(service.spec().mode, ServiceMode::Replicated { replicas: 2 });
    assert_eq!(service.spec().task.container.image, "nginx:1.25");
    assert_eq!(service.spec().task.networks[0].target, "host");

    let failed = cluster.task("web", 2, Slot::Number(1), Some(2), TaskState::Failed);
    cluster.change_task(failed.id, |task| {
        task.desired = TaskState::Shutdown;
        task.status.error = "task: non-zero exit (1)".into();
    });
    let running = cluster.task("web", 1, Slot::Number(1), Some(2), TaskState::Running);
    let waits = cluster.task("web", 3, Slot::Number(2), None, TaskState::Pending);
    cluster.change_task(waits.id, |task| task.status.error = "no suitable node".into());
    let ls = printed(&api, &["service", "ls"]).await;
    #[rustfmt::skip]
    assert_eq!(rows(&ls), [
        vec!["ID", "NAME", "MODE", "REPLICAS", "IMAGE", "PORTS"],
        vec![&id[..12], "web", "replicated", "1/2", "nginx:1.25"],
    ]);
    let ps = printed(
        &api,
        &["service", "ps", "--format", "{{.Name}}|{{.Node}}|{{.DesiredState}}|{{.Error}}", "web"],
    )
    .await;
    #[rustfmt::skip]
    assert_eq!(ps.lines().collect::<Vec<_>>(), [
        "web.1|host-2|Running|",
        "web.1|host-2|Shutdown|\"task: non-zero exit (1)\"",
        "web.2||Running|\"no suitable node\"",
    ]);
    let table = printed(&api, &["service", "ps", "web"]).await;
    assert!(table.contains(" \\_ web.1 "), "{table}");
    let short = running.id.short();
    let node_ps = printed(
        &api,
        &["node", "ps", "--format", "{{.ID}} {{.Name}}", "-f", "desired-state=running", "host-2"],
    )
    .await;
    assert_eq!(node_ps.trim(), format!("{short} web.1"));

    // As a leader gives ports out.
    cluster.change_service("web", |service| {
        service.ports = service.spec().endpoint.as_ref().expect("it publishes").ports.clone();
    });
    let pretty = printed(&api, &["service", "inspect", "--pretty", "web"]).await;
    for line in [
        "Name:\t\tweb",
        "tier=front",
        "Replicas:\t2",
        "Constraints:\t[node.role==worker]",
        "Parallelism:\t1",
        "On failure:\tpause",
        "Monitoring Period: 5s",
        "Update order:      start-first",
        "Image:\t\tnginx:1.25",
        "Env:\t\tA=b",
        "CPU:\t\t0.5",
        "Memory:\t64MiB",
        "Networks: host",
        "Endpoint Mode:\tvip",
        "PublishedPort = 8080",
        "TargetPort = 80",
        "PublishMode = host",
    ] {
        assert!(pretty.contains(line), "{line:?}: {pretty}");
    }
    let image =
        printed(&api, &["service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Image}}", &id])
            .await;
    assert_eq!(image, "nginx:1.25\n");
    let missing = ran(&api, &["service", "inspect", "nobody"]).await;
    assert!(!missing.ok && missing.err.contains("no such service: nobody"), "{}", missing.err);
    let missing = ran(&api, &["service", "ps", "nobody"]).await;
    assert!(!missing.ok && missing.err.contains("no such service: nobody"), "{}", missing.err);

    assert_eq!(
        printed(&api, &["service", "update", "-d", "--image", "nginx:1.26", "--env-add", "C=d", "web"])
            .await
            .trim(),
        "web"
    );
    let spec = cluster.service("web").spec().clone();
    assert_eq!((spec.task.container.image.as_str(), spec.task.container.env.len()), ("nginx:1.26", 2));
    assert_eq!(printed(&api, &["service", "update", "-d", "--force", "web"]).await.trim(), "web");
    assert_eq!(cluster.service("web").spec().task.force_update, 1);
    printed(&api, &["service", "rollback", "-d", "web"]).await;
    assert_eq!(cluster.service("web").spec().task.force_update, 0);
    let pretty = printed(&api, &["service", "inspect", "--pretty", "web"]).await;
    assert!(
        pretty.contains("rollback_started") && pretty.contains("manually requested rollback"),
        "{pretty}"
    );
    let scaled = printed(&api, &["service", "scale", "-d", "web=5"]).await;
    assert_eq!(scaled.trim(), "web scaled to 5");
    assert_eq!(cluster.service("web").spec().mode, ServiceMode::Replicated { replicas: 5 });
    assert_eq!(cluster.service("web").update, None);

    let taken = ran(&api, &["service", "create", "-d", "--name", "web", "nginx"]).await;
    assert!(
        taken.err.contains("name conflicts with an existing object: service web already exists"),
        "{}",
        taken.err
    );
    let bad = ran(&api, &["service", "create", "-d", "--restart-condition", "x", "nginx"]).await;
    assert!(bad.err.contains(r#"invalid RestartCondition: "x""#), "{}", bad.err);
    let unknown = ran(&api, &["service", "create", "-d", "--network", "mine", "nginx"]).await;
    assert!(unknown.err.contains("network mine not found"), "{}", unknown.err);
    let unknown = ran(&api, &["service", "create", "-d", "--secret", "s", "nginx"]).await;
    assert!(unknown.err.contains("secret not found: s"), "{}", unknown.err);
    let removed = ran(&api, &["service", "rm", "web", "nobody"]).await;
    assert_eq!((removed.ok, removed.out.as_str()), (false, "web\n"));
    assert!(removed.err.contains("service nobody not found"), "{}", removed.err);
    assert_eq!(printed(&api, &["service", "ls", "-q"]).await, "");
}

#[tokio::test]
async fn progress_ends_when_the_service_stands() {
    if !has_client("progress_ends_when_the_service_stands").await {
        return;
    }
    let (api, cluster) = served();
    let words = ["service", "create", "--name", "web", "--replicas", "2", "--update-monitor", "1s", "nginx"];
    let tasks = async {
        let service = appeared(&cluster, "web").await;
        assert_eq!(service, "web");
        let tasks = [1, 2].map(|number| {
            cluster.task("web", number, Slot::Number(number.into()), Some(2), TaskState::Preparing)
        });
        for task in tasks {
            cluster.change_task(task.id, |task| task.status.state = TaskState::Running);
        }
    };
    let (created, ()) = tokio::join!(printed(&api, &words), tasks);
    for line in ["overall progress: 2 out of 2 tasks", "converged"] {
        assert!(created.contains(line), "{line}: {created}");
    }
    let job = ["service", "create", "--name", "job", "--mode", "replicated-job", "alpine"];
    let tasks = async {
        appeared(&cluster, "job").await;
        let task = cluster.task("job", 3, Slot::Number(0), Some(2), TaskState::Running);
        cluster.change_task(task.id, |task| task.status.state = TaskState::Complete);
    };
    let (created, ()) = tokio::join!(printed(&api, &job), tasks);
    assert!(created.contains("job complete"), "{created}");
    let ls = printed(&api, &["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}"]).await;
    assert!(ls.contains("job replicated job 0/1 (1/1 completed)"), "{ls}");
}

/// Waits for a service of that name.
async fn appeared(cluster: &FakeCluster, name: &str) -> String {
    let store = cluster.store.clone();
    let mut version = store.feed().reached();
    let waiting = async {
        loop {
            if let Some(service) = store.snapshot().service_by_name(name) {
                return service.name().to_string();
            }
            version = store.feed().after(version).await.map_or(version, |(_, next)| next);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("made in time")
}

#[tokio::test]
async fn service_logs() {
    if !has_client("service_logs").await {
        return;
    }
    let (api, cluster) = served();
    printed(&api, &["service", "create", "-d", "-q", "--name", "web", "nginx"]).await;
    let task = cluster.task("web", 1, Slot::Number(1), Some(2), TaskState::Running).id;
    let node = async || {
        let mut call = cluster.log_asked.lock().await.recv().await.expect("a node is asked");
        let line = LogLine { task, at: NOW, stream: LogStream::Stdout, data: b"hello\n".to_vec() };
        for message in [LogMessage::Line(line), LogMessage::Ended { task, error: None }] {
            write_message(&mut call.stream, &message).await.expect("somebody listens");
        }
    };
    let words = ["service", "logs", "web"];
    let (logs, ()) = tokio::join!(printed(&api, &words), node());
    assert_eq!(logs, format!("web.1.{}@host-2    | hello\n", task.short()));
    let id = task.to_string();
    let words = ["service", "logs", "--raw", "-t", &id];
    let (logs, ()) = tokio::join!(printed(&api, &words), node());
    assert_eq!(logs, "2026-11-20T08:00:00.000000000Z hello\n");

    cluster.dead.lock().unwrap().insert(NodeId(id_of(2)));
    let incomplete = ran(&api, &["service", "logs", "web"]).await;
    assert!(
        incomplete.err.contains(&format!("warning: incomplete log stream. some logs could not be retrieved for the following reasons: node {} is not available", NodeId(id_of(2)))),
        "{}",
        incomplete.err
    );
}

#[tokio::test]
async fn events_of_the_engine_and_of_the_cluster_come_together() {
    if !has_client("events_of_the_engine_and_of_the_cluster_come_together").await {
        return;
    }
    let (api, _) = served();
    printed(&api, &["service", "create", "-d", "-q", "--name", "web", "nginx:1"]).await;
    printed(&api, &["service", "update", "-d", "-q", "--image", "nginx:2", "web"]).await;
    let events = printed(
        &api,
        &[
            "events",
            "--since",
            "1",
            "--until",
            "1s",
            "--filter",
            "type=service",
            "--format",
            "{{.Action}} {{.Actor.Attributes.name}} {{.Scope}}",
        ],
    )
    .await;
    assert_eq!(events, "create web swarm\nupdate web swarm\n");
}

/// The client believes what we say we speak, and with an engine behind us that is the engine's version.
#[tokio::test]
async fn what_services_can_do_does_not_depend_on_the_engine_s_age() {
    let test = "what_services_can_do_does_not_depend_on_the_engine_s_age";
    if !has_client(test).await {
        return;
    }
    if !Path::new(ENGINE).exists() {
        return skip(test, "there is no Docker Engine");
    }
    let cluster = FakeCluster::new();
    let engine = EngineSettings { socket: Some(PathBuf::from(ENGINE)) };
    let api = Api::with_engine(FakeHost::manager(&cluster), engine);
    let create = [
        "service",
        "create",
        "-d",
        "-q",
        "--no-resolve-image",
        "--name",
        "job",
        "--mode",
        "replicated-job",
        "--max-concurrent",
        "2",
        "--cap-add",
        "NET_ADMIN",
        "--cap-drop",
        "CHOWN",
        "--ulimit",
        "nofile=10:20",
        "--limit-pids",
        "5",
        "--sysctl",
        "a=b",
        "--replicas-max-per-node",
        "3",
        "--host",
        "a:1.2.3.4",
        "--init",
        "alpine",
    ];
    printed(&api, &create).await;
    let spec = cluster.service("job").spec().clone();
    assert_eq!(spec.mode, ServiceMode::ReplicatedJob { concurrent_max: 2, completions: 2 });
    let container = &spec.task.container;
    assert_eq!((container.capabilities_add.len(), container.capabilities_drop.len()), (1, 1));
    assert_eq!(
        (container.ulimits[0].soft, container.ulimits[0].hard, spec.task.resources.limits.pids),
        (10, 20, 5)
    );
    assert_eq!(spec.task.placement.replicas_max_per_node, 3);
    let events = printed(
        &api,
        &[
            "events",
            "--since",
            "1795161599",
            "--until",
            "1s",
            "--filter",
            "type=service",
            "--format",
            "{{.Action}} {{.Actor.Attributes.name}}",
        ],
    )
    .await;
    assert_eq!(events, "create job\n");
}
