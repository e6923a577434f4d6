//! The typed API of `arl.infra.io/v1alpha1`.
//!
//! Three kinds, a file each: [`WarmPool`] keeps idle pods, [`Sandbox`] claims one of them, [`Task`] runs steps in it.
//! What they share is a noun with a module of its own: [`condition`] (how a status explains itself), [`reason`] (every
//! reason and Event there is), [`labels`] (what pods carry), [`duration`] (how a timeout is written), [`template`]
//! (the pod template, kept lossless), [`text`] (texts of others, made fit to be shown), [`json_size`], [`Setup`] (steps
//! before a Sandbox is ready) and [`published`] (whether a cluster has these definitions).
//!
//! The crate has no client and no runtime, so that anything may depend on it: clients, tests, tools. The YAML beside
//! `src/` is generated from these types by `make crds`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod bounded;
pub mod condition;
pub mod duration;
pub mod labels;
pub mod name;
pub mod published;
pub mod reason;
mod sandbox;
mod setup;
mod size;
mod step;
mod task;
pub mod template;
pub mod text;
mod warmpool;

pub use sandbox::{Sandbox, SandboxPhase, SandboxSpec, SandboxStatus};
pub use setup::{Setup, SetupStatus, setup_task};
pub use size::json_size;
pub use step::{Action, InvalidSpec, Step, StepType};
pub use task::{Blame, StepState, StepStatus, Task, TaskSpec, TaskState, TaskStatus};
pub use warmpool::{Connect, Executor, ExecutorMode, Scaling, WarmPool, WarmPoolPhase, WarmPoolSpec, WarmPoolStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// The API group of all three kinds.
pub const GROUP: &str = "arl.infra.io";

/// The CustomResourceDefinitions and the names of their files, in the order in which they are applied.
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 3] {
    [
        ("warmpools", unreadable_refused(WarmPool::crd())),
        ("sandboxes", unreadable_refused(Sandbox::crd())),
        ("tasks", unreadable_refused(Task::crd())),
    ]
}

/// What the types could not read is refused, or the object would be there and out of everybody's sight.
fn unreadable_refused(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            restrict(schema, true);
        }
    }
    crd
}

/// An explicit null is refused instead of being told from an absent field: rules ask `has(self.x)`, which null passes. And an API server holds
/// no number to its `format`; those of 64 bits are the operator's own, and pod templates, which are not `ours`, are kept as they were written.
fn restrict(schema: &mut JSONSchemaProps, ours: bool) {
    schema.nullable = None;
    if ours && schema.format.as_deref() == Some("int32") {
        schema.minimum = schema.minimum.or(Some(f64::from(i32::MIN)));
        schema.maximum = schema.maximum.or(Some(f64::from(i32::MAX)));
    }
    let properties = schema.properties.iter_mut().flatten();
    properties.for_each(|(name, property)| restrict(property, ours && name != "template"));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        restrict(items, ours);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        restrict(values, ours);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The integers that are not held to what the types can read.
    fn unbounded(path: &str, schema: &Value) -> Vec<String> {
        let is_held = |bound: &Value| bound.as_f64().is_some_and(|bound| bound.abs() <= f64::from(i32::MIN).abs());
        let is_wrong = schema["format"] == "int32" && !(is_held(&schema["minimum"]) && is_held(&schema["maximum"]));
        let mut found = if is_wrong { vec![path.to_owned()] } else { Vec::new() };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties = properties.filter(|(name, _)| *name != "template");
        found.extend(properties.flat_map(|(name, property)| unbounded(&format!("{path}.{name}"), property)));
        if schema["items"].is_object() {
            found.extend(unbounded(&format!("{path}[]"), &schema["items"]));
        }
        found
    }

    #[test]
    fn no_integer_is_stored_that_cannot_be_read() {
        for (name, definition) in definitions() {
            let schema = serde_json::to_value(&definition.spec.versions[0]).unwrap();
            assert_eq!(unbounded(name, &schema["schema"]["openAPIV3Schema"]), Vec::<String>::new());
        }
    }
}
