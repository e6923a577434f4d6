use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::cache::{Source, Table};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

/// A pod that was seen to be made at 0, by an API server and a node whose clocks are an hour ahead.
fn pod(status: &Value) -> Pod {
    let metadata = json!({ "name": "p", "creationTimestamp": at(3600).to_string() });
    let proxy = json!({ "name": "proxy", "restartPolicy": "Always" });
    let spec = json!({ "restartPolicy": "Always", "containers": [{ "name": "executor" }], "initContainers": [proxy], "nodeName": "n1" });
    let pod: Pod = serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap();
    pod.seen_at(at(0))
}

/// How long pods of its pool were seen to take.
const START: Duration = Duration::from_secs(5);

/// What an Event says, of the executor container.
fn event(said: &str) -> PodEvent {
    let (reason, note) = said.split_once(": ").unwrap();
    PodEvent { reason: reason.into(), container: Some("executor".into()), note: note.into() }
}

fn of(pod: &Pod, said: Option<&str>, now: Timestamp) -> Option<Problem> {
    super::of(pod, said.map(event).as_ref(), START, now)
}

fn changes_at(pod: &Pod, now: Timestamp) -> Option<Timestamp> {
    super::changes_at(pod, START, now)
}

/// The same, with this in the spec of its container.
fn pod_with(spec: &Value, status: &Value) -> Pod {
    let mut pod = pod(status);
    let mut container = spec.clone();
    container["name"] = json!("executor");
    pod.spec.containers = vec![serde_json::from_value(container).unwrap()];
    pod
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(0).to_string() })
}

