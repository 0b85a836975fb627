//! What commands print.

use serde_json::{Value, json};

use crate::fake_api::{Ran, Routes, swarm};
use crate::fixtures::{MANAGER, WORKER, healthy, manager, prints, worker};

const INIT: &str = "\
Swarm initialized: current node (bbbbbbbbbbbbbbbbbbbbbbbb2) is now a manager.

To add a worker to this swarm, run the following command:

    swarm join --token SWMTKN-1-w 10.0.0.2:2377

To add a manager to this swarm, run 'swarm join-token manager' and follow the instructions.
";

const AUTOLOCK: &str = "\
To unlock a swarm manager after it restarts, run the `swarm unlock`
command and provide the following key:

    SWMKEY-1-x

Remember to store this key in a password manager, since without it you
will not be able to restart the manager.
";

const JOIN_WORKER: &str = "\
To add a worker to this swarm, run the following command:

    swarm join --token SWMTKN-1-w 10.0.0.2:2377

";

const JOIN_MANAGER: &str = "\
To add a manager to this swarm, run the following command:

    swarm join --token SWMTKN-1-m 10.0.0.2:2377

";

#[test]
fn texts_are_dockers_without_the_word() {
    #[rustfmt::skip]
    let cases: [(&[&str], String); 19] = [
        (&["init"],                                  INIT.into()),
        (&["swarm", "init"],                         INIT.into()),
        (&["init", "--autolock"],                    format!("{INIT}{AUTOLOCK}")),
        (&["join", "--token", "T", "10.0.0.2:2377"], "This node joined a swarm as a manager.\n".into()),
        (&["join-token", "worker"],                  JOIN_WORKER.into()),
        (&["swarm", "join-token", "manager"],        JOIN_MANAGER.into()),
        (&["join-token", "-q", "manager"],           "SWMTKN-1-m\n".into()),
        (&["join-token", "--rotate", "worker"],      format!("Successfully rotated worker join token.\n\n{JOIN_WORKER}")),
        (&["join-token", "--rotate", "-q", "worker"], "SWMTKN-1-w\n".into()),
        (&["leave"],                                 "Node left the swarm.\n".into()),
        (&["update", "--cert-expiry", "720h"],       "Swarm updated.\n".into()),
        (&["update", "--autolock"],                  format!("Swarm updated.\n{AUTOLOCK}")),
        (&["unlock-key"],                            AUTOLOCK.into()),
        (&["unlock-key", "-q"],                      "SWMKEY-1-x\n".into()),
        (&["swarm", "unlock-key", "-q"],             "SWMKEY-1-x\n".into()),
        (&["raft", "rotate-data-keys"],              "Every manager changes its data key now.\n".into()),
        (&["node", "promote", "node10", "node2"],
         format!("Node node10 promoted to a manager in the swarm.\nNode {MANAGER} is already a manager.\n")),
        (&["node", "demote", "node10", "node2"],
         format!("Node {WORKER} is already a worker.\nManager node2 demoted in the swarm.\n")),
        (&["node", "update", "--label-add", "a=b", "node10"], "node10\n".into()),
    ];
    for (arguments, expected) in cases {
        prints(arguments, &expected);
    }
}

#[test]
fn a_worker_joins_as_a_worker() {
    let api = Routes::default()
        .on("GET /_ping", 200, "OK")
        .on("POST /swarm/join", 200, "")
        .on("GET /info", 200, json!({"Swarm": {"ControlAvailable": false}}))
        .serve();
    assert_eq!(
        api.run(&["join", "--token", "T", "m1:2377"]).stdout,
        "This node joined a swarm as a worker.\n"
    );
}

