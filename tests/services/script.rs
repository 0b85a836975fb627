//! Commands of a scenario, one per line; `tests/scenarios.rs` lists them.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use common::object::container::ContainerSpec;
use common::object::policy::{Ratio, RestartPolicy, UpdateConfig};
use common::object::ports::{EndpointSpec, Port, PublishMode};
use common::object::service::{NetworkAttachment, UpdateState, UpdateStatus};
use common::object::{Availability, NodeState, ServiceMode, ServiceSpec, Slot, TaskSpec};

use super::worker::Behaviour;
use super::world::World;
use super::{networks, secrets, show};

/// Carries out a script; answers what its commands showed.
pub fn run(script: &str) -> Result<String> {
    let mut world = World::new(1);
    let mut shown = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let lines = command(&mut world, line).with_context(|| format!("in '{line}'"))?;
        if let Some(lines) = lines {
            shown.push(lines.join("\n"));
        }
    }
    Ok(shown.join("\n\n") + "\n")
}

fn command(world: &mut World, line: &str) -> Result<Option<Vec<String>>> {
    let mut words = line.split_whitespace();
    let verb = words.next().context("a command")?;
    let rest: Vec<&str> = words.collect();
    let name = || rest.first().copied().ok_or_else(|| anyhow!("whose?"));
    match verb {
        "workers" => rest.iter().for_each(|name| world.add_node(name, |_| {})),
        "worker" => worker(world, name()?, &rest[1..])?,
        // A task behaves as its image, and as the values of its secrets where there is something to be said of those.
        "image" | "value" => drop(world.images.insert(name()?.into(), behaviour(&rest[1..])?)),
        "service" => {
            let mut spec = ServiceSpec { name: name()?.into(), ..ServiceSpec::default() };
            spec.task = TaskSpec {
                container: ContainerSpec { image: "v1".into(), ..ContainerSpec::default() },
                ..TaskSpec::default()
            };
            rest[1..].iter().try_for_each(|setting| set(&mut spec, setting))?;
            secrets::resolve(world, &mut spec)?;
            networks::resolve(world, &mut spec)?;
            world.create_service(spec);
        }
        "update" => {
            let mut spec = ServiceSpec::clone(world.service(name()?).spec());
            rest[1..].iter().try_for_each(|setting| set(&mut spec, setting))?;
            secrets::resolve(world, &mut spec)?;
            networks::resolve(world, &mut spec)?;
            world.update_service(name()?, |present| *present = spec);
        }
        "rollback" => rollback(world, name()?)?,
        "secret" => secrets::create(world, name()?, rest.get(1).context("its value")?),
        "rotate" => secrets::rotate(world, name()?, rest.get(1).context("its new value")?)?,
        "network" => networks::create(world, name()?, rest.get(1).copied())?,
        "addresses" => return Ok(Some(networks::addresses(world, name()?)?)),
        "versions" => return Ok(Some(secrets::versions(world, name()?))),
        "rebalance" => world.edit_service(name()?, |service| service.rebalance += 1),
        "remove" => world.edit_service(name()?, |service| service.removed = true),
        "drain" => world.edit_node(name()?, |node| node.spec.availability = Availability::Drain),
        "pause" => world.edit_node(name()?, |node| node.spec.availability = Availability::Pause),
        "activate" => world.edit_node(name()?, |node| node.spec.availability = Availability::Active),
        "label" => {
            let (key, value) = rest.get(1).and_then(|label| label.split_once('=')).context("key=value")?;
            world.edit_node(name()?, |node| drop(node.spec.labels.insert(key.into(), value.into())));
        }
        "down" => {
            world.edit_node(name()?, |node| node.status.state = NodeState::Down);
            world.crash_node(name()?);
        }
        "away" => world.edit_node(name()?, |node| node.status.state = NodeState::Disconnected),
        "up" => world.edit_node(name()?, |node| node.status.state = NodeState::Ready),
        "leave" => world.remove_node(name()?),
        "kill" => kill(world, name()?)?,
        "leader" => world.new_leader(),
        "wait" => world.run(duration(name()?)?),
        "settle" => drop(world.settle().then_some(()).context("it does not settle within an hour")?),
        "watch" => world.forget_served(),
        "tasks" => return Ok(Some(show::tasks(world, name()?, false))),
        "history" => return Ok(Some(show::tasks(world, name()?, true))),
        "show" => return Ok(Some(show::service(world, name()?))),
        "ports" => return Ok(Some(show::ports(world, name()?))),
        "served" => {
            let (fewest, most) = world.served[&world.service(name()?).id];
            return Ok(Some(vec![format!("served by {fewest} to {most}")]));
        }
        "services" => return Ok(Some(vec![format!("{} services", world.store.snapshot().services.len())])),
        other => bail!("'{other}' is not a command"),
    }
    Ok(None)
}

