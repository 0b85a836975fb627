//! A table: objects of one kind by id. Cloning one is cheap, so a snapshot is a clone.

use std::sync::Arc;

use common::object::{Cluster, Meta, Node, NodeId, ObjectKind};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

/// What the store needs to know of an object.
pub trait Object: Clone + Send + Sync + 'static {
    type Id: Copy + Ord + std::fmt::Display + Send + Sync + 'static;
    const KIND: ObjectKind;

    fn id(&self) -> Self::Id;
    fn meta(&self) -> &Meta;
    fn meta_mut(&mut self) -> &mut Meta;
}

impl Object for Node {
    type Id = NodeId;
    const KIND: ObjectKind = ObjectKind::Node;

    fn id(&self) -> NodeId {
        self.id
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }
}

impl Object for Cluster {
    type Id = common::object::ClusterId;
    const KIND: ObjectKind = ObjectKind::Cluster;

    fn id(&self) -> Self::Id {
        self.id
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut Meta {
        &mut self.meta
    }
}

/// Objects in id order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "T: Serialize, T::Id: Serialize",
    deserialize = "T: Deserialize<'de>, T::Id: Deserialize<'de>"
))]
pub struct Table<T: Object>(OrdMap<T::Id, Arc<T>>);

impl<T: Object> Default for Table<T> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<T: Object> Table<T> {
    pub fn get(&self, id: T::Id) -> Option<&Arc<T>> {
        self.0.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn put(&mut self, object: Arc<T>) {
        self.0.insert(object.id(), object);
    }

    pub(super) fn remove(&mut self, id: T::Id) -> Option<Arc<T>> {
        self.0.remove(&id)
    }
}