fn running() -> Value {
    json!({ "running": { "startedAt": at(0).to_string() } })
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn what_keeps_a_pod_from_being_ready_is_named_once_it_is_late() {
    let scheduled = || condition("PodScheduled", "True", "", "");
    let unready = |reason: &str, message: &str| condition("Ready", "False", reason, message);
    let creating = json!([{ "name": "executor", "state": { "waiting": { "reason": "ContainerCreating" } } }]);
    let gate = "Scheduling is blocked due to non-empty scheduling gates";
    let mount = "FailedMount: MountVolume.SetUp failed for volume \"v\" : secret \"nosuch\" not found";
    let cases = [
        (
            "a Secret that does not exist",
            json!({ "conditions": [scheduled()], "containerStatuses": creating }),
            Some(mount),
            "container executor has not started (ContainerCreating): FailedMount",
        ),
        (
            "a network that pods cannot be put into",
            json!({ "conditions": [scheduled()] }),
            Some("FailedCreatePodSandBox: no network"),
            "its containers have not been created: FailedCreatePodSandBox",
        ),
        (
            "a scheduling gate",
            json!({ "conditions": [condition("PodScheduled", "False", "SchedulingGated", gate)] }),
            None,
            gate,
        ),
        ("a node that there is not", json!({}), None, "its nodeName puts it on node n1, which has not taken it"),
        (
            "an init container that waits",
            json!({
                "conditions": [scheduled()], "containerStatuses": creating,
                "initContainerStatuses": [
                    { "name": "proxy", "started": true, "state": running() },
                    { "name": "wait-for-db", "started": true, "state": running() },
                ],
            }),
            None,
            "init container wait-for-db has not ended",
        ),
        (
            "an init container that goes on running and does not start up",
            json!({
                "conditions": [scheduled()], "containerStatuses": creating,
                "initContainerStatuses": [{ "name": "proxy", "started": false, "state": running() }],
            }),
            Some("Unhealthy: Startup probe failed: no"),
            "init container proxy runs, and its startup probe does not succeed, and the others wait for it: Unhealthy",
        ),
        (
            "a probe",
            json!({
                "conditions": [scheduled(), unready("ContainersNotReady", "m")],
                "containerStatuses": [{ "name": "executor", "state": running() }],
            }),
            Some("Unhealthy: Readiness probe failed: no"),
            "container executor runs, and its startup or readiness probe does not succeed: Unhealthy: Readiness probe failed",
        ),
        (
            "a readiness gate",
            json!({
                "conditions": [scheduled(), unready("ReadinessGatesNotReady", "gate \"x\" does not exist")],
                "containerStatuses": [{ "name": "executor", "ready": true, "state": running() }],
            }),
            None,
            "gate \"x\" does not exist",
        ),
        (
            "a helper that ended",
            json!({
                "conditions": [scheduled(), unready("ContainersNotReady", "m")],
                "containerStatuses": [
                    { "name": "executor", "ready": true, "state": running() },
                    { "name": "helper", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } } },
                ],
            }),
            None,
            "container helper exited with code 0, and is not running",
        ),
        (
            "its node, of which the node controller says no more",
            json!({
                "conditions": [scheduled(), unready("", ""), condition("ContainersReady", "True", "", "")],
                "containerStatuses": [{ "name": "executor", "ready": true, "state": running() }],
            }),
            Some("NodeNotReady: Node is not ready"),
            "its node n1 does not report: NodeNotReady",
        ),
        (
            "a probe of an init container that goes on running",
            json!({
                "conditions": [scheduled(), unready("ContainersNotReady", "containers with unready status: [proxy]")],
                "containerStatuses": [{ "name": "executor", "ready": true, "state": running() }],
                "initContainerStatuses": [{ "name": "proxy", "started": true, "ready": false, "state": running() }],
            }),
            None,
            "container proxy runs, and its startup or readiness probe does not succeed",
        ),
        (
            "a scheduler that fails",
            json!({ "conditions": [condition("PodScheduled", "False", "SchedulerError", "binding rejected: no such node")] }),
            None,
            "no node (SchedulerError: binding rejected: no such node)",
        ),
        (
            "a service that an init container waits for, where the node has no cluster DNS",
            json!({
                "conditions": [scheduled()], "containerStatuses": creating,
                "initContainerStatuses": [{ "name": "wait-for-db", "started": true, "state": running() }],
            }),
            Some("MissingClusterDNS: kubelet does not have ClusterDNS IP configured"),
            "init container wait-for-db has not ended, and the others wait for it: MissingClusterDNS",
        ),
        (
            "a probe, long after a node was waited for",
            json!({
                "conditions": [scheduled(), unready("ContainersNotReady", "m")],
                "containerStatuses": [{ "name": "executor", "state": running() }],
            }),
            Some("FailedScheduling: 0/1 nodes are available"),
            "startup or readiness probe does not succeed; correct the probe",
        ),
    ];
    for (what, status, said, message) in cases {
        let pod = pod(&status);
        assert_eq!(of(&pod, said, at(29)), None, "{what}: it may be starting");
        assert_eq!(changes_at(&pod, at(0)), Some(at(30)), "{what}");
        assert_eq!(changes_at(&pod, at(30)), Some(at(300)), "{what}");
        let problem = of(&pod, said, at(30)).unwrap_or_else(|| panic!("{what}"));
        assert_eq!(problem.reason, WarmPoolReason::PodsLate, "{what}");
        assert!(problem.message.contains(message), "{what}: {}", problem.message);
    }
    let creating = pod(&json!({ "conditions": [scheduled()], "containerStatuses": creating }));
    for said in [
        "FailedScheduling: 0/1 nodes are available",
        "DNSConfigForming: Nameserver limits were exceeded",
        "MissingClusterDNS: kubelet does not have ClusterDNS IP configured",
        "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (nosuch)",
        "LifecycleHTTPFallback: request to HTTPS lifecycle hook got HTTP response",
        "Unhealthy: Startup probe failed: no",
    ] {
        assert_eq!(of(&creating, Some(said), at(299)), None, "{said}: its image may be on its way");
        let message = of(&creating, Some(said), at(300)).unwrap().message;
        assert!(message.ends_with("its image may still be on its way; see kubectl describe pod"), "{said}: {message}");
    }
}

