//! Secrets and configs: what is sent, and what is shown.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake_api::{Ran, Routes};
use crate::service_fixtures::{SERVICE, service, with_service};

const ID: &str = "kkkkkkkkkkkkkkkkkkkkkkkkk";

/// Long ago, so that its age in words stays the same for a while.
fn payload(name: &str, spec: Value) -> Value {
    let mut shown = json!({
        "ID": ID, "Version": {"Index": 7}, "CreatedAt": "2016-11-20T08:00:00.123Z", "UpdatedAt": "2016-11-20T08:00:00Z",
        "Spec": {"Name": name, "Labels": {"a": "1", "bare": ""}}, "VersionNumber": 2,
    });
    for (member, value) in spec.as_object().expect("members") {
        shown["Spec"][member] = value.clone();
    }
    shown
}

fn routes() -> Routes {
    let secret = payload("key", json!({"Driver": {"Name": "vault"}}));
    let config = payload("conf", json!({"Data": "dmFsdWUK"}));
    let other = json!({"ID": "ooooooooooooooooooooooooo", "CreatedAt": "2016-11-20T08:00:00Z", "UpdatedAt": "2016-11-20T08:00:00Z",
        "Spec": {"Name": "key10", "Labels": {}}, "VersionNumber": 1});
    let rows = json!([
        {"Number": 2, "CreatedAt": "2016-11-20T08:00:00Z", "Newest": true, "Bytes": 7, "Services": ["api", "web"], "Tasks": 5},
        {"Number": 1, "CreatedAt": "2016-11-20T08:00:00Z", "Newest": false, "Bytes": 2048, "Services": ["old"], "Tasks": 0},
    ]);
    Routes::default()
        .on("POST /secrets/create", 201, json!({"ID": ID}))
        .on("POST /configs/create", 201, json!({"ID": ID}))
        .on("GET /secrets/key", 200, secret.clone())
        .on("GET /configs/conf", 200, config.clone())
        .error("GET /secrets/gone", 404, "secret gone not found")
        .on("GET /secrets", 200, json!([other, secret]))
        .on("GET /configs", 200, json!([config]))
        .on("DELETE /secrets/key", 204, "")
        .error("DELETE /secrets/gone", 404, "secret gone not found")
        .error("DELETE /configs/conf", 400, "config 'conf' is in use by the following service: web")
        .on("GET /swarm/x/secrets/key/history", 200, rows)
}

#[test]
fn lists_and_documents_are_docker_s() {
    let secrets = "\
ID                          NAME      DRIVER    CREATED        UPDATED
kkkkkkkkkkkkkkkkkkkkkkkkk   key       vault     10 years ago   10 years ago
ooooooooooooooooooooooooo   key10               10 years ago   10 years ago
";
    let configs = "\
ID                          NAME      CREATED        UPDATED
kkkkkkkkkkkkkkkkkkkkkkkkk   conf      10 years ago   10 years ago
";
    let json = "{\"CreatedAt\":\"10 years ago\",\"ID\":\"kkkkkkkkkkkkkkkkkkkkkkkkk\",\"Labels\":\"a=1,bare=\",\"Name\":\"conf\",\
                \"UpdatedAt\":\"10 years ago\",\"Version\":2}\n";
    let secret = "\
ID:              kkkkkkkkkkkkkkkkkkkkkkkkk
Name:              key
Labels:
 - a=1
 - bare
Driver:            vault
Created at:        2016-11-20 08:00:00.123 +0000 utc
Updated at:        2016-11-20 08:00:00 +0000 utc
Version:           2
";
    let config = "\
ID:\t\t\tkkkkkkkkkkkkkkkkkkkkkkkkk
Name:\t\t\tconf
Labels:
 - a=1
 - bare
Created at:            \t2016-11-20 08:00:00.123 +0000 utc
Updated at:            \t2016-11-20 08:00:00 +0000 utc
Version:               \t2
Data:
value

";
    let history = "\
NUMBER    STATE     CREATED        SIZE      TASKS     SERVICES
2         newest    10 years ago   7B        5         api, web
1                   10 years ago   2KiB      0         old
";
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 10] = [
        (&["secret", "ls"], secrets),
        (&["config", "list"], configs),
        (&["secret", "ls", "-q"], "kkkkkkkkkkkkkkkkkkkkkkkkk\nooooooooooooooooooooooooo\n"),
        (&["config", "ls", "--format", "json"], json),
        (&["secret", "ls", "--format", "{{.Name}} {{.Labels}} {{.Version}}"], "key a=1,bare= 2\nkey10  1\n"),
        (&["secret", "inspect", "--pretty", "key"], secret),
        (&["config", "inspect", "--pretty", "conf"], config),
        (&["secret", "inspect", "-f", "{{.Spec.Driver.Name}} {{.Spec.Templating}}{{.Spec.Data}} {{.VersionNumber}}", "key"], "vault <nil> 2\n"),
        (&["secret", "history", "key"], history),
        (&["secret", "history", "--format", "{{.Number}} {{.Bytes}}", "key"], "2 7\n1 2048\n"),
    ];
    for (arguments, expected) in cases {
        routes().serve().shows(arguments, expected);
    }
    let ran = routes().serve().run(&["secret", "inspect", "key", "gone"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, "Error response from daemon: secret gone not found\n"));
    let shown: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&shown[0]["ID"], &shown[0]["VersionNumber"]), (&json!(ID), &json!(2)));
}

