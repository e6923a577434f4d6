//! Task: an ordered list of steps, run in a Sandbox.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration;

/// The most bytes of file content a Task may carry in all its steps together.
pub const MAX_CONTENT_BYTES: usize = 512 * 1024;

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
        name = "Step",
        type_ = "string",
        json_path = ".status.step",
        description = "The step that runs, or ran last"
    ),
    printcolumn(name = "Exit", type_ = "integer", json_path = ".status.exitCode"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].reason",
        priority = 1
    )
)]
#[x_kube(
    validation = Rule::new("self.sandboxRef == oldSelf.sandboxRef && self.steps == oldSelf.steps && self.timeout == oldSelf.timeout")
        .message("a Task's spec cannot be changed, except cancel and ttlSecondsAfterFinished; create another Task"),
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
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 32))]
    #[x_kube(
        validation = Rule::new(r"self.matches('^([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))*$')")
            .message("timeout must be a duration with units, such as 30s, 1m30s, 500ms or 1.5h"),
        validation = Rule::new(r"!self.matches('^(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') || (duration(self) > duration('0s') && duration(self) <= duration('24h'))")
            .message("timeout must be greater than 0 and at most 24h"),
    )]
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

fn default_timeout() -> String {
    "30s".to_owned()
}

/// One step of a Task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.type != 'Command' || (has(self.command) && self.command.size() > 0 && self.command[0] != '')")
        .message("a Command step needs command, a list whose first item is the program, such as [\"python\", \"-c\", \"print(1)\"]"),
    validation = Rule::new("self.type != 'Command' || (!has(self.path) && !has(self.content))")
        .message("path and content belong to a FilePatch step; remove them, or set type: FilePatch"),
    validation = Rule::new("self.type != 'FilePatch' || (has(self.path) && self.path != '')")
        .message("a FilePatch step needs path, the file to write, such as /workspace/main.py"),
    validation = Rule::new("self.type != 'FilePatch' || has(self.content)")
        .message("a FilePatch step needs content, the whole text of the file; \"\" writes an empty one"),
    validation = Rule::new("self.type != 'FilePatch' || !has(self.command)")
        .message("command belongs to a Command step; remove it, or set type: Command"),
)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Step name, unique in the Task. Example: run-script.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Step type: `Command` or `FilePatch`.
    #[serde(rename = "type")]
    pub type_: StepType,
    /// For Command: the program and its arguments, executed as given, without a shell; variables are not expanded. At most
    /// 256 items. Example: ["python", "/workspace/main.py"].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(max = 131_072), regex(pattern = r"^[^\x00]*$")))]
    pub command: Option<Vec<String>>,
    /// For FilePatch: path of the file to create or replace; relative paths start at workDir. Missing parent directories are
    /// created. Example: /workspace/main.py.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = r"^[^\x00]*$"))]
    pub path: Option<String>,
    /// For FilePatch: the whole content of the file, at most 512 KiB. It replaces what was there, at once: a reader sees the
    /// old file or the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524_288))]
    pub content: Option<String>,
    /// Working directory. Unset: the container's own. Example: /workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), regex(pattern = r"^[^\x00]*$"))]
    pub work_dir: Option<String>,
    /// Environment variables, added to the container's own. Names are letters, digits and underscores and do not start with a
    /// digit; at most 64. Example: {"DEBUG": "true"}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "env_schema")]
    pub env: BTreeMap<String, String>,
}

/// Written by hand, since the rule on the names needs the bounds on the map beside it.
fn env_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "Environment variables, added to the container's own. Names are letters, digits and underscores and do \
            not start with a digit; at most 64. Example: {\"DEBUG\": \"true\"}.",
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 131_072, "pattern": r"^[^\x00]*$" },
        "x-kubernetes-validations": [{
            "rule": "self.all(name, name.matches('^[A-Za-z_][A-Za-z0-9_]*$'))",
            "message": "names of variables are letters, digits and underscores and do not start with a digit, such as PYTHONPATH",
        }],
    })
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StepType {
    /// Runs a program.
    Command,
    /// Writes a file.
    FilePatch,
}

/// A step with what its type needs, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Run `command`, which has a program.
    Command(&'a [String]),
    /// Write `content` to `path`.
    FilePatch {
        /// The file.
        path: &'a str,
        /// All of its content.
        content: &'a str,
    },
}

/// What the schema cannot see and nothing can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A step lacks what its type needs.
    #[error("step {0:?} lacks what its type needs: a Command needs command, a FilePatch needs path and content")]
    Incomplete(String),
    /// Too much file content.
    #[error(
        "the contents of the steps have {0} bytes together, the limit is {MAX_CONTENT_BYTES}; split the Task, or fetch the \
         files in a Command step"
    )]
    ContentTooLarge(usize),
    /// The timeout cannot be read.
    #[error("spec.timeout: {0}")]
    Timeout(#[from] duration::InvalidDuration),
    /// The timeout is out of range.
    #[error("spec.timeout is {0}; it must be greater than 0 and at most 24h")]
    TimeoutRange(String),
}

impl Step {
    /// What the step does.
    pub fn action(&self) -> Result<Action<'_>, InvalidSpec> {
        let incomplete = || InvalidSpec::Incomplete(self.name.clone());
        match self.type_ {
            StepType::Command => match self.command.as_deref() {
                Some(command) if !command.is_empty() => Ok(Action::Command(command)),
                _ => Err(incomplete()),
            },
            StepType::FilePatch => Ok(Action::FilePatch {
                path: self.path.as_deref().ok_or_else(incomplete)?,
                content: self.content.as_deref().ok_or_else(incomplete)?,
            }),
        }
    }
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

    /// Whether the spec can be run: what the schema checks, once more, and what it cannot.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        self.timeout()?;
        let content: usize = self.steps.iter().filter_map(|s| s.content.as_ref()).map(String::len).sum();
        if content > MAX_CONTENT_BYTES {
            return Err(InvalidSpec::ContentTooLarge(content));
        }
        self.steps.iter().try_for_each(|s| s.action().map(drop))
    }
}

/// What became of a Task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// Current state: Pending, Running, Succeeded or Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
    /// Standard output from the last command that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<String>,
    /// Standard error from the last command that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// Exit code from the last command that ran: its own, or 124 timed out, 126 not executable or bad workDir, 127 not found,
    /// 128+n killed by signal n. Absent unless a command exited or timed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
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

/// The state of a Task.
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
