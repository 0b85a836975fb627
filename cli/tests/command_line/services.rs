//! `swarm service …`: what it asks, what it prints, how it ends.

use serde_json::{Value, json};

use crate::fake_api::{FakeApi, Ran};
use crate::service_fixtures::{DIGEST, SERVICE, rich_service, service, spec, task, with_service};

/// The last request that sent a body, head and body.
fn sent(api: &FakeApi) -> (String, Value) {
    let requests = api.requests();
    let request =
        requests.iter().rev().find(|request| request.starts_with("POST")).expect("something was sent");
    let (head, body) = request.split_once(" {").expect("a body");
    (head.into(), serde_json::from_str(&format!("{{{body}")).expect("JSON"))
}

#[test]
fn create_sends_dockers_body() {
    let api = with_service().serve();
    let arguments = [
        "service",
        "create",
        "-d",
        "--name",
        "web2",
        "-p",
        "8080:80",
        "--secret",
        "key",
        "--network",
        "net",
        "--host",
        "db:10.0.0.1",
        "-e",
        "B=2",
        "nginx:2",
        "program",
        "--host",
        "x",
    ];
    let ran = api.run(&arguments);
    assert_eq!(ran, Ran { code: 0, stdout: format!("{SERVICE}\n"), stderr: "be careful\n".into() });
    let (head, body) = sent(&api);
    assert_eq!(head, "POST /services/create");
    let expected = json!({
        "Name": "web2", "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": format!("nginx:2@{DIGEST}"), "Args": ["program", "--host", "x"], "Env": ["B=2"],
                "Hosts": ["10.0.0.1 db"],
                "Secrets": [{"File": {"Name": "key", "UID": "0", "GID": "0", "Mode": 292}, "SecretID": "secretid", "SecretName": "key"}],
            },
            "Resources": {"Limits": {}, "Reservations": {}},
            "Placement": {"Platforms": [{"Architecture": "amd64", "OS": "linux"}]},
            "Networks": [{"Target": "netid"}],
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "vip", "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress", "PublishedPort": 8080}]},
    });
    assert_eq!(body, expected);
}

#[test]
fn an_image_that_cannot_be_looked_up_is_used_as_it_is() {
    let api = with_service().serve();
    let ran = api.run(&["service", "create", "-d", "alpine"]);
    let warning = "\
image alpine:latest could not be accessed on a registry to record
its digest. Each node will access alpine:latest independently,
possibly leading to different nodes running different
versions of the image.

be careful
";
    assert_eq!((ran.code, ran.stderr.as_str()), (0, warning));
    assert_eq!(sent(&api).1["TaskTemplate"]["ContainerSpec"]["Image"], "alpine:latest");

    let api = with_service().serve();
    assert_eq!(api.run(&["service", "create", "-d", "--no-resolve-image", "alpine"]).stderr, "be careful\n");
    let ran = api.run(&["service", "create", "-d", "--runtime", "process", "sleep", "9"]);
    assert_eq!(ran.stderr, "be careful\n");
    let template = &sent(&api).1["TaskTemplate"];
    assert_eq!(template["ContainerSpec"], json!({"Command": ["sleep"], "Args": ["9"]}));
    assert_eq!(template["Runtime"], "process");
    assert!(!api.requests().iter().any(|request| request.contains("distribution")), "{:?}", api.requests());
}

#[test]
fn registry_credentials_travel_only_when_asked_for() {
    let home = tempfile::tempdir().expect("temporary folder");
    let config = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzcw=="}}}"#;
    std::fs::write(home.path().join("config.json"), config).expect("write");
    let api = with_service().serve();
    let mut command = api.command(&["service", "create", "-d", "--with-registry-auth", "nginx:2"]);
    let ran = Ran::of(command.env("DOCKER_CONFIG", home.path()));
    assert_eq!(ran.code, 0, "{ran:?}");
    // {"password":"pass","serveraddress":"https://index.docker.io/v1/","username":"me"}
    let auth = "eyJwYXNzd29yZCI6InBhc3MiLCJzZXJ2ZXJhZGRyZXNzIjoiaHR0cHM6Ly9pbmRleC5kb2NrZXIuaW8vdjEvIiwidXNlcm5hbWUiOiJtZSJ9";
    assert_eq!(api.headers("x-registry-auth"), [auth, auth]);
    let api = with_service().serve();
    api.run(&["service", "create", "-d", "nginx:2"]);
    assert_eq!(api.headers("x-registry-auth"), Vec::<String>::new());
}

