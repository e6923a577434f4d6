//! What people do to the objects, and what happens to nodes and pods: all that the operator has to live with.

use std::time::Duration;

use arl_crds::{ExecutorMode, labels};
use serde_json::{Value, json};

use crate::{
    agenda::Action,
    contract::setups,
    controllers::remove_finalizer,
    kind::{Actor, Id, Kind},
    kubelet::PodEvent,
    outages::{NODES, Outage},
    store::{Deletion, Part, label, uid_of},
    world::{NS, State},
};

/// One deed. Names are those of objects in the one namespace.
#[derive(Clone, Debug)]
pub enum Deed {
    Pool {
        name: String,
        replicas: i64,
        image: String,
        mode: ExecutorMode,
    },
    Scale {
        name: String,
        replicas: i64,
    },
    Image {
        name: String,
        image: String,
    },
    /// Whatever the spec says.
    Any {
        kind: Kind,
        name: String,
        spec: Value,
    },
    Sandbox {
        name: String,
        pool: String,
        spec: Value,
    },
    Task {
        name: String,
        sandbox: String,
        spec: Value,
    },
    /// A client runs a live process, which takes so many milliseconds.
    Live {
        sandbox: String,
        takes: u64,
    },
    /// Somebody deletes the Task that sets up a Sandbox.
    DeleteSetup {
        sandbox: String,
    },
    /// Merges into the spec.
    Edit {
        kind: Kind,
        name: String,
        spec: Value,
    },
    Annotate {
        kind: Kind,
        name: String,
    },
    Delete {
        kind: Kind,
        name: String,
        foreground: bool,
    },
    /// Somebody's finalizer keeps it, or no more.
    Hold {
        kind: Kind,
        name: String,
        holds: bool,
    },
    /// One of the pods, by chance, has this happen to it.
    Pod {
        which: Which,
        what: Fortune,
    },
    /// Calls are refused for so many milliseconds.
    Refuse(Outage, u64),
    /// No node answers for so many milliseconds.
    NodesAway(u64),
    Namespace,
    DeleteNamespace,
    Quota(Option<usize>),
    Admission(Option<String>),
}

/// Which pods may be met.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    Idle,
    Allocated,
    Any,
}

/// What happens to a pod.
#[derive(Clone, Copy, Debug)]
pub enum Fortune {
    Delete,
    ForceDelete,
    Kubelet(PodEvent),
    Annotate,
}

/// A finalizer of somebody else's.
const HELD: &str = "example.com/held";

impl State {
    /// Does it; what cannot be done (any more) is left.
    pub fn perform(&mut self, deed: &Deed) {
        let id = |kind, name: &str| Id::new(kind, NS, name);
        let made = match deed {
            Deed::Pool { name, replicas, image, mode } => {
                let executor = json!({ "mode": mode });
                let spec = json!({ "replicas": replicas, "template": template(image), "executor": executor });
                self.make(&id(Kind::WarmPool, name), &spec)
            }
            Deed::Scale { name, replicas } => self.edit(&id(Kind::WarmPool, name), &json!({ "replicas": replicas })),
            Deed::Image { name, image } => {
                self.edit(&id(Kind::WarmPool, name), &json!({ "template": template(image) }))
            }
            Deed::Sandbox { name, pool, spec } => {
                let mut whole = json!({ "poolRef": pool });
                json_patch::merge(&mut whole, spec);
                self.make(&id(Kind::Sandbox, name), &whole)
            }
            Deed::Task { name, sandbox, spec } => {
                let mut whole = json!({ "sandboxRef": sandbox });
                json_patch::merge(&mut whole, spec);
                self.make(&id(Kind::Task, name), &whole)
            }
            Deed::Any { kind, name, spec } => self.make(&id(*kind, name), spec),
            Deed::Edit { kind, name, spec } => self.edit(&id(*kind, name), spec),
            Deed::Annotate { kind, name } => self.annotate(&id(*kind, name)),
            Deed::Delete { kind, name, foreground } => {
                let deletion = Deletion { foreground: *foreground, ..Deletion::default() };
                self.store.delete(&id(*kind, name), &deletion, Actor::User)
            }
            Deed::DeleteSetup { sandbox } => {
                let Some(task) = setups::task_of(&id(Kind::Sandbox, sandbox), &self.store) else { return };
                self.store.delete(&task, &Deletion::default(), Actor::User)
            }
            Deed::Hold { kind, name, holds } => self.hold(&id(*kind, name), *holds),
            Deed::Live { sandbox, takes } => return self.begin_live(sandbox, Duration::from_millis(*takes)),
            Deed::Pod { which, what } => return self.strike(*which, *what),
            Deed::Namespace => {
                self.store.create(&Id::new(Kind::Namespace, "", NS), json!({ "metadata": {} }), Actor::User)
            }
            Deed::DeleteNamespace => {
                self.store.delete(&Id::new(Kind::Namespace, "", NS), &Deletion::default(), Actor::User)
            }
            Deed::Refuse(outage, millis) => return self.begin_outage(outage, Duration::from_millis(*millis)),
            Deed::NodesAway(millis) => {
                return NODES.into_iter().for_each(|node| self.lose_node(node, Duration::from_millis(*millis)));
            }
            Deed::Quota(quota) => {
                self.store.quota = *quota;
                return self.trace.say(&format!("user sets a quota of {quota:?}"));
            }
            Deed::Admission(why) => {
                self.store.admission.clone_from(why);
                return self.trace.say(&format!("admission refuses pods: {why:?}"));
            }
        };
        if let Err(refusal) = made {
            self.trace.say(&format!("user: {deed:?} -> {}", refusal.message));
        }
    }