#[test]
fn a_pod_may_have_been_late_before_until_it_is() {
    let pod = pod(&json!({}));
    assert_eq!([0, 29, 30, 31].map(|now| late::may_have_been(&pod, START, at(now))), [true, true, false, false]);
    let slow = Duration::from_secs(75);
    let of = |pod: &Pod, now| super::of(pod, None, slow, at(now)).is_some();
    let scheduled = self::pod(&json!({ "conditions": [condition("PodScheduled", "True", "", "")] }));
    assert_eq!([29, 40].map(|now| late::may_have_been(&scheduled, slow, at(now))), [true, false], "it has moved on");
    let mut nowhere = pod.clone();
    nowhere.spec.node_name = String::new();
    assert_eq!([29, 30].map(|now| of(&nowhere, now)), [false, true], "what others took says nothing of it");
    assert!(!of(&scheduled, 149));
}

/// A pod whose container runs since this second and is not ready, with this in its spec.
fn starting(spec: &Value, since: i64) -> Pod {
    let scheduled = condition("PodScheduled", "True", "", "");
    let unready = condition("Ready", "False", "ContainersNotReady", "m");
    let running = json!({ "running": { "startedAt": at(since).to_string() } });
    let container = json!({ "name": "executor", "state": running });
    let status = json!({ "conditions": [scheduled, unready], "containerStatuses": [container] });
    let mut pod = pod_with(spec, &status);
    // It was made at 0, and is seen now.
    pod = pod.seen_at(at(since.max(0)));
    pod.unready_since = Some(at(0));
    pod
}

#[test]
fn a_pod_is_late_once_it_has_taken_longer_than_others_of_its_pool_and_than_its_probes_give_it() {
    let none = json!({});
    let startup = json!({ "startupProbe": { "periodSeconds": 5, "failureThreshold": 20 } });
    let readiness = json!({ "readinessProbe": { "initialDelaySeconds": 70, "periodSeconds": 5 } });
    let short = json!({ "startupProbe": { "periodSeconds": 1 } });
    for (what, spec, since, start, late) in [
        ("neither", &none, 2, 5, 30),
        ("others take long", &none, 2, 75, 150),
        ("a startup probe", &startup, 2, 5, 103),
        ("after its image was pulled for a minute", &startup, 60, 5, 161),
        ("a readiness probe", &readiness, 2, 5, 78),
        ("a probe that gives it little", &short, 2, 5, 30),
        ("both", &startup, 2, 75, 150),
    ] {
        let (pod, start) = (starting(spec, since), Duration::from_secs(start));
        let of = |now| super::of(&pod, None, start, at(now)).map(|problem| problem.reason);
        assert_eq!(of(late - 1), None, "{what}");
        assert_eq!(of(late), Some(WarmPoolReason::PodsLate), "{what}");
        let before = if late > 30 { since.max(30) } else { since };
        assert_eq!(super::changes_at(&pod, start, at(before)), Some(at(late)), "{what}");
        assert!(super::is_worth_asking(&pod, start, at(late)) && !super::is_worth_asking(&pod, start, at(late - 1)));
    }
    let mut again = starting(&startup, 150);
    again.status.container_statuses[0].restart_count = 1;
    assert!(of(&again, None, at(151)).is_some(), "what its probe gave it is used up");
    let creating = json!([{ "name": "executor", "state": { "waiting": { "reason": "ContainerCreating" } } }]);
    let scheduled = condition("PodScheduled", "True", "", "");
    let mount = pod_with(&startup, &json!({ "conditions": [scheduled], "containerStatuses": creating }));
    assert!(of(&mount, Some("FailedMount: no"), at(30)).is_some(), "no probe is asked before it runs");
    assert_eq!(of(&mount, Some("Unhealthy: Startup probe failed: no"), at(30)), None, "that was a helper's");
}

#[test]
fn a_pod_that_no_scheduler_looks_at_says_so() {
    let mut pod = pod(&json!({}));
    let is_worth_asking = |pod: &Pod, now| super::is_worth_asking(pod, START, at(now));
    assert!(!is_worth_asking(&pod, 30), "its template names a node");
    pod.spec.node_name.clear();
    assert!(is_worth_asking(&pod, 30) && !is_worth_asking(&pod, 29));
    let problem = of(&pod, None, at(30)).unwrap();
    assert!(problem.message.contains("no scheduler has given it a node") && problem.message.contains("schedulerName"));
    let unreadable = super::of(&pod, Some(&PodEvent::unreadable()), START, at(30)).unwrap();
    assert!(unreadable.message.contains("may not list Events") && unreadable.message.contains("schedulerName"));
    let claim = "FailedResourceClaimCreation: PodResourceClaim gpu: resourceclaimtemplate \"gpu\" not found";
    let message = of(&pod, Some(claim), at(30)).unwrap().message;
    assert!(message.contains(claim) && message.contains("create or correct what this names"), "{message}");
    assert!(!message.contains("schedulerName"), "{message}");
}

