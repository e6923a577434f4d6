//! Whether an operator is at work, by its pods and its Lease; and what of an object waits on one.

use arl_crds::{
    Sandbox, SandboxPhase, Task, TaskState, WarmPool,
    condition::{self, PODS_FAILING},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{Api, Resource, ResourceExt, api::ListParams};

use crate::{
    connect::Connection,
    installed::{self, Operator},
    listing,
    starting::{LOOK_MAX, changed},
    table::{self, age},
};

/// The name of the operator's Lease, in whichever namespace.
const LEASE: &str = "arl-operator";
/// A leader that has not renewed for this long is none: much more than the Lease gives it, since the clock here is not the leader's.
const RENEWED_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Where nothing of an operator is in the cluster.
pub const UNTRACED: &str = "there is no pod and no Lease of one in this cluster";

/// Whether one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AtWork {
    /// As far as can be seen, and the pod, where it has one here.
    Yes(Option<Operator>),
    /// None, and what shows it.
    No(String),
    /// There is no trace of one; one that runs outside of the cluster need not leave any.
    Untraced,
    /// It could not be looked at.
    #[default]
    Unknown,
}

impl AtWork {
    /// Looks for it. What this user may not see counts for nothing.
    pub async fn of(connection: &Connection, operators: Option<&[Operator]>) -> Self {
        let leases: Api<Lease> = Api::all(connection.kube.clone());
        let named = ListParams::default().fields(&format!("metadata.name={LEASE}"));
        let leases = listing::all(&leases, &named, "Leases").await.ok();
        Self::by(operators, leases.as_deref(), table::now())
    }

    /// Looks for its pods, too.
    pub async fn look(connection: &Connection) -> Self {
        Self::of(connection, installed::operators(connection).await.ok().as_deref()).await
    }

    fn by(operators: Option<&[Operator]>, leases: Option<&[Lease]>, now: Timestamp) -> Self {
        let pods = operators.unwrap_or_default();
        let named = |lease: &Lease| pods.iter().find(|pod| holder(lease) == Some(&pod.pod)).cloned();
        let is_listed = leases.is_some();
        let mut leases: Vec<&Lease> = leases.unwrap_or_default().iter().collect();
        leases.sort_by_key(|lease| renewed(lease));
        let last = leases.pop();
        if let Some(lease) = last.filter(|lease| is_held(lease, now)) {
            return Self::Yes(named(lease));
        }
        // What a pod says of itself counts for more than a Lease, whose times are of another clock, and which stays when nobody needs it any more.
        if let Some(ready) = pods.iter().find(|pod| pod.is_ready) {
            return Self::Yes(Some(ready.clone()));
        }
        let telling = pods.iter().find(|pod| pod.is_starting).or(pods.first());
        match (telling, last) {
            (Some(Operator { namespace, pod, is_starting: true, .. }), _) => {
                Self::No(format!("its pod {namespace}/{pod} just starts"))
            }
            (Some(Operator { namespace, pod, .. }), _) => Self::No(format!("its pod {namespace}/{pod} is not ready")),
            (None, Some(lease)) if operators.is_some() => Self::No(unheld(lease, now)),
            (None, None) if operators.is_some() && is_listed => Self::Untraced,
            (None, _) => Self::Unknown,
        }
    }

