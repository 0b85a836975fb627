//! Docker's own clients against our socket: the real `docker` command, and an SDK.

use bollard::models::{NodeSpecAvailabilityEnum, NodeSpecRoleEnum, NodeState};
use bollard::query_parameters::ListNodesOptions;
use harness::cluster::{Cluster, SOON, options};
use harness::docker::{Docker, sdk};

#[tokio::test]
async fn the_docker_command_makes_and_leaves_a_cluster() {
    let cluster = Cluster::of_strangers(options(1, 2)).await.unwrap();
    let Some(first) = Docker::at(&cluster.nodes[0].socket(), "the_docker_command_makes_and_leaves_a_cluster")
    else {
        return;
    };
    let [second, third] = [1, 2].map(|index| first.on(&cluster.nodes[index].socket()));
    let addr = |index: usize| cluster.nodes[index].addr().to_string();

    let inactive = first.ok(&["info", "--format", "{{.Swarm.LocalNodeState}}"]).await.unwrap();
    assert_eq!(inactive, "inactive");
    let none = first.run(&["node", "ls"]).await.unwrap();
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("This node is not a swarm manager."), "{none:?}");

    let said =
        first.ok(&["swarm", "init", "--listen-addr", &addr(0), "--advertise-addr", &addr(0)]).await.unwrap();
    assert!(said.starts_with("Swarm initialized: current node ("), "{said}");
    assert!(said.contains("docker swarm join --token SWMTKN-1-"), "{said}");
    let again = first.run(&["swarm", "init"]).await.unwrap();
    assert!(again.code == Some(1) && again.stderr.contains("already part of a swarm"), "{again:?}");

    let token = first.ok(&["swarm", "join-token", "-q", "worker"]).await.unwrap();
    assert!(token.starts_with("SWMTKN-1-"), "{token}");
    let full = first.ok(&["swarm", "join-token", "worker"]).await.unwrap();
    assert!(full.contains(&token) && full.contains(&addr(0)), "{full}");
    let said = join(&second, &token, &addr(1), &addr(0)).await;
    assert_eq!(said, "This node joined a swarm as a worker.");
    let manager = first.ok(&["swarm", "join-token", "-q", "manager"]).await.unwrap();
    let said = join(&third, &manager, &addr(2), &addr(0)).await;
    assert_eq!(said, "This node joined a swarm as a manager.");

    let rotated = first.ok(&["swarm", "join-token", "--rotate", "-q", "worker"]).await.unwrap();
    assert_ne!(rotated, token);
    let said = first.ok(&["swarm", "update", "--task-history-limit", "7"]).await.unwrap();
    assert_eq!(said, "Swarm updated.");
    let said = first.ok(&["swarm", "ca"]).await.unwrap();
    assert!(said.starts_with("-----BEGIN CERTIFICATE-----"), "{said}");

    let said = second.ok(&["swarm", "leave"]).await.unwrap();
    assert_eq!(said, "Node left the swarm.");
    let refused = third.run(&["swarm", "leave"]).await.unwrap();
    assert!(
        refused.code == Some(1) && refused.stderr.contains("You are attempting to leave the swarm"),
        "{refused:?}"
    );
    assert_eq!(third.ok(&["swarm", "leave", "--force"]).await.unwrap(), "Node left the swarm.");
}

async fn join(docker: &Docker, token: &str, own: &str, remote: &str) -> String {
    let arguments =
        ["swarm", "join", "--token", token, "--listen-addr", own, "--advertise-addr", own, remote];
    docker.ok(&arguments).await.unwrap()
}

