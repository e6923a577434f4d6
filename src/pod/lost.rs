//! How a pod that is no more of use was lost, in words and with what to do about it.

use arl_crds::Blame;

use super::{Container, Pod, Terminated, container::Restarts};

/// Who ended a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The kernel, which killed its executor container for lack of memory.
    OutOfMemory,
    /// A container that ended, or a limit of the pod's own that it passed.
    Own,
    /// The node, the scheduler or a person.
    Outside,
    /// The node, before it started anything of it, for what its template asks for.
    Template,
    /// The `activeDeadlineSeconds` of its template.
    Deadline,
}

/// The loss of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Who ended it.
    pub cause: Cause,
    /// How, such as `was evicted by its node: The node was low on resource: memory.`
    pub message: String,
    /// What to do about it.
    pub advice: &'static str,
}

impl Loss {
    /// Who can do something about it. A pod that used more than others is evicted first where its node runs short: it may well be why.
    pub fn blame(&self) -> Blame {
        match self.cause {
            Cause::OutOfMemory | Cause::Own => Blame::Task,
            Cause::Outside if GREED.iter().any(|words| self.message.contains(words)) => Blame::Task,
            // One that was given to somebody has been started: its node had nothing against it then.
            Cause::Outside | Cause::Template => Blame::Infrastructure,
            Cause::Deadline => Blame::Usage,
        }
    }
}

/// How the kubelet says that a pod may be why its node runs short. It names containers for memory, and for what they write beside volumes: processes,
/// inodes and what is in volumes are counted for the pod alone, which is chosen for them without a word of it.
const GREED: [&str; 4] = [
    "has larger consumption of",
    "low on resource: pids",
    "low on resource: inodes",
    "low on resource: ephemeral-storage",
];

/// What to do where a process was killed for lack of memory. The kernel counts alike what it kills at a container's limit, at its pod's and
/// where the node has no more, and the kubelet calls all of them OOMKilled.
pub const RAISE_MEMORY: &str =
    "raise the memory limit in the pool's template, or, where it was not reached, the request: then the node ran out";

/// How a pod was lost; none is one that is gone.
pub fn how_lost(pod: Option<&Pod>) -> Loss {
    let Some(pod) = pod else { return outside("is gone".into(), "see kubectl get nodes") };
    match (pod.is_terminal(), pod.status.reason.as_str()) {
        (false, _) if !pod.is_deleting() => given_away(pod),
        (false, _) => deleted(pod),
        // Its containers ended since it is deleted, or have not.
        (true, "") if pod.ended_by_its_disruption() || pod.ended_by_its_deletion() => deleted(pod),
        (true, "") => by_a_container(pod),
        (true, reason) => by_the_node(reason, &pod.status.message),
    }
}

fn outside(message: String, advice: &'static str) -> Loss {
    Loss { cause: Cause::Outside, message, advice }
}

/// What a pod that is well, and its Sandbox's no more, says of who has it.
fn given_away(pod: &Pod) -> Loss {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    let owner = owner.map_or_else(|| "nobody".to_owned(), |owner| format!("{} {}", owner.kind, owner.name));
    outside(
        format!("was given to {owner} by a change of its ownerReferences, and is not deleted"),
        "see kubectl get pod -o yaml",
    )
}

/// What a pod that is being deleted, or is about to be, says of why.
fn deleted(pod: &Pod) -> Loss {
    let Some(target) = pod.disruption() else {
        return outside("was deleted".into(), "see kubectl get events");
    };
    let (how, advice) = match target.reason.as_str() {
        "EvictionByEvictionAPI" => ("was evicted, as kubectl drain and autoscalers do", "see kubectl get nodes"),
        "PreemptionByScheduler" => {
            ("was preempted by a pod of higher priority", "set a priorityClassName in the template")
        }
        "DeletionByTaintManager" => ("was deleted for a taint of its node", "see kubectl get nodes"),
        "DeletionByPodGC" => ("was deleted with its node", "see kubectl get nodes"),
        "TerminationByKubelet" => ("was ended by its node", "see kubectl get nodes"),
        _ => ("was deleted", "see kubectl get events"),
    };
    outside(format!("{how} ({}: {})", target.reason, target.message), advice)
}

