//! What is known of an object and of those below it, as one screen that ends in what to do.

use arl_crds::{
    Sandbox, StepState, Task, WarmPool,
    condition::{PODS_FAILING, SCALING_LIMITED, STALLED, TEMPLATE_WARNINGS, find, find_true},
    reason::{SandboxReason, TaskReason, WarmPoolReason},
    text::printable,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, Pod},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{Resource, ResourceExt};

use crate::{
    advice::{self, Names},
    at_work::{AtWork, Wait},
    starting::{changed, is_new, is_starting},
};

/// Pods that are shown.
const PODS_MAX: usize = 3;
/// Events of a pod that are shown.
const EVENTS_MAX: usize = 3;
/// For so long an operator may try to reach the pod of a new Task before it writes why that waits.
const CONNECTED_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Of a message.
const MESSAGE_MAX: usize = 1024;

/// What was found.
#[derive(Debug, Default)]
pub struct Facts {
    /// Where all of it is.
    pub namespace: String,
    /// The Task that was asked about.
    pub task: Option<Task>,
    /// It, or the Task's.
    pub sandbox: Option<Sandbox>,
    /// It, or the Sandbox's.
    pub pool: Option<WarmPool>,
    /// Those that it comes down to.
    pub pods: Vec<Pod>,
    /// Theirs.
    pub events: Vec<Event>,
    /// The Task that sets the Sandbox up, where that has not succeeded.
    pub setup: Option<Task>,
    /// Whether an operator is.
    pub at_work: AtWork,
}

impl Facts {
    /// How far it waits on an operator: what waits on nothing does not wait for what is below it.
    pub fn wait(&self, now: Timestamp) -> Wait {
        let task = self.task.as_ref().map(|task| Wait::of_task(task, now));
        let sandbox = self.sandbox.as_ref().map(|sandbox| Wait::of_sandbox(sandbox, now));
        let pool = self.pool.as_ref().map(|pool| Wait::of_pool(pool, now));
        let waits = [task, sandbox, pool].into_iter().flatten().take_while(|wait| *wait != Wait::No);
        waits.max().unwrap_or(Wait::No)
    }

    /// What is to be known of the operator first, and what to do about that.
    fn of_operator(&self, now: Timestamp) -> (Option<String>, Option<&'static str>) {
        let lack = self.at_work.lack().map(|lack| format!("{}{}", lack[..1].to_uppercase(), &lack[1..]));
        match (&self.at_work, self.wait(now)) {
            (_, Wait::No) => (None, None),
            (AtWork::No(_), _) | (AtWork::Untraced, Wait::Late | Wait::Unserved) => (lack, Some(advice::NO_OPERATOR)),
            (AtWork::Yes(_), Wait::Unserved) if self.is_being_looked_after(now) => {
                let seen = "An operator is at work, and looks after what this belongs to".to_owned();
                (Some(seen), Some(advice::COMES_NEXT))
            }
            (AtWork::Yes(_), Wait::Unserved) => {
                let seen = "An operator is at work, and has not looked at it, or at its last change".to_owned();
                (Some(seen), Some(advice::LIMITED))
            }
            _ => (None, None),
        }
    }

    /// Whether what no operator has said anything of belongs to something that one looks after: since then, or so short a time ago that its pod
    /// may still be connected to.
    fn is_being_looked_after(&self, now: Timestamp) -> bool {
        let task = self.task.as_ref().filter(|task| Wait::of_task(task, now) == Wait::Unserved);
        let sandbox = self.sandbox.as_ref().filter(|sandbox| Wait::of_sandbox(sandbox, now) == Wait::Unserved);
        let Some(since) = task.and_then(changed).max(sandbox.and_then(changed)) else { return false };
        let is_recent = now.duration_since(since) < CONNECTED_MAX;
        let looks_after = |seen: Option<Timestamp>| seen.is_some_and(|seen| is_recent || seen >= since);
        let of_sandbox =
            self.sandbox.as_ref().filter(|_| sandbox.is_none()).and_then(|sandbox| {
                looked_at(sandbox, sandbox.status.as_ref().map(|status| status.conditions.as_slice()))
            });
        let of_pool = self.pool.as_ref().filter(|pool| Wait::of_pool(pool, now) != Wait::Unserved);
        let of_pool =
            of_pool.and_then(|pool| looked_at(pool, pool.status.as_ref().map(|status| status.conditions.as_slice())));
        looks_after(of_sandbox.max(of_pool))
    }

