//! Task: an ordered list of steps, run in a Sandbox.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    duration,
    size::json_size,
    step::{InvalidSpec, MAX_CONTENT_BYTES, MAX_SPEC_BYTES, Step},
};

/// What a Task should do.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "arl.infra.io",
    version = "v1alpha1",
    kind = "Task",
    doc = "A Task is a unit of work executed in a Sandbox: steps that run in order and stop at the first that fails.",
    plural = "tasks",
    category = "arl",
    namespaced,
    status = "TaskStatus",
    derive = "PartialEq",
    selectable = ".spec.sandboxRef",
    selectable = ".status.state",
    printcolumn(name = "Sandbox", type_ = "string", json_path = ".spec.sandboxRef"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].reason",
        description = "What it waits for, or how it ended"
    ),
    printcolumn(
        name = "Step",
        type_ = "string",
        json_path = ".status.step",
        description = "The step that runs, or ran last"
    ),
    printcolumn(name = "Exit", type_ = "integer", json_path = ".status.exitCode"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self.sandboxRef == oldSelf.sandboxRef && self.steps == oldSelf.steps && self.timeout == oldSelf.timeout")
        .message("a Task's spec cannot be changed, except cancel and ttlSecondsAfterFinished; create another Task"),
    // Lists that are maps by a key are equal in any order, and steps run in theirs.
    validation = Rule::new("self.steps.map(s, s.name) == oldSelf.steps.map(s, s.name)")
        .message("the order of a Task's steps cannot be changed; create another Task"),
    validation = Rule::new("!oldSelf.cancel || self.cancel")
        .message("cancel cannot be taken back; create another Task"),
)]
#[serde(rename_all = "camelCase")]
pub struct TaskSpec {
    /// Name of the Sandbox to execute in, in the same namespace; it may be created later. Example: my-workspace.
    #[schemars(length(min = 1, max = 63))]
    pub sandbox_ref: String,
    /// Maximum execution time of the whole Task, from its start; time spent waiting is free. As Go and kubectl write
    /// durations (30s, 1m30s, 500ms, 1.5h), greater than 0, at most 24h. Default: 30s.
    #[serde(default = "duration::default_timeout")]
    #[schemars(schema_with = "duration::timeout_schema")]
    pub timeout: String,
    /// List of steps to execute, in order; the Task stops at the first that fails. 1 to 64, with unique names.
    #[schemars(length(min = 1, max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<Step>,
    /// Set to true to stop the Task, waiting or running; it cannot be taken back. Default: false.
    #[serde(default)]
    pub cancel: bool,
    /// Delete the Task object this many seconds after it finished. Unset: the operator's default, or never. Example: 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
}

impl TaskSpec {
    /// The timeout as a length of time.
    pub fn timeout(&self) -> Result<std::time::Duration, InvalidSpec> {
        let timeout = duration::parse(&self.timeout)?;
        if timeout.is_zero() || timeout > duration::MAX_TIMEOUT {
            return Err(InvalidSpec::TimeoutRange(self.timeout.clone()));
        }
        Ok(timeout)
    }

    /// How many bytes the spec has, as it is stored; none where it is far from the limit.
    fn bytes(&self) -> usize {
        // A control character becomes six when it is written as JSON, and an argument has its quotes.
        if self.steps.iter().map(Step::size).sum::<usize>() < MAX_SPEC_BYTES / 8 {
            return 0;
        }
        json_size(self)
    }

    /// Whether the spec can be run: what the schema checks, once more, and what it cannot.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        self.timeout()?;
        let bytes = self.bytes();
        if bytes > MAX_SPEC_BYTES {
            return Err(InvalidSpec::TooLarge(bytes));
        }
        let content: usize = self.steps.iter().filter_map(|s| s.content.as_ref()).map(String::len).sum();
        if content > MAX_CONTENT_BYTES {
            return Err(InvalidSpec::ContentTooLarge(content));
        }
        let begins_with_tilde = |s: &&Step| s.work_dir.as_deref().is_some_and(|directory| directory.starts_with('~'));
        if let Some(step) = self.steps.iter().find(begins_with_tilde) {
            return Err(InvalidSpec::Tilde(step.name.clone()));
        }
        self.steps.iter().try_for_each(|s| s.action().map(drop))
    }
}

/// What became of a Task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// Current state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// Standard output from the last command that ran; the same as in `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Standard error from the last command that ran; the same as in `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// True where some of `stdout` or `stderr` was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// Exit code from the last command that ran: its own, or 124 timed out, 126 not executable or bad workDir, 127 not found,
    /// 128+n killed by signal n. Absent unless a command exited or timed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Who can do something about a failure; absent unless the Task failed. What code in the Sandbox can cause is never Infrastructure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blame: Option<Blame>,
    /// When execution started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<MicroTime>,
    /// When execution completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<MicroTime>,
    /// How long execution took, for people. Example: 1.2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Name of the step that runs, or ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// UID of the Sandbox the Task belongs to; a step is started at most once in it.
    #[serde(default, rename = "sandboxUID", skip_serializing_if = "Option::is_none")]
    pub sandbox_uid: Option<String>,
    /// ID of the container the steps run in.
    #[serde(default, rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The Task's place among those created in the same second: its resourceVersion when it was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<i64>,
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Status of each step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepStatus>,
    /// Detailed status conditions: `Finished` (True at any end) and `Succeeded`, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Current state: Pending (it waits, or has just started), Running, Succeeded or Failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TaskState {
    /// Waiting to be executed.
    Pending,
    /// Currently executing.
    Running,
    /// All steps completed successfully.
    Succeeded,
    /// One or more steps failed, or the Task could not be executed.
    Failed,
}