/// Why a kubelet does not even start a pod.
const REFUSALS: [&str; 9] = [
    "AppArmor",
    "InitContainersRestartForbidden",
    "NodeAffinity",
    "NodeName",
    "PodOSNotSupported",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "SMTAlignmentError",
    "SupplementalGroupsPolicyNotSupported",
    "SysctlForbidden",
];
/// The same, for what the node has, or what others have taken of it, at that moment.
const OCCUPIED: [&str; 3] = ["NodePorts", "TopologyAffinityError", "UnexpectedAdmissionError"];

/// Pods that their node ended have a reason; it is the kubelet's.
fn by_the_node(reason: &str, message: &str) -> Loss {
    let message = message.trim().trim_end_matches('.');
    let said = if message.is_empty() { String::new() } else { format!(": {message}") };
    match reason {
        "Evicted" if ["exceeds the", "exceeded its"].iter().any(|own| message.contains(own)) => Loss {
            cause: Cause::Own,
            message: format!("was evicted by its node{said}"),
            advice: "raise that limit in the pool's template, or write less",
        },
        "Evicted" => outside(
            format!("was evicted by its node{said}"),
            "raise the template's requests for what ran short, or free room on the node",
        ),
        "DeadlineExceeded" => Loss {
            cause: Cause::Deadline,
            message: format!("reached its activeDeadlineSeconds{said}"),
            advice: "raise or remove activeDeadlineSeconds in the pool's template: it counts from the pod's start, idle time included",
        },
        "Preempting" | "Preempted" => {
            outside(format!("was preempted{said}"), "set a priorityClassName in the pool's template")
        }
        "Terminated" | "Shutdown" | "NodeShutdown" => {
            outside(format!("was ended with the shutdown of its node{said}"), "see kubectl get nodes")
        }
        // The scheduler, which counts what is left of a node, was passed over, or something took it meanwhile.
        full if full.starts_with("OutOf") => outside(
            format!("was refused by its node ({full}{said})"),
            "lower the template's requests, or take nodeName out of it",
        ),
        refused if REFUSALS.contains(&refused) || OCCUPIED.contains(&refused) => Loss {
            cause: if OCCUPIED.contains(&refused) { Cause::Outside } else { Cause::Template },
            message: format!("was refused by its node ({refused}{said})"),
            advice: "correct what this names in the pool's template, or in the kubelet's configuration; see kubectl describe node",
        },
        other => outside(format!("was ended by its node ({other}{said})"), "see kubectl describe node"),
    }
}

/// Pods that ended by themselves have no reason of their own: their containers have. The executor's comes first, but for an init container that
/// failed, after which no other was started.
fn by_a_container(pod: &Pod) -> Loss {
    let status = &pod.status;
    if let Some((name, end)) = pod.failed_init() {
        let message = format!("ended: init container {name} {}{}", end.description(), policy(pod, name));
        let advice = if end.is_out_of_memory() {
            RAISE_MEMORY
        } else {
            "it has to end with exit code 0; see that container's log (kubectl logs -c)"
        };
        return Loss { cause: Cause::Own, message, advice };
    }
    let ended = status.container_statuses.iter().filter_map(|c| Some((c.name.as_str(), c.state.terminated.as_ref()?)));
    let executor = pod.executor();
    let Some((name, end)) = ended.min_by_key(|(name, end)| (*name != executor, end.exit_code == 0)) else {
        return outside(format!("ended as {}", pod.status.phase), "see kubectl describe pod");
    };
    let (cause, advice) = match end.is_out_of_memory() {
        true if name == executor => (Cause::OutOfMemory, RAISE_MEMORY),
        true => (Cause::Own, RAISE_MEMORY),
        false if end.could_not_start() => (Cause::Own, "correct what the message names in the pool's template"),
        false if end.ended_with_its_node() => (Cause::Outside, "see kubectl get nodes"),
        false => (Cause::Own, "the container's command must keep running; see kubectl logs"),
    };
    Loss { cause, message: format!("ended: container {name} {}{}", end.description(), policy(pod, name)), advice }
}

fn policy(pod: &Pod, container: &str) -> String {
    let policy = pod.policy(container);
    policy.map(|policy| format!(", and with {policy} the pod ended with it")).unwrap_or_default()
}

