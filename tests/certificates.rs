//! Certificates while the cluster runs: roots that take each other's place, certificates that end, nodes that were
//! away for too long, and people who bring their own authority.

#[path = "certificates/cfssl.rs"]
mod cfssl;

use std::collections::BTreeSet;
use std::time::Duration;

use cfssl::Cfssl;
use common::identity::given::public_key;
use common::identity::token::JoinToken;
use common::identity::{NodeIdentity, RootAuthority};
use common::shutdown::Tasks;
use common::time::{Clock, SystemClock};
use common::transport::quic::{QuicSettings, QuicTransport};
use common::transport::{Peer, StreamKind, Transport};
use harness::cluster::{Cluster, SOON, options};
use harness::commands;
use harness::docker::{Docker, Output};
use harness::faketime::wall_clock;
use harness::node::NodeOptions;
use harness::run;
use harness::services::{Runtime, Task};
use serde_json::json;

const DAY: i64 = 24 * 3600;
/// For what takes many round trips on two busy cores.
const LATER: Duration = Duration::from_secs(90);

fn identity_of(cluster: &Cluster, index: usize) -> NodeIdentity {
    cluster.nodes[index].identity().unwrap()
}

/// How often a line with all of these words is in the logs of all nodes.
fn said(cluster: &Cluster, words: &[&str]) -> usize {
    let logs = cluster.nodes.iter().map(|node| node.log());
    logs.map(|log| log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()).sum()
}

async fn swarm(cluster: &Cluster, index: usize, arguments: &[&str]) -> Output {
    commands::swarm(&cluster.nodes[index], arguments, "").await.unwrap()
}

/// Waits until these nodes trust this root alone, and have a certificate that its key signed.
async fn all_stand_on(cluster: &Cluster, nodes: &[usize], root_pem: &str) {
    for index in nodes.iter().copied() {
        let what = format!("{} stands on the new root", cluster.nodes[index].name());
        cluster
            .wait_until(&what, SOON, async || {
                let identity = identity_of(cluster, index);
                let leader = cluster.leader(SOON).await.map_err(|error| format!("{error:#}"))?;
                let node = cluster.client(leader).node(cluster.id(index)).await;
                let told = node.map_err(|error| format!("{error:#}"))?.description.tls_info.trust_root;
                let signed = identity.tls_info().issuer_public_key == public_key(root_pem);
                match (identity.root_pem().trim() == root_pem.trim(), signed, told.trim() == root_pem.trim())
                {
                    (true, true, true) => Ok(()),
                    other => Err(format!("trusts it alone, is signed by it, says so: {other:?}")),
                }
            })
            .await
            .unwrap();
    }
}

async fn task_ids(cluster: &Cluster, leader: usize) -> BTreeSet<String> {
    let tasks = cluster.client(leader).tasks("web").await.unwrap();
    tasks.into_iter().map(|task| task.id).collect()
}

/// Nodes that write down every session and connection that ends.
fn talkative(managers: usize, workers: usize) -> Vec<NodeOptions> {
    let options = options(managers, workers).into_iter();
    options.map(|node| node.with_environment("SWARM_LOG", "info,manager=debug,common=debug")).collect()
}

/// What has been cut so far: nodes missed, sessions broken off, connections closed for a certificate's sake.
fn cut(cluster: &Cluster) -> [usize; 3] {
    [
        said(cluster, &["node state decided", "ready -> "]),
        said(cluster, &["session broke off"]),
        said(cluster, &["connection ended", "the certificate"]),
    ]
}