    fn make(&mut self, id: &Id, spec: &Value) -> Result<std::sync::Arc<Value>, crate::refusal::Refusal> {
        self.fields.note(id.kind.name(), spec);
        self.store.create(id, json!({ "metadata": {}, "spec": spec }), Actor::User)
    }

    fn edit(&mut self, id: &Id, spec: &Value) -> Result<std::sync::Arc<Value>, crate::refusal::Refusal> {
        self.fields.note(id.kind.name(), spec);
        self.store.modify(id, Part::Main, Actor::User, |object| json_patch::merge(&mut object["spec"], spec))
    }

    fn hold(&mut self, id: &Id, holds: bool) -> Result<std::sync::Arc<Value>, crate::refusal::Refusal> {
        self.store.modify(id, Part::Main, Actor::User, |object| {
            remove_finalizer(object, HELD);
            if holds {
                object["metadata"]["finalizers"] = json!([HELD]);
            }
        })
    }

    fn annotate(&mut self, id: &Id) -> Result<std::sync::Arc<Value>, crate::refusal::Refusal> {
        let mark = json!(self.store.version().to_string());
        self.store.modify(id, Part::Main, Actor::User, |object| {
            let change = json!({ "metadata": { "annotations": { "note": mark } } });
            json_patch::merge(object, &change);
        })
    }

    fn strike(&mut self, which: Which, what: Fortune) {
        let meets = |pod: &Value| match which {
            Which::Any => true,
            Which::Idle => label(pod, labels::POD_STATE) == Some("ready"),
            Which::Allocated => label(pod, labels::POD_STATE) == Some("allocated"),
        };
        let pods: Vec<_> = self
            .store
            .of(Kind::Pod)
            .filter(|(_, pod)| meets(pod))
            .map(|(id, pod)| (id.clone(), uid_of(pod).to_owned()))
            .collect();
        if pods.is_empty() {
            return;
        }
        let (id, uid) = pods[self.rng.usize(..pods.len())].clone();
        self.trace.say(&format!("{id} meets {what:?}"));
        let delete = |grace| Deletion { grace, ..Deletion::default() };
        match what {
            Fortune::Delete => drop(self.store.delete(&id, &delete(None), Actor::User)),
            Fortune::ForceDelete => drop(self.store.delete(&id, &delete(Some(0)), Actor::User)),
            Fortune::Annotate => drop(self.annotate(&id)),
            Fortune::Kubelet(event) => self.agenda.after(Duration::ZERO, Action::Kubelet(event, uid)),
        }
    }
}

pub fn template(image: &str) -> Value {
    json!({ "spec": { "containers": [{ "name": "executor", "image": image }] } })
}