impl Pod {
    /// Whether the executor container has ended and is not started again.
    pub fn executor_is_over(&self) -> bool {
        let ended = self.executor_status().and_then(|c| c.state.terminated.as_ref());
        ended.is_some_and(|end| match self.restarts(self.executor()) {
            _ if self.container(self.executor()).is_some_and(|c| c.may_restart_by_rule(end.exit_code)) => {
                self.is_terminal()
            }
            Some(Restarts::Never) => true,
            Some(Restarts::OnFailure) => end.exit_code == 0,
            Some(Restarts::Always) | None => false,
        })
    }

    /// When this container is started again where no rule of its own says so: as it says itself, else as the pod does.
    fn restarts(&self, container: &str) -> Option<Restarts> {
        let own = self.container(container).and_then(|c| c.restarts);
        own.or_else(|| Restarts::of(&self.spec.restart_policy))
    }

    /// What says when this container is started again.
    fn policy(&self, container: &str) -> Option<String> {
        let rules = self.has_rules(container).then(|| "restartPolicyRules".to_owned());
        rules.or_else(|| self.restarts(container).map(|policy| policy.to_string()))
    }

    fn has_rules(&self, container: &str) -> bool {
        self.container(container).is_some_and(Container::has_rules)
    }

    /// What says when its executor container is started again, such as `restartPolicy Never`.
    pub fn executor_policy(&self) -> String {
        self.policy(self.executor()).unwrap_or_default()
    }

    /// Whether this container is never started again.
    pub fn never_restarts(&self, container: &str) -> bool {
        self.restarts(container) == Some(Restarts::Never) && !self.has_rules(container)
    }

    /// The init container that failed, and how.
    fn failed_init(&self) -> Option<(&str, &Terminated)> {
        let mut ending = self.status.init_container_statuses.iter().filter(|c| !self.goes_on(&c.name));
        ending.find_map(|c| Some((c.name.as_str(), c.state.terminated.as_ref().filter(|end| end.exit_code != 0)?)))
    }

    /// Whether what disrupts it ended it. Where its node is gone, that is said, and its end with it, before its deletion has begun; so it is where
    /// no container ended that could have ended the pod. Otherwise the disruption may never have come to be.
    fn ended_by_its_disruption(&self) -> bool {
        let has_ended = self.executor_status().is_some_and(|c| c.state.terminated.is_some());
        let ended_by_itself = || has_ended || self.failed_init().is_some();
        self.disruption().is_some_and(|c| self.is_deleting() || c.reason == "DeletionByPodGC" || !ended_by_itself())
    }

    /// Whether it ended since somebody deletes it: otherwise its executor container is started again, however it ends.
    fn ended_by_its_deletion(&self) -> bool {
        self.is_deleting() && matches!(self.restarts(self.executor()), Some(Restarts::Always) | None)
    }

    /// Whether one of its containers has been started again more than once, of those that are to go on running, and last not for its node.
    pub fn is_unsteady(&self) -> bool {
        let sidecars = self.status.init_container_statuses.iter().filter(|c| self.goes_on(&c.name));
        self.status.container_statuses.iter().chain(sidecars).any(|c| {
            let last = c.state.terminated.as_ref().or(c.last_state.terminated.as_ref());
            c.restart_count > 1 && !last.is_some_and(Terminated::ended_with_its_node)
        })
    }

