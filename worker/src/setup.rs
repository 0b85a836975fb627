//! A task as it was assigned, made into what a runtime is given: its name, its host ports, its secrets and configs, its
//! templates filled in.

use std::sync::Arc;

use common::object::node::Platform;
use common::object::ports::PublishMode;
use common::object::template::{TemplateError, Values, fill_in, has_templates};
use common::object::{NodeId, Slot, TaskId};
use common::wire::assignment::{AssignedSpec, AssignedTask};

use crate::payloads::{Given, Problem};
use crate::runtime::TaskSetup;

/// Where tasks run: what templates may say of this node.
#[derive(Clone, Debug)]
pub struct Place {
    pub node: NodeId,
    pub hostname: String,
    pub platform: Platform,
}

/// `web.1.<task id>`, or `web.<node id>.<task id>` of a global service.
pub fn task_name(service_name: &str, slot: Slot, task: TaskId) -> String {
    format!("{service_name}.{slot}.{task}")
}

/// Also says why the task cannot have its files, where it cannot: the setup is then without any.
pub fn task_setup(
    task: &AssignedTask,
    spec: &AssignedSpec,
    given: &Given,
    place: &Place,
) -> Result<(TaskSetup, Option<Problem>), TemplateError> {
    let name = task_name(&spec.service_name, task.slot, task.id);
    let mut filled = spec.task.clone();
    let values = Values {
        service: spec.service,
        service_name: &spec.service_name,
        service_labels: Some(&spec.service_labels),
        node: place.node,
        node_hostname: &place.hostname,
        platform: &place.platform,
        task: task.id,
        task_name: &name,
        slot: task.slot,
    };
    // Most specs have none, and their tasks share one.
    if has_templates(&filled.container) {
        fill_in(&mut Arc::make_mut(&mut filled).container, &values)?;
    }
    let (files, problem) = match given.files(&filled.container, values) {
        Ok(files) => (files, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let setup = TaskSetup {
        task: task.id,
        service: spec.service,
        service_name: spec.service_name.clone(),
        service_labels: spec.service_labels.clone(),
        slot: task.slot,
        name,
        node: place.node,
        node_hostname: place.hostname.clone(),
        spec: filled,
        ports: spec.ports.iter().filter(|port| port.mode == PublishMode::Host).cloned().collect(),
        granted: task.granted.as_deref().unwrap_or_default().to_vec(),
        files,
    };
    Ok((setup, problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::ports::Port;
    use common::object::{ServiceId, TaskSpec, TaskState};

    fn spec(env: &str) -> AssignedSpec {
        let mut task = TaskSpec::default();
        task.container.env = vec![env.into()];
        let port = |mode, target| Port { mode, target, ..Port::default() };
        AssignedSpec {
            service: ServiceId(1),
            number: 1,
            service_name: "web".into(),
            service_labels: Default::default(),
            task: Arc::new(task),
            ports: vec![port(PublishMode::Ingress, 80), port(PublishMode::Host, 81)],
        }
    }

    fn setup(spec: &AssignedSpec, slot: Slot) -> Result<TaskSetup, TemplateError> {
        let task = AssignedTask {
            id: TaskId(5),
            service: ServiceId(1),
            slot,
            spec: 1,
            desired: TaskState::Running,
            granted: None,
            iteration: None,
        };
        let place = Place { node: NodeId(9), hostname: "n1".into(), platform: Platform::default() };
        task_setup(&task, spec, &Given::default(), &place).map(|(setup, _)| setup)
    }

    #[test]
    fn a_task_gets_its_name_its_host_ports_and_its_own_texts() {
        let spec = spec("WHO={{.Task.Name}}@{{.Node.Hostname}}");
        let made = setup(&spec, Slot::Number(2)).unwrap();
        let name = "web.2.0000000000000000000000005";
        assert_eq!((made.name.as_str(), made.ports.len(), made.ports[0].target), (name, 1, 81));
        assert_eq!(made.spec.container.env, [format!("WHO={name}@n1")]);
        assert_eq!(spec.task.container.env, ["WHO={{.Task.Name}}@{{.Node.Hostname}}"], "shared by others");
        let global = setup(&spec, Slot::Node(NodeId(9))).unwrap();
        assert_eq!(global.name, "web.0000000000000000000000009.0000000000000000000000005");
    }

    #[test]
    fn without_templates_tasks_share_their_spec_and_a_bad_one_is_refused() {
        let plain = spec("A=1");
        assert!(Arc::ptr_eq(&setup(&plain, Slot::Number(1)).unwrap().spec, &plain.task));
        let error = setup(&spec("A={{.Service.Labels.none}}"), Slot::Number(1)).unwrap_err();
        assert!(error.to_string().starts_with("expanding env failed: "), "{error}");
    }
}
