//! What a status says of its pool, and what is told of a change.

use arl_crds::reason::WarmPoolReason;

use super::*;
use crate::warmpool::setback::Setback;

/// A condition: its type, status, reason and message.
type Row = (&'static str, &'static str, &'static str, &'static str);

fn said<'a>(status: &'a WarmPoolStatus, type_: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let found = status.conditions.iter().find(|c| c.type_ == type_)?;
    Some((found.status.as_str(), found.reason.as_str(), found.message.as_str()))
}

fn with(conditions: &[Row]) -> WarmPoolStatus {
    let condition = |(type_, status, reason, message): &Row| json!({ "type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(0).to_string() });
    let conditions: Vec<Value> = conditions.iter().map(condition).collect();
    object(&json!({ "observedGeneration": 1, "conditions": conditions }))
}

impl Scene {
    fn set_back(&self, reason: WarmPoolReason, message: &str) {
        self.remember(|memory| memory.setback = Some(Setback { reason, ..Setback::ended(message.into()) }));
    }

    /// A pod in this state.
    fn pod_that(&self, number: i64, status: &Value) {
        self.pod(number, false, None);
        let mut pod = (**self.cache.read().pods.get(&Key::new("ns", &format!("p-{number}"))).unwrap()).clone();
        pod.status = object(status);
        self.apply(pod);
    }
}

fn unschedulable() -> Value {
    json!({ "phase": "Pending", "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no nodes" },
    ] })
}

#[test]
fn a_pool_is_ready_once_it_has_the_ready_pods_that_are_wanted() {
    use WarmPoolPhase::{Pending, Ready, Scaling};
    for (ready, starting, phase, truth, message) in [
        (2, 0, Ready, ("True", "PodsReady"), "2 of 2 idle pods are ready"),
        (3, 0, Ready, ("True", "PodsReady"), "3 of 2 idle pods are ready"),
        (2, 1, Ready, ("True", "PodsReady"), "2 of 2 idle pods are ready"),
        (1, 1, Scaling, ("False", "PodsNotReady"), "1 of 2 idle pods are ready; the others are starting"),
        (0, 2, Pending, ("False", "PodsNotReady"), "0 of 2 idle pods are ready; the others are starting"),
    ] {
        let scene = Scene::new(2, &Value::Null);
        (0..ready).for_each(|number| drop(scene.pod(number, true, None)));
        (0..starting).for_each(|number| drop(scene.pod(ready + number, false, None)));
        let (_, status) = scene.reconciled();
        assert_eq!(status.phase, Some(phase), "{ready} {starting}");
        assert_eq!(said(&status, "Ready"), Some((truth.0, truth.1, message)));
        assert_eq!(said(&status, "PodsFailing"), Some(("False", "PodsHealthy", "no idle pod has a problem")));
    }
}

#[test]
fn what_is_refused_is_said_before_what_pods_say_and_that_before_what_became_of_others() {
    use WarmPoolReason::{PodsEnded, QuotaExceeded, Refused, Unschedulable};
    for (stuck, setback, expected) in [
        (true, Some(Refused), Refused),
        (true, Some(PodsEnded), Unschedulable),
        (true, Some(QuotaExceeded), Unschedulable),
        (false, Some(QuotaExceeded), QuotaExceeded),
        (true, None, Unschedulable),
        (false, Some(Refused), Refused),
        (false, Some(PodsEnded), PodsEnded),
    ] {
        let scene = Scene::new(1, &Value::Null);
        if stuck {
            scene.pod_that(1, &unschedulable());
        }
        if let Some(reason) = setback {
            scene.set_back(reason, "why");
        }
        let (_, status) = scene.reconciled();
        let (truth, reason, message) = said(&status, "PodsFailing").unwrap();
        assert_eq!((truth, reason), ("True", expected.as_str()), "{stuck} {setback:?}");
        let ready = ("False", reason, &*format!("0 of 1 idle pods are ready; {message}"));
        assert_eq!(said(&status, "Ready"), Some(ready), "{stuck} {setback:?}");
    }
    let scene = Scene::new(1, &Value::Null);
    scene.pod(1, true, None);
    scene.set_back(Refused, "why");
    let (_, status) = scene.reconciled();
    assert_eq!(said(&status, "PodsFailing"), Some(("True", "Refused", "why")));
    assert_eq!(said(&status, "Ready"), Some(("True", "PodsReady", "1 of 1 idle pods are ready")));
    scene.remember(|memory| memory.setback.as_mut().unwrap().passing = true);
    assert_eq!(said(&scene.reconciled().1, "PodsFailing").unwrap().1, "PodsHealthy", "it may be over in a moment");
}

