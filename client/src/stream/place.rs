//! Where an agent is.

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The namespace of its pod.
    pub namespace: String,
    /// The name of its pod.
    pub pod: String,
    /// Which pod that is: names are used again.
    pub pod_uid: String,
    /// The Sandbox that has it; unset: it is not known, or not looked at.
    pub sandbox: Option<String>,
    /// The executor container; unset: the pod's default one.
    pub container: Option<String>,
}
