//! What the engine's description of a container means.
//!
//! Pure: a description in, what is there out.

use std::net::{IpAddr, Ipv4Addr};

use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, HealthStatusEnum};
use common::limits::ENGINE_REASON_BYTES_MAX;
use common::object::ports::{Port, PublishMode};
use common::object::task::ContainerStatus;

use crate::runtime::{Exit, Health, RunError, Seen};

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Created,
    Running,
    Ended,
}

pub fn stage(found: &ContainerInspectResponse) -> Result<Stage, RunError> {
    use ContainerStateStatusEnum as Status;
    match found.state.as_ref().and_then(|state| state.status) {
        Some(Status::CREATED) => Ok(Stage::Created),
        // Somebody else paused or restarts it: it holds its resources and is ours.
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => Ok(Stage::Running),
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => Ok(Stage::Ended),
        Some(Status::EMPTY) | None => {
            Err(RunError::Temporary("the Docker Engine of this node did not say how a container is".into()))
        }
    }
}

pub fn seen(found: &ContainerInspectResponse) -> Result<Seen, RunError> {
    let state = found.state.clone().unwrap_or_default();
    let id = found.id.clone().unwrap_or_default();
    Ok(match stage(found)? {
        Stage::Created => Seen::Prepared,
        Stage::Running => Seen::Running {
            container: ContainerStatus { id, pid: state.pid.unwrap_or_default(), exit_code: None },
            ports: ports(found),
            health: health(&state),
        },
        Stage::Ended => {
            let code = state.exit_code.unwrap_or_default();
            let container = ContainerStatus { id, pid: 0, exit_code: Some(code) };
            Seen::Ended(Exit { container, code, reason: reason(&state) })
        }
    })
}

/// Where its ports can be reached from this node.
pub fn addresses(found: &ContainerInspectResponse) -> Result<Vec<IpAddr>, RunError> {
    if stage(found)? != Stage::Running {
        return Ok(Vec::new());
    }
    let mode = found.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    if mode == Some("host") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    let networks = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let mut networks: Vec<_> = networks.into_iter().flatten().collect();
    networks.sort_by_key(|(name, _)| name.as_str());
    let addresses =
        networks.iter().flat_map(|(_, network)| [&network.ip_address, &network.global_ipv6_address]);
    Ok(addresses.flatten().filter_map(|text| text.parse().ok()).collect())
}

fn reason(state: &ContainerState) -> String {
    if state.oom_killed == Some(true) {
        return "out of memory".into();
    }
    state.error.as_deref().unwrap_or_default().trim().into()
}

fn health(state: &ContainerState) -> Health {
    let Some(health) = &state.health else { return Health::Unchecked };
    match health.status {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => {
            let last = health.log.iter().flatten().next_back();
            let output = last.and_then(|check| check.output.as_deref()).unwrap_or_default().trim();
            let code = last.and_then(|check| check.exit_code).unwrap_or_default();
            let reason = if output.is_empty() {
                format!("health check ended with {code}")
            } else {
                format!("health check: {}", start_of(output, ENGINE_REASON_BYTES_MAX))
            };
            Health::Unhealthy { reason }
        }
        Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) | None => Health::Unchecked,
    }
}