    /// Why none is, if that is so for all that can be seen.
    pub fn lack(&self) -> Option<String> {
        match self {
            Self::Yes(_) | Self::Unknown => None,
            Self::No(why) => Some(format!("no operator is at work: {why}")),
            Self::Untraced => Some(format!("no operator is seen at work: {UNTRACED}")),
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

fn renewed(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}

fn is_held(lease: &Lease, now: Timestamp) -> bool {
    let given = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let max = RENEWED_MAX.max(SignedDuration::from_secs(2 * i64::from(given)));
    holder(lease).is_some() && renewed(lease).is_some_and(|at| now.duration_since(at) < max)
}

fn unheld(lease: &Lease, now: Timestamp) -> String {
    let name = format!("{}/{}", lease.namespace().unwrap_or_default(), lease.name_any());
    let ago = age(renewed(lease), now);
    match holder(lease) {
        Some(holder) => format!("{holder}, which has the Lease {name}, renewed it last {ago} ago"),
        None => format!("the Lease {name} was given up {ago} ago, and nobody has taken it"),
    }
}

/// How far an object waits on an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// It does not.
    No,
    /// It does, since a moment ago.
    New,
    /// It may be for an operator to go on.
    Going,
    /// It should have ended by now.
    Late,
    /// None has looked at it, or at its last change.
    Unserved,
}

impl Wait {
    /// Of a Task.
    pub fn of_task(task: &Task, now: Timestamp) -> Self {
        let status = task.status.clone().unwrap_or_default();
        match status.state {
            Some(state) if state.is_finished() => return Self::No,
            Some(TaskState::Running) => {
                let due = status.started_at.zip(task.spec.timeout().ok()).is_some_and(|(started, timeout)| {
                    let running = now.duration_since(started.0) - LOOK_MAX;
                    SignedDuration::try_from(timeout).is_ok_and(|timeout| running > timeout)
                });
                if due {
                    return Self::Late;
                }
            }
            _ => {}
        }
        Self::of(task, &status.conditions, "Succeeded", status.observed_generation, now)
    }

    /// Of a Sandbox.
    pub fn of_sandbox(sandbox: &Sandbox, now: Timestamp) -> Self {
        let status = sandbox.status.clone().unwrap_or_default();
        if status.phase.is_some_and(|phase| phase != SandboxPhase::Pending) {
            return Self::No;
        }
        Self::of(sandbox, &status.conditions, "Ready", status.observed_generation, now)
    }

    /// Of a pool. One whose pods fail waits on whoever corrects it.
    pub fn of_pool(pool: &WarmPool, now: Timestamp) -> Self {
        let status = pool.status.clone().unwrap_or_default();
        let is_settled = condition::find_true(&status.conditions, "Ready").is_some()
            || condition::find_true(&status.conditions, PODS_FAILING).is_some();
        match Self::of(pool, &status.conditions, "Ready", status.observed_generation, now) {
            Self::New | Self::Going if is_settled => Self::No,
            wait => wait,
        }
    }

    fn of(
        object: &impl Resource,
        conditions: &[Condition],
        type_: &str,
        observed: Option<i64>,
        now: Timestamp,
    ) -> Self {
        let is_new = |since: Option<Timestamp>| since.is_some_and(|since| now.duration_since(since) < LOOK_MAX);
        let seen = conditions.iter().map(|condition| condition.observed_generation).fold(observed, Option::max);
        match condition::find(conditions, type_).or(conditions.first()) {
            _ if object.meta().deletion_timestamp.is_some() => Self::No,
            // What keeps an operator from writing a status is said in a condition alone.
            Some(condition) if seen >= object.meta().generation => {
                if is_new(Some(condition.last_transition_time.0)) {
                    Self::New
                } else {
                    Self::Going
                }
            }
            _ if is_new(changed(object)) => Self::New,
            _ => Self::Unserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use arl_crds::condition::STALLED;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn operator(is_ready: bool) -> Operator {
        let (namespace, pod) = ("arl-system".to_owned(), "o-1".to_owned());
        Operator { namespace, pod, version: "1".into(), image: "i".into(), is_ready, is_starting: false, leads: None }
    }

    fn lease(holder: &str, renewed: i64) -> Lease {
        serde_json::from_value(json!({ "metadata": { "name": LEASE, "namespace": "arl-system" }, "spec": {
            "holderIdentity": holder, "renewTime": format!("{:.6}", at(renewed)), "leaseDurationSeconds": 15 } }))
        .unwrap()
    }

    #[test]
    fn an_operator_is_at_work_where_a_lease_is_renewed_or_a_pod_is_ready() {
        let (ready, unready) = (operator(true), operator(false));
        let starts = &[Operator { is_starting: true, ..operator(false) }][..];
        let given_up = "the Lease arl-system/arl-operator was given up 3m ago, and nobody has taken it";
        let stale = "o-1, which has the Lease arl-system/arl-operator, renewed it last 3m ago";
        let no = |why: &str| AtWork::No(why.into());
        let yes = || AtWork::Yes(Some(operator(true)));
        let (ready, unready) = (std::slice::from_ref(&ready), std::slice::from_ref(&unready));
        for (pods, leases, expected) in [
            (Some(ready), Some(vec![lease("o-1", 990)]), yes()),
            (None, Some(vec![lease("o-9", 990), lease("o-8", 10)]), AtWork::Yes(None)),
            (None, Some(vec![lease("o-9", 1_500)]), AtWork::Yes(None)),
            (Some(ready), Some(vec![]), yes()),
            (Some(ready), None, yes()),
            (Some(ready), Some(vec![lease("o-9", 820)]), yes()),
            (Some(ready), Some(vec![lease("o-1", 820)]), yes()),
            (Some(unready), Some(vec![lease("o-1", 820)]), no("its pod arl-system/o-1 is not ready")),
            (Some(starts), Some(vec![lease("", 995)]), no("its pod arl-system/o-1 just starts")),
            (Some(unready), None, no("its pod arl-system/o-1 is not ready")),
            (Some(&[][..]), Some(vec![lease("o-1", 820)]), no(stale)),
            (Some(&[][..]), Some(vec![lease("", 820)]), no(given_up)),
            (None, Some(vec![lease("o-1", 820)]), AtWork::Unknown),
            (Some(&[][..]), Some(vec![]), AtWork::Untraced),
            (Some(&[][..]), None, AtWork::Unknown),
            (None, Some(vec![]), AtWork::Unknown),
            (None, None, AtWork::Unknown),
        ] {
            assert_eq!(AtWork::by(pods, leases.as_deref(), at(1_000)), expected, "{pods:?} {leases:?}");
        }
    }

    fn made<K: serde::de::DeserializeOwned>(kind: &str, spec: &Value, status: &Value) -> K {
        let changed = json!([{ "manager": "kubectl", "operation": "Update", "time": at(500).to_string() },
            { "manager": "o", "operation": "Update", "time": at(900).to_string(), "subresource": "status" }]);
        let metadata = json!({ "name": "x", "generation": 2, "creationTimestamp": at(100).to_string(),
            "managedFields": changed });
        let object = json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
            "status": status });
        serde_json::from_value(object).unwrap()
    }

    fn told(type_: &str, status: &str, generation: i64) -> Value {
        let condition = json!({ "type": type_, "status": status, "reason": "r", "message": "",
            "lastTransitionTime": at(600).to_string() });
        json!({ "conditions": [condition], "observedGeneration": generation })
    }

    #[test]
    fn a_task_waits_until_it_has_finished() {
        let spec = json!({ "sandboxRef": "s", "steps": [], "timeout": "30s" });
        let with = |generation, state: &str| {
            let mut status = told("Succeeded", "Unknown", generation);
            status["state"] = json!(state);
            status["startedAt"] = json!(format!("{:.6}", at(700)));
            status
        };
        for (status, second, expected) in [
            (Value::Null, 505, Wait::New),
            (Value::Null, 520, Wait::Unserved),
            (with(1, "Pending"), 505, Wait::New),
            (with(1, "Pending"), 610, Wait::Unserved),
            (with(2, "Pending"), 605, Wait::New),
            (with(2, "Pending"), 610, Wait::Going),
            (with(2, "Running"), 735, Wait::Going),
            (with(2, "Running"), 741, Wait::Late),
            (with(1, "Failed"), 999, Wait::No),
        ] {
            let task = made("Task", &spec, &status);
            assert_eq!(Wait::of_task(&task, at(second)), expected, "{status} {second}");
        }
    }

    #[test]
    fn a_sandbox_waits_for_its_pod_and_a_pool_for_those_that_do_not_fail() {
        let with = |phase: &str, generation| {
            let mut status = told("Ready", "False", generation);
            status["phase"] = json!(phase);
            status
        };
        for (status, expected) in [
            (Value::Null, Wait::Unserved),
            (with("Pending", 2), Wait::Going),
            (with("Ready", 1), Wait::No),
            (with("Released", 2), Wait::No),
        ] {
            let sandbox = made("Sandbox", &json!({ "poolRef": "p" }), &status);
            assert_eq!(Wait::of_sandbox(&sandbox, at(999)), expected, "{status}");
        }
        let mut ends: Sandbox = made("Sandbox", &json!({ "poolRef": "p" }), &with("Pending", 1));
        ends.metadata.deletion_timestamp.clone_from(&ends.metadata.creation_timestamp);
        assert_eq!(Wait::of_sandbox(&ends, at(999)), Wait::No, "whatever keeps it is no operator");
        let mut stalled = told(STALLED, "True", 0)["conditions"].take();
        stalled[0]["observedGeneration"] = json!(2);
        let stalled: Sandbox = made("Sandbox", &json!({ "poolRef": "p" }), &json!({ "conditions": stalled }));
        assert_eq!(Wait::of_sandbox(&stalled, at(999)), Wait::Going, "it says why");
        let mut scaled: WarmPool = made("WarmPool", &json!({ "replicas": 1, "template": {} }), &Value::Null);
        scaled.metadata.managed_fields.as_mut().unwrap()[1].subresource = Some("scale".into());
        assert_eq!(Wait::of_pool(&scaled, at(905)), Wait::New, "kubectl scale changes it");
        let spec = json!({ "replicas": 1, "template": { "spec": { "containers": [] } } });
        for (status, expected) in [
            (Value::Null, Wait::Unserved),
            (told("Ready", "False", 2), Wait::Going),
            (told("Ready", "True", 2), Wait::No),
            (told("Ready", "True", 1), Wait::Unserved),
            (told(PODS_FAILING, "True", 1), Wait::Unserved),
            (told(PODS_FAILING, "True", 2), Wait::No),
        ] {
            let pool = made("WarmPool", &spec, &status);
            assert_eq!(Wait::of_pool(&pool, at(999)), expected, "{status}");
        }
    }
}
