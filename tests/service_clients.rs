//! Services by other ways than plain lines of `docker`: every flag at once, a terminal, our own commands, an SDK.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec, TaskState,
};
use bollard::query_parameters::{
    EventsOptionsBuilder, ListServicesOptionsBuilder, ListTasksOptionsBuilder, LogsOptionsBuilder,
    UpdateServiceOptionsBuilder,
};
use futures_util::StreamExt;
use harness::cluster::SOON;
use harness::commands::{row, session, soon};
use harness::docker::sdk;
use harness::run;
use harness::services::{IMAGE, LABEL};
use serde_json::{Value, json};

const FLAGS: &str = "docker $create -q --name full --label tier=front --label bare --container-label c=1 \
-e A=1 -e B=two \
    --hostname h-{{.Task.Slot}} -w /tmp -u 1000:1000 --group 2000 --cap-add NET_ADMIN --cap-drop CHOWN \
    --sysctl net.ipv4.ip_forward=1 --ulimit nofile=1000:2000 --dns 1.1.1.1 --dns-search x.y --dns-option \
    ndots:2 \
    --host db:10.0.0.9 --init --read-only --stop-grace-period 1s --mount \
    type=tmpfs,target=/scratch,tmpfs-size=1m \
    --limit-cpu 0.5 --limit-memory 64m --limit-pids 50 --reserve-cpu 0.01 --reserve-memory 8m \
    --restart-condition on-failure --restart-delay 1s --restart-max-attempts 2 --restart-window 1m \
    --update-parallelism 2 --update-delay 1s --update-order start-first --update-failure-action rollback \
    --update-max-failure-ratio 0.5 --rollback-parallelism 3 --rollback-delay 2s --rollback-order start-first \
    --rollback-failure-action continue --rollback-max-failure-ratio 0.25 --health-cmd true \
    --health-interval 1s \
    --health-timeout 2s --health-retries 3 --health-start-period 4s --log-driver json-file --log-opt \
    max-size=1m \
    --constraint node.role==manager --placement-pref spread=node.labels.zone --replicas-max-per-node 2 \
    --endpoint-mode dnsrr --entrypoint sleep $image 100000";

/// What the service says, by its path.
fn asked() -> Vec<(&'static str, Value)> {
    let second = 1_000_000_000_u64;
    vec![
        ("/Spec/Labels", json!({ "tier": "front", "bare": "" })),
        ("/Spec/Mode", json!({ "Replicated": { "Replicas": 1 } })),
        ("/Spec/EndpointSpec/Mode", json!("dnsrr")),
        (
            "/Spec/UpdateConfig",
            json!({ "Parallelism": 2, "Delay": second, "FailureAction": "rollback", "Monitor": 300_000_000,
                    "MaxFailureRatio": 0.5, "Order": "start-first" }),
        ),
        (
            "/Spec/RollbackConfig",
            json!({ "Parallelism": 3, "Delay": 2 * second, "FailureAction": "continue",
                    "Monitor": 300_000_000, "MaxFailureRatio": 0.25, "Order": "start-first" }),
        ),
        (
            "/Spec/TaskTemplate/RestartPolicy",
            json!({ "Condition": "on-failure", "Delay": second, "MaxAttempts": 2, "Window": 60 * second }),
        ),
        ("/Spec/TaskTemplate/Placement/Constraints", json!(["node.role==manager"])),
        (
            "/Spec/TaskTemplate/Placement/Preferences",
            json!([{ "Spread": { "SpreadDescriptor": "node.labels.zone" } }]),
        ),
        ("/Spec/TaskTemplate/Placement/MaxReplicas", json!(2)),
        (
            "/Spec/TaskTemplate/Resources",
            json!({ "Limits": { "NanoCPUs": 500_000_000, "MemoryBytes": 64 << 20, "Pids": 50 },
                    "Reservations": { "NanoCPUs": 10_000_000, "MemoryBytes": 8 << 20 } }),
        ),
        ("/Spec/TaskTemplate/LogDriver", json!({ "Name": "json-file", "Options": { "max-size": "1m" } })),
        ("/Spec/TaskTemplate/ContainerSpec/Hostname", json!("h-{{.Task.Slot}}")),
        ("/Spec/TaskTemplate/ContainerSpec/StopGracePeriod", json!(second)),
        ("/Spec/TaskTemplate/ContainerSpec/Hosts", json!(["10.0.0.9 db"])),
        ("/Spec/TaskTemplate/ContainerSpec/Command", json!(["sleep"])),
        ("/Spec/TaskTemplate/ContainerSpec/Args", json!(["100000"])),
    ]
}