#[test]
fn lists_of_nodes() {
    let table = "\
ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION
bbbbbbbbbbbbbbbbbbbbbbbb2 *   node2      Ready     Active         Leader           0.1.0
aaaaaaaaaaaaaaaaaaaaaaaa1     node10     Down      Drain                           0.1.0
";
    let json = "\
{\"Availability\":\"Active\",\"EngineVersion\":\"0.1.0\",\"Hostname\":\"node2\",\"ID\":\"bbbbbbbbbbbbbbbbbbbbbbbb2\",\
\"ManagerStatus\":\"Leader\",\"Self\":true,\"Status\":\"Ready\",\"TLSStatus\":\"Ready\"}
{\"Availability\":\"Drain\",\"EngineVersion\":\"0.1.0\",\"Hostname\":\"node10\",\"ID\":\"aaaaaaaaaaaaaaaaaaaaaaaa1\",\
\"ManagerStatus\":\"\",\"Self\":false,\"Status\":\"Down\",\"TLSStatus\":\"Ready\"}
";
    let tasks = "ID        NAME      IMAGE     NODE      DESIRED STATE   CURRENT STATE   ERROR     PORTS\n";
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 6] = [
        (&["node", "ls"], table),
        (&["node", "list", "-q"], "bbbbbbbbbbbbbbbbbbbbbbbb2\naaaaaaaaaaaaaaaaaaaaaaaa1\n"),
        (&["node", "ls", "--format", "json"], json),
        (&["node", "ls", "--format", "{{.Hostname}}: {{lower .Status}}{{if .Self}} (here){{end}}"], "node2: ready (here)\nnode10: down\n"),
        (&["node", "ls", "--format", r"table {{.Hostname}}\t{{.TLSStatus}}"], "HOSTNAME   TLS STATUS\nnode2      Ready\nnode10     Ready\n"),
        (&["node", "ps"], tasks),
    ];
    for (arguments, expected) in cases {
        prints(arguments, expected);
    }
    let api = Routes::default().on("GET /nodes", 200, "[]").serve();
    let empty = "ID        HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION\n";
    assert_eq!(api.run(&["node", "ls"]).stdout, empty);
}

#[test]
fn inspect_shows_what_the_daemon_sent() {
    let pretty = "\
ID:\t\t\taaaaaaaaaaaaaaaaaaaaaaaa1
Labels:
 - bare
 - disk=ssd
Hostname:              \tnode10
Joined at:             \t2026-11-20 08:00:00.123456789 +0000 utc
Status:
 State:\t\t\tDown
 Message:              \tHeartbeat failure
 Availability:         \tDrain
 Address:\t\t10.0.0.1
Platform:
 Operating System:\tlinux
 Architecture:\t\tx86_64
Resources:
 CPUs:\t\t\t2
 Memory:\t\t23.54GiB
Plugins:
 Network:\t\tmesh
 Volume:\t\tlocal
Engine Version:\t\t0.1.0
Engine Labels:
 - os=debian
TLS Info:
 TrustRoot:
PEM
 Issuer Subject:\tMBMx
 Issuer Public Key:\tMFkw
";
    let optional = "{{if .ManagerStatus}}{{.ManagerStatus.Leader}}{{else}}none{{end}}";
    #[rustfmt::skip]
    let cases: [(&[&str], String); 7] = [
        (&["node", "inspect", "--pretty", "node10"], pretty.into()),
        (&["node", "inspect", "--format", "json", "node10", "self"], format!("[{},{}]\n", worker(), manager())),
        (&["node", "inspect", "--format", "{{.Status.Addr}}", "node10", "node2"], "10.0.0.1\n10.0.0.2\n".into()),
        (&["node", "inspect", "-f", "{{.Spec.Labels.disk}} {{.Spec.Labels.no}} {{json .Spec.Labels}}", "node10"],
         "ssd <no value> {\"bare\":\"\",\"disk\":\"ssd\"}\n".into()),
        (&["node", "inspect", "-f", "{{.ManagerStatus}} {{.Status.Message}} {{.Spec.Name}}|", "node10"], "<nil> heartbeat failure |\n".into()),
        (&["node", "inspect", "-f", optional, "node10", "node2"], "none\ntrue\n".into()),
        (&["node", "inspect", "-f", "{{range .Description.Engine.Plugins}}{{.Name}} {{end}}", "node10", "node2"], "local mesh \n\n".into()),
    ];
    for (arguments, expected) in cases {
        prints(arguments, &expected);
    }

    let ran = healthy().serve().run(&["node", "inspect", "node10", "gone"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (4, "Error response from daemon: node gone not found\n"));
    assert!(ran.stdout.starts_with("[\n    {\n        \"CreatedAt\""), "{}", ran.stdout);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).expect("JSON"), json!([worker()]));
    assert_eq!(healthy().serve().run(&["node", "inspect", "gone"]).stdout, "[]\n");
}