#[tokio::test]
async fn the_docker_command_looks_after_nodes() {
    let cluster = Cluster::new(2, 1).await.unwrap();
    let Some(docker) = Docker::at(&cluster.nodes[0].socket(), "the_docker_command_looks_after_nodes") else {
        return;
    };
    let worker = cluster.id(2);

    let table = docker.ok(&["node", "ls"]).await.unwrap();
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ID", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER", "STATUS", "ENGINE", "VERSION"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_eq!(table.matches(" * ").count(), 1, "one of them is this node: {table}");
    assert_eq!((table.matches("Leader").count(), table.matches("Reachable").count()), (1, 1), "{table}");
    assert_eq!(table.matches("Ready").count(), 3, "{table}");
    let rows = docker
        .ok(&["node", "ls", "--format", "{{.ID}} {{.Status}} {{.Availability}} {{.ManagerStatus}}"])
        .await
        .unwrap();
    assert!(rows.lines().any(|row| row.trim_end() == format!("{worker} Ready Active")), "{rows}");
    let workers = docker.ok(&["node", "ls", "-q", "--filter", "role=worker"]).await.unwrap();
    assert_eq!(workers, worker);

    docker
        .ok(&[
            "node",
            "update",
            "--label-add",
            "zone=a",
            "--label-add",
            "disk",
            "--availability",
            "drain",
            worker,
        ])
        .await
        .unwrap();
    let inspect = |format: &'static str| {
        let docker = docker.clone();
        async move { docker.ok(&["node", "inspect", "--format", format, worker]).await.unwrap() }
    };
    assert_eq!(
        inspect("{{.Spec.Labels.zone}} {{.Spec.Availability}} {{.Status.State}}").await,
        "a drain ready"
    );
    docker.ok(&["node", "update", "--label-rm", "zone", "--availability", "active", worker]).await.unwrap();
    assert_eq!(inspect("{{len .Spec.Labels}} {{.Spec.Availability}}").await, "1 active");
    let pretty = docker.ok(&["node", "inspect", "--pretty", worker]).await.unwrap();
    assert!(pretty.contains("Availability:") && pretty.contains("Address:"), "{pretty}");
    let by_label = docker.ok(&["node", "ls", "-q", "--filter", "node.label=disk"]).await.unwrap();
    assert_eq!(by_label, worker);
    assert_eq!(
        docker.ok(&["node", "ps", worker]).await.unwrap().lines().count(),
        1,
        "only the head of the table"
    );

    let said = docker.ok(&["node", "promote", worker]).await.unwrap();
    assert!(said.contains("promoted to a manager in the swarm."), "{said}");
    cluster
        .wait_until("it is a manager", SOON, async || {
            let state = inspect("{{with .ManagerStatus}}{{.Reachability}}{{end}}").await;
            if state == "reachable" { Ok(()) } else { Err(state) }
        })
        .await
        .unwrap();
    let said = docker.ok(&["node", "demote", worker]).await.unwrap();
    assert!(said.contains("demoted in the swarm."), "{said}");
    cluster
        .wait_until("it is no manager", SOON, async || {
            let state = inspect("{{with .ManagerStatus}}{{.Reachability}}{{end}}").await;
            if state.is_empty() { Ok(()) } else { Err(state) }
        })
        .await
        .unwrap();

    let live = docker.run(&["node", "rm", worker]).await.unwrap();
    assert!(live.code == Some(1) && live.stderr.contains("is not down and can't be removed"), "{live:?}");
    assert_eq!(docker.ok(&["node", "rm", "--force", worker]).await.unwrap(), worker);
    let gone = docker.run(&["node", "inspect", worker]).await.unwrap();
    assert!(gone.code == Some(1) && gone.stderr.contains("not found"), "{gone:?}");
}

#[tokio::test]
async fn the_docker_command_describes_the_machine_and_the_cluster() {
    let cluster = Cluster::new(1, 1).await.unwrap();
    let Some(docker) =
        Docker::at(&cluster.nodes[0].socket(), "the_docker_command_describes_the_machine_and_the_cluster")
    else {
        return;
    };
    let info = docker.ok(&["info"]).await.unwrap();
    for line in ["Swarm: active", "Is Manager: true", "Managers: 1", "Nodes: 2", "Node Address: "] {
        assert!(info.contains(line), "{line} in {info}");
    }
    assert!(info.contains(&format!("NodeID: {}", cluster.id(0))), "{info}");
    let version = docker.ok(&["version", "--format", "{{.Server.APIVersion}}"]).await.unwrap();
    assert!(version.starts_with("1."), "{version}");
    let worker = docker.on(&cluster.nodes[1].socket());
    let counts = worker
        .ok(&["info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"])
        .await
        .unwrap();
    assert_eq!(counts, "active false");
}

#[tokio::test]
async fn an_sdk_finds_what_it_knows() {
    let cluster = Cluster::new(1, 1).await.unwrap();
    let docker = sdk(&cluster.nodes[0].socket()).await.unwrap();
    let swarm = docker.inspect_swarm().await.unwrap();
    assert!(swarm.join_tokens.unwrap().worker.unwrap().starts_with("SWMTKN-1-"));

    let nodes = docker.list_nodes(None::<ListNodesOptions>).await.unwrap();
    assert_eq!(nodes.len(), 2);
    assert!(nodes.iter().all(|node| node.status.as_ref().unwrap().state == Some(NodeState::READY)));

    let node = docker.inspect_node(cluster.id(1)).await.unwrap();
    let version = i64::try_from(node.version.unwrap().index.unwrap()).unwrap();
    let mut spec = node.spec.unwrap();
    assert_eq!(spec.role, Some(NodeSpecRoleEnum::WORKER));
    spec.availability = Some(NodeSpecAvailabilityEnum::PAUSE);
    let options = bollard::query_parameters::UpdateNodeOptionsBuilder::default().version(version).build();
    docker.update_node(cluster.id(1), spec.clone(), options.clone()).await.unwrap();
    let node = docker.inspect_node(cluster.id(1)).await.unwrap();
    assert_eq!(node.spec.unwrap().availability, Some(NodeSpecAvailabilityEnum::PAUSE));
    let stale = docker.update_node(cluster.id(1), spec, options).await.unwrap_err();
    assert!(stale.to_string().contains("update out of sequence"), "{stale}");
}