#[test]
fn updates_write_the_spec_back_with_its_version() {
    let mut env = spec();
    env["TaskTemplate"]["ContainerSpec"]["Env"] = json!(["A=2"]);
    let mut image = spec();
    image["TaskTemplate"]["ContainerSpec"]["Image"] = format!("nginx:2@{DIGEST}").into();
    image["TaskTemplate"]["Placement"] = json!({"Platforms": [{"Architecture": "amd64", "OS": "linux"}]});
    let mut forced = spec();
    forced["TaskTemplate"]["ForceUpdate"] = 1.into();
    let mut scaled = spec();
    scaled["Mode"]["Replicated"]["Replicas"] = 5.into();
    let update = format!("POST /services/{SERVICE}/update");
    #[rustfmt::skip]
    let cases: [(&[&str], &str, Value, &str); 8] = [
        (&["update", "-d", "--env-add", "A=2", "web"],  "registryAuthFrom=spec&version=31", env, "web\n"),
        (&["update", "-d", "--image", "nginx:2", "web"], "registryAuthFrom=spec&version=31", image, "web\n"),
        (&["update", "-d", "--force", "web"],           "registryAuthFrom=spec&version=31", forced, "web\n"),
        (&["update", "-d", "web"],                      "registryAuthFrom=spec&version=31", spec(), "web\n"),
        (&["scale", "-d", "web=5"],                     "version=31", scaled, "web scaled to 5\n"),
        (&["rollback", "-d", "web"],                    "rollback=previous&version=31", spec(), "web\n"),
        (&["rollback", "-d", "--to", "3", "web"],       "rollback=3&version=31", spec(), "web\n"),
        (&["update", "-d", "--rollback", "web"],        "rollback=previous&version=31", spec(), "web\n"),
    ];
    for (arguments, query, body, stdout) in cases {
        let api = with_service().serve();
        let ran = api.run(&[&["service"], arguments].concat());
        assert_eq!(ran, Ran { code: 0, stdout: stdout.into(), stderr: String::new() }, "{arguments:?}");
        assert_eq!(sent(&api), (format!("{update}?{query}"), body), "{arguments:?}");
    }
}

