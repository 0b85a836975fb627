//! What a provider of secrets is asked: of a secret, for one task.

use super::payload::decode;
use super::{ConvertError, task_name};
use crate::engine_api::secret_provider as api;
use crate::object::ports::{EndpointMode, Port, Protocol, PublishMode};
use crate::object::sensitive::{Sensitive, SensitiveBytes};
use crate::object::{Node, Payload, PayloadKind, Service, ServiceSpec, Task};

/// Whose value is asked for: the task's spec is that of its service which it was made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub secret: &'a Payload,
    pub service: &'a Service,
    pub spec: &'a ServiceSpec,
    pub task: &'a Task,
    pub node: Option<&'a Node>,
}

pub fn secret_request(wanted: Wanted<'_>) -> api::SecretRequest {
    let Wanted { secret, service, spec, task, node } = wanted;
    let driver = secret.spec.driver.clone().unwrap_or_default();
    let description = node.and_then(|node| node.description.as_ref());
    api::SecretRequest {
        secret_name: secret.spec.name.clone(),
        secret_labels: secret.spec.labels.clone(),
        secret_options: driver.options,
        service_id: service.id.to_string(),
        service_name: spec.name.clone(),
        service_labels: spec.labels.clone(),
        service_hostname: spec.task.container.hostname.clone(),
        service_endpoint_spec: spec.endpoint.as_ref().map(|endpoint| api::ServiceEndpoint {
            mode: match endpoint.mode.unwrap_or_default() {
                EndpointMode::Vip => 0,
                EndpointMode::Dnsrr => 1,
            },
            // As they were given out: what a certificate names has to be there.
            ports: service.ports.iter().map(port).collect(),
        }),
        task_id: task.id.to_string(),
        task_name: task_name(&spec.name, task),
        task_image: spec.task.container.image.clone(),
        node_id: task.node.map(|node| node.to_string()).unwrap_or_default(),
        node_hostname: description.map(|node| node.hostname.clone()).unwrap_or_default(),
    }
}

fn port(port: &Port) -> api::ServicePort {
    api::ServicePort {
        name: port.name.clone(),
        protocol: match port.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => 1,
            Protocol::Sctp => 2,
        },
        target_port: port.target.into(),
        published_port: port.published.into(),
        publish_mode: match port.mode {
            PublishMode::Ingress => 0,
            PublishMode::Host => 1,
        },
    }
}

/// What a provider's answer holds.
pub fn secret_value_from_api(value: &Sensitive) -> Result<SensitiveBytes, ConvertError> {
    decode(PayloadKind::Secret, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::container::Driver;
    use crate::object::payload::PayloadSpec;
    use crate::object::ports::EndpointSpec;
    use crate::object::{NodeId, PayloadId, ServiceId, Slot, TaskId, TaskState};
    use crate::time::Timestamp;

    #[test]
    fn a_provider_is_asked_in_docker_s_words() {
        let driver = Driver { name: "vault".into(), options: [("path".into(), "kv/db".into())].into() };
        let labels: std::collections::BTreeMap<_, _> = [("team".into(), "web".into())].into();
        let spec = PayloadSpec {
            name: "key".into(),
            labels: labels.clone(),
            driver: Some(driver),
            ..PayloadSpec::default()
        };
        let none = SensitiveBytes::new(Vec::new());
        let secret = Payload::new(PayloadId(1), PayloadKind::Secret, spec, none, Timestamp(0));
        let mut spec = ServiceSpec { name: "web".into(), labels, ..ServiceSpec::default() };
        spec.task.container.image = "nginx".into();
        spec.task.container.hostname = "web.local".into();
        spec.endpoint = Some(EndpointSpec { mode: Some(EndpointMode::Dnsrr), ports: Vec::new() });
        let mut service = Service::new(ServiceId(2), spec.clone(), Timestamp(0));
        service.ports = vec![Port {
            target: 53,
            published: 5353,
            protocol: Protocol::Udp,
            mode: PublishMode::Host,
            ..Port::default()
        }];
        let mut task = Task::new(TaskId(3), service.id, Slot::Number(1), 1, TaskState::Running);
        task.node = Some(NodeId(4));
        let wanted = Wanted { secret: &secret, service: &service, spec: &spec, task: &task, node: None };
        let asked = serde_json::to_value(secret_request(wanted)).expect("JSON");
        let expected = serde_json::json!({
            "SecretName": "key",
            "SecretLabels": { "team": "web" },
            "SecretOptions": { "path": "kv/db" },
            "ServiceID": ServiceId(2),
            "ServiceName": "web",
            "ServiceLabels": { "team": "web" },
            "ServiceHostname": "web.local",
            "ServiceEndpointSpec": {
                "Mode": 1,
                "Ports": [{ "Protocol": 1, "TargetPort": 53, "PublishedPort": 5353, "PublishMode": 1 }],
            },
            "TaskID": TaskId(3),
            "TaskName": format!("web.1.{}", TaskId(3)),
            "TaskImage": "nginx",
            "NodeID": NodeId(4),
        });
        assert_eq!(asked, expected);
    }
}
