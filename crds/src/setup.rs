//! Setup: what is run once in a Sandbox before it is ready.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{duration, step::Step, task::TaskState, template::fnv1a};

/// What is run once in a Sandbox, before it is ready and before every Task that names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.steps == oldSelf.steps && self.timeout == oldSelf.timeout")
        .message("setup cannot be changed, since it runs once; create another Sandbox"),
    // Lists that are maps by a key are equal in any order, and steps run in theirs.
    validation = Rule::new("self.steps.map(s, s.name) == oldSelf.steps.map(s, s.name)")
        .message("the order of the steps of setup cannot be changed; create another Sandbox"),
)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// Maximum execution time of all steps together, from the start of the first; time spent waiting is free. Written as a Task's:
    /// 30s, 1m30s, 500ms, 1.5h; greater than 0, at most 24h. Default: 30s.
    #[serde(default = "duration::default_timeout")]
    #[schemars(schema_with = "duration::timeout_schema")]
    pub timeout: String,
    /// List of steps to execute, in order, as those of a Task; the first that fails ends the Sandbox. 1 to 64, with unique names.
    #[schemars(length(min = 1, max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
}

/// What became of a Sandbox's setup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetupStatus {
    /// Name of the Task that runs the steps; it has their outputs, and goes with the Sandbox.
    pub task: String,
    /// UID of that Task; one of the same name with another UID never runs.
    #[serde(rename = "taskUID")]
    pub task_uid: String,
    /// Pending (it has not ended), Succeeded or Failed.
    pub state: TaskState,
    /// Name of the step that ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Exit code from the last command that ran, see the Task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it failed, in one word: a reason of Tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When its end was put on record here; idle time starts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<MicroTime>,
}

/// The name of the Task that runs the setup of a Sandbox: nobody else's, and the same whoever makes it.
pub fn setup_task(sandbox: &str, uid: &str) -> String {
    format!("{sandbox}-setup-{:08x}", fnv1a(uid.as_bytes()) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_setups_task_is_valid_and_of_one_sandbox() {
        let longest = "a".repeat(63);
        assert!(setup_task(&longest, "u").len() <= 253);
        assert_eq!(setup_task("s", "u"), setup_task("s", "u"));
        assert_ne!(setup_task("s", "u"), setup_task("s", "v"));
    }
}
