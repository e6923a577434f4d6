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
        ("warmpools", nulls_refused(WarmPool::crd())),
        ("sandboxes", nulls_refused(Sandbox::crd())),
        ("tasks", nulls_refused(Task::crd())),
    ]
}

/// An explicit null is refused instead of being told from an absent field: rules ask `has(self.x)`, which null passes.
fn nulls_refused(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            forbid_null(schema);
        }
    }
    crd
}

fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(forbid_null);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        forbid_null(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        forbid_null(values);
    }
}