#[test]
fn an_edit_is_made_again_and_a_rollback_only_of_what_was_seen() {
    let mut newer = service();
    newer["Version"]["Index"] = 40.into();
    newer["Spec"]["Labels"]["by"] = "another".into();
    let update = "POST /services/sssssssssssssssssssssssss/update";
    let api = || {
        with_service()
            .without("GET /services/web")
            .on("GET /services/web", 200, service())
            .on("GET /services/web", 200, &newer)
            .without(update)
            .error(update, 500, "update out of sequence")
            .on(update, 200, json!({"Warnings": []}))
            .serve()
    };
    let first = api();
    assert_eq!(first.run(&["service", "update", "-d", "--env-rm", "A", "web"]).code, 0);
    let (head, body) = sent(&first);
    assert!(head.ends_with("version=40") && body["Labels"]["by"] == "another", "{head} {body}");

    let ran = api().run(&["service", "rollback", "-d", "web"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (6, "service web has changed meanwhile: nothing was rolled back\n")
    );
}

#[test]
fn wrong_calls_say_what_is_wrong() {
    let missing = "\"swarm service create\" requires at least 1 argument: the image. See 'swarm service create --help'\n";
    #[rustfmt::skip]
    let cases: [(&[&str], i32, &str); 14] = [
        (&["update", "--rollback", "--force", "web"], 1, "other flags may not be combined with --rollback\n"),
        (&["update", "--replicas", "2", "gone"],      4, "Error response from daemon: service gone not found\n"),
        (&["update", "--network-add", "none", "web"], 4, "Error response from daemon: page not found\n"),
        (&["scale", "web"],                           125, "invalid scale specifier 'web'"),
        (&["scale", "web=x"],                         1, "web: invalid replicas value x: strconv.ParseUint: parsing \"x\": invalid syntax\n"),
        (&["create"],                                 125, missing),
        (&["create", "--mode", "global", "--replicas", "2", "nginx"], 1, "replicas can only be used with replicated or replicated-job mode\n"),
        (&["create", "--mode", "some", "nginx"],      125, "[possible values: replicated, global, replicated-job, global-job]"),
        (&["create", "--secret", "none", "nginx"],    1, "secret not found: none\n"),
        (&["create", "--config", "none", "nginx"],    1, "config not found: none\n"),
        (&["create", "--secret", "key", "--secret", "source=key2,target=key", "nginx"], 1, "duplicate secret target for key2 not allowed\n"),
        (&["create", "-p", "1.2.3.4:80:80", "nginx"], 125, "hostip is not supported"),
        (&["create", "--env-file", "/does/not/exist", "nginx"], 1, "invalid env file (/does/not/exist): "),
        (&["inspect", "--pretty", "-f", "x", "web"],  125, "cannot be used with"),
    ];
    for (arguments, code, expected) in cases {
        let ran = with_service().serve().run(&[&["service"], arguments].concat());
        assert!(
            ran.code == code && ran.stderr.contains(expected) && ran.stdout.is_empty(),
            "{arguments:?}: {ran:?}"
        );
    }
    let ran = with_service().serve().run(&["service", "rm", "gone", "web"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, "web\n"));
}

#[test]
fn lists_and_details_are_dockers() {
    let table = "\
ID             NAME      MODE         REPLICAS               IMAGE     PORTS
ssssssssssss   web       replicated   2/3 (max 2 per node)   nginx:1   *:8080->80/tcp
";
    let tasks = json!([
        task("t2", 10, "pending", "no suitable node"),
        task("t1", 1, "running", ""),
        task("t0", 1, "failed", "task: non-zero exit (137): and some more words"),
    ]);
    let api = with_service()
        .without("GET /services")
        .on("GET /services", 200, json!([rich_service()]))
        .without("GET /tasks")
        .on("GET /tasks", 200, tasks)
        .without("GET /services/web")
        .on("GET /services/web", 200, rich_service())
        .on("GET /networks/n7", 200, json!({"Id": "n7", "Name": "front"}))
        .serve();
    assert_eq!(api.run(&["service", "ls"]).stdout, table);
    assert_eq!(api.requests(), ["GET /services?status=true"]);
    assert_eq!(api.run(&["service", "ls", "-q"]).stdout, "ssssssssssss\n");

    let seen = api.run(&[
        "service",
        "ps",
        "--format",
        "{{.ID}}|{{.Name}}|{{.Image}}|{{.Node}}|{{.DesiredState}}|{{.Error}}",
        "web",
    ]);
    let expected = "\
t10000000000|web.1|nginx:1|node2|Running|
t00000000000| \\_ web.1|nginx:1|node2|Shutdown|\"task: non-zero exit (137): an…\"
t20000000000|web.10|nginx:1|node2|Running|\"no suitable node\"
";
    assert_eq!(seen.stdout.lines().count(), 3, "{seen:?}");
    // Of one slot the newest comes first; these two are of one age.
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.replace(" \\_ ", "")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&seen.stdout), sorted(expected));
    let ran = api.run(&["service", "ps", "gone", "web", "-q"]);
    assert_eq!(
        (ran.code, ran.stdout.lines().count(), ran.stderr.as_str()),
        (4, 3, "no such service: gone\n")
    );

    let pretty = api.run(&["service", "inspect", "--pretty", "web"]).stdout;
    let golden = include_str!("golden/service_pretty.txt");
    let without_times = |text: &str| {
        let lines =
            text.lines().filter(|line| !line.starts_with(" Started:") && !line.starts_with(" Completed:"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_times(&pretty), without_times(golden));
    assert!(api.requests().iter().any(|request| request == "GET /services/web?insertDefaults=true"));
    let name = "{{.Spec.Name}} {{.Spec.Mode.Global}} {{.Spec.TaskTemplate.ContainerSpec.Hostname}}|";
    assert_eq!(api.run(&["service", "inspect", "-f", name, "web"]).stdout, "web <nil> |\n");
}

/// A wait ends when it is known how it ends, and says that with its exit code.
#[test]
fn waits_end_with_what_they_found() {
    let standing = "\
overall progress: 2 out of 2 tasks
1/2: running
2/2: running
verify: Service sssssssssssssssssssssssss converged
";
    let with = |status: Value, tasks: Value| {
        let mut shown = service();
        shown["UpdateStatus"] = status;
        with_service()
            .without("GET /services/sssssssssssssssssssssssss")
            .on("GET /services/sssssssssssssssssssssssss", 200, shown)
            .without("GET /tasks")
            .on("GET /tasks", 200, tasks)
            .on("GET /tasks/b000000000000000000000000/logs", 200, "\u{2}\0\0\0\0\0\0\u{5}boom\n")
            .serve()
    };
    let up = || json!([task("a", 1, "running", ""), task("b", 2, "running", "")]);
    let failed = || json!([task("a", 1, "running", ""), task("b", 2, "failed", "task: non-zero exit (1)")]);
    let update: &[&str] = &["service", "update", "--env-add", "A=2", "web"];
    let rollback: &[&str] = &["service", "rollback", "web"];

    let ran = with(Value::Null, up()).run(update);
    assert_eq!(ran, Ran { code: 0, stdout: "web\n".into(), stderr: standing.into() });
    let ran = with(Value::Null, up()).run(&["service", "scale", "-q", "web=2"]);
    assert_eq!(ran, Ran { code: 0, stdout: "web scaled to 2\n".into(), stderr: String::new() });

    let status = json!({"State": "rollback_completed", "Message": "rollback completed"});
    let ran = with(status.clone(), up()).run(update);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.ends_with("rollback: rollback completed\nservice rolled back: rollback completed\n"),
        "{ran:?}"
    );
    let ran = with(status, up()).run(rollback);
    assert!(ran.code == 0 && ran.stderr.ends_with("rollback: rollback completed\n"), "{ran:?}");

    let ran = with(json!({"State": "paused", "Message": "too many failures"}), failed()).run(update);
    let expected = "\
overall progress: 1 out of 2 tasks
1/2: running
2/2: task: non-zero exit (1)
Last lines of task b000000000000000000000000:
    boom
service update paused: too many failures
";
    assert_eq!((ran.code, ran.stderr.as_str()), (1, expected));

    let pending = json!([task("a", 1, "running", ""), task("b", 2, "pending", "no suitable node")]);
    let ran = with(Value::Null, pending).run(&["service", "wait", "--timeout", "100ms", "web"]);
    let expected = "\
overall progress: 1 out of 2 tasks
1/2: running
2/2: no suitable node
waiting: no suitable node
service sssssssssssssssssssssssss did not converge within 100ms
";
    assert_eq!((ran.code, ran.stderr.as_str()), (3, expected));

    // A leader is elected in between.
    let api = with_service()
        .without("GET /tasks")
        .error(
            "GET /tasks",
            500,
            "The swarm does not have a leader. It's possible that too few managers are online.",
        )
        .on("GET /tasks", 200, up())
        .serve();
    let ran = api.run(&["service", "wait", "web"]);
    assert_eq!((ran.code, ran.stderr), (0, format!("waiting: no manager answers at the moment\n{standing}")));

    let api = with_service().without("GET /services/sssssssssssssssssssssssss").serve();
    assert_eq!(api.run(&["service", "wait", "web"]).code, 4, "removed meanwhile");
}

