//! How far an object is on its way to where it is waited for.

use std::{convert::Infallible, future::pending, time::Duration};

use arl_client::Session;
use arl_crds::{
    Sandbox, SandboxPhase, Task, TaskState, WarmPool,
    condition::{self, PODS_FAILING},
    reason::{SandboxReason, WarmPoolReason},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tokio::time::{Instant, sleep_until};

use crate::print;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is there.
    Reached,
    /// Not yet, and why.
    Waiting(String),
    /// It never will be, and why.
    Never(String),
}

/// A kind that can be waited for.
pub trait Awaited {
    /// What is waited for, in a word.
    const GOAL: &'static str;
    /// How far this one is.
    fn progress(&self) -> Progress;
}

impl Awaited for WarmPool {
    const GOAL: &'static str = "ready";

    fn progress(&self) -> Progress {
        let conditions = self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let is_current = |condition: &&Condition| condition.observed_generation >= self.metadata.generation;
        let ready = condition::find(conditions, "Ready").filter(is_current);
        if let Some(failing) = condition::find_true(conditions, PODS_FAILING).filter(is_current) {
            let is_template = WarmPoolReason::parse(&failing.reason) == Some(WarmPoolReason::InvalidTemplate);
            return if is_template { Progress::Never(said(failing)) } else { Progress::Waiting(said(failing)) };
        }
        match ready {
            Some(ready) if ready.status == "True" => match self.status.as_ref().map_or(0, |status| status.outdated) {
                0 => Progress::Reached,
                old => Progress::Waiting(format!("it rolls, and {old} of its idle pods are of the earlier template")),
            },
            ready => Progress::Waiting(ready.map_or_else(unserved, said)),
        }
    }
}

impl Awaited for Sandbox {
    const GOAL: &'static str = "ready";

    fn progress(&self) -> Progress {
        let Some(status) = &self.status else { return Progress::Waiting(unserved()) };
        let ready = condition::find(&status.conditions, "Ready");
        let reason = ready.and_then(|ready| SandboxReason::parse(&ready.reason));
        match status.phase {
            Some(SandboxPhase::Released) => Progress::Never(ready.map_or_else(unserved, said)),
            Some(SandboxPhase::Ready | SandboxPhase::Bound) if reason == Some(SandboxReason::Allocated) => {
                Progress::Reached
            }
            _ => Progress::Waiting(ready.map_or_else(unserved, said)),
        }
    }
}

impl Awaited for Task {
    const GOAL: &'static str = "finished";

    fn progress(&self) -> Progress {
        let status = self.status.as_ref();
        if status.and_then(|status| status.state).is_some_and(TaskState::is_finished) {
            return Progress::Reached;
        }
        let succeeded = status.and_then(|status| condition::find(&status.conditions, "Succeeded"));
        Progress::Waiting(succeeded.map_or_else(unserved, said))
    }
}

/// How long something may take to begin before we say why.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Says something once, if it is so for long: such as why a Task has not begun.
#[derive(Debug)]
pub struct Delay {
    until: Instant,
    why: Option<String>,
    is_told: bool,
}

impl Delay {
    /// Of a Task that is looked at from now on.
    pub fn from_now() -> Self {
        Self { until: Instant::now() + SILENCE_MAX, why: None, is_told: false }
    }

    /// Of something else, in these words.
    pub fn because(why: String) -> Self {
        Self { why: Some(why), ..Self::from_now() }
    }

    /// What the Task waits for now.
    pub fn of(&mut self, task: &Task) {
        let state = task.status.as_ref().and_then(|status| status.state);
        self.why = match task.progress() {
            Progress::Waiting(why) if state != Some(TaskState::Running) => Some(format!("waiting: {why}")),
            _ => None,
        };
    }

    /// Says it when it is time to, and never again. A call that is given up has said nothing.
    pub async fn tell(&mut self) {
        if self.is_told || self.why.is_none() {
            return pending().await;
        }
        sleep_until(self.until).await;
        self.is_told = true;
        if let Some(why) = &self.why {
            print::note(why);
        }
    }
}

/// What comes of `going`, which needs an answer of this session's pod; that it waits for one is said once, if it does so for long.
pub async fn answered<T>(session: &Session, going: impl Future<Output = T>) -> T {
    let (pod, namespace) = (&session.place().pod, &session.place().namespace);
    let mut delay = Delay::because(format!(
        "waiting: nothing answers in pod {pod} yet; `kubectl arl why -n {namespace} pod/{pod}` says more"
    ));
    tokio::pin!(going);
    loop {
        tokio::select! {
            biased;
            done = &mut going => return done,
            () = delay.tell() => {}
        }
    }
}