/// Five nodes, one of them down in the middle of it.
#[tokio::test]
async fn a_new_root_takes_over_while_everybody_works_and_one_is_away() {
    let mut cluster = Cluster::with_options(3, talkative(3, 2)).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    let client = cluster.client(leader);
    client.create_service(&Runtime::Process.service("web", 6)).await.unwrap();
    cluster.running("web", 6, LATER).await.unwrap();
    let before = client.swarm().await.unwrap();
    let term = client.raft().await.unwrap().term;

    cluster.nodes[4].kill();
    cluster.node_state(4, "down", SOON).await.unwrap();
    // What the other one had is run elsewhere; there it goes on without anybody who could be told.
    let six = |tasks: &[Task]| tasks.iter().filter(|task| task.runs()).count() == 6;
    cluster.tasks_until("six tasks run", "web", LATER, six).await.unwrap();
    let tasks = task_ids(&cluster, leader).await;
    let before_it = cut(&cluster);

    let rotated = swarm(&cluster, leader, &["ca", "--rotate"]).await;
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(rotated.stderr.contains("desired root digest: sha256:"), "{rotated:?}");
    assert!(rotated.stderr.contains("rotated TLS certificates: 4/4 nodes"), "{rotated:?}");
    let after = client.swarm().await.unwrap();
    assert!(!after.root_rotation_in_progress);
    assert_eq!(rotated.stdout.trim(), after.tls_info.trust_root.trim());
    assert_ne!(before.tls_info.trust_root, after.tls_info.trust_root);
    assert_eq!(swarm(&cluster, 0, &["ca"]).await.stdout.trim(), after.tls_info.trust_root.trim());
    all_stand_on(&cluster, &[0, 1, 2, 3], &after.tls_info.trust_root).await;

    // Nobody noticed.
    assert_eq!(cut(&cluster), before_it, "nobody was missed, nothing was cut");
    assert_eq!(client.raft().await.unwrap().term, term, "the leader kept its lead");
    assert_eq!(task_ids(&cluster, leader).await, tasks, "no task was replaced");

    // Both tokens are new, and the old ones let nobody in.
    let (old, new) = (before.join_tokens.unwrap(), after.join_tokens.unwrap());
    assert!(old.worker != new.worker && old.manager != new.manager);
    assert!(JoinToken::parse(&new.worker).unwrap().is_for(&after.tls_info.trust_root));
    let added = cluster.add(NodeOptions::named("w3")).await.unwrap();
    let refused = cluster.join_with(added, leader, &old.worker).await.unwrap_err();
    assert!(format!("{refused:#}").contains("remote CA does not match fingerprint"), "{refused:#}");
    cluster.join(added, "worker").await.unwrap();

    // The one that was away finds its way by itself, and so does everybody after a start.
    cluster.nodes[4].launch().await.unwrap();
    cluster.all_ready(LATER).await.unwrap();
    all_stand_on(&cluster, &[0, 1, 2, 3, 4, added], &after.tls_info.trust_root).await;
    for index in 0..cluster.nodes.len() {
        cluster.nodes[index].kill();
    }
    for index in 0..cluster.nodes.len() {
        cluster.nodes[index].launch().await.unwrap();
    }
    cluster.all_ready(LATER).await.unwrap();
}

#[tokio::test]
async fn a_manager_that_was_away_for_a_change_of_roots_is_a_manager_again() {
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    let away = (leader + 1) % 3;
    cluster.nodes[away].kill();
    cluster.node_state(away, "down", SOON).await.unwrap();
    let mut root = String::new();
    for _ in 0..2 {
        let rotated = swarm(&cluster, leader, &["ca", "--rotate", "--quiet"]).await;
        let said = (rotated.code, rotated.stdout.as_str(), rotated.stderr.as_str());
        assert_eq!(said, (Some(0), "", ""), "{rotated:?}");
        let shown = swarm(&cluster, leader, &["ca"]).await.stdout;
        assert_ne!(shown, root);
        root = shown;
    }
    cluster.nodes[away].launch().await.unwrap();
    cluster.all_ready(LATER).await.unwrap();
    all_stand_on(&cluster, &[0, 1, 2, 3], &root).await;
    // It counts: without it the other two could not go on.
    cluster.nodes[(leader + 2) % 3].kill();
    let written = async || {
        let leader = cluster.leader(SOON).await.map_err(|error| format!("{error:#}"))?;
        let client = cluster.client(leader);
        let change =
            client.change_node(cluster.id(3), |spec| drop(spec.labels.insert("a".into(), "b".into())));
        change.await.map_err(|error| format!("{error:#}"))
    };
    cluster.wait_until("a write is acknowledged", SOON, written).await.unwrap();
}

