//! How commands end: exit codes and error texts.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::fake_api::{Ran, Routes, swarm};
use crate::fixtures::{healthy, info, worker};

#[test]
fn errors_of_the_daemon_become_exit_codes() {
    let no_leader = "The swarm does not have a leader. It's possible that too few managers are online.";
    let no_manager = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect \
                      this node to swarm and try again.";
    let timeout = "Timeout was reached before node joined. The attempt to join the swarm will continue in the \
                   background. Use the \"docker info\" command to see the current swarm status of your node.";
    let member = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";
    #[rustfmt::skip]
    let cases: [(&[&str], &'static str, u16, &str, i32); 9] = [
        (&["node", "ls"],              "GET /nodes",        503, no_manager, 5),
        (&["node", "ls"],              "GET /nodes",        500, no_leader,  5),
        (&["raft", "status"],          "GET /swarm/x/raft", 503, no_manager, 5),
        (&["join-token", "worker"],    "GET /swarm",        503, no_manager, 5),
        (&["node", "ls", "-f", "x=y"], "GET /nodes",        400, "invalid filter 'x'", 1),
        (&["node", "rm", "x"],         "DELETE /nodes/x",   404, "node x not found", 4),
        (&["leave"],                   "POST /swarm/leave", 503, "This node is not part of a swarm", 1),
        (&["init"],                    "POST /swarm/init",  503, member,     6),
        (&["join", "--token", "T", "m:2377"], "POST /swarm/join", 503, timeout, 3),
    ];
    for (arguments, request, status, message, code) in cases {
        let api = Routes::default().on("GET /_ping", 200, "OK").error(request, status, message).serve();
        let ran = api.run(arguments);
        let message = message.replace("\"docker swarm", "\"swarm").replace("\"docker info", "\"swarm info");
        let stderr = format!("Error response from daemon: {message}\n");
        assert_eq!(ran, Ran { code, stdout: String::new(), stderr }, "{arguments:?}");
    }
}

#[test]
fn usage_errors_ask_the_daemon_nothing() {
    let api = healthy().serve();
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 17] = [
        (&[],                                            "Usage: swarm [OPTIONS] <COMMAND>"),
        (&["frobnicate"],                                "unrecognized subcommand 'frobnicate'"),
        (&["node"],                                      "Usage: swarm node [OPTIONS] <COMMAND>"),
        (&["node", "ls", "--nope"],                      "unexpected argument '--nope' found"),
        (&["node", "ls", "-f", "x"],                     "bad format of filter (expected name=value)"),
        (&["node", "ls", "--format", "{{.ID"],           "template parsing error: template: :1: unclosed action"),
        (&["node", "inspect"],                           "required arguments were not provided"),
        (&["node", "inspect", "--pretty", "-f", "x", "n"], "cannot be used with"),
        (&["node", "update", "--availability", "x", "n"], "possible values: active, pause, drain"),
        (&["node", "update", "--label-add", "=x", "n"],  "the key is empty"),
        (&["init", "--cert-expiry", "foo"],              "time: invalid duration \"foo\""),
        (&["init", "--listen-addr", "a:b:c"],            "invalid address \"a:b:c\""),
        (&["join", "m:2377"],                            "--token <TOKEN>"),
        (&["join-token", "x"],                           "possible values: worker, manager"),
        (&["update"],                                    "Change the cluster's settings"),
        (&["-H", "ssh://1.2.3.4:5", "info"],             "unix:///path/to/socket"),
        (&["-H", "tcp://1.2.3.4:5", "--tlscacert", "/nowhere/ca.pem", "info"], "client-cert create"),
    ];
    for (arguments, expected) in cases {
        let ran = api.run(arguments);
        assert_eq!(ran.code, 125, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(expected) && ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    }
    assert_eq!(api.requests(), Vec::<String>::new());

    let ran = api.run(&["node", "ls", "--format", "{{.Nope}}"]);
    let error = "template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"";
    assert_eq!((ran.code, ran.stderr), (125, format!("template parsing error: {error}\n")));
}

#[test]
fn without_a_daemon_the_next_step_is_named() {
    let ran = Ran::of(&mut swarm(&["-H", "unix:///does/not/exist.sock", "node", "ls"]));
    let stderr = "cannot connect to the swarm daemon at unix:///does/not/exist.sock: no such file or directory. \
                  Is the daemon running? Start it with: swarm daemon\n";
    assert_eq!(ran, Ran { code: 1, stdout: String::new(), stderr: stderr.into() });

    // Nobody listens on a socket that a dead daemon left behind.
    let folder = tempfile::tempdir().expect("temporary folder");
    let socket = folder.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("listen"));
    let ran = Ran::of(&mut swarm(&["-H", &format!("unix://{}", socket.display()), "node", "ls"]));
    assert!(ran.code == 1 && ran.stderr.contains("connection refused. Is the daemon running?"), "{ran:?}");
}

#[test]
fn init_that_cannot_start_a_daemon_says_why() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("write");
    let (host, state) = (format!("unix://{}", folder.path().join("s").display()), file.display().to_string());
    let ran = Ran::of(&mut swarm(&["-H", &host, "init", "--state-dir", &state]));
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(
        ran.stderr.starts_with(&format!("No swarm daemon answers at {host}: starting one.\n")),
        "{ran:?}"
    );
    assert!(ran.stderr.contains(&format!("prepare the daemon's folder {state}")), "{ran:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // More than a pipe holds, so that the program is still writing when its reader goes.
    let nodes: Vec<Value> = std::iter::repeat_with(worker).take(5_000).collect();
    let api = Routes::default().on("GET /nodes", 200, json!(nodes)).on("GET /info", 200, info()).serve();
    let mut list = api.command(&["node", "ls"]);
    let mut child = list.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("swarm runs");
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output().expect("ends"));
    assert_eq!(ran, Ran { code: 0, stdout: String::new(), stderr: String::new() });
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let api = healthy().serve();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let ran = Ran::from(api.command(&["node", "ls"]).stdout(full).output().expect("swarm runs"));
    assert!(ran.code == 1 && ran.stderr.contains("No space left"), "{ran:?}");
}
