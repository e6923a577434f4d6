//! `task` and `logs`: Tasks, which are objects.

use std::path::{Path, PathBuf};

use arl_crds::{StepState, Task, TaskStatus, condition};
use clap::{Args, Subcommand};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    connect::Connection,
    failure::Failure,
    interrupt::Interrupts,
    kind,
    manifest::{self, line},
    outcome::{Outputs, follow, outcome},
    print,
    printer::{Printer, Silence},
};

/// Run Tasks of a file, wait for Tasks and cancel them.
#[derive(Args, Debug)]
pub struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create the Task of a file, print its steps' outputs as they come, and exit as it does.
    Run {
        /// YAML or JSON; - for standard input.
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Wait for the end of a Task and exit as it does.
    Wait {
        /// The Task.
        #[arg(value_parser = kind::task)]
        task: String,
    },
    /// Stop a Task, waiting or running.
    Cancel {
        /// The Task.
        #[arg(value_parser = kind::task)]
        task: String,
    },
}

/// Print the outputs of a Task's steps.
#[derive(Args, Debug)]
pub struct Logs {
    /// The Task.
    #[arg(value_parser = kind::task)]
    task: String,
    /// Go on until it has finished: live from its pod while a step runs, then from its status.
    #[arg(short, long)]
    follow: bool,
    /// Only of this step.
    #[arg(long)]
    step: Option<String>,
    /// Put the name of its step before each line.
    #[arg(long)]
    prefix: bool,
}

/// Does it; the exit code of the Task, where there is one.
pub async fn task(connection: &Connection, flags: Flags, interrupts: &Interrupts) -> Result<u8, Failure> {
    match flags.action {
        Action::Run { file } => run(connection, &file, interrupts).await,
        Action::Wait { task } => outcome(&interrupts.or(follow(connection, &task, Outputs::to(Silence))).await?),
        Action::Cancel { task } => interrupts.or(cancel(connection, &task)).await.map(|()| 0),
    }
}

async fn run(connection: &Connection, file: &Path, interrupts: &Interrupts) -> Result<u8, Failure> {
    let task = interrupts.or(manifest::read(file, parse)).await?;
    let created = interrupts.or(async { Ok(connection.create(&task).await) }).await?;
    let created = created.map_err(|error| Failure::api(&format!("create the Task of {}", file.display()), &error))?;
    let name = created.name_any();
    let outputs = Outputs::to(Printer::default());
    tokio::select! {
        biased;
        interrupt = interrupts.first() => {
            print::note(format!("Task {name} goes on: `kubectl arl logs -f {name}` follows it, `kubectl arl task cancel {name}` stops it"));
            Err(interrupt.into())
        }
        status = follow(connection, &name, outputs) => outcome(&status?),
    }
}

async fn cancel(connection: &Connection, name: &str) -> Result<(), Failure> {
    let change = Patch::Merge(json!({ "spec": { "cancel": true } }));
    let cancelled = connection.api::<Task>().patch(name, &PatchParams::default(), &change).await;
    let task = cancelled.map_err(|error| connection.failed::<Task>("cancel", name, &error))?;
    let state = task.status.and_then(|status| status.state).filter(|state| state.is_finished());
    match state {
        Some(state) => print::line(format!("task/{name} had finished: {state:?}")),
        None => print::line(format!("task/{name} cancelled")),
    }
}

/// Prints them.
pub async fn logs(connection: &Connection, logs: Logs) -> Result<(), Failure> {
    let outputs = Outputs::to(Printer::of(logs.step.clone(), logs.prefix));
    if logs.follow && logs.step.is_none() {
        return follow(connection, &logs.task, outputs).await.map(drop);
    }
    let task = connection.api::<Task>().get(&logs.task).await;
    let task = task.map_err(|error| connection.failed::<Task>("get", &logs.task, &error))?;
    if let Some(wanted) = &logs.step {
        has_step(&task, wanted)?;
    }
    if logs.follow {
        return follow(connection, &logs.task, outputs).await.map(drop);
    }
    let mut outputs = outputs;
    let status = task.status.unwrap_or_default();
    outputs.ended(&status).await?;
    if let Some(why) = unfinished(&status) {
        print::note(format!("Task {}: {why}", logs.task));
    }
    Ok(())
}

fn has_step(task: &Task, wanted: &str) -> Result<(), Failure> {
    let steps: Vec<_> = task.spec.steps.iter().map(|step| step.name.as_str()).collect();
    if steps.contains(&wanted) {
        return Ok(());
    }
    Err(Failure::ours(format!("Task {} has no step {wanted}; it has {}", task.name_any(), steps.join(", "))))
}

/// Why a Task has no outputs yet, or not all of them.
fn unfinished(status: &TaskStatus) -> Option<String> {
    let has_begun = |state| !matches!(state, StepState::Pending | StepState::Skipped);
    if let Some(step) = status.steps.iter().find(|step| step.state == StepState::Running) {
        return Some(format!("its step {} runs; -f prints what it prints, as it comes", step.name));
    }
    if status.steps.iter().any(|step| has_begun(step.state)) {
        return None;
    }
    let state = status.state.map_or_else(|| "no operator has seen it yet".to_owned(), |state| format!("{state:?}"));
    let succeeded = condition::find(&status.conditions, "Succeeded");
    let why = succeeded.map(|told| format!(" ({}): {}", told.reason, told.message)).unwrap_or_default();
    Some(format!("none of its steps has begun; {state}{why}"))
}

/// The Task that a file has; nothing else may be in it.
fn parse(text: &str) -> Result<Task, String> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| line(&error))?;
    let kind = |object: &Value| object["kind"].as_str().unwrap_or("without a kind").to_owned();
    let kinds: Vec<String> = objects.iter().map(kind).collect();
    if kinds != ["Task"] {
        let found = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
        return Err(format!("one Task is wanted here, and there is {found}; `kubectl apply -f` takes any objects"));
    }
    serde_saphyr::from_str(text).map_err(|error| line(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_a_task_does_not_have_is_named_with_those_it_has() {
        let steps = ["build", "test"].map(|name| json!({ "name": name, "type": "Command", "command": ["true"] }));
        let task = json!({ "metadata": { "name": "t" }, "spec": { "sandboxRef": "s", "steps": steps } });
        let task: Task = serde_json::from_value(task).unwrap();
        assert!(has_step(&task, "test").is_ok());
        let why = has_step(&task, "tset").unwrap_err().message;
        assert_eq!(why, "Task t has no step tset; it has build, test");
    }

    #[test]
    fn a_file_has_one_task_and_nothing_else() {
        let task =
            "apiVersion: arl.infra.io/v1alpha1\nkind: Task\nmetadata: {name: t}\nspec: {sandboxRef: s, steps: []}\n";
        assert_eq!(parse(task).unwrap().spec.sandbox_ref, "s");
        let sandbox = "kind: Sandbox\nspec: {poolRef: p}\n";
        for (text, expected) in [
            (sandbox.to_owned(), "there is Sandbox;"),
            (format!("{sandbox}---\n{task}"), "there is Sandbox, Task;"),
            (String::new(), "there is nothing;"),
            ("a: 1".to_owned(), "there is without a kind;"),
            ("a: [".to_owned(), ""),
            (task.replace("sandboxRef: s, ", ""), "missing field `sandboxRef`"),
        ] {
            let why = parse(&text).unwrap_err();
            assert!(why.contains(expected) && !why.contains('\n') && !why.starts_with("error"), "{text}: {why}");
        }
    }
}