#[tokio::test]
async fn dockers_own_command_replaces_the_root() {
    let test = "dockers_own_command_replaces_the_root";
    let cluster = Cluster::new(1, 2).await.unwrap();
    let Some(docker) = Docker::at(&cluster.nodes[0].socket(), test) else { return };
    let before = docker.ok(&["swarm", "ca"]).await.unwrap();
    let refused = docker.run(&["swarm", "ca", "--cert-expiry", "2h"]).await.unwrap();
    assert!(refused.stderr.contains("flag requires the `--rotate` flag"), "{refused:?}");
    let after = docker.ok(&["swarm", "ca", "--rotate"]).await.unwrap();
    assert!(after.contains("-----BEGIN CERTIFICATE-----") && !after.contains(&before), "{after}");
    let info = docker.ok(&["info", "--format", "{{.Swarm.Cluster.RootRotationInProgress}}"]).await.unwrap();
    assert_eq!(info, "false");
    let nodes = docker.ok(&["node", "ls", "--format", "{{.TLSStatus}}"]).await.unwrap();
    assert_eq!(nodes, "Ready\nReady\nReady");
    let shown = docker.ok(&["swarm", "ca"]).await.unwrap();
    assert!(after.ends_with(&shown), "{after}\n{shown}");

    // A root of one's own, and what cannot be one.
    let root = RootAuthority::generate(SystemClock.now()).unwrap();
    let other = RootAuthority::generate(SystemClock.now()).unwrap();
    let folder = run::folder();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let certificate = file("root.pem", root.certificate_pem());
    let (key, wrong) =
        (file("root.key", root.key_pem().reveal()), file("other.key", other.key_pem().reveal()));
    let refused = docker
        .run(&["swarm", "ca", "--rotate", "--ca-cert", &certificate, "--ca-key", &wrong])
        .await
        .unwrap();
    assert!(refused.stderr.contains("certificate key mismatch"), "{refused:?}");
    let rotated =
        docker.ok(&["swarm", "ca", "--rotate", "--ca-cert", &certificate, "--ca-key", &key]).await.unwrap();
    assert!(rotated.ends_with(root.certificate_pem().trim()), "{rotated}");
    all_stand_on(&cluster, &[0, 1, 2], root.certificate_pem()).await;
    // Keys never come back.
    let shown = cluster.client(0).get("/swarm").await.unwrap();
    let text = String::from_utf8_lossy(&shown.body).into_owned();
    assert!(!text.contains("PRIVATE KEY") && !text.contains("SigningCA"), "{text}");
}

/// How often those who stay were missed, had a session broken off, or had a connection closed for a certificate's sake.
fn missed(cluster: &Cluster, stay: &[usize]) -> Vec<usize> {
    // Whoever is back asks with a certificate that has ended, and may well have a connection closed for it.
    let closed = |id: &str| {
        let logs = stay.iter().map(|index| cluster.nodes[*index].log());
        let is_so =
            |line: &str| ["connection ended", "the certificate", id].iter().all(|word| line.contains(word));
        logs.map(|log| log.lines().filter(|line| is_so(line)).count()).sum::<usize>()
    };
    let of = |index: &usize| {
        let id = cluster.id(*index);
        let missed = said(cluster, &["node state decided", "ready -> ", id]);
        missed + said(cluster, &["session broke off", id]) + closed(id)
    };
    stay.iter().map(of).collect()
}

