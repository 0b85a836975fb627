//! Specs there and back, and what cannot be read as one.

use serde_json::{Value, json};

use super::*;
use crate::engine_api::service::ServiceSpec as ApiServiceSpec;
use crate::object::{NodeId, Service, ServiceId, Slot, Task, TaskId, TaskState};
use crate::time::Timestamp;

/// A spec that says everything that can be said, but for what excludes each other.
fn everything() -> Value {
    serde_json::from_str(include_str!("everything.json")).expect("JSON")
}

fn read(json: Value) -> Result<crate::object::ServiceSpec, String> {
    let spec: ApiServiceSpec = serde_json::from_value(json).map_err(|error| error.to_string())?;
    service_spec_from_api(spec).map_err(|error| error.to_string())
}

#[test]
fn a_spec_reads_back_as_it_was_given() {
    let shown = service_spec_to_api(&read(everything()).expect("a spec"));
    assert_eq!(serde_json::to_value(shown).expect("JSON"), everything());
}

#[test]
fn what_was_not_said_is_not_shown() {
    let said = json!({"Name": "w", "Labels": {}, "TaskTemplate": {"ContainerSpec": {"Image": "i"}, "ForceUpdate": 0}, "Mode": {"Global": {}}});
    let mut shown =
        serde_json::to_value(service_spec_to_api(&read(said.clone()).expect("a spec"))).expect("JSON");
    // Docker names the runtime and the number of replicas even where nobody did, and its clients count on the latter.
    assert_eq!(
        shown["TaskTemplate"].as_object_mut().expect("an object").remove("Runtime"),
        Some(json!("container"))
    );
    assert_eq!(shown, said);
    let one = service_spec_to_api(
        &read(json!({"TaskTemplate": {"ContainerSpec": {}}, "Mode": {"Replicated": {}}})).expect("a spec"),
    );
    assert_eq!(serde_json::to_value(one.mode).expect("JSON"), json!({"Replicated": {"Replicas": 1}}));
}

