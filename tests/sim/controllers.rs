//! The cluster's own controllers: the garbage collector and the namespace controller.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    agenda::Action,
    kind::{Actor, Id, Kind, NAMESPACED},
    store::{Deletion, Entry, Part, is_deleting, uid_of},
    world::State,
};

/// What somebody's owners are doing.
enum Owners {
    Present,
    /// All are gone, or going and waiting for what they own.
    Gone,
    /// Some are gone: these references stay.
    Some(Vec<Value>),
}

/// A change of owners is noticed within this time.
const NOTICED: Duration = Duration::from_secs(1);
/// The finalizer of a deletion in the foreground.
const FOREGROUND: &str = "foregroundDeletion";

fn has_finalizer(object: &Value, name: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|f| f == name))
}

pub fn remove_finalizer(object: &mut Value, name: &str) {
    if let Some(all) = object["metadata"]["finalizers"].as_array_mut() {
        all.retain(|f| f != name);
    }
}

impl State {
    /// Plans what follows from a change, whoever made it.
    pub fn observe(&mut self, entry: &Entry) {
        if entry.id.kind == Kind::Pod
            && let Some(pod) = &entry.after
        {
            self.kubelet_observes(pod, entry.before.as_deref());
        }
        let going = entry.after.as_deref().is_some_and(is_deleting);
        match entry.id.kind {
            Kind::Namespace if going => self.soon((1, 200), Action::EmptyNamespace(entry.id.name.clone())),
            Kind::WarmPool | Kind::Sandbox if going || entry.after.is_none() => {
                self.soon((5, 800), Action::CollectGarbage);
            }
            // A pod or a Task may be made for an owner that has just gone, or be given to one.
            Kind::Pod | Kind::Task if entry.before.is_none() => self.soon((200, 2_000), Action::CollectGarbage),
            Kind::Pod if self.is_given_to_nobody(entry) => self.agenda.after(NOTICED, Action::CollectGarbage),
            _ => {}
        }
    }

    /// Whether a pod was given to owners that are not there any more.
    fn is_given_to_nobody(&self, entry: &Entry) -> bool {
        let (Some(before), Some(pod)) = (&entry.before, &entry.after) else { return false };
        before["metadata"]["ownerReferences"] != pod["metadata"]["ownerReferences"]
            && matches!(self.owners(&entry.id, pod), Owners::Gone)
    }

    /// Deletes what has lost its owners, and lets go those that wait for it.
    pub fn collect_garbage(&mut self) {
        let owned = [Kind::Pod, Kind::Task].into_iter().flat_map(|kind| self.store.of(kind));
        let owned: Vec<_> = owned.map(|(id, object)| (id.clone(), Arc::clone(object))).collect();
        for (id, object) in owned {
            match self.owners(&id, &object) {
                Owners::Present => {}
                Owners::Gone if is_deleting(&object) => {}
                Owners::Gone => {
                    let this = Deletion { uid: Some(uid_of(&object).to_owned()), ..Deletion::default() };
                    drop(self.store.delete(&id, &this, Actor::Controllers));
                }
                Owners::Some(left) => {
                    drop(self.store.modify(&id, Part::Main, Actor::Controllers, |object| {
                        object["metadata"]["ownerReferences"] = json!(left);
                    }));
                }
            }
        }
        self.let_go();
    }

    fn owners(&self, id: &Id, pod: &Value) -> Owners {
        let owners = pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        if owners.is_empty() {
            return Owners::Present;
        }
        let find = |owner: &Value| {
            let kind = match owner["kind"].as_str()? {
                "WarmPool" => Kind::WarmPool,
                "Sandbox" => Kind::Sandbox,
                _ => return None,
            };
            let found = self.store.get(&Id::new(kind, &id.namespace, owner["name"].as_str()?))?;
            (uid_of(found) == owner["uid"].as_str()?).then_some(found)
        };
        let stays = |owner: &Value| !is_deleting(owner) || !has_finalizer(owner, FOREGROUND);
        let left: Vec<Value> = owners.iter().filter(|o| find(o).is_some_and(|o| stays(o))).cloned().collect();
        match left.len() {
            0 => Owners::Gone,
            n if n == owners.len() => Owners::Present,
            _ => Owners::Some(left),
        }
    }

    /// Those that are deleted in the foreground go once they own nothing.
    fn let_go(&mut self) {
        let waiting: Vec<Id> = [Kind::WarmPool, Kind::Sandbox]
            .into_iter()
            .flat_map(|kind| self.store.of(kind))
            .filter(|(_, object)| is_deleting(object) && has_finalizer(object, FOREGROUND))
            .map(|(id, _)| id.clone())
            .collect();
        let mut some_wait = false;
        for id in waiting {
            let uid = self.store.get(&id).map(|o| uid_of(o).to_owned()).unwrap_or_default();
            let owns = |pod: &Value| {
                pod["metadata"]["ownerReferences"].as_array().is_some_and(|o| o.iter().any(|o| o["uid"] == uid))
            };
            if self.store.of(Kind::Pod).any(|(_, pod)| owns(pod)) {
                some_wait = true;
            } else {
                drop(self.store.modify(&id, Part::Main, Actor::Controllers, |o| {
                    remove_finalizer(o, FOREGROUND);
                }));
            }
        }
        // Once for all: one look for each would be twice as many at the next, and so on.
        if some_wait {
            self.soon((50, 500), Action::CollectGarbage);
        }
    }

    /// Deletes what is in a namespace that is going, then the namespace.
    pub fn empty_namespace(&mut self, namespace: &str) {
        let inside: Vec<Id> = NAMESPACED
            .into_iter()
            .flat_map(|kind| self.store.of(kind))
            .map(|(id, _)| id.clone())
            .filter(|id| id.namespace == namespace)
            .collect();
        if inside.is_empty() {
            return self.store.remove(&Id::new(Kind::Namespace, "", namespace), Actor::Controllers);
        }
        for id in inside {
            drop(self.store.delete(&id, &Deletion::default(), Actor::Controllers));
        }
        self.soon((100, 1_000), Action::EmptyNamespace(namespace.to_owned()));
    }
}