impl TaskState {
    /// Whether nothing leads out of it.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// Who can do something about a failure: Task (the code that ran, or a limit of its own that it reached), Infrastructure (the cluster, the
/// node or the operator: the same Task may do better in another Sandbox) or Usage (whoever wrote, cancelled or deleted the objects).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Blame {
    /// The code that ran, or a limit of its own that it reached.
    Task,
    /// The cluster, the node or the operator.
    Infrastructure,
    /// Whoever wrote, cancelled or deleted the objects.
    Usage,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The step's name.
    pub name: String,
    /// Pending, Running, Succeeded, Failed, or Skipped because the Task ended before it.
    pub state: StepState,
    /// The command's exit code, see the Task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Standard output: up to 64 KiB, the first 16 and the last 48 where there was more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Standard error: up to 64 KiB, the first 16 and the last 48 where there was more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// True where output was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// When the step started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<MicroTime>,
    /// When the step ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<MicroTime>,
    /// Why it failed or was skipped, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    /// Not started.
    Pending,
    /// Started, not ended.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly, or its end is not known.
    Failed,
    /// Never started, because the Task ended before it.
    Skipped,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_working_directory_that_only_a_shell_would_know_is_invalid() {
        let spec = |directory: &str| -> TaskSpec {
            let step = json!({ "name": "a", "type": "Command", "command": ["true"], "workDir": directory });
            serde_json::from_value(json!({ "sandboxRef": "s", "steps": [step] })).unwrap()
        };
        for directory in ["~", "~/x", "~root"] {
            let said = spec(directory).validate().unwrap_err().to_string();
            assert!(said.contains("step \"a\": workDir begins with ~, which is not expanded"), "{said}");
        }
        for directory in ["", "./~", "/~", "a~"] {
            assert_eq!(spec(directory).validate(), Ok(()), "{directory}");
        }
    }

    #[test]
    fn a_spec_that_leaves_no_room_for_a_result_is_invalid() {
        let spec = |argument: &str| -> TaskSpec {
            let step = |n: usize| json!({ "name": format!("s{n}"), "type": "Command", "command": ["true", argument] });
            let steps: Vec<_> = (0..10).map(step).collect();
            serde_json::from_value(json!({ "sandboxRef": "s", "steps": steps })).unwrap()
        };
        assert_eq!(spec(&"x".repeat(100_000)).validate(), Ok(()));
        let escaped = spec(&"\u{1}".repeat(20_000)).validate();
        assert!(matches!(escaped, Err(InvalidSpec::TooLarge(bytes)) if bytes > 1_200_000), "{escaped:?}");
        let long = spec(&"x".repeat(110_000)).validate();
        assert!(matches!(long, Err(InvalidSpec::TooLarge(_))), "{long:?}");
        let room = 1_048_576 - json_size(&spec(&"x".repeat(100_000)));
        let filled = |more: usize| {
            let mut full = spec(&"x".repeat(100_000));
            full.sandbox_ref = "s".repeat(1 + room + more);
            full.validate()
        };
        assert_eq!((filled(0), filled(1)), (Ok(()), Err(InvalidSpec::TooLarge(1_048_577))));
    }

    #[test]
    fn contents_have_a_limit_together() {
        let validate = |lengths: &[usize]| {
            let step = |(n, length): (usize, &usize)| json!({ "name": format!("s{n}"), "type": "FilePatch", "path": "/f", "content": "x".repeat(*length) });
            let steps: Vec<_> = lengths.iter().enumerate().map(step).collect();
            let spec: TaskSpec = serde_json::from_value(json!({ "sandboxRef": "s", "steps": steps })).unwrap();
            spec.validate()
        };
        assert_eq!(validate(&[524_288]), Ok(()));
        assert_eq!(validate(&[524_287, 1]), Ok(()));
        for (lengths, sum) in [([524_288, 1], 524_289), ([524_288, 2], 524_290)] {
            assert_eq!(validate(&lengths), Err(InvalidSpec::ContentTooLarge(sum)));
        }
    }

    #[test]
    fn a_timeout_is_more_than_nothing_and_at_most_a_day() {
        let timeout = |text: &str| {
            let step = json!({ "name": "a", "type": "Command", "command": ["true"] });
            let spec = json!({ "sandboxRef": "s", "steps": [step], "timeout": text });
            serde_json::from_value::<TaskSpec>(spec).unwrap().timeout()
        };
        for (text, seconds) in [("1s", 1), ("24h", 86_400)] {
            assert_eq!(timeout(text), Ok(std::time::Duration::from_secs(seconds)), "{text}");
        }
        for text in ["0s", "24h1ns", "48h"] {
            assert_eq!(timeout(text), Err(InvalidSpec::TimeoutRange(text.into())));
        }
        assert!(matches!(timeout("1d"), Err(InvalidSpec::Timeout(_))));
    }

    #[test]
    fn nothing_leads_out_of_two_states() {
        let finished = |state: TaskState| state.is_finished();
        assert_eq!([TaskState::Pending, TaskState::Running].map(finished), [false; 2]);
        assert_eq!([TaskState::Succeeded, TaskState::Failed].map(finished), [true; 2]);
    }
}