    fn names(&self) -> Names {
        let Self { namespace, task, sandbox, pool, pods, setup, .. } = self;
        let name = |sandbox: &Sandbox| (sandbox.name_any(), sandbox.spec.pool_ref.clone());
        let (of_sandbox, of_pool) = sandbox.as_ref().map(name).unzip();
        let printed = [task, setup].into_iter().flatten().find(|task| has_outputs(task));
        let wanted = pool.as_ref().map_or(0, |pool| pool.spec.replicas);
        Names {
            namespace: namespace.clone(),
            sandbox: task.as_ref().map(|task| task.spec.sandbox_ref.clone()).or(of_sandbox).unwrap_or_default(),
            pool: of_pool.or_else(|| pool.as_ref().map(ResourceExt::name_any)).unwrap_or_default(),
            pod: pods.first().map(ResourceExt::name_any).unwrap_or_default(),
            more: wanted.saturating_add(1).to_string(),
            crashed: pods.iter().find_map(crashed),
            outputs: printed.map(ResourceExt::name_any),
            operator: match &self.at_work {
                AtWork::Yes(Some(operator)) => Some((operator.namespace.clone(), operator.pod.clone())),
                _ => None,
            },
        }
    }

    /// Whether a call keeps failing for one of them.
    fn is_stalled(&self) -> bool {
        let task = self.task.as_ref().and_then(|task| Some(&task.status.as_ref()?.conditions));
        let sandbox = self.sandbox.as_ref().and_then(|sandbox| Some(&sandbox.status.as_ref()?.conditions));
        let pool = self.pool.as_ref().and_then(|pool| Some(&pool.status.as_ref()?.conditions));
        [task, sandbox, pool].into_iter().flatten().any(|conditions| find_true(conditions, STALLED).is_some())
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.task.is_none() && self.sandbox.is_none() && self.pool.is_none() && self.pods.is_empty()
    }
}

/// Those that are shown: the ones that are not ready say more.
pub fn telling(mut pods: Vec<Pod>) -> Vec<Pod> {
    pods.sort_by_key(is_ready);
    pods.truncate(PODS_MAX);
    pods
}

