//! The table of what cannot be a service, and in which words that is said.

use std::collections::BTreeMap;
use std::sync::Arc;

use common::engine_api::convert::service_spec_from_api;
use common::engine_api::service::ServiceSpec as ApiServiceSpec;
use common::limits::{SERVICE_BYTES_MAX, SERVICE_SPEC_BYTES_MAX};
use common::object::{Service, ServiceId, ServiceSpec, Slot, Task, TaskId, TaskState, Version};
use common::time::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::api::error::ApiError;
use crate::store::{Store, Write};

const NOW: Timestamp = Timestamp(1_795_161_600_000_000_000);

/// As the edge does it: what cannot be read is refused in the same way as what is not allowed.
fn read(spec: Value) -> Result<ServiceSpec, ApiError> {
    let spec: ApiServiceSpec = serde_json::from_value(spec).expect("a document");
    Ok(service_spec_from_api(spec)?)
}

fn create_of(spec: Value) -> Result<(), ApiError> {
    read(spec).and_then(|spec| create(&Tables::default(), ServiceId(1), spec, NOW)).map(drop)
}

fn with(member: &str, value: Value) -> Value {
    let mut spec = json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "nginx"}}});
    *spec.pointer_mut(member).unwrap_or(&mut Value::Null) = value.clone();
    let (parent, name) = member.rsplit_once('/').expect("a path");
    let parent = if parent.is_empty() { &mut spec } else { spec.pointer_mut(parent).expect("there") };
    parent[name] = value;
    spec
}