/// What the engine says of the container.
fn effective() -> Vec<(&'static str, Value)> {
    vec![
        ("/Path", json!("sleep")),
        ("/Args", json!(["100000"])),
        ("/Config/Hostname", json!("h-1")),
        ("/Config/User", json!("1000:1000")),
        ("/Config/Env", json!(["A=1", "B=two"])),
        ("/Config/WorkingDir", json!("/tmp")),
        ("/Config/StopSignal", json!("KILL")),
        ("/Config/StopTimeout", json!(1)),
        ("/Config/Labels/c", json!("1")),
        ("/Config/Labels/com.docker.swarm.service.name", json!("full")),
        ("/Config/Healthcheck/Test", json!(["CMD-SHELL", "true"])),
        ("/Config/Healthcheck/Interval", json!(1_000_000_000)),
        ("/Config/Healthcheck/Timeout", json!(2_000_000_000)),
        ("/Config/Healthcheck/Retries", json!(3)),
        ("/Config/Healthcheck/StartPeriod", json!(4_000_000_000_u64)),
        ("/HostConfig/CapAdd", json!(["CAP_NET_ADMIN"])),
        ("/HostConfig/CapDrop", json!(["CAP_CHOWN"])),
        ("/HostConfig/GroupAdd", json!(["2000"])),
        ("/HostConfig/Sysctls", json!({ "net.ipv4.ip_forward": "1" })),
        ("/HostConfig/Ulimits", json!([{ "Name": "nofile", "Hard": 2000, "Soft": 1000 }])),
        ("/HostConfig/Dns", json!(["1.1.1.1"])),
        ("/HostConfig/DnsSearch", json!(["x.y"])),
        ("/HostConfig/DnsOptions", json!(["ndots:2"])),
        ("/HostConfig/ExtraHosts", json!(["db:10.0.0.9"])),
        ("/HostConfig/Init", json!(true)),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        ("/HostConfig/NanoCpus", json!(500_000_000)),
        ("/HostConfig/Memory", json!(64 << 20)),
        ("/HostConfig/MemoryReservation", json!(8 << 20)),
        ("/HostConfig/PidsLimit", json!(50)),
        ("/HostConfig/Mounts/0/Target", json!("/scratch")),
        ("/HostConfig/Mounts/0/TmpfsOptions/SizeBytes", json!(1 << 20)),
        ("/HostConfig/LogConfig/Type", json!("json-file")),
        ("/HostConfig/LogConfig/Config/max-size", json!("1m")),
        // The cluster restarts tasks, the engine never does.
        ("/HostConfig/RestartPolicy/Name", json!("")),
    ]
}

#[tokio::test]
async fn what_flags_ask_for_is_shown_and_takes_effect() {
    let Some((_cluster, shell)) = session("what_flags_ask_for_is_shown_and_takes_effect").await else {
        return;
    };
    shell.table([row(FLAGS, 0, "*")]).await;
    let [service, container] =
        ["docker service inspect full", "sh docker inspect $($containers)"].map(|line| {
            let shell = shell.clone();
            async move { shell.run(line).await.unwrap().stdout }
        });
    for (said, wanted) in [(service.await, asked()), (container.await, effective())] {
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said.as_array().map(Vec::len), Some(1), "{said}");
        for (path, value) in wanted {
            assert_eq!(said[0].pointer(path), Some(&value), "{path}");
        }
    }
    shell
        .table([
            soon("sh docker inspect --format '{{.State.Health.Status}}' $($containers)", 0, "healthy"),
            row(
                "docker service inspect --pretty full",
                0,
                "*Placement:
                 Constraints: [node.role==manager]
                 Preferences: [spread=node.labels.zone]
                 Max Replicas Per Node: 2
                 *Update order: start-first
                 *Mounts:
                 Target: /scratch
                 *Log Driver:
                 Name: json-file
                 *Memory: 64MiB
                 PIDs: 50
                 Endpoint Mode: dnsrr
                 Healthcheck:*",
            ),
            row("docker service rm full", 0, "full"),
        ])
        .await;
}

