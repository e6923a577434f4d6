//! Whose a pod is, by its owner and its labels.

use super::Pod;
use crate::object::{Key, Uid};

impl Pod {
    /// The uid of the object that controls the pod: its pool, or its Sandbox once it is claimed.
    pub fn controller(&self) -> Option<Uid> {
        let owners = self.metadata.owner_references.as_ref()?;
        owners.iter().find(|o| o.controller == Some(true)).map(|o| Uid(o.uid.clone()))
    }

    /// Whether it is what this Sandbox's claim makes of a pod. Whatever admits writes may put back a part of that.
    pub fn is_claimed_by(&self, sandbox: &str, uid: &Uid) -> bool {
        let is_its = self.controller().as_ref() == Some(uid) && self.sandbox().is_some_and(|key| key.name == sandbox);
        is_its && !self.is_idle()
    }

    /// Whether somebody else controls the pod than its owner by the record. One that nobody controls is the owner's if it ever was a pool's:
    /// a record can be forged.
    pub fn is_given_away(&self, owner: &Uid) -> bool {
        self.controller().map_or(self.template_hash().is_none(), |controller| controller != *owner)
    }

    /// The Sandbox that controls the pod, if its controller is one.
    pub fn owning_sandbox(&self) -> Option<Key> {
        let owners = self.metadata.owner_references.as_ref()?;
        let owner = owners.iter().find(|o| o.controller == Some(true) && o.kind == "Sandbox")?;
        Some(Key::of(self).sibling(&owner.name))
    }

    /// Whether a Sandbox has the use of it. One that lost its Sandbox, or that somebody else gave a pool's labels, is held by nobody.
    pub fn is_held(&self) -> bool {
        !self.is_idle() && self.is_alive() && self.owning_sandbox().is_some()
    }

    /// Whether it is nobody's: nothing controls it, or it is neither idle nor held.
    pub fn is_orphaned(&self) -> bool {
        self.is_alive() && !self.is_held() && (self.controller().is_none() || !self.is_idle())
    }
}