#[test]
fn what_is_no_spec_is_refused_by_name() {
    let container = |spec: Value| json!({"TaskTemplate": {"ContainerSpec": spec}});
    let task = |member: &str, value: Value| json!({"TaskTemplate": {"ContainerSpec": {}, member: value}});
    let beside = |member: &str, value: Value| json!({"TaskTemplate": {"ContainerSpec": {}}, member: value});
    #[rustfmt::skip]
    let cases = [
        (json!({}), "TaskSpec: missing runtime"),
        (task("Runtime", json!("moon")), r#"invalid Runtime: "moon""#),
        (task("Runtime", json!("plugin")), "a plugin as a service is not supported in this version yet"),
        (task("PluginSpec", json!({})), "a plugin as a service is not supported in this version yet"),
        (task("NetworkAttachmentSpec", json!({})), "a network attachment as a service is not supported in this version yet"),
        (task("RestartPolicy", json!({"Condition": "x"})), r#"invalid RestartCondition: "x""#),
        (task("RestartPolicy", json!({"Delay": -1})), "TaskSpec: restart-delay cannot be negative"),
        (task("RestartPolicy", json!({"Window": -1})), "TaskSpec: restart-window cannot be negative"),
        (task("Placement", json!({"Preferences": [{}]})), "a placement preference must be a spread"),
        (task("Resources", json!({"Reservations": {"GenericResources": [{"NamedResourceSpec": {"Kind": "a", "Value": "b"}}]}})), "named generic resources cannot be reserved: ask for an amount of a kind"),
        (task("Resources", json!({"Reservations": {"GenericResources": [{"DiscreteResourceSpec": {"Kind": "a", "Value": -1}}]}})), "GenericResources is out of range: -1"),
        (beside("UpdateConfig", json!({"Delay": -1})), "TaskSpec: update-delay cannot be negative"),
        (beside("UpdateConfig", json!({"Monitor": -1})), "TaskSpec: update-monitor cannot be negative"),
        (beside("UpdateConfig", json!({"MaxFailureRatio": 1.01})), "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"),
        (beside("UpdateConfig", json!({"MaxFailureRatio": -0.1})), "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"),
        (beside("UpdateConfig", json!({"FailureAction": "x"})), "unrecognized update failure action x"),
        (beside("RollbackConfig", json!({"Order": "x"})), "unrecognized update order x"),
        (beside("Mode", json!({"Global": {}, "Replicated": {}})), "must specify only one service mode"),
        (beside("Mode", json!({"GlobalJob": {}, "ReplicatedJob": {}})), "must specify only one service mode"),
        (beside("EndpointSpec", json!({"Mode": "x"})), r#"invalid EndpointSpec.Mode: "x""#),
        (beside("EndpointSpec", json!({"Ports": [{"TargetPort": 65536}]})), "TargetPort is out of range: 65536"),
        (beside("EndpointSpec", json!({"Ports": [{}]})), "TargetPort is out of range: 0"),
        (beside("EndpointSpec", json!({"Ports": [{"TargetPort": 1, "PublishedPort": 70000}]})), "PublishedPort is out of range: 70000"),
        (beside("EndpointSpec", json!({"Ports": [{"TargetPort": 1, "Protocol": "icmp"}]})), r#"invalid Protocol: "icmp""#),
        (container(json!({"StopGracePeriod": -1})), "ContainerSpec: stop-grace-period cannot be negative"),
        (container(json!({"Healthcheck": {"Interval": 999_999}})), "ContainerSpec: Interval in HealthConfig cannot be less than 1ms"),
        (container(json!({"HealthCheck": {"StartPeriod": -1}})), "ContainerSpec: StartPeriod in HealthConfig cannot be less than 1ms"),
        (container(json!({"Healthcheck": {"Retries": -1}})), "ContainerSpec: Retries in HealthConfig cannot be negative"),
        (container(json!({"Mounts": [{"Type": "x"}]})), r#"invalid MountType: "x""#),
        (container(json!({"Mounts": [{"BindOptions": {"Propagation": "x"}}]})), r#"invalid MountPropagation: "x""#),
        (container(json!({"Secrets": [{"SecretName": "n"}]})), "malformed secret reference"),
        (container(json!({"Secrets": [{"SecretName": "n", "SecretID": "i"}]})), "malformed secret reference, no target provided"),
        (container(json!({"Configs": [{"ConfigID": "i"}]})), "malformed config reference"),
        (container(json!({"Configs": [{"ConfigName": "n", "ConfigID": "i"}]})), "malformed config reference, no target provided"),
        (container(json!({"Privileges": {"CredentialSpec": {}}})), r#"invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec"#),
        (container(json!({"Privileges": {"CredentialSpec": {"File": "a", "Config": "b"}}})), r#"invalid CredentialSpec: cannot specify both "config" and "file" credential specs"#),
        (container(json!({"Privileges": {"Seccomp": {"Mode": "x"}}})), r#"invalid SeccompMode: "x""#),
        (container(json!({"Privileges": {"AppArmor": {"Mode": "x"}}})), r#"invalid AppArmorMode: "x""#),
        (container(json!({"ReadyCheck": {}})), "ContainerSpec: a ready check is exactly one of a command, an HTTP request and a TCP port"),
        (container(json!({"ReadyCheck": {"Tcp": {"Port": 0}}})), "ReadyCheck.Port is out of range: 0"),
    ];
    for (json, text) in cases {
        assert_eq!(read(json.clone()).expect_err(&json.to_string()), text, "{json}");
    }
}

#[test]
fn a_task_shows_its_service_s_spec_of_its_number() {
    let at = Timestamp(1_795_161_600_000_000_000);
    let mut service = Service::new(ServiceId(1 << 127), read(everything()).expect("a spec"), at);
    let mut next = crate::object::ServiceSpec::clone(service.spec());
    next.task.container.image = "nginx:2".into();
    service.replace_spec(std::sync::Arc::new(next), at);
    let mut task = Task::new(TaskId(1 << 127), service.id, Slot::Number(3), 1, TaskState::Running);
    task.status.error = "no suitable node".into();
    task.status.state = TaskState::Pending;
    task.meta.created_at = at;
    let shown = task_to_api(&task, Some(&service));
    assert_eq!(shown.name, format!("web.3.{}", task.id));
    assert_eq!(shown.spec.container_spec.expect("there").image, "nginx:1@sha256:00");
    assert_eq!((shown.slot, shown.labels["a"].as_str()), (3, "b"));
    let status = shown.status;
    assert_eq!((status.state.as_str(), status.message.as_str()), ("pending", "pending task scheduling"));
    assert_eq!((status.err.as_str(), status.timestamp), ("no suitable node", at.to_rfc3339()));

    let node = NodeId(5 << 120);
    let global = Task::new(TaskId(1 << 127), service.id, Slot::Node(node), 9, TaskState::Shutdown);
    let shown = task_to_api(&global, Some(&service));
    assert_eq!((shown.name, shown.slot), (format!("web.{node}.{}", global.id), 0));
    assert_eq!((shown.node_id, shown.desired_state), (node.to_string(), "shutdown".into()));
}

#[test]
fn credentials_are_shown_to_nobody() {
    let mut spec = read(everything()).expect("a spec");
    spec.task.registry_auth = Some(crate::object::sensitive::Sensitive::new("hidden".into()));
    let shown = serde_json::to_string(&service_spec_to_api(&spec)).expect("JSON");
    assert!(!shown.contains("hidden") && !format!("{spec:?}").contains("hidden"));
}
