//! A table: objects of one kind by id. Cloning one is cheap, so a snapshot is a clone.

use std::ops::RangeInclusive;
use std::sync::Arc;

use common::object::{
    Cluster, ClusterId, Meta, Network, NetworkId, Node, NodeId, ObjectKind, Payload, PayloadId, Service,
    ServiceId, Task, TaskId,
};
use imbl::OrdMap;

/// What the store needs to know of an object.
pub trait Object: Clone + Send + Sync + 'static {
    type Id: Copy + Ord + std::fmt::Display + Send + Sync + 'static;
    const KIND: ObjectKind;

    fn id(&self) -> Self::Id;
    fn meta(&self) -> &Meta;
    fn meta_mut(&mut self) -> &mut Meta;
}

macro_rules! objects {
    ($($type:ident: $id:ident),+) => {
        $(impl Object for $type {
            type Id = $id;
            const KIND: ObjectKind = ObjectKind::$type;

            fn id(&self) -> $id {
                self.id
            }

            fn meta(&self) -> &Meta {
                &self.meta
            }

            fn meta_mut(&mut self) -> &mut Meta {
                &mut self.meta
            }
        })+
    };
}

objects!(Cluster: ClusterId, Node: NodeId, Service: ServiceId, Task: TaskId, Payload: PayloadId, Network: NetworkId);

/// Objects in id order.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// Those with an id from the first to the last of `ids`, in order.
    pub fn range(&self, ids: RangeInclusive<T::Id>) -> impl Iterator<Item = &Arc<T>> {
        self.0.range(ids).map(|(_, object)| object)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts an object in, or takes it out; answers what was there.
    pub(super) fn set(&mut self, id: T::Id, after: Option<Arc<T>>) -> Option<Arc<T>> {
        match after {
            Some(after) => self.0.insert(id, after),
            None => self.0.remove(&id),
        }
    }
}
