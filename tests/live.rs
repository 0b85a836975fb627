//! Services on real daemons, once with processes and once with containers: made, scaled, updated, rolled back, moved
//! when nodes or leaders are lost, and left alone when a daemon is.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::engine_api::swarm::InitRequest;
use harness::cluster::{Cluster, SOON, options};
use harness::node::NodeOptions;
use harness::services::{Runtime, Spec, Task, summary};
use serde_json::json;

/// For dozens of containers on two busy cores.
const LATER: Duration = Duration::from_secs(180);

fn ids(tasks: &[Task]) -> BTreeSet<String> {
    tasks.iter().map(|task| task.id.clone()).collect()
}

/// The largest difference between nodes in the number of tasks.
fn spread(tasks: &[Task], cluster: &Cluster) -> usize {
    let mut counts: BTreeMap<&str, usize> =
        (0..cluster.nodes.len()).map(|index| (cluster.id(index), 0)).collect();
    tasks.iter().for_each(|task| *counts.entry(task.node.as_str()).or_default() += 1);
    counts.values().max().unwrap_or(&0) - counts.values().min().unwrap_or(&0)
}

fn three(runtime: Runtime) -> Vec<NodeOptions> {
    let mut nodes = options(1, 2);
    if runtime == Runtime::Fake {
        nodes = nodes.into_iter().map(|node| node.with_argument("--runtime=fake")).collect();
    }
    nodes
}

async fn scales(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let cluster = Cluster::with_options(1, three(runtime)).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&runtime.service("web", 1)).await.unwrap();
    let first = cluster.running("web", 1, SOON).await.unwrap();
    client.scale("web", 50).await.unwrap();
    let fifty = cluster.running("web", 50, LATER).await.unwrap();
    assert!(ids(&fifty).is_superset(&ids(&first)), "what runs is left alone");
    assert!(spread(&fifty, &cluster) <= 1, "{}", summary(&fifty));
    let slots: BTreeSet<u64> = fifty.iter().map(|task| task.slot).collect();
    assert_eq!(slots, (1..=50).collect());
    client.scale("web", 5).await.unwrap();
    let five = cluster.running("web", 5, LATER).await.unwrap();
    assert!(ids(&fifty).is_superset(&ids(&five)), "scaling down starts nothing");
    assert!(spread(&five, &cluster) <= 1, "{five:?}");
    client.remove_service("web").await.unwrap();
    assert_eq!(client.get("/services/web").await.unwrap().status, 404);
}

#[tokio::test]
async fn processes_scale_from_one_to_fifty_to_five() {
    scales(Runtime::Process, "processes_scale_from_one_to_fifty_to_five").await;
}

#[tokio::test]
async fn containers_scale_from_one_to_fifty_to_five() {
    scales(Runtime::Docker, "containers_scale_from_one_to_fifty_to_five").await;
}

fn version(version: &str) -> [String; 1] {
    [format!("VERSION={version}")]
}

fn set_version(spec: Spec, number: &str) -> Spec {
    let variables = version(number);
    spec.env(&variables.each_ref().map(String::as_str))
}

/// Updates ten tasks in each order and looks at every moment how many serve.
async fn rolls(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let cluster = Cluster::with_options(1, three(runtime)).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&set_version(runtime.service("web", 10), "0")).await.unwrap();
    cluster.running("web", 10, LATER).await.unwrap();
    for (number, order, parallelism, fewest, most) in
        [("1", "stop-first", 2, 8, 10), ("2", "start-first", 2, 10, 12), ("3", "stop-first", 0, 0, 10)]
    {
        let config = json!({ "Parallelism": parallelism, "Order": order, "Monitor": 200_000_000 });
        client.change_service("web", |spec| set_version(spec, number).update(config.clone())).await.unwrap();
        let seen = Cell::new((usize::MAX, 0));
        cluster
            .tasks_until("all tasks are of the new version", "web", LATER, |tasks| {
                let running: Vec<&Task> = tasks.iter().filter(|task| task.state == "running").collect();
                let (least, greatest) = seen.get();
                seen.set((least.min(running.len()), greatest.max(running.len())));
                running.len() == 10 && running.iter().all(|task| task.env == version(number) && task.runs())
            })
            .await
            .unwrap();
        let state = cluster.update_state("web", &["completed"], LATER).await.unwrap();
        assert_eq!(state, "completed");
        let (least, greatest) = seen.get();
        assert!(least >= fewest && greatest <= most, "{order}: {least} to {greatest} ran");
    }
}

#[tokio::test]
async fn processes_are_updated_in_each_order() {
    rolls(Runtime::Process, "processes_are_updated_in_each_order").await;
}

#[tokio::test]
async fn containers_are_updated_in_each_order() {
    rolls(Runtime::Docker, "containers_are_updated_in_each_order").await;
}

