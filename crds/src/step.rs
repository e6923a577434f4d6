//! Step: one thing a Task does, and what makes a Task impossible to run.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration;

/// The most bytes of file content a Task may carry in all its steps together.
pub const MAX_CONTENT_BYTES: usize = 512 * 1024;

/// The most bytes that the spec of a Task may have, as JSON. The API server stores some 1.5 MiB of an object, and the result needs room too.
pub const MAX_SPEC_BYTES: usize = 1024 * 1024;

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
    /// old file or the new one. kubectl apply takes objects of up to 256 KiB; above that, use kubectl create, or kubectl apply
    /// --server-side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524_288))]
    pub content: Option<String>,
    /// Working directory. Unset: the container's own. No shell reads it: ~ and variables are not expanded. Example: /workspace.
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
    /// A working directory that only a shell would know.
    #[error("step {0:?}: workDir begins with ~, which is not expanded; write the whole path, or ./ before it")]
    Tilde(String),
    /// Too much file content.
    #[error(
        "the contents of the steps have {0} bytes together, the limit is {MAX_CONTENT_BYTES}; split the Task, or fetch the \
         files in a Command step"
    )]
    ContentTooLarge(usize),
    /// Too much in all.
    #[error(
        "the spec has {0} bytes, the limit is {MAX_SPEC_BYTES}, since the result is stored beside it; split the Task, or fetch large \
         input in a Command step"
    )]
    TooLarge(usize),
    /// The timeout cannot be read.
    #[error("spec.timeout: {0}")]
    Timeout(#[from] duration::InvalidDuration),
    /// The timeout is out of range.
    #[error("spec.timeout is {0}; it must be greater than 0 and at most 24h")]
    TimeoutRange(String),
}

impl Step {
    /// About how much memory it takes beyond its name and type. An empty argument takes some too.
    pub fn size(&self) -> usize {
        let one = self.path.iter().chain(&self.content).chain(&self.work_dir);
        let env = self.env.iter().flat_map(|(name, value)| [name, value]);
        one.chain(self.command.iter().flatten()).chain(env).map(|text| text.len() + size_of::<String>()).sum()
    }

    /// Gives a command the variables of its Sandbox; its own win.
    pub fn add_env(&mut self, env: &BTreeMap<String, String>) {
        if self.type_ == StepType::Command {
            let own = std::mem::replace(&mut self.env, env.clone());
            self.env.extend(own);
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gets_its_sandboxs_variables_and_its_own_win() {
        let map = |all: &[(&str, &str)]| all.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let step = |type_| Step {
            name: "s".into(),
            type_,
            command: None,
            path: None,
            content: None,
            work_dir: None,
            env: map(&[("A", "own")]),
        };
        let mut command = step(StepType::Command);
        command.add_env(&map(&[("A", "of"), ("B", "of")]));
        assert_eq!(command.env, map(&[("A", "own"), ("B", "of")]));
        let mut file = step(StepType::FilePatch);
        file.add_env(&map(&[("B", "of")]));
        assert_eq!(file.env, map(&[("A", "own")]), "nothing reads them");
    }

    #[test]
    fn a_step_is_as_large_as_its_texts_and_what_each_takes() {
        let step: Step = serde_json::from_value(serde_json::json!({
            "name": "s", "type": "Command", "command": ["ab", ""], "workDir": "abc", "env": { "A": "12345" },
        }))
        .unwrap();
        assert_eq!(step.size(), 2 + 3 + 1 + 5 + 5 * size_of::<String>());
    }

    #[test]
    fn a_command_has_a_program() {
        let action = |command: &[&str]| {
            let step = serde_json::json!({ "name": "s", "type": "Command", "command": command });
            serde_json::from_value::<Step>(step).unwrap().action().map(drop)
        };
        assert_eq!(action(&["true"]), Ok(()));
        assert_eq!(action(&[]), Err(InvalidSpec::Incomplete("s".into())));
    }
}