/// As `service rollback` writes it.
fn rollback(world: &mut World, name: &str) -> Result<()> {
    let now = world.now;
    let previous = world.service(name).previous.context("there is no previous spec")?;
    world.edit_service(name, |service| {
        service.return_to(previous, now);
        service.update = Some(UpdateStatus {
            state: UpdateState::RollbackStarted,
            started_at: now,
            completed_at: None,
            message: "manually requested rollback".into(),
            slots: 0,
            failed: 0,
            progress_at: now,
            rotation: false,
        });
    });
    Ok(())
}

fn kill(world: &mut World, task: &str) -> Result<()> {
    let (name, slot) = task.rsplit_once('.').context("service.slot")?;
    let slot = match world.nodes.get(slot) {
        Some(node) => Slot::Node(*node),
        None => Slot::Number(slot.parse()?),
    };
    let tables = world.store.snapshot();
    let service = world.service(name).id;
    let task =
        tables.tasks_of_slot(service, slot).find(|task| task.is_wanted()).context("nothing runs there")?;
    world.kill(task);
    Ok(())
}

fn worker(world: &mut World, name: &str, settings: &[&str]) -> Result<()> {
    let mut edits = Vec::new();
    for setting in settings {
        edits.push(setting.split_once('=').context("key=value")?);
    }
    world.add_node(name, |node| {
        let description = node.description.get_or_insert_default();
        for (key, value) in edits {
            match key {
                "cpus" => description.resources.nano_cpus = value.parse::<i64>().unwrap_or(1) * 1_000_000_000,
                key => drop(node.spec.labels.insert(key.into(), value.into())),
            }
        }
    });
    Ok(())
}

/// `start=1s stop=2s ready=3s fails=1s exits=2s rejected never-ready`
fn behaviour(settings: &[&str]) -> Result<Behaviour> {
    let mut behaviour = Behaviour::default();
    for setting in settings {
        match setting.split_once('=') {
            None if *setting == "rejected" => behaviour.rejected = true,
            None if *setting == "never-ready" => behaviour.ready = None,
            Some(("start", value)) => behaviour.start = duration(value)?,
            Some(("stop", value)) => behaviour.stop = duration(value)?,
            Some(("ready", value)) => behaviour.ready = Some(duration(value)?),
            Some(("fails", value)) => behaviour.end = Some((duration(value)?, 1)),
            Some(("exits", value)) => behaviour.end = Some((duration(value)?, 0)),
            _ => bail!("an image cannot '{setting}'"),
        }
    }
    Ok(behaviour)
}