/// What a failing update does, for each failure action.
async fn fails(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let cluster = Cluster::with_options(1, three(runtime)).await.unwrap();
    let client = cluster.client(0);
    let good = set_version(runtime.service("web", 4), "good").shell("exec sleep 100000");
    client.create_service(&good).await.unwrap();
    let before = cluster.running("web", 4, SOON).await.unwrap();

    // The next slot is left alone for longer than the new task takes to fail.
    let config = |action: &str| {
        json!({
            "Parallelism": 1, "Delay": 20_000_000_000_u64, "FailureAction": action, "Monitor": 10_000_000_000_u64,
        })
    };
    let bad = |action: &'static str| move |spec: Spec| spec.shell("exit 3").update(config(action));
    client.change_service("web", bad("pause")).await.unwrap();
    cluster.update_state("web", &["paused"], SOON).await.unwrap();
    let tasks = client.tasks("web").await.unwrap();
    let left = tasks.iter().filter(|task| task.runs() && ids(&before).contains(&task.id)).count();
    assert_eq!(left, 3, "only one slot was touched: {}", summary(&tasks));
    assert!(tasks.iter().any(|task| task.error.contains("non-zero exit (3)")), "{}", summary(&tasks));

    let answer = client.service("web").await.unwrap();
    let at = answer["Version"]["Index"].as_u64().unwrap();
    client
        .post(&format!("/services/web/update?rollback=previous&version={at}"), &answer["Spec"])
        .await
        .unwrap()
        .ok()
        .unwrap();
    cluster.update_state("web", &["rollback_completed"], SOON).await.unwrap();
    let after = cluster.running("web", 4, SOON).await.unwrap();
    assert!(ids(&after).intersection(&ids(&before)).count() >= 3, "what was good was left alone");

    client.change_service("web", bad("rollback")).await.unwrap();
    cluster.update_state("web", &["rollback_completed"], LATER).await.unwrap();
    let again = cluster.running("web", 4, SOON).await.unwrap();
    assert!(again.iter().all(|task| task.env == version("good")), "{again:?}");
}

#[tokio::test]
async fn a_bad_update_of_processes_stops_or_goes_back() {
    fails(Runtime::Process, "a_bad_update_of_processes_stops_or_goes_back").await;
}

#[tokio::test]
async fn a_bad_update_of_containers_stops_or_goes_back() {
    fails(Runtime::Docker, "a_bad_update_of_containers_stops_or_goes_back").await;
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_said_and_rolled_back() {
    let test = "an_image_that_does_not_exist_is_said_and_rolled_back";
    if !Runtime::Docker.is_here(test) {
        return;
    }
    let cluster = Cluster::with_options(1, options(1, 1)).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&Runtime::Docker.service("web", 2)).await.unwrap();
    cluster.running("web", 2, SOON).await.unwrap();
    client
        .change_service("web", |spec| {
            spec.with("TaskTemplate.ContainerSpec.Image", json!("localhost:1/no/such:image"))
                .update(json!({ "Parallelism": 1, "FailureAction": "rollback", "Monitor": 1_000_000_000 }))
        })
        .await
        .unwrap();
    cluster
        .tasks_until("the reason is shown", "web", LATER, |tasks| {
            tasks.iter().any(|task| task.state == "rejected" && !task.error.is_empty())
        })
        .await
        .unwrap();
    cluster.update_state("web", &["rollback_completed"], LATER).await.unwrap();
    cluster.running("web", 2, SOON).await.unwrap();
}

/// Drains a node, then kills another's daemon: its tasks run elsewhere, the others are left alone.
async fn moves(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let mut cluster = Cluster::with_options(1, three(runtime)).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&runtime.service("web", 6)).await.unwrap();
    let before = cluster.running("web", 6, SOON).await.unwrap();
    let drained = cluster.id(1).to_owned();
    client.change_node(&drained, |spec| spec.availability = "drain".into()).await.unwrap();
    let after = cluster
        .tasks_until("the drained node is empty", "web", SOON, |tasks| {
            tasks.iter().filter(|task| task.runs() && task.node != drained).count() == 6
                && !tasks.iter().any(|task| task.state == "running" && task.node == drained)
        })
        .await
        .unwrap();
    let elsewhere: BTreeSet<String> =
        before.iter().filter(|task| task.node != drained).map(|task| task.id.clone()).collect();
    assert!(ids(&after).is_superset(&elsewhere), "tasks of other nodes stay");

    client.change_node(&drained, |spec| spec.availability = "active".into()).await.unwrap();
    let lost = cluster.id(2).to_owned();
    cluster.nodes[2].kill();
    cluster
        .tasks_until("the lost node's tasks run elsewhere", "web", SOON, |tasks| {
            tasks.iter().filter(|task| task.runs() && task.node != lost).count() == 6
        })
        .await
        .unwrap();
    // Nobody can tell how they are: they were last seen running, and should not.
    let tasks = client.tasks("web").await.unwrap();
    let orphans: Vec<&Task> =
        tasks.iter().filter(|task| task.node == lost && task.desired == "shutdown").collect();
    let last_seen = orphans.iter().filter(|task| task.state == "running" && is_alive(task.pid)).count();
    assert!(last_seen > 0, "{}", summary(&tasks));
    cluster.nodes[2].launch().await.unwrap();
    cluster.node_state(2, "ready", SOON).await.unwrap();
    cluster
        .tasks_until("what ran on the node that returned is ended", "web", SOON, |tasks| {
            let ended = |orphan: &&Task| {
                let seen = tasks.iter().find(|task| task.id == orphan.id);
                seen.is_none_or(|task| task.state != "running") && !is_alive(orphan.pid)
            };
            orphans.iter().all(ended)
        })
        .await
        .unwrap();
    cluster.running("web", 6, SOON).await.unwrap();
    client.remove_service("web").await.unwrap();
}

