//! Where steps run.

use arl_crds::ExecutorMode;

use super::Pod;
use crate::object::{Key, Uid};

/// Where steps run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: Key,
    /// Which pod that is.
    pub pod_uid: Uid,
    /// The executor container.
    pub container: String,
    /// Which start of the container that is.
    pub container_id: String,
    /// How steps get there.
    pub mode: ExecutorMode,
}

impl Pod {
    /// Where steps run, while the executor container does.
    pub fn target(&self) -> Option<Target> {
        self.is_alive().then_some(())?;
        Some(Target {
            pod: Key::of(self),
            pod_uid: Uid::of(self),
            container: self.executor().to_owned(),
            container_id: self.running_container()?.to_owned(),
            mode: self.mode(),
        })
    }
}
