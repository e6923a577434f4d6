//! Why a claim came to nothing, in words.

use arl_crds::{Sandbox as SandboxObject, Task, WarmPool, reason::SandboxReason, text::printable};

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
        if reason == SandboxReason::PoolEmpty.as_str() {
            let pool = self.client.pools().get_opt(&self.pool).await.ok().flatten();
            let ready = |pool: &WarmPool| Some(pool.status.as_ref()?.conditions.first()?.message.clone());
            let of_pool = pool.and_then(|p| pool::failing(&p).map(|(_, m)| m.to_owned()).or_else(|| ready(&p)));
            if let Some(of_pool) = of_pool {
                message = format!("{message}; the pool says: {of_pool}");
            }
        }
        not_ready(sandbox, (reason, message))
    }

    /// The same; of a setup that failed, with the end of what its last step printed: its Task goes with the Sandbox.
    pub(super) async fn with_outputs(&self, mut error: Error, last: Option<&SandboxObject>) -> Error {
        let Error::NotReady { reason, message, .. } = &mut error else { return error };
        let setup = last.and_then(|sandbox| sandbox.status.as_ref()?.setup.as_ref());
        let Some(setup) = setup.filter(|_| *reason == SandboxReason::SetupFailed.as_str()) else { return error };
        let task = self.client.tasks().get_opt(&setup.task).await.ok().flatten();
        if let Some(printed) = task.as_ref().and_then(printed) {
            message.push_str("; it printed: ");
            message.push_str(&printed);
        }
        error
    }
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

    #[test]
    fn the_end_of_what_was_printed_is_quoted() {
        let task = |stdout: &str, stderr: &str| -> Task {
            let status =
                json!({ "state": "Failed", "stdout": stdout, "stderr": stderr, "steps": [], "conditions": [] });
            let spec = json!({ "sandboxRef": "s", "steps": [] });
            serde_json::from_value(json!({ "metadata": {}, "spec": spec, "status": status })).unwrap()
        };
        assert_eq!(printed(&task("out\n", "pip: no such package\n")).as_deref(), Some("pip: no such package"));
        assert_eq!(printed(&task("out\n", " \n")).as_deref(), Some("out"));
        assert_eq!(printed(&task("", "")), None);
        let long = printed(&task("", &format!("{}\u{e9}end", "x".repeat(5_000)))).unwrap();
        assert!(long.len() <= PRINTED_MAX && long.ends_with("\u{e9}end"), "{}", long.len());
    }
}
