//! Secrets in scenarios: made, rotated as the API does it, and shown with who uses which version.

use anyhow::{Context, Result};
use common::object::container::FileReference;
use common::object::payload::PayloadSpec;
use common::object::sensitive::SensitiveBytes;
use common::object::{Payload, PayloadId, PayloadKind, ServiceSpec};
use manager::api::rotation_rules::{self, Rotation};
use manager::store::{Change, Tables, Write};

use super::world::World;

pub fn create(world: &mut World, name: &str, value: &str) {
    let spec = PayloadSpec { name: name.into(), ..PayloadSpec::default() };
    let value = SensitiveBytes::new(value.into());
    let secret = Payload::new(id(name), PayloadKind::Secret, spec, value, world.now);
    world.write(vec![Change::Payload(Write::Create(secret))]).expect("a secret of its own");
}

pub fn rotate(world: &mut World, name: &str, value: &str) -> Result<()> {
    let value = SensitiveBytes::new(value.into());
    let mut rotation = Rotation::default();
    while !rotation.whole {
        let tables = world.store.snapshot();
        let secret = tables.payloads.get(id(name)).context("there is no such secret")?;
        let (changes, next) = rotation_rules::step(&tables, secret, &value, &rotation, world.now)?;
        world.write(changes)?;
        rotation = next;
    }
    Ok(())
}

/// `key=2` shows as a service with the second version; a version that nobody uses shows too.
pub fn versions(world: &World, name: &str) -> Vec<String> {
    let tables = world.store.snapshot();
    let Some(secret) = tables.payloads.get(id(name)) else { return vec!["(no secret)".into()] };
    let rows = rotation_rules::history(&tables, secret);
    rows.iter()
        .map(|row| {
            let users = if row.services.is_empty() { "nobody".into() } else { row.services.join(" ") };
            format!("{name} version {} used by {users}", row.number)
        })
        .collect()
}

pub fn reference(name: &str) -> FileReference {
    FileReference {
        id: id(name).to_string(),
        name: name.into(),
        target: Some(name.into()),
        ..FileReference::default()
    }
}

/// As the API does it: a reference without a version gets the newest.
pub fn resolve(world: &World, spec: &mut ServiceSpec) -> Result<()> {
    let tables = world.store.snapshot();
    for reference in spec.task.container.secrets.iter_mut().filter(|reference| reference.version == 0) {
        let secret = reference.payload().and_then(|id| tables.payloads.get(id));
        reference.version = secret.context("there is no such secret")?.newest().number;
    }
    Ok(())
}

/// What a task of that spec finds in its files.
pub fn values(tables: &Tables, spec: &ServiceSpec) -> Vec<String> {
    let value = |reference: &FileReference| {
        let secret = tables.payloads.get(reference.payload()?)?;
        let version = secret.version(reference.version)?;
        Some(String::from_utf8_lossy(version.data.reveal()).into_owned())
    };
    spec.task.container.secrets.iter().filter_map(value).collect()
}

fn id(name: &str) -> PayloadId {
    PayloadId(name.bytes().fold(1, |number, byte| number << 8 | u128::from(byte)))
}