#[test]
fn values_come_from_files_from_standard_input_and_from_chance() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("value");
    std::fs::write(&file, "hunter2").expect("a file");
    let file = file.to_str().expect("text");

    let api = routes().serve();
    let ran = api.run(&["secret", "create", "-l", "a=1", "--template-driver", "golang", "key", file]);
    assert_eq!((ran.code, ran.stdout), (0, format!("{ID}\n")));
    assert_eq!(
        api.requests(),
        [
            r#"POST /secrets/create {"Name":"key","Labels":{"a":"1"},"Data":"aHVudGVyMg==","Templating":{"Name":"golang"}}"#
        ]
    );
    let api = routes().serve();
    let mut child = api.command(&["config", "create", "conf", "-"]);
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("swarm runs");
    child.stdin.take().expect("a pipe").write_all(b"hunter3").expect("it reads");
    let ran = Ran::from(child.wait_with_output().expect("it ends"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(api.requests(), [r#"POST /configs/create {"Name":"conf","Labels":{},"Data":"aHVudGVyMw=="}"#]);
    let api = routes().serve();
    assert_eq!(api.run(&["secret", "create", "--driver", "vault", "key"]).code, 0);
    assert_eq!(
        api.requests(),
        [r#"POST /secrets/create {"Name":"key","Labels":{},"Driver":{"Name":"vault"}}"#]
    );

    let api = routes().serve();
    let ran = api.run(&["secret", "create", "--generate", "--length", "12", "--alphabet", "chars:ab", "key"]);
    assert_eq!((ran.code, ran.stdout, ran.stderr.as_str()), (0, format!("{ID}\n"), ""));
    // Twelve characters are sixteen in base64.
    let request = &api.requests()[0];
    let (_, data) = request.split_once(r#""Data":""#).expect("data");
    assert_eq!(data.len(), 16 + r#""}"#.len(), "{request}");

    #[rustfmt::skip]
    let cases: [(&[&str], i32, &str); 7] = [
        (&["secret", "create", "key"],                          125, "where is the value?"),
        (&["secret", "create", "key", "/nowhere"],              1,   "open /nowhere"),
        (&["secret", "create", "--generate", "key", "-"],       125, "cannot be used with"),
        (&["secret", "create", "--length", "3", "key"],         125, "--generate"),
        (&["secret", "create", "--generate", "--alphabet", "x", "key"], 125, "use alnum, hex"),
        (&["secret", "create", "--driver", "vault", "key", file], 125, "when using secret driver secret data must be empty"),
        (&["config", "create", "--driver", "vault", "key"],     125, "unexpected argument"),
    ];
    for (arguments, code, text) in cases {
        let api = routes().serve();
        let ran = api.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(text), "{arguments:?}: {}", ran.stderr);
        assert_eq!(api.requests(), [""; 0], "{arguments:?}");
    }
}

#[test]
fn removal_says_what_is_in_its_way() {
    let ran = routes().serve().run(&["secret", "rm", "key", "gone"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, "key\n"));
    let ran = routes().serve().run(&["config", "rm", "conf"]);
    let sentence = "Error response from daemon: config 'conf' is in use by the following service: web\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (1, sentence));
}

#[test]
fn references_say_version_and_refresh_in_full() {
    let api = with_service()
        .without("GET /secrets")
        .on("GET /secrets", 200, json!([payload("key", json!({}))]))
        .serve();
    let secrets = ["--secret", "key", "--secret", "source=key,target=old,version=1,refresh=SIGHUP"];
    let create =
        [&["service", "create", "-d", "--no-resolve-image", "--name", "web"], &secrets[..], &["nginx:2"]]
            .concat();
    let ran = api.run(&create);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let requests = api.requests();
    let sent =
        requests.iter().find(|request| request.starts_with("POST /services/create")).expect("it is made");
    let sent: Value = serde_json::from_str(sent.trim_start_matches("POST /services/create ")).expect("JSON");
    let references = &sent["TaskTemplate"]["ContainerSpec"]["Secrets"];
    let file = |target: &str| json!({"Name": target, "UID": "0", "GID": "0", "Mode": 292});
    assert_eq!(
        *references,
        json!([
            {"SecretID": ID, "SecretName": "key", "File": file("key"), "Version": 2},
            {"SecretID": ID, "SecretName": "key", "File": file("old"), "Version": 1, "Refresh": "SIGHUP"},
        ])
    );
}

#[test]
fn a_rotation_waits_for_its_services_and_says_how_they_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("value");
    std::fs::write(&file, "hunter3").expect("a file");
    let file = file.to_str().expect("text");
    let rotated = json!({"Version": 3, "Services": [{"ID": SERVICE, "Name": "web"}]});
    let state = |state: &str| {
        let mut shown = service();
        shown["UpdateStatus"] = json!({"State": state, "StartedAt": "2016-11-10T08:00:00Z",
            "CompletedAt": "2016-11-10T08:00:00Z", "Message": "update rolled back due to failure"});
        with_service()
            .without("GET /services/sssssssssssssssssssssssss")
            .on("GET /services/sssssssssssssssssssssssss", 200, shown)
            .on("POST /swarm/x/secrets/key/rotate", 200, rotated.clone())
            .serve()
    };
    let api = state("completed");
    let ran = api.run(&["secret", "rotate", "key", file]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "key\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("secret key is at version 3; rolling to it: web\n"), "{}", ran.stderr);
    assert_eq!(api.requests()[0], r#"POST /swarm/x/secrets/key/rotate {"Data":"aHVudGVyMw=="}"#);

    let ran = state("rollback_completed").run(&["secret", "rotate", "-q", "--generate", "key"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, "key\n"), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("service web: service rolled back: "), "{}", ran.stderr);

    let api = state("rollback_completed");
    let ran = api.run(&["secret", "rotate", "--detach", "key", file]);
    assert_eq!((ran.code, api.requests().len()), (0, 1));
    let nothing = state("completed").run(&["config", "rotate", "conf"]);
    assert!(nothing.code == 125 && nothing.stderr.contains("where is the value?"), "{}", nothing.stderr);
}
