//! Why a claim came to nothing, in words.

use std::time::Duration;

use arl_crds::{Sandbox as SandboxObject, SetupStatus, Task, WarmPool, reason::SandboxReason, text::printable};

use super::Claim;
use crate::{
    awaited::{not_ready, ready_condition},
    error::Error,
    pool,
};

/// The most bytes that are quoted of what a setup printed: its end.
const PRINTED_MAX: usize = 1024;

impl Claim {
    /// Why it was not ready in time; for an empty pool, in the pool's words too.
    pub(super) async fn not_ready(&self, sandbox: &str, last: Option<&SandboxObject>) -> Error {
        let Some((reason, mut message)) = last.and_then(ready_condition) else {
            let message = format!("no operator has looked at it within {:?}; is one running?", self.wait);
            return not_ready(sandbox, ("Unserved".into(), message));
        };
        message = self.with_pool(&reason, message).await;
        if let Some(setup) = last.and_then(setup).filter(|_| reason == SandboxReason::SettingUp.as_str()) {
            message = unfinished(self.task_of(setup).await.as_ref(), self.wait);
        }
        not_ready(sandbox, (reason, message))
    }

    /// What a Sandbox waits for, for an empty pool in the pool's words too.
    pub(super) async fn with_pool(&self, reason: &str, message: String) -> String {
        if reason != SandboxReason::PoolEmpty.as_str() {
            return message;
        }
        let pool = self.client.pools().get_opt(&self.pool).await.ok().flatten();
        let ready = |pool: &WarmPool| Some(pool.status.as_ref()?.conditions.first()?.message.clone());
        let of_pool = pool.and_then(|p| pool::failing(&p).map(|(_, m)| m.to_owned()).or_else(|| ready(&p)));
        of_pool.map_or_else(|| message.clone(), |of_pool| format!("{message}; the pool says: {of_pool}"))
    }

    /// The same; of a setup that failed, all that its Task says: that goes with the Sandbox.
    pub(super) async fn with_outputs(&self, mut error: Error, last: Option<&SandboxObject>) -> Error {
        let Error::NotReady { reason, message, .. } = &mut error else { return error };
        let is_failed = *reason == SandboxReason::SetupFailed.as_str();
        let Some(setup) = last.and_then(setup).filter(|_| is_failed) else { return error };
        *message = failed(setup, self.task_of(setup).await.as_ref());
        error
    }

    async fn task_of(&self, setup: &SetupStatus) -> Option<Task> {
        self.client.tasks().get_opt(&setup.task).await.ok().flatten()
    }
}

fn setup(sandbox: &SandboxObject) -> Option<&SetupStatus> {
    sandbox.status.as_ref()?.setup.as_ref()
}

/// Why a setup failed. The condition names its Task, which nobody can look at once the claim has failed.
fn failed(setup: &SetupStatus, task: Option<&Task>) -> String {
    let step = setup.step.as_deref().map(|step| format!(", step {step}")).unwrap_or_default();
    let exit = setup.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let (reason, why) = (setup.reason.as_deref().unwrap_or_default(), setup.message.as_deref().unwrap_or_default());
    let printed = quoted(task);
    format!(
        "its setup failed ({reason}{step}{exit}): {why}{printed}; it is given up; correct the setup, or raise its timeout, and claim again"
    )
}

/// How far a setup has come that takes longer than the claim waits.
fn unfinished(task: Option<&Task>, wait: Duration) -> String {
    let step = task.and_then(|task| task.status.as_ref()?.step.as_ref());
    let step = step.map(|step| format!(" (step {step})")).unwrap_or_default();
    let printed = quoted(task);
    format!("its setup is not done within {wait:?}{step}{printed}; it is given up; wait longer, or shorten the setup")
}

fn quoted(task: Option<&Task>) -> String {
    task.and_then(printed).map(|printed| format!("; it printed: {printed}")).unwrap_or_default()
}

/// The end of what the last command of a Task printed on standard error, or else on standard output.
fn printed(task: &Task) -> Option<String> {
    let status = task.status.as_ref()?;
    let texts = [&status.stderr, &status.stdout].into_iter().flatten();
    let text = texts.map(|text| text.trim()).find(|text| !text.is_empty())?;
    let end = &text[text.ceil_char_boundary(text.len().saturating_sub(PRINTED_MAX))..];
    Some(printable(end, PRINTED_MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(stdout: &str, stderr: &str) -> Task {
        let status = json!({ "state": "Failed", "stdout": stdout, "stderr": stderr, "step": "install", "steps": [], "conditions": [] });
        let spec = json!({ "sandboxRef": "s", "steps": [] });
        serde_json::from_value(json!({ "metadata": {}, "spec": spec, "status": status })).unwrap()
    }

    #[test]
    fn a_setup_is_told_of_in_full_and_its_task_that_goes_is_not_named() {
        let setup: SetupStatus = serde_json::from_value(json!({ "task": "s-setup-1", "taskUID": "u", "state": "Failed",
            "step": "install", "exitCode": 3, "reason": "StepFailed", "message": "step install: a command exited with code 3" }))
        .unwrap();
        assert_eq!(
            failed(&setup, Some(&task("", "no such package\n"))),
            "its setup failed (StepFailed, step install, exit code 3): step install: a command exited with code 3; it printed: \
             no such package; it is given up; correct the setup, or raise its timeout, and claim again"
        );
        assert!(!failed(&setup, None).contains("printed"));
        assert_eq!(
            unfinished(Some(&task("10%", "")), Duration::from_secs(2)),
            "its setup is not done within 2s (step install); it printed: 10%; it is given up; wait longer, or shorten the setup"
        );
    }

    #[test]
    fn the_end_of_what_was_printed_is_quoted() {
        assert_eq!(printed(&task("out\n", "pip: no such package\n")).as_deref(), Some("pip: no such package"));
        assert_eq!(printed(&task("out\n", " \n")).as_deref(), Some("out"));
        assert_eq!(printed(&task("", "")), None);
        let long = printed(&task("", &format!("{}\u{e9}end", "x".repeat(5_000)))).unwrap();
        assert!(long.len() <= PRINTED_MAX && long.ends_with("\u{e9}end"), "{}", long.len());
    }
}