/// A pod without a node of which the scheduler says this.
fn nowhere(why: &str) -> Pod {
    let mut pod = pod(&json!({ "conditions": [condition("PodScheduled", "False", "Unschedulable", why)] }));
    pod.spec.node_name.clear();
    pod
}

#[test]
fn a_volume_of_a_pods_own_is_no_problem_while_it_may_be_on_its_way() {
    let why =
        "0/1 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-v\"";
    let quota = "FailedBinding: ephemeral volume v: create PVC p-v: persistentvolumeclaims \"p-v\" is forbidden: exceeded quota: q";
    let asks = |pod: &Pod, now| super::is_worth_asking(pod, START, at(now));
    let uncreated = nowhere(why);
    assert!(!uncreated.is_unschedulable() && uncreated.awaits_scheduler(), "the scheduler will look again");
    assert_eq!(
        [0, 29].map(|now| (of(&uncreated, None, at(now)), asks(&uncreated, now))),
        [(None, false), (None, false)]
    );
    assert_eq!(changes_at(&uncreated, at(0)), Some(at(30)));
    assert!(asks(&uncreated, 31));
    for (said, words) in [
        (Some(quota), format!("{quota}; correct what this names")),
        (None, "; check that the controller of ephemeral volumes works".to_owned()),
        (Some("FailedScheduling: 0/1 nodes"), "; check that the controller of ephemeral volumes works".to_owned()),
    ] {
        let problem = of(&uncreated, said, at(31)).unwrap();
        assert_eq!(problem.reason, WarmPoolReason::PodsLate);
        assert!(problem.message.contains(why) && problem.message.contains(&words), "{}", problem.message);
        assert!(!problem.message.contains("claimName"), "{}", problem.message);
    }
    let unbound = nowhere("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    let unbound = of(&unbound, None, at(0)).map(|problem| problem.reason);
    assert_eq!(unbound, Some(WarmPoolReason::Unschedulable), "of a claim that is there the scheduler has seen enough");
}

#[test]
fn what_a_container_waits_for_is_named_whatever_its_word() {
    use WarmPoolReason::{CreateContainerError, ImagePullBackOff};
    for (word, reason) in [
        ("ErrImagePull", ImagePullBackOff),
        ("ErrImageNeverPull", ImagePullBackOff),
        ("InvalidImageName", ImagePullBackOff),
        ("ImageInspectError", ImagePullBackOff),
        ("SignatureValidationFailed", ImagePullBackOff),
        ("CreateContainerConfigError", CreateContainerError),
        ("CreatePodSandboxError", CreateContainerError),
        ("RunContainerError", CreateContainerError),
        ("SomethingOfALaterKubelet", CreateContainerError),
    ] {
        let waiting = json!({ "waiting": { "reason": word, "message": "its words" } });
        for list in ["containerStatuses", "initContainerStatuses"] {
            let pod = pod(&json!({ list: [{ "name": "c", "state": waiting }] }));
            let problem = of(&pod, None, at(1)).unwrap_or_else(|| panic!("{word}"));
            assert_eq!(problem.reason, reason, "{word}");
            assert!(problem.message.contains("container c: its words"), "{word}: {}", problem.message);
        }
    }
    for word in ["ContainerCreating", "PodInitializing"] {
        let waiting = json!({ "waiting": { "reason": word } });
        assert_eq!(of(&pod(&json!({ "containerStatuses": [{ "name": "c", "state": waiting }] })), None, at(1)), None);
    }
}

#[test]
fn what_crashes_is_told_by_how_it_ended() {
    let (probed, plain) = (json!({ "livenessProbe": {} }), json!({ "readinessProbe": {} }));
    let liveness = Some("Unhealthy: Liveness probe failed: ");
    let ends = "its node ends it for that: Liveness probe failed; correct the probe";
    let by_itself = "it ends by itself, and then a probe finds nothing, or its node ends it for that: Liveness probe failed; \
                     see kubectl logs";
    let command = "its command must keep running, such as";
    let either = "a liveness or startup probe that fails ends it like this";
    for (spec, reason, code, said, words, not) in [
        (&probed, "OOMKilled", 137, liveness, "was killed for lack of memory; back-off 10s; raise its", "keep running"),
        (&probed, "Error", 137, None, "exited with code 137; back-off 10s; a liveness or startup probe", "raise"),
        (&probed, "Error", 143, None, either, "raise"),
        (&probed, "Completed", 0, None, either, "sleep"),
        (&probed, "Error", 1, None, command, "probe"),
        (&plain, "Error", 1, None, "exited with code 1; back-off 10s; its command must keep running", "probe"),
        (&plain, "Error", 137, None, command, "probe"),
        (&plain, "Completed", 0, None, command, "probe"),
        (&probed, "Completed", 0, liveness, ends, "keep running"),
        (&probed, "Error", 1, liveness, by_itself, "correct the probe"),
        (&probed, "Error", 137, liveness, ends, "keep running"),
        (&probed, "Error", 1, Some("Unhealthy: Readiness probe failed: no"), command, "probe"),
    ] {
        let ended = json!({ "terminated": { "exitCode": code, "reason": reason } });
        let backing_off = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
        let running = json!({ "running": { "startedAt": at(0).to_string() } });
        for (state, quoted) in [(backing_off, true), (running, false)] {
            let container = json!({ "name": "executor", "restartCount": 2, "state": state, "lastState": ended });
            let pod = pod_with(spec, &json!({ "containerStatuses": [container] })).seen_at(at(0));
            let problem = of(&pod, said, at(1)).unwrap();
            assert_eq!(problem.reason, WarmPoolReason::CrashLoopBackOff);
            let words = if quoted { words } else { words.split("; ").last().unwrap() };
            assert!(problem.message.contains(words) && !problem.message.contains(not), "{}", problem.message);
            assert_eq!(is_worth_asking(&pod, START, at(1)), spec == &probed, "{spec}");
        }
    }
}

#[test]
fn an_image_that_takes_minutes_is_said_and_not_before() {
    let creating = json!([{ "name": "executor", "state": { "waiting": { "reason": "ContainerCreating" } } }]);
    let pod = pod(&json!({ "conditions": [condition("PodScheduled", "True", "", "")], "containerStatuses": creating }));
    assert_eq!(of(&pod, None, at(299)), None);
    assert_eq!(changes_at(&pod, at(31)), Some(at(300)));
    let message = of(&pod, None, at(300)).unwrap().message;
    assert!(message.contains("has not started (ContainerCreating); its image may"), "{message}");
    let hook = json!({ "lifecycle": { "postStart": {} } });
    let hooked = pod_with(&hook, &serde_json::to_value(&pod.status).unwrap());
    assert_eq!(of(&hooked, None, at(299)), None);
    let message = of(&hooked, None, at(300)).unwrap().message;
    let may = "the postStart hook of container executor may not have ended, until which it does not count";
    assert!(message.contains(may), "{message}");
}

#[test]
fn a_hook_that_does_not_end_is_told_from_an_image_by_what_the_node_says_of_the_start() {
    let waiting = |name: &str| json!({ "name": name, "state": { "waiting": { "reason": "ContainerCreating" } } });
    let scheduled = condition("PodScheduled", "True", "", "");
    let status = json!({ "conditions": [scheduled], "containerStatuses": [waiting("executor"), waiting("web")] });
    let mut pod = pod(&status);
    let container = |value: Value| serde_json::from_value(value).unwrap();
    let web = json!({ "name": "web", "lifecycle": { "postStart": {} } });
    pod.spec.containers = vec![container(json!({ "name": "executor" })), container(web)];
    assert!(late::may_be_in_hook(&pod));
    let hangs = Some("pod p: the postStart hook of its container web has not ended; until then");
    for (reason, of_container, words) in [
        ("Started", "web", hangs),
        ("Started", "executor", None),
        ("Pulling", "web", None),
        ("Failed", "web", Some("has not started (ContainerCreating): Failed: said; create or correct")),
    ] {
        let said = PodEvent { reason: reason.into(), container: Some(of_container.into()), note: "said".into() };
        let found = super::of(&pod, Some(&said), START, at(31)).map(|problem| problem.message);
        assert_eq!(found.is_some(), words.is_some(), "{reason}: {found:?}");
        assert!(found.as_ref().is_none_or(|found| found.contains(words.unwrap())), "{reason}: {found:?}");
        assert!(of(&pod, None, at(300)).unwrap().message.contains("postStart hook of container web may not"));
    }
    pod.status.container_statuses[1].restart_count = 1;
    assert!(!late::may_be_in_hook(&pod), "it may fail");
}

/// The pod's uid, its Ready condition, when.
type Seen = &'static [(&'static str, &'static str, i64)];

#[test]
fn a_pod_is_late_by_the_operators_own_clock_from_when_it_was_seen_to_be_made_or_to_cease_to_be_ready() {
    let row = |uid: &str, ready: &str, theirs: i64, ours: i64| {
        let mut status = condition("Ready", ready, "ContainersNotReady", "m");
        status["lastTransitionTime"] = json!(at(theirs).to_string());
        let container = json!({ "name": "executor", "state": running() });
        let conditions = [condition("PodScheduled", "True", "", ""), status];
        let mut pod = pod(&json!({ "conditions": conditions, "containerStatuses": [container] }));
        (pod.metadata.uid, pod.metadata.namespace) = (Some(uid.into()), Some("ns".into()));
        pod.metadata.creation_timestamp = Some(Time(at(theirs)));
        <Pod as Source>::row(pod, at(ours))
    };
    // How far the cluster's clock is ahead, what is seen of the pod and when, from when on it is late.
    let cases: [(i64, Seen, i64); 7] = [
        (0, &[("a", "False", 5)], 35),
        (-3600, &[("a", "False", 5)], 35),
        (3600, &[("a", "False", 5)], 35),
        (3600, &[("a", "False", 5), ("a", "False", 20)], 35),
        (-3600, &[("a", "False", 5), ("a", "True", 10), ("a", "True", 20), ("a", "False", 1000)], 1030),
        (3600, &[("a", "False", 5), ("a", "True", 10), ("a", "False", 1000), ("a", "False", 1010)], 1030),
        (-3600, &[("a", "False", 5), ("b", "False", 1000)], 1030),
    ];
    for (ahead, seen, late) in cases {
        let mut table = Table::default();
        for (uid, ready, ours) in seen {
            drop(table.apply(row(uid, ready, ours + ahead, *ours)));
        }
        let pod = table.rows().next().unwrap();
        assert_eq!(of(pod, None, at(late - 1)), None, "{ahead} {seen:?}");
        assert_eq!(of(pod, None, at(late)).unwrap().reason, WarmPoolReason::PodsLate, "{ahead} {seen:?}");
    }
}

#[test]
fn a_crash_loop_is_not_over_between_two_crashes() {
    let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    let container = |restarts: i32, state: Value| {
        let container =
            json!({ "name": "executor", "restartCount": restarts, "ready": true, "state": state, "lastState": ended });
        let conditions = [condition("PodScheduled", "True", "", ""), condition("Ready", "True", "", "")];
        pod(&json!({ "conditions": conditions, "containerStatuses": [container] }))
    };
    let backing_off = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
    for (what, pod, now) in [
        ("backing off", container(2, backing_off), 5),
        ("just started", container(2, running()), 119),
        ("just ended", container(2, ended.clone()), 5),
        ("many times", container(30, running()), 599),
    ] {
        let problem = of(&pod, None, at(now)).unwrap_or_else(|| panic!("{what}"));
        assert_eq!(problem.reason, WarmPoolReason::CrashLoopBackOff, "{what}");
    }
    assert_eq!(of(&container(1, running()), None, at(1)), None, "one may be an accident");
    for reason in ["Unknown", "ContainerStatusUnknown"] {
        let with_its_node = json!({ "terminated": { "exitCode": 255, "reason": reason } });
        let mut rebooted = container(2, running());
        rebooted.status.container_statuses[0].last_state = serde_json::from_value(with_its_node.clone()).unwrap();
        let down = container(2, with_its_node);
        for pod in [rebooted, down] {
            assert_eq!(of(&pod, None, at(1)), None, "{reason}: its node was restarted twice");
            assert!(!pod.is_unsteady(), "{reason}");
        }
    }
    assert_eq!(changes_at(&container(2, running()), at(1)), Some(at(120)));
    assert_eq!(of(&container(2, running()), None, at(120)), None, "it has stayed up");
    assert_eq!(of(&container(30, running()), None, at(600)), None);
    for (of_pod, own, loops) in
        [("Never", "", false), ("Never", "Always", true), ("Always", "Never", false), ("Never", "OnFailure", true)]
    {
        let mut pod = container(2, ended.clone());
        pod.spec.restart_policy = of_pod.into();
        pod.spec.containers =
            vec![serde_json::from_value(json!({ "name": "executor", "restartPolicy": own })).unwrap()];
        assert_eq!(of(&pod, None, at(1)).is_some(), loops, "{of_pod} {own:?}");
    }
}

#[test]
fn a_container_that_was_started_again_is_steady_by_the_operators_own_clock() {
    let row = |restarts: i32, started_at: i64, ours: i64| {
        let state = json!({ "running": { "startedAt": at(started_at).to_string() } });
        let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
        let container =
            json!({ "name": "executor", "restartCount": restarts, "ready": true, "state": state, "lastState": ended });
        let conditions = [condition("PodScheduled", "True", "", ""), condition("Ready", "True", "", "")];
        let mut pod = pod(&json!({ "conditions": conditions, "containerStatuses": [container] }));
        pod.metadata.namespace = Some("ns".into());
        <Pod as Source>::row(pod, at(ours))
    };
    for ahead in [-3600, 0, 3600] {
        let mut table = Table::default();
        // Its third start, and a change of something else.
        for (restarts, started_at, ours) in [(1, 0, 0), (2, 1000, 1000), (2, 1000, 1010)] {
            drop(table.apply(row(restarts, started_at + ahead, ours)));
        }
        let pod = table.rows().next().unwrap();
        assert_eq!(changes_at(pod, at(1011)), Some(at(1120)), "{ahead}");
        assert!(of(pod, None, at(1119)).is_some() && of(pod, None, at(1120)).is_none(), "{ahead}");
    }
    // One that ran before this operator did: what its node says, which cannot be later than now.
    for (started_at, steady) in [(-1000, -880), (-50, 70), (3600, 120)] {
        let pod = row(2, started_at, 0);
        assert_eq!(of(&pod, None, at(steady)), None, "{started_at}");
        assert!(of(&pod, None, at(steady - 1)).is_some(), "{started_at}");
    }
}

#[test]
fn init_containers_that_crash_are_told_by_what_is_expected_of_them() {
    let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
    let well = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
    let backing_off = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
    let with = |name: &str, state: &Value| {
        let container = json!({ "name": name, "restartCount": 2, "started": true, "state": state, "lastState": ended });
        pod(&json!({ "initContainerStatuses": [container] }))
    };
    for (name, advice) in [("proxy", "must keep running"), ("prepare", "has to end with exit code 0")] {
        for state in [&backing_off, &running(), &ended] {
            let problem = of(&with(name, state), None, at(1)).unwrap_or_else(|| panic!("{name}: {state}"));
            assert_eq!(problem.reason, WarmPoolReason::CrashLoopBackOff, "{name}: {state}");
            assert!(problem.message.contains(advice), "{name}: {state}: {}", problem.message);
            let command = format!("kubectl logs p -c {name} --previous");
            assert!(problem.message.contains(&command), "{name}: {state}: {}", problem.message);
        }
        assert_eq!(changes_at(&with(name, &running()), at(31)), Some(at(120)), "{name}");
    }
    assert_eq!(of(&with("prepare", &well), None, at(1)), None, "it has done its work");
    assert!(with("proxy", &running()).is_unsteady() && !with("prepare", &well).is_unsteady());
}

#[test]
fn an_init_container_that_fails_is_quoted_and_the_operators_own_is_called_that() {
    let noexec = "/.arl/agent cannot be executed: the node forbids it";
    let backing_off = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
    for (name, end, words, advice) in [
        ("arl-agent", json!({ "exitCode": 1, "reason": "Error", "message": noexec }), noexec, "the operator's own"),
        ("arl-agent", json!({ "exitCode": 137, "reason": "OOMKilled" }), "for lack of memory", "of the executor"),
        (
            "prepare",
            json!({ "exitCode": 3, "reason": "Error", "message": "no such table\n" }),
            "no such table",
            "exit code 0",
        ),
        ("prepare", json!({ "exitCode": 137, "reason": "OOMKilled" }), "for lack of memory", "raise its memory limit"),
    ] {
        for state in [&backing_off, &json!({ "terminated": end })] {
            let last = json!({ "terminated": end });
            let container = json!({ "name": name, "restartCount": 2, "state": state, "lastState": last });
            let problem = of(&pod(&json!({ "initContainerStatuses": [container] })), None, at(1)).unwrap();
            let message = &problem.message;
            assert!(message.contains(words) && message.contains(advice), "{name} {end} {state}: {message}");
        }
    }
}

#[test]
fn what_cannot_be_started_is_not_told_to_keep_running() {
    let why = "exec: \"slep\": executable file not found in $PATH";
    let ended = json!({ "terminated": { "exitCode": 128, "reason": "StartError", "message": why } });
    let backing_off = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
    for state in [backing_off, ended.clone()] {
        let container = json!({ "name": "executor", "restartCount": 3, "state": state, "lastState": ended });
        let problem = of(&pod(&json!({ "containerStatuses": [container] })), None, at(1)).unwrap();
        assert_eq!(problem.reason, WarmPoolReason::CreateContainerError);
        assert!(problem.message.contains(why) && !problem.message.contains("keep running"), "{}", problem.message);
    }
}

#[test]
fn where_the_image_of_the_agent_cannot_be_pulled_the_operator_is_named_and_not_the_template() {
    let waits = |name: &str| {
        let state = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } });
        pod(&json!({ "initContainerStatuses": [{ "name": name, "state": state }] }))
    };
    for (container, words) in [("arl-agent", "--agent-image"), ("mine", "check the image's name")] {
        let problem = of(&waits(container), None, at(1)).unwrap();
        assert_eq!(problem.reason, WarmPoolReason::ImagePullBackOff);
        assert!(problem.message.contains(words), "{}", problem.message);
    }
}