/// The same of what goes on for long once the pod has answered, such as a copy.
pub async fn reached<T>(session: &Session, going: impl Future<Output = T>) -> T {
    let reaching = async {
        // What is in the way of it is in the way of what goes on, which tells it.
        let _ = answered(session, session.list()).await;
        pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        done = going => done,
        never = reaching => match never {},
    }
}

fn said(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

fn unserved() -> String {
    "no operator has looked at it".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::time::timeout;

    use super::*;

    fn made<K: serde::de::DeserializeOwned>(kind: &str, spec: &Value, status: &Value) -> K {
        serde_json::from_value(json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "spec": spec,
            "status": status, "metadata": { "name": "x", "generation": 2 } }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str, reason: &str, generation: i64) -> Value {
        json!({ "type": type_, "status": status, "reason": reason, "message": "why", "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    }

    #[test]
    fn a_pool_is_ready_when_the_operator_has_seen_its_last_change_and_carried_it_out() {
        let says = |status: &Value| {
            let spec = json!({ "replicas": 1, "template": { "spec": { "containers": [] } } });
            made::<WarmPool>("WarmPool", &spec, status).progress()
        };
        let of = |conditions: Vec<Value>| says(&json!({ "conditions": conditions }));
        for (outdated, is_reached) in [(0, true), (2, false)] {
            let ready = json!({ "outdated": outdated, "conditions": [condition("Ready", "True", "PodsReady", 2)] });
            assert_eq!(says(&ready) == Progress::Reached, is_reached, "{outdated}");
        }
        assert_eq!(of(vec![condition("Ready", "True", "PodsReady", 2)]), Progress::Reached);
        assert!(matches!(of(vec![condition("Ready", "True", "PodsReady", 1)]), Progress::Waiting(_)));
        let failing = |reason| of(vec![condition("PodsFailing", "True", reason, 2)]);
        assert_eq!(failing("ImagePullBackOff"), Progress::Waiting("ImagePullBackOff: why".into()));
        assert_eq!(failing("InvalidTemplate"), Progress::Never("InvalidTemplate: why".into()));
        let corrected = of(vec![condition("PodsFailing", "True", "InvalidTemplate", 1)]);
        assert!(matches!(corrected, Progress::Waiting(_)), "{corrected:?}");
    }

    #[test]
    fn a_sandbox_that_was_released_is_waited_for_no_longer() {
        let of = |phase: &str, status: &str, reason: &str| {
            let status = json!({ "phase": phase, "conditions": [condition("Ready", status, reason, 1)] });
            made::<Sandbox>("Sandbox", &json!({ "poolRef": "p" }), &status).progress()
        };
        assert_eq!(of("Ready", "True", "Allocated"), Progress::Reached);
        assert_eq!(of("Pending", "False", "PoolEmpty"), Progress::Waiting("PoolEmpty: why".into()));
        assert_eq!(of("Released", "False", "PodLost"), Progress::Never("PodLost: why".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_begin_says_so_once() {
        let task = |status: Value| made::<Task>("Task", &json!({ "sandboxRef": "s", "steps": [] }), &status);
        let waits = task(
            json!({ "state": "Pending", "conditions": [condition("Succeeded", "Unknown", "SandboxNotFound", 1)] }),
        );
        let tells = async |delay: &mut Delay| timeout(SILENCE_MAX * 2, delay.tell()).await.is_ok();
        let mut delay = Delay::from_now();
        delay.of(&task(json!({ "state": "Running" })));
        assert!(!tells(&mut delay).await, "it has begun");
        delay.of(&waits);
        assert!(tells(&mut delay).await);
        assert!(!tells(&mut delay).await, "it was said");
    }

    #[test]
    fn a_task_has_finished_however_it_ended() {
        let of = |state: &str| {
            let status = json!({ "state": state, "conditions": [condition("Succeeded", "Unknown", "Queued", 1)] });
            made::<Task>("Task", &json!({ "sandboxRef": "s", "steps": [] }), &status).progress()
        };
        assert_eq!((of("Failed"), of("Succeeded")), (Progress::Reached, Progress::Reached));
        assert_eq!(of("Running"), Progress::Waiting("Queued: why".into()));
    }
}