#[test]
fn logs_stand_under_the_names_of_their_tasks() {
    let frame = |stream: char, text: &str| {
        format!("{stream}\0\0\0\0\0\0{}{text}", char::from(u8::try_from(text.len()).expect("short")))
    };
    // Shorter than real ones, so that each length is one letter of text.
    let line = |second: u32, task: &str, text: &str| {
        let details = format!("com.docker.swarm.node.id=n,com.docker.swarm.task.id={task}");
        frame('\u{1}', &format!("2026-11-20T08:00:0{second}Z {details} {text}\n"))
    };
    let logs = [line(1, "t1", "one"), line(2, "t2", "two  words")].concat();
    let api = || {
        with_service()
            .on("GET /services/sssssssssssssssssssssssss/logs", 200, &logs)
            .on("GET /tasks/t1", 200, task("t1", 1, "running", ""))
            .on("GET /tasks/t2", 200, task("t2", 2, "running", ""))
            .on("GET /nodes/n", 200, json!({"Description": {"Hostname": "node1"}}))
    };
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 4] = [
        (&["web"], ".1.t1@node1    | one\n.2.t2@node1    | two  words\n"),
        (&["--no-task-ids", "--no-resolve", "web"], ".1@n    | one\n.2@n    | two  words\n"),
        (&["--raw", "web"], "one\ntwo  words\n"),
        (&["--raw", "-t", "web"], "2026-11-20T08:00:01Z one\n2026-11-20T08:00:02Z two  words\n"),
    ];
    for (arguments, expected) in cases {
        let ran = api().serve().run(&[&["service", "logs"], arguments].concat());
        assert_eq!(ran, Ran { code: 0, stdout: expected.into(), stderr: String::new() }, "{arguments:?}");
    }
    let served = api().serve();
    served.run(&["service", "logs", "--tail", "5", "--since", "1795161600", "web"]);
    let path = format!(
        "GET /services/{SERVICE}/logs?details=1&since=1795161600.000000000&stderr=1&stdout=1&tail=5&timestamps=1"
    );
    assert_eq!(served.requests()[1], path);

    // The connection breaks twice while following: nothing is lost and nothing comes twice.
    let api = with_service()
        .on("GET /services/sssssssssssssssssssssssss/logs", 200, &logs)
        .on(
            "GET /services/sssssssssssssssssssssssss/logs",
            200,
            line(2, "t2", "two  words") + &line(2, "t2", "three"),
        )
        .error("GET /services/sssssssssssssssssssssssss/logs", 404, "service gone")
        .serve();
    let ran = api.run(&["service", "logs", "-f", "--raw", "web"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, "one\ntwo  words\nthree\n"), "{ran:?}");
    assert!(api.requests().iter().any(|request| request.contains("follow=1&since=1795161602.000000000&")));

    let ran = with_service()
        .error("GET /tasks/gone", 404, "task gone not found")
        .serve()
        .run(&["service", "logs", "gone"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, "no such task or service: gone\n"));
    let mut tty = service();
    tty["Spec"]["TaskTemplate"]["ContainerSpec"]["TTY"] = true.into();
    let ran = with_service()
        .without("GET /services/web")
        .on("GET /services/web", 200, tty)
        .serve()
        .run(&["service", "logs", "web"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "tty service logs only supported with --raw\n"));
}

