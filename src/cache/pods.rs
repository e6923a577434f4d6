//! What the cache finds pods by, and what outlives a change of one.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::table::Row;
use crate::{
    object::{Key, Uid},
    pod::Pod,
};

/// What pods are found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodIndex {
    /// Pods of this pool that no Sandbox holds.
    Idle(Key),
    /// Pods of this pool that a Sandbox holds.
    Allocated(Key),
    /// Those of them that are, or will be, of use.
    Held(Key),
    /// Pods in this namespace with this controller.
    Controller(String, Uid),
}

impl PodIndex {
    /// Pods that this object controls. A pod may name any uid as its owner's; that of an object in another namespace means
    /// nothing, as for the garbage collector.
    pub fn controlled_by(owner: &impl Resource<DynamicType = ()>) -> Self {
        Self::Controller(Key::of(owner).namespace, Uid::of(owner))
    }
}

impl Row for Pod {
    type Index = PodIndex;
    type Place = Option<Timestamp>;

    fn key(&self) -> Key {
        Key::of(self)
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<PodIndex> {
        let by_state: &[fn(Key) -> PodIndex] = match (self.is_idle(), self.is_held()) {
            (true, _) => &[PodIndex::Idle],
            (false, true) => &[PodIndex::Allocated, PodIndex::Held],
            (false, false) => &[PodIndex::Allocated],
        };
        let by_state = self.pool().into_iter().flat_map(|pool| by_state.iter().map(move |index| index(pool.clone())));
        by_state.chain(self.controller().map(|uid| PodIndex::Controller(Key::of(self).namespace, uid))).collect()
    }

    fn place(&self) -> Option<Timestamp> {
        self.ready_since()
    }

    fn succeed(&mut self, before: &Self) {
        if before.metadata.uid == self.metadata.uid {
            Pod::succeed(self, before);
        }
    }
}
