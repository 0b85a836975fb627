//! Services by the real `docker` command, line by line: what it prints against our socket, and how it ends.
//!
//! Each table is a session on one cluster of a manager and two workers that share this machine's engine. In lines,
//! `$create` stands for what every service of a test has; `commands` says how the rest is read.

use harness::cluster::SOON;
use harness::commands::{Row, row, session, soon};

async fn holds(test: &str, rows: impl IntoIterator<Item = Row>) {
    if let Some((_cluster, shell)) = session(test).await {
        shell.table(rows).await;
    }
}

#[tokio::test]
async fn services_are_made_listed_shown_and_removed() {
    holds(
        "services_are_made_listed_shown_and_removed",
        [
            row("docker service ls", 0, "ID NAME MODE REPLICAS IMAGE PORTS"),
            row(
                "docker $create --name web --replicas 3 --label tier=front $image sleep 100000",
                0,
                "*\noverall progress: 0 out of 3 tasks\n*overall progress: 3 out of 3 tasks\n*verify: \
                 Waiting * seconds to \
                 verify that tasks are stable...*verify: Service * converged",
            ),
            row("docker service create --detach --no-resolve-image --name idle --replicas 0 $image", 0, "*"),
            row(
                "docker service ls",
                0,
                "ID NAME MODE REPLICAS IMAGE PORTS
                 * idle replicated 0/0 $image
                 * web replicated 3/3 $image",
            ),
            row(
                "docker service ls --format '{{.Name}} {{.Mode}} {{.Replicas}}' -f name=we",
                0,
                "web replicated 3/3",
            ),
            row("docker service ls --format '{{.Name}}' -f label=tier=front", 0, "web"),
            row("docker service ls --format '{{.Name}}' -f label=tier=back", 0, ""),
            row("docker service ls --format '{{.Name}}' -f mode=global", 0, ""),
            row(
                "docker service ls --format '{{.Name}}' -f mode=replicated -f name=idle -f name=web",
                0,
                "idle\nweb",
            ),
            row("docker service ls -f nope=x", 1, "Error response from daemon: invalid filter 'nope'"),
            row(
                "docker service ps web",
                0,
                "ID NAME IMAGE NODE DESIRED STATE CURRENT STATE ERROR PORTS
                 * web.1 $image * Running Running * ago
                 * web.2 $image * Running Running * ago
                 * web.3 $image * Running Running * ago",
            ),
            row("docker service ps -q -f name=web.2 -f desired-state=running web", 0, "*"),
            row("docker service ps --format '{{.Name}}' -f node=w1 web", 0, "web.*"),
            row("docker service ps --format '{{.Name}}' -f desired-state=shutdown web", 0, ""),
            row("docker service ps --format '{{.Name}} {{.Node}}' web idle", 0, "web.1 *\nweb.2 *\nweb.3 *"),
            row("docker service ps web nope", 1, "*web.3*no such service: nope"),
            row("docker node ps --format '{{.Name}} {{.Node}} {{.DesiredState}}' w1", 0, "web.* w1 Running"),
            row(
                "docker service inspect --format '{{.Spec.Name}} {{json .Spec.Labels}}' web",
                0,
                "web {\"tier\":\"front\"}",
            ),
            row(
                "docker service inspect --format '{{json .Spec.Mode}}' web",
                0,
                "{\"Replicated\":{\"Replicas\":3}}",
            ),
            row(
                "docker service inspect --pretty web",
                0,
                "ID: *
                 Name: web
                 Labels:
                 tier=front
                 Service Mode: Replicated
                 Replicas: 3
                 Placement:
                 UpdateConfig:
                 Parallelism: 1
                 On failure: pause
                 Monitoring Period: 300ms
                 Max failure ratio: 0
                 Update order: stop-first
                 RollbackConfig:
                 *
                 ContainerSpec:
                 Image: $image
                 Args: sleep 100000
                 Init: false
                 Resources:
                 Endpoint Mode: vip",
            ),
            row("docker service inspect nope", 1, "[]\n*no such service: nope"),
            row("docker service scale --detach web=1 idle=nope", 1, "*invalid replicas value nope*"),
            row("docker service scale web", 1, "invalid scale specifier 'web'.*"),
            row(
                "docker service scale web=5",
                0,
                "web scaled to 5\n*overall progress: 5 out of 5 tasks\n*verify: Service web converged",
            ),
            row("docker service scale web=2", 0, "web scaled to 2\n*verify: Service web converged"),
            soon(
                "docker service ps --format '{{.Name}} {{.CurrentState}}' web",
                0,
                "web.1 Running *\nweb.2 Running *",
            ),
            row("docker service rm web nope", 1, "web\nError response from daemon: service nope not found"),
            row("docker service rm idle", 0, "idle"),
            row("docker service ls -q", 0, ""),
            soon("sh $containers", 0, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn refused_services_are_refused_with_the_reason() {
    holds(
        "refused_services_are_refused_with_the_reason",
        [
            row("docker $create -d --name web $image sleep 100000", 0, "*"),
            row(
                "docker $create -d --name web $image",
                1,
                "Error response from daemon: name conflicts with an existing object: service web already \
                 exists",
            ),
            row(
                "docker $create --name 'a b' $image",
                1,
                "Error response from daemon: name must be valid as a DNS name component",
            ),
            row(
                "docker $create --name bad UPPER:x:y",
                1,
                "Error response from daemon: ContainerSpec: \"UPPER:x:y\" is not a valid repository/tag",
            ),
            row(
                "docker $create --name bad --restart-condition x $image",
                1,
                "Error response from daemon: invalid RestartCondition: \"x\"",
            ),
            row(
                "docker $create --name bad --update-order x $image",
                1,
                "Error response from daemon: unrecognized update order x",
            ),
            row(
                "docker $create --name bad --update-failure-action x $image",
                1,
                "Error response from daemon: unrecognized update failure action x",
            ),
            row(
                "docker $create --name bad --limit-memory 1m $image",
                1,
                "Error response from daemon: invalid memory value 1048576: Must be at least 4MiB",
            ),
            row(
                "docker $create --name bad --constraint a=b $image",
                1,
                "Error response from daemon: *constraint*",
            ),
            row(
                "docker $create --name bad --mode global --replicas 2 $image",
                1,
                "replicas can only be used with replicated or replicated-job mode",
            ),
            row("docker service create --nonsense", 125, "unknown flag: --nonsense*"),
            row("docker service update nope", 1, "Error response from daemon: service nope not found"),
            row("docker service scale nope=2", 1, "nope: Error response from daemon: service nope not found"),
            row("docker service logs nope", 1, "no such task or service: nope"),
            row("docker service ps nope", 1, "no such service: nope"),
            row(
                "docker service rollback web",
                1,
                "Error response from daemon: *does not have a previous spec",
            ),
            row("docker service ls --format '{{.Name}}'", 0, "web"),
            row("docker service rm web", 0, "web"),
        ],
    )
    .await;
}

#[tokio::test]
async fn updates_are_rolled_paused_and_rolled_back() {
    let Some((cluster, shell)) = session("updates_are_rolled_paused_and_rolled_back").await else { return };
    shell
        .table([
            row("docker $create -q --name web --replicas 2 --restart-delay 0s $image sleep 100000", 0, "*"),
            // Each family of flags, put in and taken out.
            row(
                "docker service update -q --env-add B=2 --env-add C=3 --label-add x=y \
                 --container-label-add k=v \
                 --constraint-add node.role==worker --host-add h:1.2.3.4 --mount-add type=tmpfs,target=/t \
                 --ulimit-add nofile=1000:2000 --sysctl-add net.ipv4.ip_forward=1 --dns-add 8.8.8.8 \
                 --cap-add NET_RAW \
                 --placement-pref-add spread=node.labels.zone --limit-cpu 0.5 --limit-memory 32m \
                 --update-parallelism 0 \
                 --stop-grace-period 2s --replicas 3 web",
                0,
                "web",
            ),
            row(
                "docker service inspect --format '{{with .Spec.TaskTemplate.ContainerSpec}}{{len .Env}} \
                 {{.Hosts}} \
                 {{.Sysctls}} {{.DNSConfig.Nameservers}} {{.CapabilityAdd}} {{.Labels.k}} {{len \
                 .Mounts}} {{len .Ulimits}} \
                 {{.StopGracePeriod}}{{end}}' web",
                0,
                // Docker's command keeps added variables in no order.
                "2 [1.2.3.4 h] map[net.ipv4.ip_forward:1] [8.8.8.8] [CAP_NET_RAW] v 1 1 2s",
            ),
            row(
                "docker service inspect --format '{{.Spec.Labels}} {{with \
                 .Spec.TaskTemplate}}{{.Placement.Constraints}} \
                 {{len .Placement.Preferences}} {{.Resources.Limits.MemoryBytes}}{{end}} \
                 {{.Spec.Mode.Replicated.Replicas}} \
                 {{.UpdateStatus.State}} {{.UpdateStatus.Message}}' web",
                0,
                "map[x:y] [node.role==worker] 1 33554432 3 completed update completed",
            ),
            row("docker service ps --format '{{.Node}}' -f node=m1 -f desired-state=running web", 0, ""),
            row(
                "docker service update -q --env-rm B --label-rm x --container-label-rm k \
                 --constraint-rm node.role==worker --host-rm h:1.2.3.4 --mount-rm /t --ulimit-rm nofile \
                 --sysctl-rm net.ipv4.ip_forward --dns-rm 8.8.8.8 --cap-drop NET_RAW \
                 --placement-pref-rm spread=node.labels.zone --limit-memory 0 web",
                0,
                "web",
            ),
            row(
                "docker service inspect --format '{{with .Spec.TaskTemplate}}{{with \
                 .ContainerSpec}}{{.Env}} {{.Hosts}} \
                 {{.Sysctls}} {{.DNSConfig.Nameservers}} {{.CapabilityAdd}} {{.Mounts}} {{.Ulimits}}{{end}} \
                 {{.Placement.Constraints}}{{end}} {{.Spec.Labels}}' web",
                0,
                "[C=3] [] map[] [] [] [] [] [] map[]",
            ),
            row(
                "docker service rollback web",
                0,
                "web\n*rolling back update: *3 out of 3 tasks*verify: Service web converged",
            ),
            row(
                "docker service inspect --format '{{len .Spec.TaskTemplate.ContainerSpec.Env}} \
                 {{.UpdateStatus.State}}' web",
                0,
                "2 rollback_completed",
            ),
            row("docker service update --rollback -q web", 0, "web"),
            row("docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Env}}' web", 0, "[C=3]"),
            row(
                "docker service update --rollback --env-add x=y web",
                1,
                "other flags may not be combined with --rollback",
            ),
            // What changes no task replaces none.
            row("docker service update -q --label-add quiet=1 --update-delay 1ms web", 0, "web"),
            row("docker service update -q --force --update-parallelism 3 web", 0, "web"),
            row("docker service inspect --format '{{.Spec.TaskTemplate.ForceUpdate}}' web", 0, "1"),
            row(
                "docker service update --args /nonexistent --restart-condition none --update-parallelism \
                 1 web",
                1,
                "web\n*service update paused: update paused due to failure or early termination of task *",
            ),
            row("docker service inspect --format '{{.UpdateStatus.State}}' web", 0, "paused"),
            soon(
                "docker service ps --no-trunc web",
                0,
                "*web.* Shutdown Failed * ago \"starting container failed: *no such file or directory: \
                 unknown\"\n\
                 * \\_ web.* Shutdown Shutdown * ago*",
            ),
            row("docker service ps --format '{{.Error}}' web", 0, "*\"starting container failed: *…\"*"),
            row("docker service update -q --rollback web", 0, "web"),
            // A failing image goes back by itself where asked to.
            row(
                "docker service update --update-failure-action rollback --args /nonexistent web",
                0,
                "web\n*rollback: update rolled back due to failure or early termination of task *verify: \
                 Service web \
                 converged*",
            ),
            row(
                "docker service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Args}} \
                 {{.UpdateStatus.State}}' web",
                0,
                "[sleep 100000] rollback_completed",
            ),
        ])
        .await;
    let client = cluster.client(0);
    let spec = client.service("web").await.unwrap()["Spec"].clone();
    let stale = client.try_update_service("web", 1, &spec).await.unwrap();
    assert!(stale.message().contains("update out of sequence"), "{}", stale.message());
    shell.table([row("docker service rm web", 0, "web"), soon("sh $containers", 0, "")]).await;
}

#[tokio::test]
async fn logs_are_shown_in_each_form() {
    holds(
        "logs_are_shown_in_each_form",
        [
            row(
                "docker $create -q --name chat --replicas 2 $image sh -c 'echo one; echo two; echo \
                 three; sleep 100000'",
                0,
                "*",
            ),
            soon("docker service logs --raw -n 1 chat", 0, "three\nthree"),
            row("docker service logs -n 1 chat", 0, "chat.*@* | three\nchat.*@* | three"),
            row("docker service logs -n 1 --no-task-ids chat", 0, "chat.*@* | three\nchat.*@* | three"),
            row("docker service logs -n 1 --no-resolve chat", 0, "*.*.*@* | three\n*.*.*@* | three"),
            row(
                "docker service logs -n 1 --details --no-trunc chat",
                0,
                "chat.*@* | three\nchat.*@* | three",
            ),
            row("docker service logs -n 1 -t chat", 0, "20*T*Z chat.*@* | three\n20*T*Z chat.*@* | three"),
            row("docker service logs --since 1h --raw -n 2 chat", 0, "*three*"),
            row("docker service logs --since 2100-01-01T00:00:00Z chat", 0, ""),
            row("docker service logs --raw chat", 0, "*one*two*three*"),
            row(
                "sh docker -H $host service logs --raw $(docker -H $host service ps -q --no-trunc chat | \
                 head -1) 2>/dev/null",
                0,
                "one\ntwo\nthree",
            ),
            // Follows until it is ended from outside.
            row(
                "sh timeout -s INT 3 docker -H $host service logs -f --raw chat 2>/dev/null",
                124,
                "one\n*three*",
            ),
            row("docker $create -q --name wrong $image sh -c 'echo oh no >&2; sleep 100000'", 0, "*"),
            soon("sh docker -H $host service logs --raw wrong 2>&1 >/dev/null", 0, "oh no"),
            row("sh docker -H $host service logs --raw wrong 2>/dev/null", 0, ""),
            row("docker service rm chat wrong", 0, "chat\nwrong"),
        ],
    )
    .await;
}

#[tokio::test]
async fn logs_of_a_node_that_is_down_are_missed_aloud_and_the_others_shown() {
    let Some((mut cluster, shell)) =
        session("logs_of_a_node_that_is_down_are_missed_aloud_and_the_others_shown").await
    else {
        return;
    };
    shell
        .table([
            row(
                "docker $create -q --name chat --mode global --restart-condition none $image sh -c \
                 'echo hello; sleep 100000'",
                0,
                "*",
            ),
            soon("docker service logs --raw chat", 0, "hello\nhello\nhello"),
        ])
        .await;
    cluster.nodes[2].kill();
    cluster.node_state(2, "down", SOON).await.unwrap();
    let warning = "hello\nhello\n*warning: incomplete log stream. some logs could not be retrieved for the \
                   following reasons: node *";
    shell
        .table([
            row("docker service logs --raw chat", 1, warning),
            row("swarm service logs --raw chat", 1, warning),
        ])
        .await;
}

#[tokio::test]
async fn jobs_end_and_global_services_are_everywhere() {
    holds(
        "jobs_end_and_global_services_are_everywhere",
        [
            row(
                "docker $create --mode global --name each $image sleep 100000",
                0,
                "*overall progress: 3 out of 3 tasks*verify: Service * converged",
            ),
            row("docker service ps --format '{{.Name}} {{.Node}}' each", 0, "each.* *\neach.* *\neach.* *"),
            row(
                "docker service scale each=2",
                1,
                "each: scale can only be used with replicated or replicated-job mode",
            ),
            row("docker node update --availability drain w1", 0, "w1"),
            soon("docker service ls --format '{{.Name}} {{.Mode}} {{.Replicas}}'", 0, "each global 2/2"),
            row("docker node update --availability active w1", 0, "w1"),
            soon("docker service ls --format '{{.Name}} {{.Mode}} {{.Replicas}}'", 0, "each global 3/3"),
            row("docker service rm each", 0, "each"),
            row(
                "docker $plain --mode replicated-job --replicas 5 --max-concurrent 2 --name five $image true",
                0,
                "*active tasks: 2 out of 2 tasks*job complete",
            ),
            row(
                "docker service ls --format '{{.Name}} {{.Mode}} {{.Replicas}}'",
                0,
                "five replicated job 0/2 (5/5 completed)",
            ),
            row(
                "docker service ps --format '{{.DesiredState}} {{.CurrentState}}' five",
                0,
                "Complete Complete *\nComplete Complete *\nComplete Complete *\nComplete Complete \
                 *\nComplete Complete * ago",
            ),
            row("docker service inspect --format '{{.JobStatus.JobIteration.Index}}' five", 0, "0"),
            row("docker service update --force five", 0, "five\n*job complete"),
            row("docker service inspect --format '{{.JobStatus.JobIteration.Index}}' five", 0, "1"),
            row("docker service scale five=6", 0, "five scaled to 6\n*job complete"),
            row("docker $plain --mode global-job --name once $image true", 0, "*job complete"),
            row(
                "docker service ls --format '{{.Name}} {{.Mode}} {{.Replicas}}' -f mode=global-job",
                0,
                "once global job 0/0 (3/3 completed)",
            ),
            row("docker service rm five once", 0, "five\nonce"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_placed_or_restarted_says_why() {
    holds(
        "what_cannot_be_placed_or_restarted_says_why",
        [
            row(
                "docker $create -d --name moon --constraint node.labels.zone==moon $image sleep 100000",
                0,
                "*",
            ),
            soon(
                "docker service ps --no-trunc --format '{{.Name}} {{.CurrentState}} {{.Error}}' moon",
                0,
                "moon.1 Pending * ago \"no suitable node (scheduling constraints not satisfied on 3 nodes)\"",
            ),
            row("docker node update --label-add zone=moon w2", 0, "w2"),
            soon(
                "docker service ps --format '{{.Name}} {{.Node}} {{.CurrentState}}' moon",
                0,
                "moon.1 w2 Running *",
            ),
            row("docker $create -d --name fat --reserve-memory 9000g $image sleep 100000", 0, "*"),
            soon(
                "docker service ps --no-trunc --format '{{.Error}}' fat",
                0,
                "\"no suitable node (insufficient resources on 3 nodes)\"",
            ),
            row(
                "docker $create -d --name most --replicas 4 --replicas-max-per-node 1 $image sleep 100000",
                0,
                "*",
            ),
            soon(
                "docker service ps --no-trunc --format '{{.Error}}' -f name=most.4 most",
                0,
                "\"no suitable node (max replicas per node limit exceed*)\"",
            ),
            soon(
                "docker service ls --format '{{.Name}} {{.Replicas}}' -f name=most",
                0,
                "most 3/4 (max 1 per node)",
            ),
            row("docker service rm fat most moon", 0, "fat\nmost\nmoon"),
            // The engine is shared, so one node alone may take the port of the machine.
            row(
                "docker $create -d --name port --replicas 2 --constraint node.hostname==m1 \
                 -p mode=host,target=80 -p mode=host,published=28473,target=81 $image sleep 100000",
                0,
                "*",
            ),
            soon(
                "docker service ps --no-trunc --format '{{.Name}} {{.CurrentState}} {{.Ports}} \
                 {{.Error}}' port",
                0,
                "port.1 Running * *:28473->81/tcp*\nport.2 Pending * ago \"no suitable node (*host-mode \
                 port already in use on 1 node*)\"",
            ),
            row("docker $create -d --name in -p 28474:80 $image sleep 100000", 0, "*"),
            row(
                "docker $create -d --name in2 -p 28474:80 $image sleep 100000",
                1,
                "Error response from daemon: port '28474' is already in use by service 'in' (*) as an \
                 ingress port",
            ),
            row("docker service ls --format '{{.Name}} {{.Ports}}' -f name=in", 0, "in *:28474->80/tcp"),
            row("docker service rm port in", 0, "port\nin"),
            // Ends and restarts.
            row("docker $create -d --name ok --restart-condition on-failure $image true", 0, "*"),
            soon("docker service ps --format '{{.Name}} {{.CurrentState}}' ok", 0, "ok.1 Complete *"),
            row("docker service ls --format '{{.Name}} {{.Replicas}}'", 0, "ok 0/1"),
            row(
                "docker $create -d --name tries --restart-max-attempts 2 --restart-delay 0s $image sh -c \
                 'exit 3'",
                0,
                "*",
            ),
            soon(
                "docker service ps --no-trunc --format '{{.Name}} {{.DesiredState}} {{.CurrentState}} \
                 {{.Error}}' tries",
                0,
                "tries.1 Shutdown Failed * \"task: non-zero exit (3)\"
                 tries.1 Shutdown Failed * \"task: non-zero exit (3)\"
                 tries.1 Shutdown Failed * \"task: non-zero exit (3)\"",
            ),
            row("docker $create -q --name web --restart-delay 1s $image sleep 100000", 0, "*"),
            row(
                "sh docker kill $($containers --filter label=com.docker.swarm.service.name=web) >/dev/null",
                0,
                "",
            ),
            soon(
                "docker service ps --no-trunc --format '{{.Name}} {{.DesiredState}} {{.CurrentState}} \
                 {{.Error}}' web",
                0,
                "web.1 Running Running *\nweb.1 Shutdown Failed * \"task: non-zero exit (137)\"",
            ),
            row("docker service rm ok tries web", 0, "ok\ntries\nweb"),
        ],
    )
    .await;
}