/// The screen.
pub fn explain(facts: &Facts, now: Timestamp) -> String {
    let (of_operator, mut advice) = facts.of_operator(now);
    let mut lines = Vec::from_iter(of_operator);
    let mut lacks_pod = false;
    if let Some(task) = &facts.task {
        let conditions = task.status.as_ref().map(|status| status.conditions.as_slice());
        let why = conditions.and_then(|all| find(all, "Succeeded"));
        lines.push(headline("Task", &task.name_any(), conditions, why));
        lines.extend(stalled(conditions));
        advice = advice.or(remedy(why, TaskReason::parse, advice::of_task, unserved(task, now)));
    }
    if let Some(sandbox) = &facts.sandbox {
        let conditions = sandbox.status.as_ref().map(|status| status.conditions.as_slice());
        let why = conditions.and_then(|all| find(all, "Ready"));
        lines.push(headline("Sandbox", &sandbox.name_any(), conditions, why));
        lines.extend(stalled(conditions));
        lacks_pod = why.is_some_and(|why| SandboxReason::parse(&why.reason) == Some(SandboxReason::PoolEmpty));
        advice = advice.or(remedy(why, SandboxReason::parse, advice::of_sandbox, unserved(sandbox, now)));
    }
    if let Some(pool) = &facts.pool {
        let conditions = pool.status.as_ref().map(|status| status.conditions.as_slice());
        let failing = conditions.and_then(|all| find_true(all, PODS_FAILING));
        let why = failing.or(conditions.and_then(|all| find(all, "Ready")));
        lines.push(headline("WarmPool", &pool.name_any(), conditions, why));
        lines.extend(stalled(conditions));
        let besides = || [TEMPLATE_WARNINGS, SCALING_LIMITED].into_iter();
        let besides = || besides().filter_map(|type_| find_true(conditions.unwrap_or_default(), type_));
        lines.extend(
            besides().map(|besides| format!("  {}: {}", besides.type_, printable(&besides.message, MESSAGE_MAX))),
        );
        let never = (lacks_pod && pool.spec.replicas == 0 && pool.spec.scaling.is_none()).then_some(advice::NEVER);
        advice = advice.or(never).or(remedy(why, WarmPoolReason::parse, advice::of_pool, unserved(pool, now)));
        let of_besides =
            |besides: &Condition| advice::of_pool(WarmPoolReason::parse(&besides.reason)?, &besides.message);
        advice = advice.or(besides().find_map(of_besides));
    }
    for pod in &facts.pods {
        lines.extend(of_pod(pod, &facts.events));
    }
    // Of a pod whose owner says nothing is wrong, or is not seen.
    let is_alone = facts.task.is_none() && facts.sandbox.is_none();
    let unready: Vec<&Pod> = facts.pods.iter().filter(|pod| is_alone && !is_ready(pod)).collect();
    let otherwise = match unready.as_slice() {
        [] => advice::WELL,
        pods if pods.iter().all(|pod| is_starting(pod, now)) => advice::STARTING,
        _ => advice::UNWELL,
    };
    let advice = if facts.is_stalled() { advice::STALLED } else { advice.unwrap_or(otherwise) };
    lines.push(format!("What to do: {}", facts.names().fill(advice)));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// When an operator wrote its status last, as far as is on record.
fn looked_at(object: &impl Resource, conditions: Option<&[Condition]>) -> Option<Timestamp> {
    let fields = object.meta().managed_fields.iter().flatten();
    let writes = fields.filter(|write| write.subresource.as_deref() == Some("status"));
    let written = writes.filter_map(|write| Some(write.time.as_ref()?.0));
    written.chain(conditions?.iter().map(|condition| condition.last_transition_time.0)).max()
}

/// Which call to the API keeps failing for it, where one does.
fn stalled(conditions: Option<&[Condition]>) -> Option<String> {
    let stalled = find_true(conditions.unwrap_or_default(), STALLED)?;
    Some(format!("  {STALLED}: {}", printable(&stalled.message, MESSAGE_MAX)))
}

fn headline(kind: &str, name: &str, conditions: Option<&[Condition]>, why: Option<&Condition>) -> String {
    match why {
        None if stalled(conditions).is_some() => format!("{kind} {name}: nothing is on record but this:"),
        Some(why) => format!("{kind} {name}: {}: {}", why.reason, printable(&why.message, MESSAGE_MAX)),
        None => format!("{kind} {name}: no operator has said anything of it yet"),
    }
}

/// Whether `logs` would print something.
fn has_outputs(task: &Task) -> bool {
    let is_some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let ended = |state| matches!(state, StepState::Succeeded | StepState::Failed);
    let steps = task.status.iter().flat_map(|status| &status.steps);
    steps.filter(|step| ended(step.state)).any(|step| is_some(&step.stdout) || is_some(&step.stderr))
}

/// The container of a pod that ended before, and waits for its next start.
fn crashed(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?;
    let mut containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let waits = |container: &&ContainerStatus| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    };
    containers.find(waits).map(|container| (pod.name_any(), container.name.clone()))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn of_pod(pod: &Pod, events: &[Event]) -> Vec<String> {
    let name = pod.name_any();
    let status = pod.status.clone().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let place = node.map_or("on no node".to_owned(), |node| format!("on node {node}"));
    let phase = match status.phase.as_deref() {
        _ if pod.metadata.deletion_timestamp.is_some() => "Terminating",
        _ if is_ready(pod) => "Ready",
        phase => phase.unwrap_or("Unknown"),
    };
    let mut lines = vec![format!("  Pod {name}: {phase}, {place}")];
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    lines.extend(unscheduled.map(|c| format!("    not scheduled: {}", c.message.as_deref().unwrap_or_default())));
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    for container in containers {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        if let Some(waiting) = waiting {
            let reason = waiting.reason.as_deref().unwrap_or("waits");
            let message = waiting.message.as_deref().unwrap_or_default();
            let line = format!("    container {}, image {}: {reason} {message}", container.name, container.image);
            lines.push(line.trim_end().to_owned());
        }
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        if let Some(last) = last {
            let reason = last.reason.as_deref().unwrap_or("ended");
            lines
                .push(format!("    container {} ended before: {reason}, exit code {}", container.name, last.exit_code));
        }
    }
    let of_it = events.iter().filter(|event| event.involved_object.name.as_deref() == Some(&name));
    let warnings: Vec<_> = of_it.filter(|event| event.type_.as_deref() == Some("Warning")).collect();
    for event in &warnings[warnings.len().saturating_sub(EVENTS_MAX)..] {
        let (reason, message) =
            (event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default());
        lines.push(format!("    Event {reason}: {message}"));
    }
    lines.iter().map(|line| printable(line, MESSAGE_MAX)).collect()
}

fn remedy<R>(
    why: Option<&Condition>,
    parse: fn(&str) -> Option<R>,
    of: fn(R, &str) -> Option<&'static str>,
    unserved: &'static str,
) -> Option<&'static str> {
    match why {
        Some(why) => parse(&why.reason).map_or(Some(advice::NEWER), |reason| of(reason, &why.message)),
        None => Some(unserved),
    }
}