/// At most so many bytes of a text, and no half character.
fn start_of(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// Where published ports came out; each once, whatever the families of addresses they listen on.
fn ports(found: &ContainerInspectResponse) -> Vec<Port> {
    let published = found.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    let mut ports: Vec<Port> = published
        .into_iter()
        .flatten()
        .flat_map(|(name, bindings)| {
            let numbers =
                bindings.iter().flatten().filter_map(|binding| binding.host_port.as_ref()?.parse().ok());
            numbers.filter_map(|published: u16| {
                let (target, protocol) = name.split_once('/')?;
                Some(Port {
                    name: String::new(),
                    protocol: protocol.parse().ok()?,
                    target: target.parse().ok()?,
                    published,
                    mode: PublishMode::Host,
                })
            })
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: serde_json::Value) -> ContainerInspectResponse {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_end_says_its_code_and_why() {
        #[rustfmt::skip]
        let cases = [ // the engine's state, code, reason
            (r#"{"Status":"exited","ExitCode":0,"Error":""}"#, 0, ""),
            (r#"{"Status":"exited","ExitCode":137,"OOMKilled":true}"#, 137, "out of memory"),
            (r#"{"Status":"exited","ExitCode":127,"Error":"exec: nope: not found\n"}"#, 127, "exec: nope: not found"),
            (r#"{"Status":"dead","ExitCode":255}"#, 255, ""),
            (r#"{"Status":"removing","ExitCode":1}"#, 1, ""),
        ];
        for (state, code, reason) in cases {
            let state: serde_json::Value = serde_json::from_str(state).unwrap();
            let Ok(Seen::Ended(exit)) = seen(&found(serde_json::json!({"Id": "c1", "State": state}))) else {
                panic!("{state} is an end");
            };
            assert_eq!((exit.code, exit.reason.as_str()), (code, reason), "{state}");
            assert_eq!(exit.container, ContainerStatus { id: "c1".into(), pid: 0, exit_code: Some(code) });
        }
    }

    #[test]
    fn health_is_what_the_engine_last_found() {
        let unhealthy = |reason: &str| Health::Unhealthy { reason: reason.into() };
        #[rustfmt::skip]
        let cases = [ // the engine's health, ours
            ("null", Health::Unchecked),
            (r#"{"Status":"none"}"#, Health::Unchecked),
            (r#"{"Status":"starting"}"#, Health::Starting),
            (r#"{"Status":"healthy","Log":[{"ExitCode":0}]}"#, Health::Healthy),
            (r#"{"Status":"unhealthy","Log":[{"ExitCode":1,"Output":"old"},{"ExitCode":7,"Output":"no answer\n"}]}"#, unhealthy("health check: no answer")),
            (r#"{"Status":"unhealthy","Log":[{"ExitCode":7}]}"#, unhealthy("health check ended with 7")),
        ];
        for (json, wanted) in cases {
            let health: serde_json::Value = serde_json::from_str(json).unwrap();
            let state = serde_json::json!({"Status": "running", "Pid": 42, "Health": health});
            let Ok(Seen::Running { container, health, .. }) =
                seen(&found(serde_json::json!({"State": state})))
            else {
                panic!("{json}: it runs");
            };
            assert_eq!((container.pid, health), (42, wanted), "{json}");
        }
    }

    #[test]
    fn ports_and_addresses_are_read() {
        let port = |protocol: &str, target, published| Port {
            protocol: protocol.parse().unwrap(),
            target,
            published,
            mode: PublishMode::Host,
            ..Port::default()
        };
        let running = found(serde_json::json!({
            "State": {"Status": "running"},
            "NetworkSettings": {
                "Ports": {
                    "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                    "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "49153"}],
                    "443/tcp": null, "odd": [{"HostPort": "1"}], "1/tcp": [{"HostPort": "many"}],
                },
                "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
            },
        }));
        let Ok(Seen::Running { ports, .. }) = seen(&running) else { panic!("it runs") };
        assert_eq!(ports, [port("tcp", 80, 8080), port("udp", 53, 49153)]);
        assert_eq!(addresses(&running).unwrap().first(), Some(&"172.17.0.2".parse().unwrap()));

        let on_host = found(serde_json::json!({
            "State": {"Status": "running"}, "HostConfig": {"NetworkMode": "host"},
            "NetworkSettings": {"Networks": {"host": {"IPAddress": ""}}},
        }));
        assert_eq!(addresses(&on_host), Ok(vec!["127.0.0.1".parse().unwrap()]));
        let alone = found(serde_json::json!({
            "State": {"Status": "running"}, "NetworkSettings": {"Networks": {"none": {"IPAddress": ""}}},
        }));
        assert_eq!(addresses(&alone), Ok(vec![]));
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(start_of("aé", 2), "a");
        assert_eq!(start_of("aé", 3), "aé");
        assert_eq!(start_of("", 3), "");
    }
}