/// Everything runs on this machine.
fn is_alive(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Without a majority nothing changes and everything runs on, also into the cluster that the survivor makes.
async fn majority_lost(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    let client = cluster.client(0);
    client.create_service(&runtime.service("web", 4)).await.unwrap();
    let before = cluster.running("web", 4, SOON).await.unwrap();
    let survivors = [cluster.id(0).to_owned(), cluster.id(3).to_owned()];
    (1..3).for_each(|index| cluster.nodes[index].kill());
    cluster
        .wait_until("the lost majority is said", SOON, async || {
            match client.scale("web", 6).await.map_err(|error| format!("{error:#}")) {
                Err(error) if error.contains("The swarm does not have a leader") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
    assert!(before.iter().all(|task| is_alive(task.pid)), "{}", summary(&before));

    let addr = cluster.nodes[0].addr().to_string();
    let request = InitRequest {
        listen_addr: addr.clone(),
        advertise_addr: addr,
        force_new_cluster: true,
        ..InitRequest::default()
    };
    client.init(&request).await.unwrap();
    // What was asked for when the majority was being lost may have come through.
    client.scale("web", 4).await.unwrap();
    let after = cluster
        .tasks_until("all run where there are nodes", "web", SOON, |tasks| {
            tasks.iter().filter(|task| task.runs() && survivors.contains(&task.node)).count() == 4
        })
        .await
        .unwrap();
    let stayed = |task: &&Task| survivors.contains(&task.node);
    for task in before.iter().filter(stayed) {
        let now = after.iter().find(|now| now.id == task.id);
        assert!(now.is_some_and(|now| now.runs() && now.pid == task.pid), "{task:?}\n{}", summary(&after));
    }
    client.remove_service("web").await.unwrap();
}

#[tokio::test]
async fn processes_go_on_without_a_majority_and_in_what_the_survivor_makes() {
    majority_lost(Runtime::Process, "processes_go_on_without_a_majority_and_in_what_the_survivor_makes")
        .await;
}

#[tokio::test]
async fn processes_move_when_a_node_is_drained_or_lost() {
    moves(Runtime::Process, "processes_move_when_a_node_is_drained_or_lost").await;
}

#[tokio::test]
async fn containers_move_when_a_node_is_drained_or_lost() {
    moves(Runtime::Docker, "containers_move_when_a_node_is_drained_or_lost").await;
}

/// The leader is killed in the middle of an update: the next one goes on where it was.
async fn leader_lost(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let mut cluster = Cluster::new(3, 1).await.unwrap();
    let leader = cluster.leader(SOON).await.unwrap();
    let client = cluster.client(leader);
    client.create_service(&set_version(runtime.service("web", 8), "1")).await.unwrap();
    cluster.running("web", 8, SOON).await.unwrap();
    // No task on the leader, so that its loss takes none with it.
    let own = cluster.id(leader).to_owned();
    client.change_node(&own, |spec| spec.availability = "drain".into()).await.unwrap();
    cluster
        .tasks_until("the leader is empty", "web", SOON, |tasks| {
            tasks.iter().filter(|task| task.runs() && task.node != own).count() == 8
        })
        .await
        .unwrap();
    client
        .change_service("web", |spec| {
            let config = json!({ "Parallelism": 1, "Delay": 300_000_000, "Monitor": 200_000_000 });
            set_version(spec, "2").update(config)
        })
        .await
        .unwrap();
    let half = cluster
        .tasks_until("some tasks are updated", "web", SOON, |tasks| {
            tasks.iter().filter(|task| task.runs() && task.env == version("2")).count() >= 2
        })
        .await
        .unwrap();
    let updated: BTreeSet<String> = half
        .iter()
        .filter(|task| task.runs() && task.env == version("2"))
        .map(|task| task.id.clone())
        .collect();
    cluster.nodes[leader].kill();
    cluster.update_state("web", &["completed"], LATER).await.unwrap();
    let done = cluster.running("web", 8, SOON).await.unwrap();
    assert!(done.iter().all(|task| task.env == version("2")), "{done:?}");
    assert!(ids(&done).is_superset(&updated), "what was done before is not done again");
    cluster.nodes[leader].launch().await.unwrap();
    cluster.all_ready(SOON).await.unwrap();
}

#[tokio::test]
async fn an_update_of_processes_survives_its_leader() {
    leader_lost(Runtime::Process, "an_update_of_processes_survives_its_leader").await;
}

#[tokio::test]
async fn an_update_of_containers_survives_its_leader() {
    leader_lost(Runtime::Docker, "an_update_of_containers_survives_its_leader").await;
}

/// A worker's daemon and the managers' are killed again and again: tasks do not notice.
async fn daemons_killed(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let mut cluster = Cluster::with_options(1, three(runtime)).await.unwrap();
    cluster.client(0).create_service(&runtime.service("web", 6)).await.unwrap();
    let before = cluster.running("web", 6, SOON).await.unwrap();
    let whom: Vec<(String, String, i64)> = named(&before);
    for round in 0..10 {
        // Back within the time in which a node may be away without being given up.
        cluster.nodes[round % 3].kill();
        cluster.nodes[round % 3].launch().await.unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    let after = cluster.running("web", 6, SOON).await.unwrap();
    let moved = named(&after).iter().filter(|task| !whom.contains(task)).count();
    assert_eq!(moved, 0, "before: {before:?}\nafter: {after:?}");
}

fn named(tasks: &[Task]) -> Vec<(String, String, i64)> {
    let mut named: Vec<_> =
        tasks.iter().map(|task| (task.id.clone(), task.container.clone(), task.pid)).collect();
    named.sort();
    named
}

#[tokio::test]
async fn processes_outlive_their_daemon_ten_times() {
    daemons_killed(Runtime::Process, "processes_outlive_their_daemon_ten_times").await;
}

#[tokio::test]
async fn containers_outlive_their_daemon_ten_times() {
    daemons_killed(Runtime::Docker, "containers_outlive_their_daemon_ten_times").await;
}

/// Every daemon is restarted in good order, as for an upgrade: no task is touched. One that stays away loses its tasks.
async fn daemons_restarted(runtime: Runtime, test: &str) {
    if !runtime.is_here(test) {
        return;
    }
    let mut cluster = Cluster::with_options(1, three(runtime)).await.unwrap();
    cluster.client(0).create_service(&runtime.service("web", 6)).await.unwrap();
    let before = cluster.running("web", 6, SOON).await.unwrap();
    for round in 0..3 {
        let index = (round + 1) % 3;
        let status = cluster.nodes[index].stop().await.unwrap();
        assert!(status.success(), "{status}\n{}", cluster.nodes[index].log_tail());
        if index != 0 {
            // The goodbye has arrived, and is no reason to move anything.
            cluster.node_state(index, "disconnected", SOON).await.unwrap();
        }
        cluster.nodes[index].launch().await.unwrap();
        cluster.all_ready(SOON).await.unwrap();
    }
    let after = cluster.client(0).tasks("web").await.unwrap();
    assert_eq!(named(&after), named(&before), "before: {before:?}\nafter: {after:?}");

    let gone = cluster.id(2).to_owned();
    cluster.nodes[2].stop().await.unwrap();
    cluster
        .tasks_until("the tasks of the node that stays away run elsewhere", "web", SOON, |tasks| {
            tasks.iter().filter(|task| task.runs() && task.node != gone).count() == 6
        })
        .await
        .unwrap();
    let elsewhere: BTreeSet<String> =
        before.iter().filter(|task| task.node != gone).map(|task| task.id.clone()).collect();
    let moved = cluster.client(0).tasks("web").await.unwrap();
    assert!(ids(&moved).is_superset(&elsewhere), "tasks of other nodes stay: {}", summary(&moved));
    cluster.nodes[2].launch().await.unwrap();
    cluster.node_state(2, "ready", SOON).await.unwrap();
    cluster.running("web", 6, SOON).await.unwrap();
    cluster.client(0).remove_service("web").await.unwrap();
}

#[tokio::test]
async fn processes_stay_when_their_daemon_is_restarted() {
    daemons_restarted(Runtime::Process, "processes_stay_when_their_daemon_is_restarted").await;
}

#[tokio::test]
async fn containers_stay_when_their_daemon_is_restarted() {
    daemons_restarted(Runtime::Docker, "containers_stay_when_their_daemon_is_restarted").await;
}
