use std::sync::Arc;

use arl_crds::{Sandbox, labels};
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{ClaimRefusal, SandboxRow},
    object::Key,
    runs::{LiveState, LiveView},
};

pub(in crate::sandbox) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn pod(uid: &str, extra: &Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {
            "name": format!("p-{uid}"), "namespace": "ns", "uid": uid, "resourceVersion": "7",
            "labels": { labels::WARMPOOL: "pool", labels::POD_STATE: "allocated", labels::SANDBOX: "s" },
            "ownerReferences": [{ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "name": "s", "uid": "sandbox", "controller": true }],
        },
        "spec": { "containers": [{ "name": "executor" }] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    for (key, value) in extra.as_object().unwrap() {
        *pod.pointer_mut(key).unwrap() = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

pub(in crate::sandbox) fn observed(spec: &Value, status: &Value) -> Observed {
    let mut full = json!({ "poolRef": "pool" });
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox",
        "metadata": { "name": "s", "namespace": "ns", "uid": "sandbox", "resourceVersion": "3" },
        "spec": full, "status": status,
    });
    let sandbox: Sandbox = serde_json::from_value(object).unwrap();
    Observed {
        row: Arc::new(SandboxRow::new(sandbox)),
        pool_exists: true,
        pool_is_at_limit: false,
        template: None,
        candidate: None,
        refusal: None,
        owned: Vec::new(),
        given_away: None,
        setup_task: None,
        has_unfinished: false,
        running_since: None,
        last_finished: None,
        live: LiveView::default(),
        watching_since: at(-1000),
        released_ttl: None,
    }
}

/// Allocated at second 0, with its pod.
pub(in crate::sandbox) fn holder(spec: &Value) -> Observed {
    let status = json!({ "phase": "Ready", "podName": "p-a", "podUID": "a", "allocatedAt": at(0).to_string() });
    Observed { owned: vec![pod("a", &json!({}))], ..observed(spec, &status) }
}

pub(in crate::sandbox) fn hold(phase: SandboxPhase, idle_since: Option<Timestamp>) -> Decision {
    Decision::Hold { pod: Uid("a".into()), phase, idle_since }
}

#[test]
fn it_waits_with_a_reason_or_claims_the_pod_at_its_place() {
    let candidate = Version { key: Key::new("ns", "p-a"), uid: Uid("a".into()), resource_version: "7".into() };
    let waiting = observed(&json!({}), &json!({}));
    assert_eq!(plan(&waiting, at(0)).decision, Decision::Wait(SandboxReason::PoolEmpty));
    let no_pool = Observed { pool_exists: false, ..observed(&json!({}), &json!({})) };
    assert_eq!(plan(&no_pool, at(0)).decision, Decision::Wait(SandboxReason::PoolNotFound));
    let served = Observed { candidate: Some(candidate.clone()), ..observed(&json!({}), &json!({})) };
    let Decision::Claim(claim) = plan(&served, at(0)).decision else { panic!("no claim") };
    assert_eq!((claim.pod, claim.owner.controller, claim.owner.block_owner_deletion), (candidate, Some(true), None));
}

#[test]
fn a_claim_that_is_not_on_record_is_completed_and_a_second_one_undone() {
    let owned = vec![pod("b", &json!({})), pod("a", &json!({}))];
    let plan = plan(&Observed { owned, ..observed(&json!({}), &json!({})) }, at(0));
    assert_eq!(plan.decision, hold(SandboxPhase::Ready, None));
    assert_eq!(plan.surplus.iter().map(|v| v.uid.0.as_str()).collect::<Vec<_>>(), ["b"]);
}

/// As where admission puts a part of a claim back, and the operator that made it has deleted the pod, or has ended before it could.
#[test]
fn a_pod_without_all_of_a_claim_is_given_up_and_never_taken() {
    let labels = |state: &str, sandbox: &str| json!({ labels::POD_STATE: state, labels::SANDBOX: sandbox });
    for broken in [labels("ready", "s"), labels("allocated", "another"), json!({ labels::POD_STATE: "allocated" })] {
        let owned = vec![pod("a", &json!({ "/metadata/labels": broken }))];
        let refusal = Some(ClaimRefusal { message: "denied".into(), retry_at: at(2) });
        let seen = Observed { refusal, owned, ..observed(&json!({}), &json!({})) };
        let plan = plan(&seen, at(0));
        assert_eq!(plan.decision, Decision::Wait(SandboxReason::ClaimRefused), "{broken}");
        assert_eq!(plan.surplus.iter().map(|v| v.uid.0.as_str()).collect::<Vec<_>>(), ["a"], "{broken}");
    }
}

#[test]
fn what_is_on_record_decides_which_pod_is_surplus() {
    let holder =
        Observed { owned: vec![pod("0", &json!({})), pod("a", &json!({}))], ..holder(&json!({"keepAlive": true})) };
    let plan = plan(&holder, at(0));
    assert_eq!(plan.decision, hold(SandboxPhase::Ready, None));
    assert_eq!(plan.surplus.iter().map(|v| v.uid.0.as_str()).collect::<Vec<_>>(), ["0"]);
}

#[test]
fn a_lost_pod_releases_and_an_unready_node_only_suspends() {
    let with = |extra: &Value| plan(&Observed { owned: vec![pod("a", extra)], ..holder(&json!({})) }, at(1)).decision;
    let lost = Decision::Release(SandboxReason::PodLost);
    assert_eq!(plan(&Observed { owned: vec![], ..holder(&json!({})) }, at(1)).decision, lost);
    assert_eq!(with(&json!({ "/status/phase": "Failed" })), lost);
    assert_eq!(with(&json!({ "/status/conditions/0/status": "False" })), hold(SandboxPhase::Ready, None));
}

#[test]
fn what_expires_takes_its_pods_with_it_and_only_the_end_of_its_tasks_is_confirmed() {
    let spec = json!({ "ttlSecondsAfterFinished": 100 });
    let due = Observed { owned: vec![pod("0", &json!({})), pod("a", &json!({}))], ..holder(&spec) };
    let plan = plan(&due, at(100));
    assert_eq!((plan.decision, plan.surplus), (Decision::Expire, vec![]));
    for (decision, is_confirmed) in [
        (Decision::Release(SandboxReason::TasksFinished), true),
        (Decision::Release(SandboxReason::PodLost), false),
        (Decision::Expire, false),
    ] {
        assert_eq!(decision.needs_confirmation(), is_confirmed, "{decision:?}");
    }
}

#[test]
fn idleness_is_put_on_record_once_and_looked_at_again_when_that_is_due() {
    let recorded = json!({ "phase": "Ready", "podName": "p-a", "podUID": "a", "idleSince": at(10).to_string() });
    for (finished, now, since, look_again) in
        [(10, 100, None, None), (11, 12, None, Some(16)), (11, 16, Some(11), None), (11, 100, Some(11), None)]
    {
        let seen = Observed { last_finished: Some(at(finished)), ..observed(&json!({}), &recorded) };
        let expected = Record { since: since.map(at), look_again: look_again.map(at) };
        assert_eq!(idle::record(&seen, None, at(now)), expected, "{finished} {now}");
    }
    let ttl = Some(Duration::from_secs(100));
    let expected = Record { since: None, look_again: Some(at(10)) };
    assert_eq!(idle::record(&holder(&json!({})), ttl, at(5)), expected, "a tenth of the ttl late");
}

#[test]
fn every_row_of_the_lifetime_table_holds() {
    let never = json!({ "keepAlive": true });
    let once = json!({ "keepAlive": false });
    let timed = json!({ "keepAlive": false, "ttlSecondsAfterFinished": 100 });
    let kept_timed = json!({ "keepAlive": true, "ttlSecondsAfterFinished": 100 });
    let zero = json!({ "ttlSecondsAfterFinished": 0 });
    let finished =
        |spec: &Value, now: i64| plan(&Observed { last_finished: Some(at(50)), ..holder(spec) }, at(now)).decision;
    let fresh = |spec: &Value, now: i64| plan(&holder(spec), at(now)).decision;
    let ready = hold(SandboxPhase::Ready, None);

    assert_eq!(fresh(&once, 9_999), ready, "before its first Task it stays");
    assert_eq!(finished(&once, 50), Decision::Release(SandboxReason::TasksFinished));
    assert!(matches!(finished(&never, 9_999), Decision::Hold { .. }));
    for spec in [&timed, &kept_timed] {
        assert!(matches!(fresh(spec, 99), Decision::Hold { .. }));
        assert_eq!(fresh(spec, 100), Decision::Expire, "the idle clock starts at allocation");
        assert!(matches!(finished(spec, 149), Decision::Hold { .. }), "and again when a Task finishes");
        assert_eq!(finished(spec, 150), Decision::Expire);
    }
    assert_eq!(fresh(&zero, 9_999), ready, "0 acts once the first Task has finished");
    assert_eq!(finished(&zero, 50), Decision::Expire);
}

#[test]
fn nothing_is_given_up_while_a_task_is_unfinished() {
    for spec in [json!({}), json!({ "ttlSecondsAfterFinished": 1 })] {
        let busy = Observed { has_unfinished: true, last_finished: Some(at(1)), ..holder(&spec) };
        assert_eq!(plan(&busy, at(9_999)).decision, hold(SandboxPhase::Ready, None));
    }
}

#[test]
fn only_a_task_that_takes_its_time_shows_as_bound() {
    let running = Observed { has_unfinished: true, running_since: Some(at(10)), ..holder(&json!({})) };
    let early = plan(&running, at(10));
    assert_eq!((early.decision, early.look_again), (hold(SandboxPhase::Ready, None), Some(at(10) + SHORT_TASK)));
    assert_eq!(plan(&running, at(11)).decision, hold(SandboxPhase::Bound, None));
}

#[test]
fn idleness_is_recorded_lazily_and_a_restart_never_shortens_it() {
    let spec = json!({ "ttlSecondsAfterFinished": 100 });
    let idle = Observed { last_finished: Some(at(50)), ..holder(&spec) };
    assert_eq!(plan(&idle, at(60)).decision, hold(SandboxPhase::Ready, Some(at(50))));
    let soon = Observed { last_finished: Some(at(5)), ..holder(&spec) };
    assert_eq!(plan(&soon, at(6)).decision, hold(SandboxPhase::Ready, None), "not worth a write yet");
    let forever = Observed { last_finished: Some(at(50)), ..holder(&json!({ "keepAlive": true })) };
    let soon = plan(&forever, at(51));
    assert_eq!((soon.decision, soon.look_again), (hold(SandboxPhase::Ready, None), Some(at(55))));
    assert_eq!(plan(&forever, at(55)).decision, hold(SandboxPhase::Ready, Some(at(50))));
    // Restarted at second 70: what ended before is unknown, at most a tenth of the ttl is added.
    let restarted = || Observed { watching_since: at(70), ..holder(&spec) };
    assert!(matches!(plan(&restarted(), at(109)).decision, Decision::Hold { .. }));
    assert_eq!(plan(&restarted(), at(110)).decision, Decision::Expire);
}

#[test]
fn released_is_for_good() {
    let released = || {
        let since = at(0).to_string();
        let condition = json!({ "type": "Ready", "status": "False", "reason": "PodLost", "message": "", "lastTransitionTime": since });
        observed(
            &json!({}),
            &json!({ "phase": "Released", "podUID": "a", "podName": "p-a", "conditions": [condition] }),
        )
    };
    let with_pod = Observed { owned: vec![pod("a", &json!({}))], ..released() };
    let plan_one = plan(&with_pod, at(1));
    assert_eq!((plan_one.decision, plan_one.surplus.len()), (Decision::Released, 1), "a left-over pod is deleted");
    let kept = Observed { released_ttl: Some(Duration::from_secs(60)), ..released() };
    let needed = Observed { has_unfinished: true, released_ttl: Some(Duration::from_secs(60)), ..released() };
    assert_eq!(plan(&needed, at(10_000)).look_again, None, "a time in the past would be looked at without an end");
    assert_eq!(plan(&kept, at(59)).look_again, Some(at(60)));
    assert_eq!(plan(&kept, at(60)).decision, Decision::Expire);
}

#[test]
fn a_change_of_a_released_sandbox_is_put_on_record() {
    let condition = json!({
        "type": "Ready", "status": "False", "reason": "PodLost", "message": "", "observedGeneration": 1,
        "lastTransitionTime": at(0).to_string(),
    });
    let mut released =
        observed(&json!({}), &json!({ "phase": "Released", "observedGeneration": 1, "conditions": [condition] }));
    let mut object = released.sandbox().clone();
    object.metadata.generation = Some(2);
    released.row = Arc::new(SandboxRow::new(object));
    let status = super::super::status::status(&released, &Decision::Released, at(1));
    assert_eq!((status.observed_generation, status.conditions[0].observed_generation), (Some(2), Some(2)));
    assert_eq!(status.phase, Some(SandboxPhase::Released));
}

#[test]
fn times_that_anybody_wrote_into_a_status_are_no_end_of_the_operator() {
    let far = Some(Timestamp::MAX);
    let spec = json!({ "ttlSecondsAfterFinished": i32::MAX, "keepAlive": true });
    for spec in [spec, json!({ "keepAlive": true })] {
        let held = Observed { last_finished: far, running_since: far, ..holder(&spec) };
        assert_eq!(plan(&held, at(1)).decision, hold(SandboxPhase::Ready, None), "{spec}");
        let busy = Observed { has_unfinished: true, ..held };
        assert_eq!(plan(&busy, at(1)).decision, hold(SandboxPhase::Ready, None), "{spec}");
        let condition = json!({
            "type": "Ready", "status": "False", "reason": "PodLost", "message": "", "lastTransitionTime": at(0).to_string(),
        });
        let released = observed(&spec, &json!({ "phase": "Released", "conditions": [condition] }));
        let released = Observed { last_finished: far, released_ttl: Some(Duration::MAX), ..released };
        assert_eq!(plan(&released, at(1)).decision, Decision::Released, "{spec}");
    }
}

#[test]
fn a_refused_claim_is_said_in_the_refusals_words_and_tried_again() {
    let refusal = |message: &str| Some(ClaimRefusal { message: message.to_owned(), retry_at: at(9) });
    let waits = Observed { refusal: refusal("denied by x"), ..observed(&json!({}), &json!({})) };
    let plan = plan(&waits, at(1));
    assert_eq!(plan.decision, Decision::Wait(SandboxReason::ClaimRefused));
    assert_eq!(plan.look_again, Some(at(9)));
    let said = crate::sandbox::status::status(&waits, &plan.decision, at(1));
    assert!(said.conditions[0].message.contains("denied by x"), "{:?}", said.conditions);
    let recorded = serde_json::to_value(&said).unwrap();
    for (message, changes) in [("denied by x", false), ("denied by y", true)] {
        let again = Observed { refusal: refusal(message), ..observed(&json!({}), &recorded) };
        assert_eq!(crate::sandbox::status::status(&again, &plan.decision, at(2)) != said, changes, "{message}");
    }
}

/// A holder whose pod has an agent and a container that runs.
pub(in crate::sandbox) fn with_agent(spec: &Value, live: LiveView) -> Observed {
    let container = json!([{ "name": "executor", "ready": true, "state": { "running": {} }, "containerID": "c-1" }]);
    let annotations = json!({ labels::AGENT: "image" });
    let mut pod = serde_json::to_value(&*pod("a", &json!({}))).unwrap();
    (pod["status"]["containerStatuses"], pod["metadata"]["annotations"]) = (container, annotations);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    assert_eq!(pod.target().unwrap().mode, arl_crds::ExecutorMode::Agent);
    Observed { owned: vec![Arc::new(pod)], live, ..holder(spec) }
}

fn live(state: LiveState, ended: Option<i64>) -> LiveView {
    LiveView { state, ended: ended.map(at) }
}

#[test]
fn live_processes_stop_the_idle_clock_and_their_end_starts_it() {
    let spec = json!({ "ttlSecondsAfterFinished": 100 });
    let plan_of = |live, now| plan(&with_agent(&spec, live), at(now));
    let kept = |look_again: Option<i64>, asks| {
        let decision = hold(SandboxPhase::Ready, None);
        Plan { decision, surplus: Vec::new(), look_again: look_again.map(at), asks }
    };
    for (state, ended, now, expected) in [
        (LiveState::Active, None, 9_999, kept(None, false)),
        (LiveState::Active, Some(5), 9_999, kept(None, false)),
        (LiveState::Idle(at(50)), Some(50), 149, kept(Some(150), false)),
        // What was said before it was due is no answer, and neither is a stream that broke.
        (LiveState::Idle(at(50)), Some(50), 150, kept(None, true)),
        (LiveState::Idle(at(50)), None, 100, kept(None, true)),
        (LiveState::Unreached, Some(50), 150, kept(None, true)),
        (LiveState::Unreached, None, 9_999, kept(None, true)),
        (LiveState::Unanswered(at(9_000)), None, 9_029, kept(Some(9_030), true)),
    ] {
        let plan = plan_of(live(state, ended), now);
        let without_record = Plan { decision: strip_record(plan.decision), ..plan };
        assert_eq!(without_record, expected, "{state:?} {ended:?} at {now}");
    }
    for (state, ended, now) in [
        (LiveState::Idle(at(150)), Some(50), 150),
        (LiveState::Idle(at(100)), None, 100),
        (LiveState::Absent, None, 100),
        (LiveState::Unanswered(at(9_000)), None, 9_030),
    ] {
        assert_eq!(plan_of(live(state, ended), now).decision, Decision::Expire, "{state:?} {ended:?} at {now}");
    }
    assert!(matches!(plan_of(live(LiveState::Absent, Some(50)), 149).decision, Decision::Hold { .. }));
}

fn strip_record(decision: Decision) -> Decision {
    match decision {
        Decision::Hold { pod, phase, .. } => Decision::Hold { pod, phase, idle_since: None },
        other => other,
    }
}

/// What is not on record costs no write: the agent knows it.
#[test]
fn live_processes_are_not_put_on_record() {
    let spec = json!({ "ttlSecondsAfterFinished": 100 });
    let recorded = Observed {
        row: Arc::new(SandboxRow::new({
            let mut sandbox = holder(&spec).sandbox().clone();
            let status = sandbox.status.as_mut().unwrap();
            status.idle_since = status.allocated_at.clone();
            sandbox
        })),
        ..with_agent(&spec, live(LiveState::Idle(at(500)), Some(500)))
    };
    for now in 500..600 {
        assert_eq!(plan(&recorded, at(now)).decision, hold(SandboxPhase::Ready, None), "at {now}");
    }
    for spec in [spec, json!({ "keepAlive": true })] {
        let active = with_agent(&spec, live(LiveState::Active, None));
        let after_a_task = Observed { last_finished: Some(at(50)), ..active };
        for now in 50..200 {
            assert_eq!(plan(&after_a_task, at(now)).decision, hold(SandboxPhase::Ready, None), "at {now}");
        }
    }
}

#[test]
fn live_processes_keep_a_sandbox_whose_tasks_have_finished_and_end_with_their_container() {
    let once = |live| plan(&Observed { last_finished: Some(at(50)), ..with_agent(&json!({}), live) }, at(60));
    let released = Decision::Release(SandboxReason::TasksFinished);
    assert_eq!(once(live(LiveState::Active, None)).decision, hold(SandboxPhase::Ready, None));
    assert!(once(live(LiveState::Unreached, None)).asks);
    assert_eq!(once(live(LiveState::Idle(at(1)), None)).decision, released);
    assert_eq!(once(live(LiveState::Absent, None)).decision, released);
    // Its container does not run: the pod of `holder` has none.
    let ended = Observed { last_finished: Some(at(50)), ..holder(&json!({})) };
    let ended = Observed { live: live(LiveState::Unreached, None), ..ended };
    assert_eq!(plan(&ended, at(60)).decision, released);

    let zero = json!({ "ttlSecondsAfterFinished": 0 });
    let unused = plan(&with_agent(&zero, live(LiveState::Idle(at(10)), None)), at(10));
    assert_eq!(unused.decision, hold(SandboxPhase::Ready, None));
    let used = plan(&with_agent(&zero, live(LiveState::Idle(at(11)), Some(10))), at(11));
    assert_eq!(used.decision, Decision::Expire, "a ttl of zero waits for the first Task or live process");
}