fn set(spec: &mut ServiceSpec, setting: &str) -> Result<()> {
    let (key, value) = setting.split_once('=').context("key=value")?;
    let restart = spec.task.restart.get_or_insert_with(RestartPolicy::default);
    let (owner, key) = key.split_once('.').unwrap_or(("update", key));
    match key {
        "replicas" => spec.mode = ServiceMode::Replicated { replicas: value.parse()? },
        "mode" => spec.mode = mode(value)?,
        "image" => spec.task.container.image = value.into(),
        "force" => spec.task.force_update = value.parse()?,
        "restart-delay" => restart.delay = Some(duration(value)?),
        "restart-delay-max" => restart.delay_max = Some(duration(value)?),
        "condition" => restart.condition = Some(value.parse()?),
        "attempts" => restart.attempts_max = Some(value.parse()?),
        "window" => restart.window = Some(duration(value)?),
        "parallelism" | "delay" | "order" | "action" | "monitor" | "healthy" | "deadline" | "ratio" => {
            let config = if owner == "rollback" { &mut spec.rollback } else { &mut spec.update };
            set_config(config.get_or_insert_with(UpdateConfig::when_absent), key, value)?;
        }
        "constraint" => spec.task.placement.constraints.push(value.into()),
        "cpus" => spec.task.resources.reservations.nano_cpus = value.parse::<i64>()? * 1_000_000_000,
        "per-node" => spec.task.placement.replicas_max_per_node = value.parse()?,
        "network" => {
            let target = value.into();
            spec.task.networks.push(NetworkAttachment { target, ..NetworkAttachment::default() });
        }
        "without-networks" => spec.task.networks.clear(),
        "endpoint" => spec.endpoint.get_or_insert_default().mode = Some(value.parse()?),
        "secret" => spec.task.container.secrets.push(secrets::reference(value)),
        "label" => drop(spec.labels.insert(value.into(), String::new())),
        "publish" => {
            let (published, target) = value.split_once(':').unwrap_or(("0", value));
            let (target, mode) = target.split_once('/').unwrap_or((target, "ingress"));
            let mode: PublishMode = mode.parse()?;
            let port =
                Port { published: published.parse()?, target: target.parse()?, mode, ..Port::default() };
            spec.endpoint.get_or_insert_with(EndpointSpec::default).ports.push(port);
        }
        other => bail!("a service has no '{other}'"),
    }
    Ok(())
}

fn set_config(config: &mut UpdateConfig, key: &str, value: &str) -> Result<()> {
    match key {
        "parallelism" => config.parallelism = value.parse()?,
        "delay" => config.delay = duration(value)?,
        "order" => config.order = Some(value.parse()?),
        "action" => config.failure_action = Some(value.parse()?),
        "monitor" => config.monitor = Some(duration(value)?),
        "healthy" => config.healthy_min = Some(duration(value)?),
        "deadline" => config.progress_deadline = Some(duration(value)?),
        "ratio" => config.failure_ratio_max = Ratio::new(value.parse()?).context("from 0 to 1")?,
        other => bail!("an update has no '{other}'"),
    }
    Ok(())
}

/// `global`, `global-job`, or `job:<completions>:<at a time>`.
fn mode(value: &str) -> Result<ServiceMode> {
    Ok(match value {
        "global" => ServiceMode::Global,
        "global-job" => ServiceMode::GlobalJob,
        job => {
            let numbers = job.strip_prefix("job:").and_then(|numbers| numbers.split_once(':'));
            let (completions, concurrent_max) = numbers.with_context(|| format!("'{job}' is not a mode"))?;
            ServiceMode::ReplicatedJob {
                concurrent_max: concurrent_max.parse()?,
                completions: completions.parse()?,
            }
        }
    })
}

fn duration(text: &str) -> Result<Duration> {
    let parts = text.strip_suffix("ms").map(|number| (number, 1));
    let parts = parts.or_else(|| text.strip_suffix('s').map(|number| (number, 1_000)));
    let parts = parts.or_else(|| text.strip_suffix('m').map(|number| (number, 60_000)));
    let parts = parts.or_else(|| text.strip_suffix('h').map(|number| (number, 3_600_000)));
    let (number, unit) = parts.with_context(|| format!("'{text}' is not a duration"))?;
    Ok(Duration::from_millis(number.parse::<u64>()? * unit))
}
