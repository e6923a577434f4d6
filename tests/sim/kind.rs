//! The kinds that the API server model serves, and how they are addressed.

use std::fmt;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Pod,
    WarmPool,
    Sandbox,
    Task,
}

/// Those that live in a namespace.
pub const NAMESPACED: [Kind; 4] = [Kind::WarmPool, Kind::Sandbox, Kind::Task, Kind::Pod];

impl Kind {
    /// The kind whose plural stands in a path.
    pub fn of_plural(plural: &str) -> Option<Self> {
        [Self::Namespace, Self::Pod, Self::WarmPool, Self::Sandbox, Self::Task]
            .into_iter()
            .find(|k| k.plural() == plural)
    }

    /// As in a path.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Pod => "pods",
            Self::WarmPool => "warmpools",
            Self::Sandbox => "sandboxes",
            Self::Task => "tasks",
        }
    }

    /// As in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::WarmPool => "WarmPool",
            Self::Sandbox => "Sandbox",
            Self::Task => "Task",
        }
    }

    /// As in messages of the API server.
    pub fn resource(self) -> String {
        if self.is_ours() { format!("{}.{}", self.plural(), arl_crds::GROUP) } else { self.plural().to_owned() }
    }

    /// As in `apiVersion:`.
    pub fn api_version(self) -> &'static str {
        if self.is_ours() { "arl.infra.io/v1alpha1" } else { "v1" }
    }

    /// Whether it is one of the operator's three.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::WarmPool | Self::Sandbox | Self::Task)
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Id {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The operator process with this number; a restart is another process.
    Operator(usize),
    /// A person, or a test that takes a person's part.
    User,
    Kubelet,
    /// The garbage collector and the namespace controller.
    Controllers,
}

impl Actor {
    pub fn is_operator(self) -> bool {
        matches!(self, Self::Operator(_))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(n) => write!(f, "operator{n}"),
            Self::User => f.write_str("user"),
            Self::Kubelet => f.write_str("kubelet"),
            Self::Controllers => f.write_str("controllers"),
        }
    }
}
