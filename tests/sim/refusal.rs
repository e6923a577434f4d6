//! What the API server answers when it does not do what was asked.

use serde_json::{Value, json};

use crate::kind::Id;

/// A `Status` other than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// The name of what it is about, where it is about something.
    name: Option<String>,
}

impl Refusal {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), name: None }
    }

    fn about(self, id: &Id) -> Self {
        Self { name: Some(id.name.clone()), ..self }
    }

    pub fn not_found(id: &Id) -> Self {
        Self::new(404, "NotFound", format!("{} {:?} not found", id.kind.resource(), id.name)).about(id)
    }

    pub fn exists(id: &Id) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {:?} already exists", id.kind.resource(), id.name))
    }

    pub fn conflict(id: &Id, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {} {:?}: {why}", id.kind.resource(), id.name),
        )
    }

    pub fn changed(id: &Id) -> Self {
        Self::conflict(
            id,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub fn forbidden(id: &Id, why: &str) -> Self {
        Self::new(403, "Forbidden", format!("{} {:?} is forbidden: {why}", id.kind.resource(), id.name))
    }

    pub fn invalid(id: &Id, why: &str) -> Self {
        Self::new(422, "Invalid", format!("{} {:?} is invalid: {why}", id.kind.name(), id.name))
    }

    pub fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version")
    }

    /// As the API sends it.
    pub fn status(&self) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code, "details": self.name.as_ref().map(|name| json!({ "name": name })),
        })
    }
}