/// Certificates that live for seconds, in real time: each node has several of them, and nothing is cut; who is away
/// until its own has ended is back as itself, and nobody else notices.
#[tokio::test]
async fn short_lived_certificates_come_and_go_and_nobody_notices() {
    let nodes = options(3, 2).into_iter().map(|node| {
        node.with_argument("--lab")
            .with_argument("--lab-cert-expiry=20s")
            .with_environment("SWARM_LOG", "debug")
    });
    let mut cluster = Cluster::with_options(3, nodes.collect()).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    let (client, absent) = (cluster.client(leader), [4, (leader + 1) % 3]);
    let stay: Vec<usize> = (0..5).filter(|index| !absent.contains(index)).collect();
    let elsewhere = absent.map(|index| format!("node.id!={}", cluster.id(index)));
    let service = Runtime::Process
        .service("web", 3)
        .with("TaskTemplate.Placement", json!({ "Constraints": elsewhere }));
    client.create_service(&service).await.unwrap();
    cluster.running("web", 3, LATER).await.unwrap();
    let tasks = task_ids(&cluster, leader).await;
    let term = client.raft().await.unwrap().term;
    let before = cut(&cluster);
    let start = identity_of(&cluster, 4).not_after;
    // Until a certificate of the fourth generation has ended: every connection has outlived several of its proofs.
    cluster
        .wait_until("several generations pass", LATER, async || {
            let now = SystemClock.now();
            let passed = now.since(start) > Duration::from_secs(45);
            if passed { Ok(()) } else { Err(format!("{now}")) }
        })
        .await
        .unwrap();
    assert!(identity_of(&cluster, 4).not_after > SystemClock.now());
    assert_eq!(cut(&cluster), before, "nobody was missed, nothing was cut");
    assert_eq!(client.raft().await.unwrap().term, term, "the leader kept its lead");
    assert_eq!(task_ids(&cluster, leader).await, tasks, "no task was replaced");

    let ids: Vec<String> = (0..5).map(|index| cluster.id(index).to_owned()).collect();
    for away in absent.map(|index| vec![index]).into_iter().chain([vec![0, 1, 2, 3, 4]]) {
        let before = missed(&cluster, &stay);
        for index in &away {
            cluster.nodes[*index].kill();
        }
        let ends = away.iter().map(|index| identity_of(&cluster, *index).not_after).max().unwrap();
        let ended = async || {
            let now = SystemClock.now();
            if now > ends { Ok(()) } else { Err(format!("{now} of {ends}")) }
        };
        cluster.wait_until("the certificates have ended", LATER, ended).await.unwrap();
        for index in &away {
            cluster.nodes[*index].launch().await.unwrap();
        }
        cluster.all_ready(LATER).await.unwrap();
        for (index, id) in ids.iter().enumerate() {
            assert_eq!(&cluster.client(index).info().await.unwrap().node_id, id);
        }
        for index in &away {
            let log = cluster.nodes[*index].log();
            assert!(log.contains("it asks for the next one with the key of this one"), "no leave, no token");
            let renewed = async || match identity_of(&cluster, *index).not_after {
                until if until > ends => Ok(()),
                until => Err(format!("until {until}")),
            };
            cluster.wait_until("its next certificate", LATER, renewed).await.unwrap();
        }
        if away.len() == 1 {
            assert!(stay.iter().all(|index| identity_of(&cluster, *index).not_after > ends), "all renewed");
            assert_eq!(missed(&cluster, &stay), before, "nobody else was missed");
            assert_eq!(client.raft().await.unwrap().term, term, "the leader kept its lead");
            assert_eq!(task_ids(&cluster, leader).await, tasks, "no task was replaced");
        }
    }
}

/// Off for longer than its certificate lasts; the reference has such a node leave and join again.
#[tokio::test]
async fn a_node_comes_back_after_its_certificate_has_ended_unless_it_was_removed() {
    let test = "a_node_comes_back_after_its_certificate_has_ended_unless_it_was_removed";
    let Some(clock) = wall_clock(test) else { return };
    let nodes = options(1, 2).into_iter().map(|node| clock.of(node)).collect();
    let mut cluster = Cluster::with_options(1, nodes).await.unwrap();
    for index in 0..3 {
        cluster.nodes[index].kill();
    }
    // The only manager heals itself first: its key is in the log that it keeps.
    clock.set(100 * DAY).unwrap();
    cluster.nodes[0].launch().await.unwrap();
    cluster.all_ready(LATER).await.unwrap();
    let remove = format!("/nodes/{}?force=true", cluster.id(2));
    cluster.client(0).delete(&remove).await.unwrap().ok().unwrap();
    cluster.nodes[1].launch().await.unwrap();
    cluster.nodes[2].launch().await.unwrap();
    let removed = cluster.id(2).to_owned();
    cluster.forget(2);
    cluster.all_ready(LATER).await.unwrap();
    let nodes = cluster.client(0).nodes().await.unwrap();
    assert!(nodes.len() == 2 && nodes.iter().all(|node| node.id != removed), "{nodes:?}");
    let info = cluster.client(2).info().await.unwrap();
    assert_ne!(info.local_node_state, "active", "a removed node gets no certificate");
}