#[test]
fn pods_that_ended_and_cannot_be_deleted_are_counted_where_they_are_in_the_way() {
    for (replicas, number, words) in [(0, 1, "1 pod has ended and"), (1, 2, "2 pods have ended and")] {
        let scene = Scene::new(replicas, &Value::Null);
        (0..number).for_each(|pod| scene.pod_that(pod, &json!({ "phase": "Failed" })));
        scene.remember(|memory| memory.ended = (0..number).map(|pod| Uid(format!("pod-{pod}"))).collect());
        let (_, status) = scene.reconciled();
        let (truth, reason, message) = said(&status, "PodsFailing").unwrap();
        assert_eq!((truth, reason), ("True", "PodsEnded"), "{number}");
        assert!(message.starts_with(words), "{message}");
    }
}

#[test]
fn what_the_api_server_warned_of_is_said_until_a_pod_is_made_without_a_warning() {
    let recorded =
        json!({ "conditions": with(&[("TemplateWarnings", "True", "TemplateWarnings", "before")]).conditions });
    let (unknown, unused) =
        ("unknown field \"spec.x\"", "unused field \"metadata.finalizers\": a pool's pods have none");
    let left_out = format!("of what the template has, this is left out: {unknown}; {unused}; correct spec.template");
    let (policy, name) = ("would violate PodSecurity \"restricted:latest\": unknown field", "metadata.name: no dots");
    let warns = format!("the API server warns: {policy}; {name}");
    let both = format!("{left_out}; besides, {warns}");
    for (status, warnings, message) in [
        (&Value::Null, None, None),
        (&Value::Null, Some(vec![unknown, unused]), Some(&*left_out)),
        (&recorded, None, Some("before")),
        (&recorded, Some(vec![unknown, unused]), Some(&left_out)),
        (&recorded, Some(vec![policy, name]), Some(&warns)),
        (&recorded, Some(vec![policy, unknown, name, unused]), Some(&both)),
        (&recorded, Some(vec![]), None),
    ] {
        let scene = Scene::new(0, &Value::Null);
        scene.pool(0, &Value::Null, status);
        let mut seen =
            Observed::read(&scene.cache, &Key::new("ns", "p"), &scene.memories, &agent(), scene.now).unwrap();
        seen.warnings = warnings.map(|all| all.into_iter().map(str::to_owned).collect());
        let found = status::status(&seen, scene.now);
        assert_eq!(said(&found, "TemplateWarnings").map(|(.., message)| message), message);
    }
}

/// For a moment the kubelet says what the hook failed with, and then, as it backs off, only that the container was ended.
#[test]
fn a_post_start_hook_that_fails_is_said_in_the_same_words_while_its_container_backs_off() {
    const HOOK: Row = (
        "PodsFailing",
        "True",
        "CreateContainerError",
        "pod p-1, container executor: Exec lifecycle hook ([false]) failed; correct what the message names",
    );
    const WELL: Row = ("PodsFailing", "False", "PodsHealthy", "no idle pod has a problem");
    const ANOTHER: Row =
        ("PodsFailing", "True", "CreateContainerError", "pod p-2, container executor: no such volume; correct it");
    let waiting = |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
    let back_off = waiting("CrashLoopBackOff", "back-off 10s");
    let failed = waiting("PostStartHookError", "Exec lifecycle hook ([false]) failed");
    let hook = Some(("FailedPostStartHook", "PostStartHook failed"));
    let by_events = "its postStart hook fails (FailedPostStartHook: PostStartHook failed); correct the hook";
    for (has_hook, recorded, state, said, reason, words) in [
        (true, WELL, &failed, None, "CreateContainerError", HOOK.3),
        (true, HOOK, &back_off, None, "CreateContainerError", HOOK.3),
        (true, HOOK, &back_off, hook, "CreateContainerError", HOOK.3),
        (true, WELL, &back_off, hook, "CreateContainerError", by_events),
        (true, ANOTHER, &back_off, hook, "CreateContainerError", by_events),
        (true, WELL, &back_off, None, "CrashLoopBackOff", "its command must keep running"),
        (true, HOOK, &json!({ "running": {} }), None, "PodsHealthy", "no idle pod"),
        (false, HOOK, &back_off, None, "CrashLoopBackOff", "its command must keep running"),
    ] {
        let scene = Scene::new(1, &Value::Null);
        scene.pool(1, &Value::Null, &serde_json::to_value(with(&[recorded])).unwrap());
        scene.pod(1, false, None);
        let mut pod = (**scene.cache.read().pods.get(&Key::new("ns", "p-1")).unwrap()).clone();
        let lifecycle = if has_hook { json!({ "postStart": {} }) } else { Value::Null };
        pod.spec = object(&json!({ "containers": [{ "name": "executor", "lifecycle": lifecycle }] }));
        let killed = json!({ "terminated": { "reason": "Error", "exitCode": 137 } });
        let status = json!({ "name": "executor", "restartCount": 1, "state": state, "lastState": killed });
        pod.status = object(&json!({ "phase": "Running", "containerStatuses": [status] }));
        scene.apply(pod);
        if let Some((reason, note)) = said {
            let container = Some("executor".into());
            let warning = Warning::Found(Some(PodEvent { reason: reason.into(), note: note.into(), container }));
            let asked = Asked::after(None, Uid("pod-1".into()), warning, scene.now);
            scene.remember(|memory| memory.asked = Some(asked));
        }
        let (_, status) = scene.reconciled();
        let (_, found, message) = self::said(&status, "PodsFailing").unwrap();
        assert!(found == reason && message.contains(words), "{has_hook} {recorded:?} {state}: {found} {message}");
    }
}