#[test]
fn what_helps_a_pod_that_no_node_takes_depends_on_why() {
    for (why, advice) in [
        ("persistentvolumeclaim \"x\" not found", "create the claim that the template names"),
        (
            "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            "set spec.replicas to 1, or take another accessMode",
        ),
        ("0/1 nodes are available: 1 node(s) had untolerated taint(s)", "give the template a toleration"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: only}", "give the template a toleration"),
        (
            "0/2 nodes are available: 1 node(s) had untolerated taint {gpu: only}, 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }",
            "kubectl describe node",
        ),
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }",
            "kubectl describe node",
        ),
        (
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s)",
            "lower the template's requests",
        ),
        ("0/1 nodes are available: 1 node(s) were unschedulable", "kubectl uncordon"),
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims",
            "needs a volume or a StorageClass",
        ),
        ("0/1 nodes are available: 1 node(s) had volume node affinity conflict", "correct its claimName"),
        ("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector", "correct nodeSelector"),
        ("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports", "hostPort"),
        ("0/1 nodes are available: 1 Too many pods", "as many pods as they may"),
        ("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules", "loosen podAffinity"),
        (
            "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints",
            "topologySpreadConstraints",
        ),
        ("0/1 nodes are available: 1 cannot allocate all claims", "change what this names"),
    ] {
        let conditions = json!({ "conditions": [condition("PodScheduled", "False", "Unschedulable", why)] });
        let problem = of(&pod(&conditions), None, at(31)).unwrap();
        assert!(problem.message.contains(why) && problem.message.contains(advice), "{}", problem.message);
    }
}
