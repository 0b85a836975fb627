//! The Docker Engine API as it looks on the wire, for server and client.
//!
//! Field names are Docker's; nothing here knows how the cluster works. `convert` maps to `object` and back.
//! Empty and zero members of requests mean "default", as Docker's own client sends them.

pub mod access;
pub mod container;
pub mod convert;
mod document;
pub mod event;
pub mod network;
pub mod node;
pub mod payload;
pub mod secret_provider;
pub mod service;
pub mod swarm;
pub mod system;
pub mod task;

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The API version we speak, and the oldest we accept.
pub const API_VERSION: &str = "1.50";
pub const API_VERSION_MIN: &str = "1.24";
/// The newest version a client may put into its paths: what we read of it has not changed since ours.
pub const API_VERSION_ACCEPTED_MAX: &str = "1.56";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ObjectVersion {
    pub index: u64,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub message: String,
}

/// A JSON object read as `T`, and nothing else: on its own, `T` would also take its members from an array.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// As `null_as_default`, for a member that is an object itself.
pub(crate) fn object_or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0).unwrap_or_default())
}

/// `null` in a request means the same as a missing member.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