#[tokio::test]
async fn progress_is_drawn_in_a_terminal() {
    let Some((_cluster, shell)) = session("progress_is_drawn_in_a_terminal").await else { return };
    if let Err(error) = std::process::Command::new("script").arg("--version").output() {
        return harness::skip::skipped("progress_is_drawn_in_a_terminal", "script", &error.to_string());
    }
    shell
        .table([
            row(
                "sh script -qec \"docker -H $host $create --name bars --replicas 2 $image sleep 100000\" \
                 /dev/null",
                0,
                "*overall progress: 0 out of 2 tasks*1/2: *2/2: *\u{1b}[*A\u{1b}[2K*overall progress: 2 \
                 out of 2 \
                 tasks*verify: Waiting 1 seconds*verify: Service * converged*",
            ),
            row(
                "sh script -qec \"docker -H $host service scale bars=4\" /dev/null",
                0,
                "bars scaled to 4*overall progress: 4 out of 4 tasks*verify: Service bars converged*",
            ),
            row(
                "sh script -qec \"docker -H $host service update --args /nonexistent bars\" /dev/null",
                1,
                "bars*overall progress: *1/4: *service update paused: update paused due to failure or early \
                 termination of task *",
            ),
            row(
                "sh script -qec \"docker -H $host service rollback bars\" /dev/null",
                0,
                "bars*overall progress: rolling back update: *verify: Service bars converged*",
            ),
            row("docker service rm bars", 0, "bars"),
        ])
        .await;
}

#[tokio::test]
async fn our_own_commands_say_and_end_as_documented() {
    let Some((_cluster, shell)) = session("our_own_commands_say_and_end_as_documented").await else { return };
    shell
        .table([
            row(
                "swarm $create --name web --replicas 2 --restart-delay 0s $image sleep 100000",
                0,
                "*\noverall progress: 0 out of 2 tasks\n*overall progress: 2 out of 2 tasks\n*verify: \
                 Service * converged",
            ),
            row("swarm service ls", 0, "ID NAME MODE REPLICAS IMAGE PORTS\n* web replicated 2/2 $image"),
            row(
                "swarm service ps --format '{{.Name}} {{.DesiredState}}' web",
                0,
                "web.1 Running\nweb.2 Running",
            ),
            row("swarm service wait web", 0, "*verify: Service * converged"),
            row("swarm service update -q --env-add A=1 web", 0, "web"),
            row(
                "swarm service history --format '{{.Number}} {{.State}} {{.Changes}}' web",
                0,
                "2 current *A=1*\n1 previous*",
            ),
            row(
                "swarm service explain web",
                0,
                "the last update is complete*\nNODE TASKS TAKES ONE MORE BECAUSE\n*yes*",
            ),
            row(
                "swarm service update -q --args /nonexistent web",
                1,
                "web\n*service update paused: update paused due to failure or early termination of task *",
            ),
            row(
                "swarm service update -q --update-failure-action rollback --args /missing web",
                2,
                "web\n*service rolled back: *",
            ),
            row("swarm service inspect --format '{{.UpdateStatus.State}}' web", 0, "rollback_completed"),
            row("swarm service ps nope", 4, "*no such service: nope"),
            row("swarm service rm nope", 4, "Error response from daemon: service nope not found"),
            row("swarm service create", 125, "*requires at least 1 argument*"),
            row(
                "swarm $create --name web $image",
                6,
                "Error response from daemon: * service web already exists",
            ),
            row(
                "swarm $create --name moon --timeout 1s --constraint node.labels.zone==moon $image",
                3,
                "*no suitable node (scheduling constraints not satisfied on 3 nodes)\n*did not converge \
                 within 1s",
            ),
            row(
                "swarm $plain --name ends --restart-delay 0s $image sh -c 'echo oh no; exit 3'",
                1,
                "*Last lines of task *:\noh no\n*cannot converge: task ends.1 has failed * times in a \
                 row: task: non-zero \
                 exit (3)",
            ),
            row("swarm service logs --raw --tail 1 ends", 0, "oh no*"),
            row("swarm service rm web moon ends", 0, "web\nmoon\nends"),
            row(
                "swarm events --since 1h --until 0s --filter type=service --format '{{.Action}} \
                 {{.Actor.Attributes.name}}'",
                0,
                "create web\nupdate web*create moon*create ends*remove web\nremove moon\nremove ends",
            ),
            soon("sh $containers", 0, ""),
        ])
        .await;
}