#[test]
fn a_change_is_told_once() {
    const FAILS: Row = ("PodsFailing", "True", "Refused", "no");
    const WELL: Row = ("PodsFailing", "False", "PodsHealthy", "no idle pod has a problem");
    const WARNS: Row = ("TemplateWarnings", "True", "TemplateWarnings", "left out");
    const FULL: Row = ("ScalingLimited", "True", "AtMaxPods", "more are wanted");
    let cases: &[(&[Row], &[Row], &[&str])] = &[
        (&[], &[FAILS], &["Refused: no"]),
        (&[WELL], &[FAILS], &["Refused: no"]),
        (&[("PodsFailing", "False", "Refused", "no")], &[FAILS], &["Refused: no"]),
        (&[FAILS], &[FAILS], &[]),
        (&[("PodsFailing", "True", "Refused", "never")], &[FAILS], &[]),
        (&[("PodsFailing", "True", "PodsLate", "late")], &[FAILS], &["Refused: no"]),
        (&[FAILS], &[WELL], &["Refused is over"]),
        (&[WELL], &[WELL], &[]),
        (&[], &[WELL], &[]),
        (&[], &[WARNS], &["left out"]),
        (&[WARNS], &[WARNS], &[]),
        (&[("TemplateWarnings", "True", "TemplateWarnings", "another")], &[WARNS], &["left out"]),
        (&[WARNS], &[], &[]),
        (&[], &[FULL], &["AtMaxPods: more are wanted"]),
        (&[("ScalingLimited", "True", "AtMaxPods", "of three")], &[FULL], &[]),
        (&[("ScalingLimited", "True", "AtMaxReplicas", "of three")], &[FULL], &["AtMaxPods: more are wanted"]),
        (&[("ScalingLimited", "True", "GrowthHeld", "pods fail")], &[FULL], &["AtMaxPods: more are wanted"]),
        (&[], &[("ScalingLimited", "True", "GrowthHeld", "pods fail")], &[]),
        (&[], &[WARNS, FULL, FAILS], &["left out", "AtMaxPods: more are wanted", "Refused: no"]),
    ];
    for (before, after, told) in cases {
        let notes = |before: Option<&WarmPoolStatus>| -> Vec<String> {
            status::events(before, &with(after)).into_iter().map(|(_, note)| note).collect()
        };
        assert_eq!(notes(Some(&with(before))), *told, "{before:?} {after:?}");
        if before.is_empty() {
            assert_eq!(notes(None), *told, "{after:?} of a pool that nothing was said of");
        }
    }
}

#[test]
fn numbers_alone_may_wait() {
    const READY: Row = ("Ready", "True", "PodsReady", "3 of 3 idle pods are ready");
    const WELL: Row = ("PodsFailing", "False", "PodsHealthy", "no idle pod has a problem");
    let cases: &[(&[Row], bool)] = &[
        (&[READY, WELL], true),
        (&[("Ready", "True", "PodsReady", "4 of 3 idle pods are ready"), WELL], true),
        (&[("Ready", "True", "PodsReady", "3 of 3 are there"), WELL], false),
        (&[("Ready", "True", "Another", "3 of 3 idle pods are ready"), WELL], false),
        (&[("Ready", "False", "PodsReady", "3 of 3 idle pods are ready"), WELL], false),
        (&[("Another", "True", "PodsReady", "3 of 3 idle pods are ready"), WELL], false),
        (&[READY], false),
        (&[READY, WELL, ("ScalingLimited", "True", "AtMaxPods", "more are wanted")], false),
    ];
    let recorded = with(&[READY, WELL]);
    for (conditions, may) in cases {
        assert_eq!(status::may_wait(Some(&recorded), &with(conditions)), *may, "{conditions:?}");
    }
}