/// What somebody with a demoted manager's certificate can still do.
#[tokio::test]
async fn a_demoted_manager_writes_nothing_with_the_certificate_it_kept() {
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    let demoted = (leader + 1) % 3;
    let identity = identity_of(&cluster, demoted);
    cluster.client(leader).set_role(cluster.id(demoted), "worker").await.unwrap();
    let is_worker = async || match cluster.client(demoted).info().await {
        Ok(info) if !info.control_available => Ok(()),
        other => Err(format!("{other:?}")),
    };
    cluster.wait_until("it is a worker", SOON, is_worker).await.unwrap();
    cluster.nodes[demoted].kill();
    let tasks = Tasks::new();
    let settings = QuicSettings::new(run::address());
    let (ghost, _arrivals) =
        QuicTransport::start(settings, identity, &tasks, std::sync::Arc::new(SystemClock)).unwrap();
    for index in (0..4).filter(|index| *index != demoted) {
        let peer = Peer { node: cluster.id(index).parse().unwrap(), addr: cluster.nodes[index].addr() };
        let kinds = [StreamKind::Manager, StreamKind::Raft, StreamKind::RaftAppend, StreamKind::Logs];
        for kind in kinds {
            let what = format!("{} ends a {kind:?} stream of the demoted one", cluster.nodes[index].name());
            let ended = async || {
                use tokio::io::AsyncReadExt;
                let mut stream = ghost.open(peer, kind).await.map_err(|error| error.to_string())?;
                let mut byte = [0];
                match tokio::time::timeout(Duration::from_secs(2), stream.recv.read(&mut byte)).await {
                    Ok(Ok(0) | Err(_)) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            };
            cluster.wait_until(&what, SOON, ended).await.unwrap();
        }
    }
    ghost.stop().await;
    tasks.stop().await;
}

/// The key is with somebody else, who speaks CFSSL's protocol over mutual TLS.
#[tokio::test]
async fn an_external_authority_signs_and_the_key_is_not_in_the_cluster() {
    let mut cluster = Cluster::new(1, 1).await.unwrap();
    let root = RootAuthority::generate(SystemClock.now()).unwrap();
    let cfssl = Cfssl::start(&root, identity_of(&cluster, 0).root_pem());
    let folder = run::folder();
    let certificate = folder.join("external.pem");
    std::fs::write(&certificate, root.certificate_pem()).unwrap();
    let certificate = certificate.to_string_lossy().into_owned();
    // Nobody there: nothing changes.
    let nobody = format!("protocol=cfssl,url=https://127.0.0.1:{}/api/v1/cfssl/sign", run::address().port());
    let refused =
        swarm(&cluster, 0, &["ca", "--rotate", "--ca-cert", &certificate, "--external-ca", &nobody]).await;
    let text =
        "there must be at least one valid, reachable external CA corresponding to the desired CA certificate";
    assert!(refused.code == Some(1) && refused.stderr.contains(text), "{refused:?}");
    let external = format!("protocol=cfssl,url={}", cfssl.url());
    let rotated =
        swarm(&cluster, 0, &["ca", "--rotate", "--ca-cert", &certificate, "--external-ca", &external]).await;
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    all_stand_on(&cluster, &[0, 1], root.certificate_pem()).await;
    let signed = cfssl.signed();
    assert!(signed >= 3, "one to try, one per node: {signed}");
    let added = cluster.add(NodeOptions::named("w2")).await.unwrap();
    cluster.join(added, "worker").await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
    assert!(cfssl.signed() > signed);
    assert_eq!(cfssl.strangers(), 0, "managers show their certificates");
}