#[test]
fn what_cannot_be_a_service_is_refused_in_docker_s_words() {
    let container = |name: &str, value: Value| with(&format!("/TaskTemplate/ContainerSpec/{name}"), value);
    let task = |name: &str, value: Value| with(&format!("/TaskTemplate/{name}"), value);
    let own = |name: &str, value: Value| with(&format!("/{name}"), value);
    let secret = |name: &str, target: &str| json!({"SecretID": "i", "SecretName": name, "File": {"Name": target, "UID": "0", "GID": "0", "Mode": 292}});
    let config = |name: &str, target: &str| json!({"ConfigID": "i", "ConfigName": name, "File": {"Name": target, "UID": "0", "GID": "0", "Mode": 292}});
    let port = |published: u16, mode: &str| json!({"TargetPort": 80, "PublishedPort": published, "PublishMode": mode});
    #[rustfmt::skip]
    let cases = [ // spec, status, sentence
        (own("Name", json!("a.b")),             400, "name must be valid as a DNS name component"),
        (own("Name", json!("-a")),              400, "name must be valid as a DNS name component"),
        (own("Name", json!("a".repeat(64))),    400, "name must be 63 characters or fewer"),
        (own("Name", json!("")),                400, "meta: name must be provided"),
        (task("ContainerSpec", json!(null)),    400, "TaskSpec: missing runtime"),
        (task("Runtime", json!("plugin")),      501, "a plugin as a service is not supported in this version yet"),
        (task("Runtime", json!("x")),           400, r#"invalid Runtime: "x""#),
        (container("Image", json!("")),         400, "ContainerSpec: image reference must be provided"),
        (container("Image", json!("A:B:C")),    400, r#"ContainerSpec: "A:B:C" is not a valid repository/tag"#),
        (task("Resources", json!({"Limits": {"NanoCPUs": 999_999}})),             400, "invalid cpu value 0.000999999: Must be at least 0.001"),
        (task("Resources", json!({"Limits": {"NanoCPUs": 1}})),                   400, "invalid cpu value 1e-09: Must be at least 0.001"),
        (task("Resources", json!({"Reservations": {"NanoCPUs": -1_000_000_000}})), 400, "invalid cpu value -1: Must be at least 0.001"),
        (task("Resources", json!({"Reservations": {"MemoryBytes": 4_194_303}})),  400, "invalid memory value 4194303: Must be at least 4MiB"),
        (task("Resources", json!({"Limits": {"MemoryBytes": -1}})),               400, "invalid memory value -1: Must be at least 4MiB"),
        (task("RestartPolicy", json!({"Delay": -1})),                             400, "TaskSpec: restart-delay cannot be negative"),
        (task("RestartPolicy", json!({"Window": -1})),                            400, "TaskSpec: restart-window cannot be negative"),
        (task("RestartPolicy", json!({"Condition": "x"})),                        400, r#"invalid RestartCondition: "x""#),
        (own("UpdateConfig", json!({"Delay": -1})),                               400, "TaskSpec: update-delay cannot be negative"),
        (own("RollbackConfig", json!({"Monitor": -1})),                           400, "TaskSpec: update-monitor cannot be negative"),
        (own("UpdateConfig", json!({"MaxFailureRatio": 1.5})),                    400, "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"),
        (own("UpdateConfig", json!({"FailureAction": "x"})),                      400, "unrecognized update failure action x"),
        (own("UpdateConfig", json!({"Order": "x"})),                              400, "unrecognized update order x"),
        (container("Mounts", json!([{"Type": "volume", "Target": "/x"}, {"Type": "tmpfs", "Target": "/x"}])), 400, "ContainerSpec: duplicate mount point: /x"),
        (container("Mounts", json!([{"Type": "bind", "Source": "/x"}])),          400, r#"invalid mount config for type "bind": field Target must not be empty"#),
        (container("Mounts", json!([{"Type": "cluster", "Target": "/x"}])),       501, "cluster volumes are not supported in this version yet"),
        (container("Healthcheck", json!({"Timeout": 1})),                         400, "ContainerSpec: Timeout in HealthConfig cannot be less than 1ms"),
        (container("Healthcheck", json!({"Retries": -1})),                        400, "ContainerSpec: Retries in HealthConfig cannot be negative"),
        (task("Placement", json!({"Constraints": ["node.role"]})),                400, "constraint expected one operator from ==, !="),
        (task("Placement", json!({"Constraints": ["no de==x"]})),                 400, "key 'no de' is invalid"),
        (task("Placement", json!({"Constraints": ["node.id==a&b"]})),             400, "value 'a&b' is invalid"),
        (own("EndpointSpec", json!({"Mode": "dnsrr", "Ports": [port(80, "ingress")]})), 400, "EndpointSpec: port published with ingress mode can't be used with dnsrr mode"),
        (own("EndpointSpec", json!({"Ports": [port(80, "ingress"), port(80, "host")]})), 400, "EndpointSpec: duplicate published ports provided"),
        (container("Secrets", json!([{"SecretID": "i"}])),                        400, "malformed secret reference"),
        (container("Secrets", json!([{"SecretID": "i", "SecretName": "n"}])),     400, "malformed secret reference, no target provided"),
        (container("Secrets", json!([secret("a", "")])),                          400, "malformed file secret reference, invalid target file name provided"),
        (container("Secrets", json!([secret("a", "x"), secret("b", "x")])),       400, "secret references 'a' and 'b' have a conflicting target: 'x'"),
        (container("Secrets", json!([secret("a", "x")])),                         400, "secret not found: a"),
        (container("Secrets", json!([secret("a", "x"), secret("b", "y")])),       400, "secrets not found: a, b"),
        (container("Configs", json!([config("a", "")])),                          400, "malformed file config reference, invalid target file name provided"),
        (container("Configs", json!([config("a", "x"), config("b", "x")])),       400, "config references 'a' and 'b' have a conflicting target: 'x'"),
        (container("Configs", json!([config("a", "x")])),                         400, "config not found: a"),
        (task("Networks", json!([{"Target": "mine"}])),                           404, "network mine not found"),
        (task("Networks", json!([{"Target": "ingress"}])),                        400, r#"Service cannot be explicitly attached to the ingress network "ingress""#),
        (own("Mode", json!({"Global": {}, "Replicated": {}})),                    400, "must specify only one service mode"),
        (own("Mode", json!({"Replicated": {"Replicas": 1_000_001}})),             400, "1000001 tasks are too many for one service, 1000000 are allowed"),
        (task("ContainerSpec", json!({"Image": "nginx", "Env": ["A={{.Nothing}}"]})), 400, "expanding env failed: "),
        (task("Runtime", json!("process")),                                       400, "ContainerSpec: a task of runtime process needs a command"),
    ];
    for (spec, status, sentence) in cases {
        let error = create_of(spec.clone()).expect_err(&spec.to_string());
        assert_eq!(error.status.as_u16(), status, "{spec}: {error}");
        // What the template's own words are is told elsewhere.
        let same = if sentence.ends_with(": ") {
            error.message.starts_with(sentence)
        } else {
            error.message == sentence
        };
        assert!(same, "{spec}:\n  said     {}\n  expected {sentence}", error.message);
    }
    let mut job = own("Mode", json!({"GlobalJob": {}}));
    job["UpdateConfig"] = json!({"Parallelism": 1});
    assert_eq!(create_of(job).unwrap_err(), ApiError::invalid("Jobs may not have an update config"));
    let huge = container("Env", json!(["x".repeat(SERVICE_SPEC_BYTES_MAX)]));
    assert!(create_of(huge).unwrap_err().message.starts_with("the service spec takes "));
}

#[test]
fn what_is_odd_but_harmless_is_a_service() {
    let task = |name: &str, value: Value| with(&format!("/TaskTemplate/{name}"), value);
    let specs = [
        with("/EndpointSpec", json!({"Ports": [{"TargetPort": 80}, {"TargetPort": 81}]})),
        with(
            "/EndpointSpec",
            json!({"Ports": [{"TargetPort": 53, "PublishedPort": 53, "Protocol": "udp"}, {"TargetPort": 53, "PublishedPort": 53}]}),
        ),
        with("/EndpointSpec", json!({"Mode": "dnsrr", "Ports": [{"TargetPort": 80, "PublishMode": "host"}]})),
        task("Networks", json!([{"Target": "host"}])),
        task("Placement", json!({"Constraints": ["node.labels.zone != a", "whatever==x"]})),
        task("Resources", json!({"Limits": {"NanoCPUs": 1_000_000, "MemoryBytes": 4_194_304}})),
        with("/Mode", json!({"Replicated": {"Replicas": 0}})),
        json!({"Name": "p", "TaskTemplate": {"Runtime": "process", "ContainerSpec": {"Command": ["/bin/true"]}}}),
        json!({"Name": "f", "TaskTemplate": {"Runtime": "fake", "ContainerSpec": {}}}),
    ];
    for spec in specs {
        assert_eq!(create_of(spec.clone()), Ok(()), "{spec}");
    }
}

#[test]
fn warnings_say_what_is_kept_and_not_done() {
    let spec = with("/EndpointSpec", json!({"Ports": [{"TargetPort": 80, "PublishedPort": 8080}]}));
    assert!(warnings(&read(spec).expect("a spec")).is_empty());
    let mut spec = json!({"Name": "p", "TaskTemplate": {"Runtime": "process", "ContainerSpec": {"Command": ["/bin/true"]}},
        "EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 80}]}});
    let said = warnings(&read(spec.clone()).expect("a spec"));
    assert!(
        said.len() == 1 && said[0].starts_with("port 80/tcp is published under its own number"),
        "{said:?}"
    );
    spec["EndpointSpec"]["Ports"][0]["PublishedPort"] = json!(8080);
    assert!(warnings(&read(spec).expect("a spec")).is_empty());
    let spread = json!({"Preferences": [{"Spread": {"SpreadDescriptor": "rack"}}, {"Spread": {"SpreadDescriptor": "node.labels.rack"}}]});
    let said = warnings(&read(with("/TaskTemplate/Placement", spread)).expect("a spec"));
    assert!(said.len() == 1 && said[0].contains("spread=rack has no effect"), "{said:?}");
}

fn put(store: &Store, index: u64, change: Change) {
    let proposal = crate::store::Proposal { id: index, at: NOW, changes: vec![change] };
    store.apply(index, &proposal).expect("nothing against it");
}

#[test]
fn ports_are_compared_with_those_of_all_other_services() {
    let service = |number: u128, name: &str, protocol: &str, published: u16, mode: &str| {
        let spec = json!({"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "i"}},
            "EndpointSpec": {"Ports": [{"TargetPort": 1, "PublishedPort": published, "Protocol": protocol, "PublishMode": mode}]}});
        Service::new(ServiceId(number << 100), read(spec).expect("a spec"), NOW)
    };
    let store = Store::new();
    put(&store, 1, Change::Service(Write::Create(service(1, "ingress-80", "tcp", 80, "ingress"))));
    put(&store, 2, Change::Service(Write::Create(service(2, "host-81", "tcp", 81, "host"))));
    let mut given = service(3, "given-30000", "tcp", 0, "ingress");
    given.ports = given.spec().endpoint.as_ref().expect("there").ports.clone();
    given.ports[0].published = 30000;
    put(&store, 3, Change::Service(Write::Create(given)));
    let mut removed = service(4, "removed-82", "tcp", 82, "ingress");
    removed.removed = true;
    put(&store, 4, Change::Service(Write::Create(removed)));
    let tables = store.snapshot();
    #[rustfmt::skip]
    let cases = [ // asked for, who has it
        ("tcp", 80,    "ingress", Some("port '80' is already in use by service 'ingress-80' ({1}) as an ingress port")),
        ("tcp", 80,    "host",    Some("port '80' is already in use by service 'ingress-80' ({1}) as an ingress port")),
        ("udp", 80,    "ingress", None),
        ("tcp", 81,    "ingress", Some("port '81' is already in use by service 'host-81' ({2}) as a host-published port")),
        ("tcp", 81,    "host",    None),
        ("tcp", 82,    "ingress", None),
        ("tcp", 30000, "host",    Some("port '30000' is already in use by service 'given-30000' ({3}) as an ingress port")),
        ("tcp", 0,     "ingress", None),
    ];
    for (protocol, published, mode, sentence) in cases {
        let new = service(9, "new", protocol, published, mode);
        let outcome = create(&tables, new.id, ServiceSpec::clone(new.spec()), NOW).map(drop);
        let expected = sentence.map_or(Ok(()), |sentence| {
            let id = |number: u128| ServiceId(number << 100).to_string();
            Err(sentence.replace("{1}", &id(1)).replace("{2}", &id(2)).replace("{3}", &id(3)))
        });
        assert_eq!(outcome.map_err(|error| error.message), expected, "{protocol} {published} {mode}");
    }
    // An update meets nobody in its own ports.
    let own = tables.service_by_name("ingress-80").expect("there");
    let mut spec = ServiceSpec::clone(own.spec());
    spec.endpoint.as_mut().expect("there").ports[0].target = 9;
    assert!(update(&tables, own, Some(own.meta.version), Wanted::Spec(spec.into()), NOW).is_ok());
}

#[test]
fn updates_are_refused_in_docker_s_words() {
    let mut service = Service::new(ServiceId(1), read(with("/Labels", json!({}))).expect("a spec"), NOW);
    service.meta.version = Version(7);
    let renamed = read(with("/Name", json!("other"))).expect("a spec");
    let nameless = read(with("/Name", json!(""))).expect("a spec");
    let global = read(with("/Mode", json!({"Global": {}}))).expect("a spec");
    let same = ServiceSpec::clone(service.spec());
    let id = service.id;
    #[rustfmt::skip]
    let cases = [ // wanted, at version, status, sentence
        (Wanted::Spec(renamed.into()),      7, 501, "renaming services is not supported".to_string()),
        (Wanted::Spec(nameless.into()),     7, 400, "meta: name must be provided".into()),
        (Wanted::Spec(global.into()),       7, 501, "service mode change is not allowed".into()),
        (Wanted::Spec(same.clone().into()), 6, 500, "update out of sequence".into()),
        (Wanted::Previous,           7, 400, format!("service {id} does not have a previous spec")),
        (Wanted::Number(1),          7, 400, format!("service {id} has spec 1 already")),
        (Wanted::Number(2),          7, 400, format!("service {id} does not keep spec 2; earlier specs kept: none")),
    ];
    for (wanted, version, status, sentence) in cases {
        let error =
            update(&Tables::default(), &service, Some(Version(version)), wanted, NOW).expect_err(&sentence);
        assert_eq!((error.status.as_u16(), error.message), (status, sentence));
    }
    assert!(update(&Tables::default(), &service, None, Wanted::Spec(same.into()), NOW).is_ok());
}

#[test]
fn the_oldest_unused_specs_make_room_for_a_new_one() {
    let large = |marker: &str| {
        let mut spec = read(with("/Labels", json!({}))).expect("a spec");
        spec.task.container.env = vec![format!("{marker}={}", "x".repeat(SERVICE_SPEC_BYTES_MAX - 4096))];
        spec
    };
    let store = Store::new();
    put(&store, 1, Change::Service(Write::Create(Service::new(ServiceId(1), large("A"), NOW))));
    let task = Task::new(TaskId(1), ServiceId(1), Slot::Number(1), 1, TaskState::Running);
    put(&store, 2, Change::Task(Write::Create(task)));
    for index in 3..12 {
        let tables = store.snapshot();
        let service: &Arc<Service> = tables.services.get(ServiceId(1)).expect("there");
        let change =
            update(&tables, service, None, Wanted::Spec(large("B").into()), NOW).expect("room is made");
        put(&store, index, change);
    }
    let tables = store.snapshot();
    let service = tables.services.get(ServiceId(1)).expect("there");
    assert!(encode(&**service).len() <= SERVICE_BYTES_MAX);
    let kept: BTreeMap<u64, ()> = service.earlier.keys().map(|number| (*number, ())).collect();
    assert!(kept.contains_key(&1), "a task uses it: {kept:?}");
    assert_eq!(service.previous, Some(9));
    assert!(kept.contains_key(&9) && kept.len() < 9, "{kept:?}");
}
