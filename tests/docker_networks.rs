//! Networks of the cluster by the real `docker` command and by ours, line by line. How lines are read: `commands`.

use harness::commands::{row, session, soon};

#[tokio::test]
async fn networks_are_made_listed_used_and_removed() {
    let Some((_cluster, shell)) = session("networks_are_made_listed_used_and_removed").await else { return };
    shell
        .table([
            row("docker network ls -f driver=overlay", 0, "NETWORK ID NAME DRIVER SCOPE\n* ingress overlay swarm"),
            row("docker network create -d overlay --attachable --label tier=front front", 0, "*"),
            row("docker network create -d overlay --subnet 10.77.0.0/29 small", 0, "*"),
            row(
                "docker network create -d overlay --subnet 10.77.0.0/16 large",
                1,
                "Error response from daemon: Pool overlaps with other one on this address space: 10.77.0.0/16 and 10.77.0.0/29 of network small",
            ),
            row(
                "docker network create -d overlay front",
                1,
                "Error response from daemon: network with name front already exists",
            ),
            row(
                "docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}' -f scope=swarm",
                0,
                "front overlay swarm\ningress overlay swarm\nsmall overlay swarm",
            ),
            row("docker network ls -q -f name=nobody", 0, ""),
            row("docker network ls --format '{{.Name}}' -f name=bridge -f driver=bridge", 0, "bridge"),
            row(
                "docker network inspect -f '{{.Name}} {{.Scope}} {{.Attachable}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}' front",
                0,
                "front swarm true 10.0.1.0/24 10.0.1.1",
            ),
            row("docker network inspect -f '{{.Driver}} {{.Scope}}' bridge", 0, "bridge local"),
            row("docker network inspect nobody", 1, "[]\n*network nobody not found"),
            // A task on such a network runs, in the engine's own network.
            row(
                "docker $create -d --name web --replicas 2 --network name=front,alias=www $image sleep 100000",
                0,
                "*network *: services and tasks have addresses there, and this version does not carry connections*",
            ),
            soon("docker service ls --format '{{.Name}} {{.Replicas}}'", 0, "web 2/2"),
            row(
                "docker service inspect -f '{{range .Endpoint.VirtualIPs}}{{.Addr}}{{end}}' web",
                0,
                "10.0.1.*/24",
            ),
            row("swarm network inspect --verbose -f '{{.Addresses.Used}} {{(index .Services \"web\").VIP}}' front", 0, "3 10.0.1.*"),
            row("docker network rm front", 1, "Error response from daemon: network front is in use by service web*"),
            // Of five addresses the service has one; who gets none waits, and says why.
            row("docker $create -d --name full --replicas 5 --network small $image sleep 100000", 0, "*"),
            soon("docker service ls --format '{{.Name}} {{.Replicas}}' -f name=full", 0, "full 4/5"),
            soon(
                "docker service ps --no-trunc --format '{{.CurrentState}} {{.Error}}' -f desired-state=running full",
                0,
                "*New * \"network small has no free address: all 5 are given out\"*",
            ),
            row(
                "swarm network inspect -f '{{range .Addresses.Waiting}}{{.}}{{end}}' small",
                0,
                "network small has no free address: all 5 are given out",
            ),
            row("docker service rm web", 0, "web"),
            row("docker network rm front", 0, "front"),
            row("docker service update -d --network-rm small --network-add ingress full", 1, "*ingress*"),
        ])
        .await;
}