#[test]
fn info_in_text_and_template() {
    let text = "\
Swarm: active
 NodeID: bbbbbbbbbbbbbbbbbbbbbbbb2
 Is Manager: true
 ClusterID: clusterid
 Managers: 1
 Nodes: 2
 Default Address Pool: 10.0.0.0/8
 SubnetSize: 24
 Data Path Port: 4789
 Orchestration:
  Task History Retention Limit: 5
 Raft:
  Snapshot Interval: 10000
  Number of Old Snapshots to Retain: 0
  Heartbeat Tick: 1
  Election Tick: 10
 Dispatcher:
  Heartbeat Period: 5 seconds
 CA Configuration:
  Expiry Duration: 3 months
  Force Rotate: 0
 Autolock Managers: false
 Root Rotation In Progress: false
 Node Address: 10.0.0.2
 Manager Addresses:
  10.0.0.2:2377
  10.0.0.3:2377
Name: node2
Server Version: 0.1.0
Kernel Version: 6.1
Operating System: Debian
OSType: linux
Architecture: x86_64
CPUs: 2
Total Memory: 23.54GiB
";
    prints(&["info"], text);
    let template = "{{.Swarm.LocalNodeState}} {{.Swarm.Cluster.ID}} {{.Swarm.Warnings}}";
    prints(&["info", "-f", template], "active clusterid <nil>\n");

    let state = |swarm: Value| Routes::default().on("GET /info", 200, json!({ "Swarm": swarm })).serve();
    let inactive = state(json!({"LocalNodeState": "inactive"}));
    assert_eq!(inactive.run(&["info"]).stdout, "Swarm: inactive\n");
    assert_eq!(inactive.run(&["info", "-f", "{{.Swarm.Cluster}} {{.Swarm.Nodes}}"]).stdout, "<nil> 0\n");

    let ran = state(json!({"LocalNodeState": "locked", "Warnings": ["careful"]})).run(&["info"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("Swarm: locked\n", "WARNING: careful\n"));
}

#[test]
fn raft_and_gossip_views() {
    let raft = json!({
        "Term": 7, "State": "leader", "LeaderID": MANAGER, "LastLogIndex": 120, "CommittedIndex": 119, "AppliedIndex": 118,
        "SnapshotIndex": 100, "PurgedIndex": 50, "DataKeyVersion": 3, "UnlockKeyVersion": 2,
        "Members": [
            {"RaftId": 9, "NodeID": "c", "Hostname": "node10", "Addr": "10.0.0.3:2377", "Voter": true, "Leader": false,
             "MatchedIndex": 115, "Lag": 5, "HeardMsAgo": 40},
            {"RaftId": 1, "NodeID": MANAGER, "Hostname": "node2", "Addr": "10.0.0.2:2377", "Voter": true, "Leader": true,
             "MatchedIndex": 120, "Lag": 0, "HeardMsAgo": 0},
            {"RaftId": 12, "NodeID": "d", "Hostname": "node11", "Addr": "10.0.0.4:2377", "Voter": false, "Leader": false},
        ],
    });
    let raft_text = "\
State:     leader
Term:      7
Leader:    node2 (bbbbbbbbbbbbbbbbbbbbbbbb2)
Log:       last 120, committed 119, applied 118
Snapshot:  100 (log removed up to 50)
At rest:   data key 3, unlock key 2

ID                          HOSTNAME   ADDRESS         RAFT ID   ROLE      MATCHED   LAG       HEARD
bbbbbbbbbbbbbbbbbbbbbbbb2   node2      10.0.0.2:2377   1         leader    120       0         -
c                           node10     10.0.0.3:2377   9         voter     115       5         40 ms ago
d                           node11     10.0.0.4:2377   12        learner   -         -         -
";
    let gossip = json!([
        {"NodeID": "c", "Hostname": "node10", "Addr": "10.0.0.3:2377", "State": "suspect", "Generation": 3, "Manager": true,
         "SeenBy": "b", "RoundTripMs": 0.3456},
        {"NodeID": "a", "Hostname": "node2", "Addr": "10.0.0.2:2377", "State": "alive", "Generation": 4, "Manager": false,
         "SeenBy": "a", "RoundTripMs": null},
    ]);
    let gossip_text = "\
SEEN BY   ID        HOSTNAME   ADDRESS         STATE     ROLE      GENERATION   ROUND TRIP
a         a         node2      10.0.0.2:2377   alive     worker    4            -
b         c         node10     10.0.0.3:2377   suspect   manager   3            0.35 ms
";
    let api = Routes::default()
        .on("GET /swarm/x/raft", 200, raft)
        .on("GET /swarm/x/gossip?all=1", 200, &gossip)
        .on("GET /swarm/x/gossip", 200, &gossip)
        .serve();
    assert_eq!(api.run(&["raft", "status"]).stdout, raft_text);
    assert_eq!(api.run(&["raft", "status", "--format", "{{.Term}} {{len .Members}}"]).stdout, "7 3\n");
    assert_eq!(api.run(&["gossip", "members", "--all"]).stdout, gossip_text);
    assert_eq!(api.run(&["gossip", "members", "--format", "{{.Hostname}}"]).stdout, "node2\nnode10\n");
    assert_eq!(api.requests()[2..], ["GET /swarm/x/gossip?all=1", "GET /swarm/x/gossip"]);
}

#[test]
fn versions_of_both_sides() {
    let version = json!({"Version": "9.9", "ApiVersion": "1.50", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"});
    let api = Routes::default().on("GET /version", 200, version).serve();
    let ran = api.run(&["version"]);
    let server = "
Server:
 Version:           9.9
 API version:       1.50 (minimum version 1.24)
 OS/Arch:           linux/amd64
";
    assert!(ran.stdout.starts_with("Client:\n Version:           "), "{ran:?}");
    assert!(ran.code == 0 && ran.stdout.ends_with(server), "{ran:?}");
    assert_eq!(api.run(&["version", "-f", "{{.Server.Version}}"]).stdout, "9.9\n");

    let ran = Ran::of(&mut swarm(&["-H", "unix:///does/not/exist", "version"]));
    assert!(
        ran.code == 1 && ran.stdout.starts_with("Client:\n") && !ran.stdout.contains("Server"),
        "{ran:?}"
    );
}

#[test]
fn documents_are_made_without_a_daemon() {
    let shells = [("bash", "complete -F _swarm"), ("zsh", "#compdef swarm"), ("fish", "complete -c swarm")];
    for (shell, mark) in shells {
        let ran = Ran::of(&mut swarm(&["completion", shell]));
        assert!(ran.code == 0 && ran.stdout.contains(mark), "{shell}");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path().join("man/man1");
    let ran = Ran::of(&mut swarm(&["man", &folder.display().to_string()]));
    assert_eq!(ran.code, 0, "{ran:?}");
    for page in ["swarm.1", "swarm-node-ls.1", "swarm-join-token.1", "swarm-daemon.1"] {
        let text = std::fs::read_to_string(folder.join(page)).expect(page);
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    let ran = Ran::of(&mut swarm(&["man", "/dev/null/x"]));
    assert!(ran.code == 1 && ran.stderr.starts_with("make folder /dev/null/x: "), "{ran:?}");
}