/// Of one that no operator has looked at.
fn unserved(object: &impl Resource, now: Timestamp) -> &'static str {
    if is_new(object, now) { advice::NEW } else { advice::UNSERVED }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn here() -> Facts {
        Facts { namespace: "ns".into(), ..Facts::default() }
    }

    fn explain(facts: &Facts) -> String {
        super::explain(facts, Timestamp::from_second(1_800_000_000).unwrap())
    }

    fn made<K: serde::de::DeserializeOwned>(kind: &str, name: &str, rest: &Value) -> K {
        let version = if matches!(kind, "Pod" | "Event") { "v1" } else { "arl.infra.io/v1alpha1" };
        let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } });
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(object).unwrap()
    }

    fn why(type_: &str, status: &str, reason: &str) -> Value {
        json!([{ "type": type_, "status": status, "reason": reason, "message": "the message",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }])
    }

    fn pool(conditions: &Value) -> WarmPool {
        let spec = json!({ "replicas": 1, "template": { "spec": { "containers": [] } } });
        made("WarmPool", "p", &json!({ "spec": spec, "status": { "conditions": conditions } }))
    }

    #[test]
    fn a_sandbox_that_waits_for_a_pool_of_none_is_told_what_it_lacks() {
        let waits =
            json!({ "spec": { "poolRef": "p" }, "status": { "conditions": why("Ready", "False", "PoolEmpty") } });
        for (replicas, advice) in [
            (
                0,
                "give the pool replicas, or scaling: with 0 and none, no pod comes (`kubectl arl pool scale -n ns p 1`)",
            ),
            (1, advice::WELL),
        ] {
            let mut pool = pool(&why("Ready", "True", "PodsReady"));
            pool.spec.replicas = replicas;
            let facts = Facts { sandbox: Some(made("Sandbox", "s", &waits)), pool: Some(pool), ..here() };
            assert!(explain(&facts).ends_with(&format!("What to do: {advice}\n")), "{replicas}: {}", explain(&facts));
        }
    }

    #[test]
    fn a_sandbox_that_waits_is_followed_down_to_the_image() {
        let sandbox =
            json!({ "spec": { "poolRef": "p" }, "status": { "conditions": why("Ready", "False", "PoolEmpty") } });
        let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } });
        let container = json!({ "name": "executor", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0, "state": waiting });
        let pod = json!({ "spec": { "nodeName": "n1", "containers": [] },
            "status": { "phase": "Pending", "containerStatuses": [container] } });
        let event = json!({ "involvedObject": { "name": "p-1" }, "type": "Warning", "reason": "Failed", "message": "pull\u{1b}[2J failed" });
        let facts = Facts {
            sandbox: Some(made("Sandbox", "s", &sandbox)),
            pool: Some(pool(&why("PodsFailing", "True", "ImagePullBackOff"))),
            pods: vec![made("Pod", "p-1", &pod)],
            events: vec![made("Event", "e", &event)],
            ..Facts::default()
        };
        let expected = "\
Sandbox s: PoolEmpty: the message
WarmPool p: ImagePullBackOff: the message
  Pod p-1: Pending, on node n1
    container executor, image i:1: ImagePullBackOff no such image
    Event Failed: pull [2J failed
What to do: correct the image's name or tag, or add imagePullSecrets to the template
";
        assert_eq!(explain(&facts), expected);
    }

    #[test]
    fn a_task_that_failed_is_to_be_read_and_what_is_well_needs_nothing() {
        for (state, printed, advice) in [
            ("Failed", "no", "read the message above, and what was printed: `kubectl arl logs -n ns t`"),
            ("Failed", "", "read the message above"),
            ("Skipped", "no", "read the message above"),
        ] {
            let step = json!({ "name": "a", "state": state, "stderr": printed });
            let status =
                json!({ "state": "Failed", "steps": [step], "conditions": why("Succeeded", "False", "StepFailed") });
            let task = json!({ "spec": { "sandboxRef": "s", "steps": [] }, "status": status });
            let facts = Facts { task: Some(made("Task", "t", &task)), ..here() };
            assert!(explain(&facts).ends_with(&format!("What to do: {advice}\n")), "{}", explain(&facts));
        }
        let well = Facts { pool: Some(pool(&why("Ready", "True", "PodsReady"))), ..Facts::default() };
        assert!(explain(&well).ends_with("What to do: nothing; it is as it should be\n"));
        let sandbox =
            json!({ "spec": { "poolRef": "p" }, "status": { "conditions": why("Ready", "True", "Allocated") } });
        let empty = || Some(pool(&why("Ready", "False", "PodsNotReady")));
        let allocated = Facts { sandbox: Some(made("Sandbox", "s", &sandbox)), pool: empty(), ..Facts::default() };
        assert!(explain(&allocated).ends_with("What to do: nothing; it is as it should be\n"), "it has its pod");
        let starting = Facts { pool: empty(), ..Facts::default() };
        assert!(explain(&starting).contains("What to do: wait: its pods start"));
        let newer = Facts { pool: Some(pool(&why("Ready", "False", "PodsOnStrike"))), ..Facts::default() };
        assert!(explain(&newer).contains("What to do: read the message above"));
        let pod = json!({ "spec": { "containers": [] }, "status": { "conditions": why("Ready", "True", "") } });
        let mut pod: Pod = made("Pod", "p-1", &pod);
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let ends = Facts { pods: vec![pod], ..Facts::default() };
        assert!(explain(&ends).contains("Pod p-1: Terminating"), "{}", explain(&ends));
        let waiting = json!([{ "name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff" } } }]);
        let waits = json!({ "spec": { "containers": [] }, "status": { "containerStatuses": waiting } });
        let waits = Facts { pods: vec![made("Pod", "p-1", &waits)], ..Facts::default() };
        assert!(explain(&waits).contains("What to do: look at the pod above"), "{}", explain(&waits));
        let unserved = Facts { pool: Some(pool(&json!([]))), ..Facts::default() };
        assert!(explain(&unserved).contains("see whether the operator runs"));
    }

    #[test]
    fn a_setup_that_failed_leads_to_its_outputs_where_it_has_any() {
        let of = |step: &Value| {
            let setup = made(
                "Task",
                "s-setup",
                &json!({ "spec": { "sandboxRef": "s", "steps": [] }, "status": { "steps": [step] } }),
            );
            let status = json!({ "phase": "Released", "conditions": why("Ready", "False", "SetupFailed") });
            let sandbox = made("Sandbox", "s", &json!({ "spec": { "poolRef": "p" }, "status": status }));
            explain(&Facts { sandbox: Some(sandbox), setup: Some(setup), ..here() })
        };
        let printed = of(&json!({ "name": "a", "state": "Failed", "stdout": "no" }));
        assert!(
            printed.ends_with("in another Sandbox, and what was printed: `kubectl arl logs -n ns s-setup`\n"),
            "{printed}"
        );
        let silent = of(&json!({ "name": "a", "state": "Skipped" }));
        assert!(silent.ends_with("What to do: correct spec.setup in another Sandbox\n"), "{silent}");
    }

    #[test]
    fn what_the_api_server_warns_of_is_shown_beside_what_is_well() {
        let warned = [why("Ready", "True", "PodsReady"), why("TemplateWarnings", "True", "TemplateWarnings")];
        let warned: Vec<&Value> = warned.iter().flat_map(|conditions| conditions.as_array().unwrap()).collect();
        let expected = "\
WarmPool p: PodsReady: the message
  TemplateWarnings: the message
What to do: correct the field of the template that the message names
";
        assert_eq!(explain(&Facts { pool: Some(pool(&json!(warned))), ..here() }), expected);
    }

    #[test]
    fn a_call_that_keeps_failing_is_told() {
        let stalled = why(STALLED, "True", "Refused");
        let task = json!({ "spec": { "sandboxRef": "s", "steps": [] }, "status": { "conditions": stalled } });
        let said = explain(&Facts { task: Some(made("Task", "t", &task)), ..here() });
        assert!(said.starts_with("Task t: nothing is on record but this:\n  Stalled: the message\n"), "{said}");
        assert!(said.ends_with(&format!("What to do: {}\n", advice::STALLED)), "{said}");
    }

    #[test]
    fn what_waits_on_an_operator_is_told_first_that_none_is_at_work() {
        let no = || AtWork::No("o-1 is not ready".into());
        let told = json!({ "state": "Running", "conditions": why("Succeeded", "Unknown", "Running") });
        let done = json!({ "state": "Succeeded", "conditions": why("Succeeded", "True", "Succeeded") });
        let filled = |advice| Names { namespace: "ns".into(), ..Names::default() }.fill(advice);
        let (limited, no_operator) = (filled(advice::LIMITED), filled(advice::NO_OPERATOR));
        let lacks = "No operator is at work: o-1 is not ready\n";
        let unseen = "No operator is seen at work: there is no pod and no Lease of one in this cluster";
        for (at_work, status, first, advice) in [
            (no(), &told, lacks, no_operator.as_str()),
            (no(), &Value::Null, lacks, no_operator.as_str()),
            (no(), &done, "Task t: Succeeded", advice::WELL),
            (AtWork::Untraced, &Value::Null, &format!("{unseen}\n"), no_operator.as_str()),
            (AtWork::Untraced, &told, "Task t: Running", advice::WELL),
            (AtWork::Untraced, &done, "Task t: Succeeded", advice::WELL),
            (AtWork::Yes(None), &Value::Null, "An operator is at work, and has not looked at it", limited.as_str()),
            (AtWork::Yes(None), &told, "Task t: Running", advice::WELL),
            (AtWork::Unknown, &Value::Null, "Task t: no operator has said anything of it yet", advice::UNSERVED),
            (AtWork::Unknown, &told, "Task t: Running", advice::WELL),
        ] {
            let task = json!({ "spec": { "sandboxRef": "s", "steps": [], "timeout": "24h" }, "status": status });
            let said = explain(&Facts { at_work: at_work.clone(), task: Some(made("Task", "t", &task)), ..here() });
            assert!(said.starts_with(first), "{at_work:?} {status}: {said}");
            assert!(said.ends_with(&format!("What to do: {advice}\n")), "{at_work:?} {status}: {said}");
        }
    }

    #[test]
    fn what_belongs_to_what_an_operator_looks_after_is_not_left_to_others() {
        let at = |age: i64| Timestamp::from_second(1_800_000_000 - age).unwrap().to_string();
        let of = |task_age: i64, seen: Option<i64>| {
            let meta = json!({ "name": "t", "creationTimestamp": at(task_age) });
            let task = json!({ "metadata": meta, "spec": { "sandboxRef": "s", "steps": [] } });
            let status = seen.map(|age| {
                let ready = json!([{ "type": "Ready", "status": "True", "reason": "Allocated", "message": "the message",
                    "lastTransitionTime": at(age) }]);
                json!({ "phase": "Bound", "conditions": ready })
            });
            let sandbox = json!({ "spec": { "poolRef": "p" }, "status": status });
            let (task, sandbox) = (made("Task", "t", &task), made("Sandbox", "s", &sandbox));
            explain(&Facts { at_work: AtWork::Yes(None), task: Some(task), sandbox: Some(sandbox), ..here() })
        };
        for (task_age, seen, is_looked_after) in
            [(20, Some(3_600), true), (3_600, Some(20), true), (3_600, Some(7_200), false), (20, None, false)]
        {
            let said = of(task_age, seen);
            assert_eq!(said.contains("watchNamespaces"), !is_looked_after, "{said}");
            assert_eq!(said.contains("its pod is being connected to"), is_looked_after, "{said}");
        }
    }

    #[test]
    fn the_container_that_crashes_is_named() {
        let waits = |reason: &str| json!({ "waiting": { "reason": reason } });
        let container = |name: &str, state: &Value| json!({ "name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 3, "state": state });
        let statuses = json!([container("a", &waits("PodInitializing")), container("b", &waits("CrashLoopBackOff"))]);
        let pod =
            made("Pod", "p-1", &json!({ "spec": { "containers": [] }, "status": { "containerStatuses": statuses } }));
        let failing = || Some(pool(&why("PodsFailing", "True", "CrashLoopBackOff")));
        let named = explain(&Facts { pool: failing(), pods: vec![pod], ..here() });
        assert!(named.ends_with("see why the container ends: kubectl -n ns logs --previous p-1 -c b\n"), "{named}");
        let gone = explain(&Facts { pool: failing(), ..here() });
        assert!(
            gone.ends_with("see why the container ends: kubectl -n ns get pods -l arl.infra.io/warmpool=p\n"),
            "{gone}"
        );
    }

    #[test]
    fn what_was_made_just_now_is_no_trouble_yet() {
        let explain = |facts: &Facts, second| super::explain(facts, Timestamp::from_second(second).unwrap());
        let meta = json!({ "name": "p-1", "creationTimestamp": "1970-01-01T00:00:00Z" });
        let waits = json!({ "waiting": { "reason": "ContainerCreating" } });
        let container = json!({ "name": "executor", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0, "state": waits });
        let status = json!({ "phase": "Pending", "containerStatuses": [container] });
        let starts: Pod = made("Pod", "p-1", &json!({ "metadata": meta, "status": status }));
        let facts =
            Facts { pool: Some(pool(&why("Ready", "True", "PodsReady"))), pods: vec![starts], ..Facts::default() };
        let (early, late) = (explain(&facts, 5), explain(&facts, 60));
        assert!(early.contains("What to do: nothing yet: the pod above starts"), "{early}");
        assert!(late.contains("What to do: look at the pod above"), "{late}");
        let mut unserved = pool(&json!([]));
        unserved.metadata.creation_timestamp = facts.pods[0].metadata.creation_timestamp.clone();
        let facts = Facts { pool: Some(unserved), ..Facts::default() };
        assert!(explain(&facts, 2).ends_with("it was made just now; ask again in a few seconds\n"));
        assert!(explain(&facts, 20).contains("see whether the operator runs"));
    }
}
