//! Requests to the API, over a cluster that is only a store.
//!
//! The input is a request as text: `METHOD target`, a line end, and the body. A `+` in front asks a node outside of
//! any cluster.

#[path = "../../tests/api/fake.rs"]
#[allow(dead_code)] // the tests use more of it
pub mod fake;

use std::sync::{Arc, LazyLock, Mutex};

use common::object::payload::PayloadSpec;
use common::object::sensitive::SensitiveBytes;
use common::object::{
    NodeId, NodeState, Payload, PayloadId, PayloadKind, Role, Service, ServiceId, ServiceSpec, Slot, Task,
    TaskId, TaskState,
};
use fake::{FakeCluster, FakeHost, NOW, id_of};
use hyper::Request;
use manager::api::Host;
use manager::store::{Change, Write};
use tokio::runtime::{Builder, Runtime};

/// Of the one secret there is, as it is and as it would be shown.
const VALUE: &str = "nobody is shown this";
const VALUE_BASE64: &str = "bm9ib2R5IGlzIHNob3duIHRoaXM=";

static RUNTIME: LazyLock<Mutex<Runtime>> =
    LazyLock::new(|| Mutex::new(Builder::new_current_thread().enable_time().build().expect("a runtime")));

pub fn run(data: &[u8]) {
    let (outside, data) = match data.strip_prefix(b"+") {
        Some(rest) => (true, rest),
        None => (false, data),
    };
    let line_end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = (&data[..line_end], data.get(line_end + 1..).unwrap_or_default());
    let Ok(line) = std::str::from_utf8(line) else { return };
    let Some((method, target)) = line.split_once(' ') else { return };
    // What HTTP itself refuses never comes to us.
    let Ok(request) = Request::builder().method(method).uri(target).body(body.to_vec()) else { return };
    let host: Arc<dyn Host> = if outside { FakeHost::outside() } else { FakeHost::manager(&cluster()) };
    let runtime = RUNTIME.lock().expect("one input at a time");
    let (status, answer) = runtime.block_on(manager::api::fuzz::answer(host, request));
    let empty = answer.is_empty();
    let shows = |value: &str| answer.windows(value.len()).any(|part| part == value.as_bytes());
    assert!(!shows(VALUE) && !shows(VALUE_BASE64), "{method} {target} shows the secret");
    match status {
        200..300 => {}
        400..=499 | 501 | 503 => assert!(!empty, "{status} says why"),
        // Docker's status and words for a version that is not the present one.
        500 if answer.starts_with(br#"{"message":"update out of sequence"}"#) => {}
        _ => panic!("{status}: {}", String::from_utf8_lossy(&answer)),
    }
}

fn cluster() -> Arc<FakeCluster> {
    let cluster = FakeCluster::new();
    cluster.add(2, Role::Worker, "host-2", NodeState::Down);
    let spec = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
    let service = Service::new(ServiceId(id_of(3)), spec, NOW);
    let mut task = Task::new(TaskId(id_of(4)), service.id, Slot::Number(1), 1, TaskState::Running);
    task.node = Some(NodeId(id_of(2)));
    let spec = PayloadSpec { name: "key".into(), ..PayloadSpec::default() };
    let value = SensitiveBytes::new(VALUE.into());
    let secret = Payload::new(PayloadId(id_of(5)), PayloadKind::Secret, spec, value, NOW);
    let changes = vec![
        Change::Service(Write::Create(service)),
        Change::Task(Write::Create(task)),
        Change::Payload(Write::Create(secret)),
    ];
    cluster.apply(changes).expect("nothing against it");
    cluster
}

/// A spec with every member, and one as Docker's client sends it.
pub fn spec_seeds() -> Vec<Vec<u8>> {
    [EVERYTHING, SMALL].map(|spec| spec.as_bytes().to_vec()).into()
}

const EVERYTHING: &str = include_str!("../../../common/src/engine_api/convert/everything.json");
const SMALL: &str = r#"{"Name":"other","Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"nginx:latest","Init":false,"DNSConfig":{}},"Resources":{"Limits":{},"Reservations":{}},"Placement":{},"ForceUpdate":0},"Mode":{"Replicated":{}},"EndpointSpec":{"Mode":"vip","Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]}}"#;

pub fn seeds() -> Vec<Vec<u8>> {
    let node = common::object::NodeId(id_of(1));
    let body = r#"{"Name":"default","Labels":{"a":"b"},"Orchestration":{"TaskHistoryRetentionLimit":5},"Raft":{"SnapshotInterval":10000,"KeepOldSnapshots":0,"LogEntriesForSlowFollowers":500,"ElectionTick":10,"HeartbeatTick":1},"Dispatcher":{"HeartbeatPeriod":5000000000},"CAConfig":{"NodeCertExpiry":7776000000000000},"TaskDefaults":{},"EncryptionConfig":{"AutoLockManagers":false}}"#;
    let init = format!(
        r#"{{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"10.0.0.1:2377","DataPathAddr":"10.0.0.1","DataPathPort":4789,"DefaultAddrPool":["10.0.0.0/8"],"SubnetSize":24,"ForceNewCluster":false,"Spec":{body},"AutoLockManagers":false,"Availability":"active"}}"#
    );
    let join = r#"{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":"10.0.0.2","DataPathAddr":"","RemoteAddrs":["10.0.0.1:2377"],"JoinToken":"SWMTKN-1-6dp5qcb22im238nr3wvp0ic7q99w035jmy2iw7i6n43d37jtof-0123456789abcdefghijklmno","Availability":"drain"}"#;
    let spec = r#"{"Name":"n","Role":"manager","Availability":"drain","Labels":{"a":"b","c":""}}"#;
    [
        format!("+POST /v1.41/swarm/init\n{init}"),
        format!("+POST /swarm/join\n{join}"),
        "+GET /info\n".into(),
        "+GET /swarm\n".into(),
        "GET /v1.24/_ping\n".into(),
        "GET /version\n".into(),
        "GET /swarm\n".into(),
        format!("POST /swarm/update?version=1&rotateWorkerToken=true&rotateManagerToken=0\n{body}"),
        "POST /swarm/leave?force=1\n".into(),
        "GET /swarm/x/raft\n".into(),
        "GET /swarm/x/gossip\n".into(),
        r#"GET /nodes?filters={"role":["manager"],"label":{"a=b":true},"id":["x"],"membership":["accepted"],"name":["host"],"node.label":["x"]}"#.into(),
        format!("GET /v1.56/nodes/{node}\n"),
        format!("POST /nodes/{node}/update?version=2\n{spec}"),
        "DELETE /nodes/host-2?force=true\n".into(),
        "GET /services?filters=%7B%22name%22%3A%5B%22a%22%5D%7D&status=true\n".into(),
        "GET /tasks\n".into(),
        format!("POST /v1.41/services/create\n{SMALL}"),
        format!("POST /services/create\n{EVERYTHING}"),
        format!("POST /services/web/update?version=3&registryAuthFrom=previous-spec\n{SMALL}"),
        format!("POST /services/web/update?version=3&rollback=previous\n{SMALL}"),
        "GET /services/web?insertDefaults=true\n".into(),
        "DELETE /services/web\n".into(),
        "GET /services/web/logs?stdout=1&stderr=1&tail=5&since=1.5&until=2026-11-20T08:00:00Z&details=1&timestamps=1\n".into(),
        format!("GET /tasks/{}/logs?stderr=1&follow=1\n", TaskId(id_of(4))),
        r#"GET /tasks?filters={"_up-to-date":{"true":true},"service":["web"],"node":["host-1"],"desired-state":["running"],"runtime":["container"],"label":["a"]}"#.into(),
        r#"GET /events?since=0&until=1795161600.5&filters={"type":["service"],"event":["create"],"scope":["swarm"],"service":["web"],"label":["a=b"]}"#.into(),
        "GET /swarm/x/services/web/history\n".into(),
        "GET /swarm/x/services/web/explain\n".into(),
        "POST /swarm/x/services/web/rebalance\n".into(),
        "GET /networks/host?scope=swarm\n".into(),
        "POST /secrets/create\n{}".into(),
        r#"POST /secrets/create
{"Name":"other","Labels":{"a":"b"},"Data":"aHVudGVyMg==","Templating":{"Name":"golang"}}"#.into(),
        "GET /secrets?filters={\"name\":[\"key\"],\"label\":[\"a=b\"],\"id\":[\"x\"]}\n".into(),
        "GET /secrets/key\n".into(),
        "POST /secrets/key/update?version=1\n{\"Name\":\"key\",\"Labels\":{\"c\":\"d\"}}".into(),
        "DELETE /secrets/key\n".into(),
        "POST /swarm/x/secrets/key/rotate\n{\"Data\":\"YmV0dGVy\"}".into(),
        "GET /swarm/x/secrets/key/history\n".into(),
        "POST /configs/create\n{\"Name\":\"app\",\"Data\":\"YQ==\"}".into(),
        "GET /swarm/unlockkey\n".into(),
        "+POST /swarm/unlock\n{\"UnlockKey\":\"SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}".into(),
        "POST /swarm/x/client-certs\n{\"Name\":\"alice\",\"Role\":\"viewer\",\"ValidFor\":3600000000000,\"CSR\":\"PEM\"}".into(),
        "DELETE /swarm/x/client-certs/alice\n".into(),
        "GET /swarm/x/audit?user=alice&outcome=done&limit=5&local=1\n".into(),
        "POST /swarm/x/rotate-data-keys\n".into(),
        "GET /containers/json?all=1\n".into(),
    ]
    .map(String::into_bytes)
    .into()
}
