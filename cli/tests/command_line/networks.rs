//! Networks: what is sent, and what is shown.

use serde_json::{Value, json};

use crate::fake_api::Routes;

const ID: &str = "kkkkkkkkkkkkkkkkkkkkkkkkk";

fn network(name: &str, more: Value) -> Value {
    let mut shown = json!({
        "Name": name, "Id": ID, "Created": "2016-11-20T08:00:00.123Z", "Scope": "swarm", "Driver": "overlay",
        "EnableIPv4": true, "EnableIPv6": false, "Internal": false, "Labels": {"a": "1", "bare": ""},
        "IPAM": {"Driver": "default", "Options": null, "Config": [{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}]},
    });
    for (member, value) in more.as_object().expect("members") {
        shown[member] = value.clone();
    }
    shown
}

fn routes() -> Routes {
    let local =
        json!({"Id": "f00df00df00df00d", "Scope": "local", "Driver": "bridge", "Labels": null, "IPAM": null});
    Routes::default()
        .on("POST /networks/create", 201, json!({"Id": ID, "Warning": ""}))
        .on("GET /networks", 200, json!([network("front10", json!({})), network("front2", local)]))
        .on("GET /networks/front", 200, network("front", json!({"Addresses": {"Total": 253, "Used": 7}})))
        .error("GET /networks/gone", 404, "network gone not found")
        .on("DELETE /networks/front", 204, "")
        .error("DELETE /networks/gone", 404, "network gone not found")
        .error("DELETE /networks/used", 400, "network used is in use by service web")
}

#[test]
fn lists_and_documents_are_docker_s() {
    let list = "\
NETWORK ID     NAME      DRIVER    SCOPE
f00df00df00d   front2    bridge    local
kkkkkkkkkkkk   front10   overlay   swarm
";
    routes().serve().shows(&["network", "ls"], list);
    routes().serve().shows(&["network", "list", "-q", "--no-trunc"], &format!("f00df00df00df00d\n{ID}\n"));
    routes().serve().shows(
        &["network", "ls", "--format", "{{.Name}} {{.Subnets}} {{.Labels}} {{.IPv4}}"],
        "front2   true\nfront10 10.0.1.0/24 a=1,bare= true\n",
    );
    routes().serve().shows(
        &["network", "inspect", "-f", "{{.Addresses.Used}} of {{.Addresses.Total}}", "front"],
        "7 of 253\n",
    );
}

#[test]
fn a_network_is_asked_for_as_docker_does() {
    let fake = routes().serve();
    let ran = fake.run(&["network", "create", "front"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, format!("{ID}\n").as_str(), ""));
    #[rustfmt::skip]
    let ran = fake.run(&[
        "network", "create", "-d", "overlay", "--subnet", "10.1.0.0/16", "--gateway", "10.1.0.9", "--ip-range", "10.1.4.0/24",
        "--aux-address", "r=10.1.0.2", "--ipv6", "--ipv4=false", "--label", "a=1", "-o", "encrypted", "--attachable", "--internal",
        "--ingress", "--scope", "swarm", "back",
    ]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let requests = fake.requests();
    let bodies = requests.iter().filter_map(|request| request.strip_prefix("POST /networks/create "));
    let sent: Vec<Value> = bodies.map(|body| serde_json::from_str(body).expect("JSON")).collect();
    let plain = json!({
        "Name": "front", "Driver": "overlay", "Scope": "", "Internal": false, "Attachable": false, "Ingress": false,
        "ConfigOnly": false, "Options": {}, "Labels": {}, "IPAM": {"Driver": "default", "Options": {}, "Config": []},
    });
    let config = json!([{"Subnet": "10.1.0.0/16", "IPRange": "10.1.4.0/24", "Gateway": "10.1.0.9", "AuxiliaryAddresses": {"r": "10.1.0.2"}}]);
    let full = json!({
        "Name": "back", "Driver": "overlay", "Scope": "swarm", "Internal": true, "Attachable": true, "Ingress": true,
        "ConfigOnly": false, "Options": {"encrypted": ""}, "Labels": {"a": "1"}, "EnableIPv4": false, "EnableIPv6": true,
        "IPAM": {"Driver": "default", "Options": {}, "Config": config},
    });
    assert_eq!(sent, [plain, full]);
}

#[test]
fn all_are_removed_that_can_be() {
    let ran = routes().serve().run(&["network", "rm", "used", "front", "gone"]);
    assert_eq!(ran.stdout, "front\n");
    assert!(
        ran.stderr.contains("in use by service web") && ran.stderr.contains("network gone not found"),
        "{}",
        ran.stderr
    );
    assert_ne!(ran.code, 0);
    routes().serve().shows(&["network", "rm", "--force", "gone", "front"], "front\n");
}