fn spec(variable: &str) -> ServiceSpec {
    let command = ["sh", "-c", "echo hello; sleep 100000"].map(String::from).to_vec();
    let container = TaskSpecContainerSpec {
        image: Some(IMAGE.into()),
        command: Some(command),
        env: Some(vec![variable.into()]),
        stop_signal: Some("KILL".into()),
        labels: Some(HashMap::from([(LABEL.into(), run::label())])),
        ..TaskSpecContainerSpec::default()
    };
    let replicated = ServiceSpecModeReplicated { replicas: Some(2) };
    ServiceSpec {
        name: Some("web".into()),
        task_template: Some(TaskSpec { container_spec: Some(container), ..TaskSpec::default() }),
        mode: Some(ServiceSpecMode { replicated: Some(replicated), ..ServiceSpecMode::default() }),
        ..ServiceSpec::default()
    }
}

#[tokio::test]
async fn an_sdk_runs_services() {
    let Some((cluster, _shell)) = session("an_sdk_runs_services").await else { return };
    let docker = sdk(&cluster.nodes[0].socket()).await.unwrap();
    let only_services = HashMap::from([("type", vec!["service"])]);
    let mut events =
        docker.events(Some(EventsOptionsBuilder::default().since("0").filters(&only_services).build()));
    let id = docker.create_service(spec("A=1"), None).await.unwrap().id.unwrap();
    cluster.running("web", 2, SOON).await.unwrap();

    let by_name = HashMap::from([("name", vec!["web"])]);
    let options = ListServicesOptionsBuilder::default().filters(&by_name).status(true).build();
    let listed = docker.list_services(Some(options)).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].service_status.as_ref().unwrap().running_tasks, Some(2));

    let of_service = HashMap::from([("service", vec!["web"])]);
    let options = ListTasksOptionsBuilder::default().filters(&of_service).build();
    let tasks = docker.list_tasks(Some(options)).await.unwrap();
    assert_eq!(tasks.len(), 2);
    let task = docker.inspect_task(tasks[0].id.as_ref().unwrap()).await.unwrap();
    assert_eq!(task.service_id.as_ref(), Some(&id));
    assert_eq!(task.status.as_ref().unwrap().state, Some(TaskState::RUNNING));

    let logs = || Some(LogsOptionsBuilder::default().stdout(true).stderr(true).build());
    // A task runs before it has said anything.
    cluster
        .wait_until("the service has said all", SOON, async || {
            let lines = docker.service_logs("web", logs()).map(|line| line.unwrap().to_string());
            let said = lines.collect::<Vec<String>>().await.concat();
            if said == "hello\nhello\n" { Ok(()) } else { Err(said) }
        })
        .await
        .unwrap();
    let own = docker.task_logs(task.id.as_ref().unwrap(), logs()).map(|line| line.unwrap().to_string());
    assert_eq!(own.collect::<Vec<String>>().await.concat(), "hello\n");

    let service = docker.inspect_service("web", None).await.unwrap();
    let version = i32::try_from(service.version.unwrap().index.unwrap()).unwrap();
    let options = UpdateServiceOptionsBuilder::default().version(version).build();
    docker.update_service("web", spec("A=2"), options.clone(), None).await.unwrap();
    let stale = docker.update_service("web", spec("A=3"), options, None).await.unwrap_err();
    assert!(stale.to_string().contains("update out of sequence"), "{stale}");
    cluster.update_state("web", &["completed"], SOON).await.unwrap();

    docker.delete_service(&id).await.unwrap();
    let missing = docker.inspect_service("web", None).await.unwrap_err();
    assert!(missing.to_string().contains("service web not found"), "{missing}");
    let mut actions = Vec::new();
    let hear = async {
        while actions.last().map(String::as_str) != Some("remove") {
            let event = events.next().await.unwrap().unwrap();
            assert_eq!(event.actor.unwrap().id.as_ref(), Some(&id));
            actions.push(event.action.unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(30), hear).await.unwrap();
    actions.dedup();
    assert_eq!(actions, ["create", "update", "remove"]);
}