    /// Whether an init container is to go on running beside the others: it need not end, only to have started.
    pub fn goes_on(&self, init: &str) -> bool {
        self.spec.init_containers.iter().any(|c| c.name == init && c.goes_on)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lost(metadata: &Value, status: &Value) -> Loss {
        lost_with("Never", metadata, status)
    }

    fn lost_with(restart_policy: &str, metadata: &Value, status: &Value) -> Loss {
        let spec =
            json!({ "restartPolicy": restart_policy, "containers": [{ "name": "helper" }, { "name": "executor" }] });
        let pod = json!({ "metadata": metadata, "spec": spec, "status": status });
        how_lost(Some(&serde_json::from_value(pod).unwrap()))
    }

    #[test]
    fn a_pod_that_its_node_ended_is_not_its_commands_fault() {
        for (reason, message, cause, expected) in [
            (
                "Evicted",
                "The node was low on resource: memory.",
                Cause::Outside,
                "evicted by its node: The node was low",
            ),
            (
                "Evicted",
                "Usage of EmptyDir volume \"w\" exceeds the limit \"1Mi\".",
                Cause::Own,
                "evicted by its node: Usage",
            ),
            (
                "Evicted",
                "Container executor exceeded its local ephemeral storage limit \"1Mi\".",
                Cause::Own,
                "evicted",
            ),
            (
                "DeadlineExceeded",
                "Pod was active on the node longer",
                Cause::Deadline,
                "reached its activeDeadlineSeconds",
            ),
            ("Preempting", "Preempted in order to admit critical pod", Cause::Outside, "was preempted"),
            (
                "Terminated",
                "Pod was terminated in response to imminent node shutdown.",
                Cause::Outside,
                "shutdown of its node",
            ),
            (
                "OutOfcpu",
                "Node didn't have enough resource: cpu",
                Cause::Outside,
                "was refused by its node (OutOfcpu: Node didn't have",
            ),
            (
                "SysctlForbidden",
                "forbidden sysctl: \"kernel.msgmax\" not allowlisted",
                Cause::Template,
                "was refused by its node (SysctlForbidden: forbidden sysctl",
            ),
            (
                "UnexpectedAdmissionError",
                "no device",
                Cause::Outside,
                "was refused by its node (UnexpectedAdmissionError",
            ),
            ("NodeLost", "", Cause::Outside, "was ended by its node (NodeLost)"),
        ] {
            let status = json!({ "phase": "Failed", "reason": reason, "message": message });
            let loss = lost(&json!({}), &status);
            assert_eq!(loss.cause, cause, "{reason} {message}");
            assert!(loss.message.contains(expected), "{}", loss.message);
            assert!(!loss.advice.contains("command must keep running"), "{reason}");
        }
    }

    #[test]
    fn a_pod_that_was_evicted_did_not_end_by_its_containers_end() {
        let gone = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let target = json!([{ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" }]);
        let ended = json!([{ "name": "executor", "state": { "terminated": { "reason": "Error", "exitCode": 137 } } }]);
        let status = json!({ "phase": "Failed", "conditions": target, "containerStatuses": ended });
        let loss = lost(&gone, &status);
        assert_eq!(loss.cause, Cause::Outside, "{loss:?}");
        assert!(loss.message.contains("was evicted"), "{loss:?}");
        assert_eq!(lost(&json!({}), &status).cause, Cause::Own, "it is not deleted");
    }

    #[test]
    fn a_pod_that_is_deleted_and_whose_containers_would_go_on_did_not_end_by_their_end() {
        let gone = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        for (policy, code, message, blame) in [
            ("Always", 137, "was deleted", Blame::Infrastructure),
            ("Always", 0, "was deleted", Blame::Infrastructure),
            ("OnFailure", 137, "ended: container executor exited with code 137", Blame::Task),
            ("Never", 137, "ended: container executor exited with code 137", Blame::Task),
        ] {
            let ended = json!({ "terminated": { "reason": "Error", "exitCode": code } });
            let status = json!({ "phase": "Failed", "containerStatuses": [{ "name": "executor", "state": ended }] });
            let loss = lost_with(policy, &gone, &status);
            assert!(loss.message.starts_with(message) && loss.blame() == blame, "{policy} {code}: {loss:?}");
        }
    }

    #[test]
    fn only_what_code_in_the_pod_cannot_cause_is_the_infrastructures_fault() {
        let low = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 9Mi.";
        let greedy = format!("{low} Container executor was using 1Gi, request is 0, has larger consumption of memory.");
        for (reason, message, blame) in [
            ("Evicted", low, Blame::Infrastructure),
            ("Evicted", &greedy, Blame::Task),
            ("Evicted", "The node was low on resource: pids. Threshold quantity: 100, available: 9. ", Blame::Task),
            ("Evicted", "The node was low on resource: inodes. Threshold quantity: 100, available: 9. ", Blame::Task),
            (
                "Evicted",
                "The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 0. ",
                Blame::Task,
            ),
            ("Evicted", "Pod was rejected: The node had condition: [DiskPressure]. ", Blame::Infrastructure),
            ("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi.", Blame::Task),
            ("Preempting", "Preempted in order to admit critical pod", Blame::Infrastructure),
            ("Terminated", "Pod was terminated in response to imminent node shutdown.", Blame::Infrastructure),
            ("DeadlineExceeded", "Pod was active on the node longer", Blame::Usage),
        ] {
            let loss = lost(&json!({}), &json!({ "phase": "Failed", "reason": reason, "message": message }));
            assert_eq!(loss.blame(), blame, "{reason} {message}");
        }
        let ended = json!([{ "name": "executor", "state": { "terminated": { "reason": "Error", "exitCode": 3 } } }]);
        assert_eq!(lost(&json!({}), &json!({ "phase": "Failed", "containerStatuses": ended })).blame(), Blame::Task);
        assert_eq!(how_lost(None).blame(), Blame::Infrastructure);
    }

    #[test]
    fn a_pod_that_ended_by_a_container_names_it_and_how_it_ended() {
        let ended = |name: &str, reason: &str, code: i32| json!({ "name": name, "state": { "terminated": { "reason": reason, "exitCode": code } } });
        for (executor, cause, message) in [
            (
                ended("executor", "OOMKilled", 137),
                Cause::OutOfMemory,
                "container executor was killed for lack of memory",
            ),
            (
                ended("executor", "Error", 3),
                Cause::Own,
                "container executor exited with code 3, and with restartPolicy Never",
            ),
            (ended("executor", "Completed", 0), Cause::Own, "container executor exited with code 0"),
        ] {
            let status = json!({ "phase": "Failed", "containerStatuses": [ended("helper", "Error", 9), executor] });
            let loss = lost(&json!({}), &status);
            assert_eq!(loss.cause, cause);
            assert!(loss.message.contains(message), "{}", loss.message);
        }
    }

    #[test]
    fn a_pod_that_ended_by_its_init_container_names_that() {
        let failed = |reason: &str, code: i32| {
            let end = json!({ "terminated": { "reason": reason, "exitCode": code, "message": "no such file" } });
            let init = json!([{ "name": "prepare", "state": end }]);
            let waiting = json!([{ "name": "executor", "state": { "waiting": { "reason": "PodInitializing" } } }]);
            lost(&json!({}), &json!({ "phase": "Failed", "initContainerStatuses": init, "containerStatuses": waiting }))
        };
        for (reason, code, message, advice) in [
            ("Error", 3, "init container prepare exited with code 3, and with restartPolicy Never", "exit code 0"),
            ("OOMKilled", 137, "init container prepare was killed for lack of memory", RAISE_MEMORY),
            ("StartError", 128, "init container prepare could not be started: no such file", "exit code 0"),
        ] {
            let loss = failed(reason, code);
            assert_eq!(loss.cause, Cause::Own);
            assert!(loss.message.contains(message) && loss.advice.contains(advice), "{loss:?}");
        }
        let unstarted = json!([{ "name": "executor", "state": { "terminated": { "reason": "StartError", "exitCode": 128, "message": "no such file" } } }]);
        let loss = lost(&json!({}), &json!({ "phase": "Failed", "containerStatuses": unstarted }));
        assert!(
            loss.message.contains("could not be started: no such file") && !loss.advice.contains("keep running"),
            "{loss:?}"
        );
    }

    #[test]
    fn a_pod_that_is_being_deleted_says_for_whom() {
        let going = json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" });
        let target =
            |reason: &str| json!({ "type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m" });
        for (reason, message) in [
            ("EvictionByEvictionAPI", "was evicted, as kubectl drain"),
            ("PreemptionByScheduler", "preempted by a pod of higher priority"),
            ("DeletionByTaintManager", "for a taint of its node (DeletionByTaintManager: m)"),
            ("DeletionByPodGC", "was deleted with its node"),
        ] {
            let loss = lost(&going, &json!({ "phase": "Running", "conditions": [target(reason)] }));
            assert!(loss.message.contains(message), "{}", loss.message);
        }
        assert_eq!(lost(&going, &json!({ "phase": "Running" })).message, "was deleted");
        assert_eq!(how_lost(None).message, "is gone");

        // The pod's end is on record before its deletion has begun.
        let (runs, exited) = (json!({ "running": {} }), |code: i32| json!({ "terminated": { "exitCode": code } }));
        for (reason, helper, executor, message) in [
            ("DeletionByPodGC", Value::Null, Value::Null, "was deleted with its node"),
            ("DeletionByPodGC", runs.clone(), runs.clone(), "was deleted with its node"),
            ("DeletionByPodGC", exited(0), runs.clone(), "was deleted with its node"),
            ("DeletionByPodGC", exited(1), exited(137), "was deleted with its node"),
            ("DeletionByTaintManager", exited(0), runs.clone(), "was deleted for a taint"),
            ("EvictionByEvictionAPI", runs.clone(), exited(1), "ended: container executor exited with code 1"),
        ] {
            let statuses = json!([{ "name": "helper", "state": helper }, { "name": "executor", "state": executor }]);
            let statuses = if executor.is_null() { json!([]) } else { statuses };
            let status = json!({ "phase": "Failed", "conditions": [target(reason)], "containerStatuses": statuses });
            for policy in ["Always", "OnFailure", "Never"] {
                let loss = lost_with(policy, &json!({}), &status);
                assert!(loss.message.starts_with(message), "{policy} {reason} {helper} {executor}: {loss:?}");
                let own = message.starts_with("ended");
                assert_eq!(loss.blame() == Blame::Task, own, "{policy} {reason} {helper} {executor}");
            }
        }
        let failed = json!({
            "phase": "Failed", "conditions": [target("EvictionByEvictionAPI")],
            "initContainerStatuses": [{ "name": "prepare", "state": exited(3) }],
            "containerStatuses": [{ "name": "executor", "state": { "waiting": { "reason": "PodInitializing" } } }],
        });
        assert!(lost(&json!({}), &failed).message.contains("init container prepare"), "nobody deletes it");
    }

    #[test]
    fn what_a_container_says_of_its_restarts_counts_before_what_its_pod_says() {
        let (always, failure, never) = ("Always", "OnFailure", "Never");
        // Pod policy, own policy, whether it has rules, exit code; whether it is over, and whether a pod that is deleted ended for that.
        for (pod, own, rules, code, is_over, by_deletion) in [
            (always, "", false, 0, false, true),
            (always, always, false, 1, false, true),
            (always, failure, false, 0, true, false),
            (always, failure, false, 1, false, false),
            (always, never, false, 0, true, false),
            (always, never, false, 1, true, false),
            (failure, "", false, 0, true, false),
            (failure, "", false, 1, false, false),
            (failure, always, false, 0, false, true),
            (failure, never, false, 1, true, false),
            (never, "", false, 1, true, false),
            (never, always, false, 0, false, true),
            (never, always, false, 1, false, true),
            (never, failure, false, 0, true, false),
            (never, failure, false, 1, false, false),
            (never, never, true, 1, true, false),
            (never, never, true, 42, false, false),
            (never, "", true, 1, true, false),
            (always, failure, true, 0, true, false),
            (always, failure, true, 1, false, false),
            (never, always, true, 1, false, true),
        ] {
            let case = format!("{pod} {own:?} {rules} {code}");
            let mut container = json!({ "name": "executor", "restartPolicy": own });
            if rules {
                container["restartPolicyRules"] =
                    json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } }]);
            }
            let ended = json!([{ "name": "executor", "state": { "terminated": { "exitCode": code } } }]);
            let of = |phase: &str, metadata: Value| -> Pod {
                let spec = json!({ "restartPolicy": pod, "containers": [container] });
                let status = json!({ "phase": phase, "containerStatuses": ended });
                serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
            };
            assert_eq!(of("Running", json!({})).executor_is_over(), is_over, "{case}");
            assert_eq!(of("Failed", json!({})).executor_is_over(), is_over || code == 42, "{case}");
            let deleted = how_lost(Some(&of("Failed", json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }))));
            assert_eq!(deleted.message == "was deleted", by_deletion, "{case}: {deleted:?}");
            let ended = how_lost(Some(&of("Failed", json!({})))).message;
            let named = match (rules, if own.is_empty() { pod } else { own }) {
                (true, _) => "with restartPolicyRules".to_owned(),
                (false, policy) => format!("with restartPolicy {policy}"),
            };
            assert!(ended.ends_with(&format!(", and {named} the pod ended with it")), "{case}: {ended}");
        }
    }
}