#[test]
fn what_is_ours_of_services_tasks_and_events() {
    let history = json!([
        {"Number": 2, "At": "2016-11-10T08:00:00Z", "Current": true, "Previous": false, "Worked": false, "Image": format!("nginx:2@{DIGEST}"), "Changes": ["image", "env"], "Tasks": 2},
        {"Number": 1, "At": "2016-11-09T08:00:00Z", "Current": false, "Previous": true, "Worked": true, "Image": "nginx:1", "Changes": [], "Tasks": 0},
    ]);
    let event = |nanoseconds: i64, action: &str| {
        json!({"Type": "service", "Action": action, "Actor": {"ID": "s1", "Attributes": {"name": "web"}}, "scope": "swarm",
               "time": 1_795_161_600, "timeNano": 1_795_161_600_000_000_000_i64 + nanoseconds})
    };
    let api = with_service()
        .on("GET /swarm/x/services/web/history", 200, history)
        .on("POST /swarm/x/services/web/rebalance", 200, "")
        .on("GET /events", 200, format!("{}\n{}\n", event(1, "create"), event(2, "update")))
        .on("GET /events", 200, format!("{}\n{}\n", event(2, "update"), event(2, "remove")))
        .error("GET /events", 400, "enough")
        .on("GET /tasks/t1", 200, task("t1", 1, "running", ""))
        .serve();
    let format = "table {{.Number}}\t{{.State}}\t{{.Worked}}\t{{.Tasks}}\t{{.Image}}\t{{.Changes}}";
    let table = "\
NUMBER    STATE      WORKED    TASKS     IMAGE     CHANGES
2         current    no        2         nginx:2   image; env
1         previous   yes       0         nginx:1   \n";
    assert_eq!(api.run(&["service", "history", "--format", format, "web"]).stdout, table);
    assert_eq!(api.run(&["service", "rebalance", "-d", "web"]).stdout, "web\n");
    assert_eq!(api.run(&["task", "inspect", "-f", "{{.Status.State}}", "t1"]).stdout, "running\n");
    assert_eq!(
        api.run(&["task", "ls", "--format", "{{.Name}} {{.Node}}"]).stdout,
        "web.1 node2\nweb.2 node2\n"
    );

    let ran = api.run(&["events", "--filter", "type=service", "--since", "1795161600"]);
    let expected = "\
2026-11-20T08:00:00.000000001Z service create s1 (name=web)
2026-11-20T08:00:00.000000002Z service update s1 (name=web)
2026-11-20T08:00:00.000000002Z service remove s1 (name=web)
";
    let stderr = "Error response from daemon: enough\n";
    assert_eq!(ran, Ran { code: 1, stdout: expected.into(), stderr: stderr.into() });
    let last = api.requests().pop().expect("it asked");
    assert!(last.ends_with("&since=1795161600.000000002"), "{last}");
}
