//! The real `docker` client's network commands on our socket.

use crate::client::Api;
use crate::docker::{has_client, printed, ran};
use crate::fake::{FakeCluster, FakeHost};

fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test]
async fn network_commands() {
    if !has_client("network_commands").await {
        return;
    }
    let cluster = FakeCluster::new();
    let api = Api::new(FakeHost::manager(&cluster));
    #[rustfmt::skip]
    let create = [
        "network", "create", "-d", "overlay", "--attachable", "--label", "a=1", "--opt", "encrypted",
        "--subnet", "10.20.0.0/16", "--ip-range", "10.20.4.0/24", "--gateway", "10.20.0.9", "--aux-address", "r=10.20.4.1",
        "front",
    ];
    let id = printed(&api, &create).await.trim().to_owned();
    let other = printed(&api, &["network", "create", "--driver=overlay", "--internal", "back"]).await;
    let ls = printed(&api, &["network", "ls"]).await;
    #[rustfmt::skip]
    let expected = [
        vec!["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"],
        vec![&other[..12], "back", "overlay", "swarm"],
        vec![&id[..12], "front", "overlay", "swarm"],
    ];
    assert_eq!(rows(&ls), expected);
    let quiet = ["network", "ls", "-q", "--no-trunc", "--filter", "label=a", "--filter", "driver=overlay"];
    assert_eq!(printed(&api, &quiet).await.trim(), id);

    let format = "{{.Name}} {{.Id}} {{.Scope}} {{.Attachable}} {{(index .IPAM.Config 0).IPRange}} {{index .Labels \"a\"}}";
    let inspected = printed(&api, &["network", "inspect", "-f", format, "front"]).await;
    assert_eq!(inspected, format!("front {id} swarm true 10.20.4.0/24 1\n"));
    let verbose = printed(&api, &["network", "inspect", "--verbose", "-f", "{{.Internal}}", "back"]).await;
    assert_eq!(verbose, "true\n");

    let service = ["service", "create", "-d", "--name", "web", "--network", "name=front,alias=www", "nginx"];
    let made = ran(&api, &service).await;
    assert!(made.err.contains("does not carry connections"), "{}", made.err);
    assert_eq!(cluster.service("web").spec().task.networks[0].target, id);
    assert_eq!(cluster.service("web").spec().task.networks[0].aliases, ["www"]);
    let in_use = ran(&api, &["network", "rm", "front"]).await;
    assert!(in_use.err.contains("network front is in use by service web"), "{}", in_use.err);
    printed(&api, &["service", "update", "-d", "--network-rm", "front", "--network-add", "back", "web"])
        .await;
    assert_eq!(cluster.service("web").spec().task.networks[0].target, other.trim());
    assert_eq!(printed(&api, &["network", "rm", "front"]).await, "front\n");
    let gone = ran(&api, &["network", "inspect", "front"]).await;
    assert!(gone.err.contains("network front not found"), "{}", gone.err);
    let twice = ran(&api, &["network", "create", "-d", "overlay", "back"]).await;
    assert!(twice.err.contains("network with name back already exists"), "{}", twice.err);
}
