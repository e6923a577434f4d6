use arl_crds::Sandbox;
use serde_json::{Value, json};

use super::*;
use crate::{
    cache::{ClaimRefusal, SandboxRow},
    sandbox::plan::tests::{at, holder, observed},
};

#[test]
fn how_often_a_container_was_started_again_is_said_in_words_that_fit() {
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c" }] } });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    for (restarts, words) in
        [(None, ""), (Some(1), "c was started again, which"), (Some(2), "c was started again 2 times, which")]
    {
        let status = SandboxStatus { restarts, ..SandboxStatus::default() };
        let said = allocated(&status, &pod, false).message;
        assert!(said.starts_with("pod p is allocated") && said.contains(words), "{said}");
        assert_eq!(said.contains("started again"), restarts.is_some(), "{said}");
    }
}

#[test]
fn who_waits_is_told_for_what_and_what_helps() {
    for (reason, words) in [
        (SandboxReason::PoolNotFound, "create it, or correct poolRef"),
        (SandboxReason::PoolEmpty, "raise the pool's replicas"),
        (SandboxReason::PoolAtLimit, "raise scaling.maxPods"),
        (SandboxReason::Claiming, "is being claimed"),
    ] {
        let said = waiting(&observed(&json!({}), &json!({})), reason);
        assert!(said.message.contains("WarmPool pool "), "{}", said.message);
        assert!(said.reason == reason.as_str() && said.message.contains(words), "{}", said.message);
    }
}

#[test]
fn a_refusal_that_differs_in_numbers_alone_is_said_in_the_words_on_record() {
    let refused = |status: &Value, said: &str| {
        let refusal = Some(ClaimRefusal { message: said.into(), retry_at: at(9) });
        waiting(&Observed { refusal, ..observed(&json!({}), status) }, SandboxReason::ClaimRefused).message
    };
    let first = refused(&json!({}), "used 3 of 3");
    assert!(first.contains("used 3 of 3"), "{first}");
    let recorded = |reason: &str| {
        json!({ "conditions": [{ "type": "Ready", "status": "False", "reason": reason, "message": first,
            "lastTransitionTime": at(0).to_string() }] })
    };
    assert_eq!(refused(&recorded("ClaimRefused"), "used 4 of 4"), first);
    assert!(refused(&recorded("ClaimRefused"), "no such right").contains("no such right"));
    assert!(refused(&recorded("Stalled"), "used 4 of 4").contains("used 4 of 4"), "that is another condition's");
}

/// A pod whose executor is in this state, and was started again so often.
fn pod_in(state: &Value, restarts: i32) -> Pod {
    let container =
        json!({ "name": "c", "restartCount": restarts, "state": state, "containerID": "c-1", "ready": true });
    let pod = json!({ "metadata": { "name": "p", "uid": "u" }, "spec": { "containers": [{ "name": "c" }] },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses": [container] } });
    serde_json::from_value(pod).unwrap()
}

#[test]
fn what_happened_to_a_container_before_its_pod_was_claimed_does_not_count() {
    let running = json!({ "running": {} });
    for (before, recorded) in [(0, None), (2, Some(2))] {
        let mut status = SandboxStatus::default();
        assert_eq!(hold(&mut status, &pod_in(&running, before), None, at(0)), None);
        assert_eq!((status.restarts_before, status.restarts), (recorded, None));
        assert_eq!(hold(&mut status, &pod_in(&running, before + 1), None, at(1)), None);
        assert_eq!((status.restarts_before, status.restarts), (recorded, Some(1)));
    }
}

#[test]
fn a_container_that_is_not_started_again_says_why_and_one_that_waits_after_a_crash_does_not() {
    for (reason, message, says) in [
        ("ErrImagePull", "no such image", true),
        ("CrashLoopBackOff", "back-off 10s", false),
        ("ContainerCreating", "", false),
    ] {
        let waiting = json!({ "waiting": { "reason": reason, "message": message } });
        let said = hold(&mut SandboxStatus::default(), &pod_in(&waiting, 0), None, at(0)).unwrap();
        assert_eq!(said.reason, SandboxReason::ContainerRestarting.as_str());
        let why = format!(
            "c of pod p is not running, and the last attempt to start it again failed ({reason}: {message}); its processes"
        );
        assert_eq!(said.message.contains(&why), says, "{}", said.message);
        assert_eq!(said.message.contains("c of pod p is not running; its processes"), !says, "{}", said.message);
    }
}

#[test]
fn why_a_container_cannot_be_started_again_is_said_once() {
    let crashed = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
    let mut pod = pod_in(&crashed, 1);
    let cannot = json!({ "reason": "StartError", "exitCode": 128, "message": "no such file" });
    pod.status.container_statuses[0].last_state.terminated = Some(serde_json::from_value(cannot).unwrap());
    let said = hold(&mut SandboxStatus::default(), &pod, None, at(0)).unwrap().message;
    assert_eq!(said.matches("no such file").count(), 1, "{said}");
    assert!(said.contains("the last attempt to start it again failed (StartError: no such file)"), "{said}");
}

#[test]
fn a_step_has_the_events_that_a_person_would_want() {
    let status = |phase: &str, pod: Option<&str>, restarts: Option<i32>, reason: &str| -> SandboxStatus {
        let ready = json!({ "type": "Ready", "status": "False", "reason": reason, "message": format!("because {reason}"),
            "lastTransitionTime": at(0).to_string() });
        serde_json::from_value(json!({ "phase": phase, "podUID": pod, "restarts": restarts, "conditions": [ready] }))
            .unwrap()
    };
    let waits = |reason| status("Pending", None, None, reason);
    let has = |phase, restarts| status(phase, Some("u"), restarts, "r");
    let told = |before: Option<&SandboxStatus>, after: &SandboxStatus| {
        events(before, after).into_iter().map(|(reason, _)| reason).collect::<Vec<_>>()
    };
    for (before, after, expected) in [
        (None, waits("PoolEmpty"), vec![EventReason::Waiting]),
        (Some(waits("PoolEmpty")), waits("PoolEmpty"), vec![]),
        (Some(waits("PoolEmpty")), waits("PoolAtLimit"), vec![EventReason::Waiting]),
        (Some(waits("PoolEmpty")), has("Ready", None), vec![EventReason::Claimed]),
        (Some(waits("PoolEmpty")), has("Pending", None), vec![EventReason::Claimed]),
        (Some(has("Ready", None)), has("Ready", Some(1)), vec![EventReason::ContainerRestarted]),
        (Some(has("Ready", Some(2))), has("Ready", Some(1)), vec![]),
        (Some(has("Bound", None)), has("Released", None), vec![EventReason::Released]),
        (Some(has("Released", None)), has("Released", None), vec![]),
    ] {
        assert_eq!(told(before.as_ref(), &after), expected, "{before:?} {after:?}");
    }
}

#[test]
fn a_change_of_the_spec_is_put_on_record_of_what_was_released_and_not_of_what_goes() {
    let mut observed = holder(&json!({}));
    let mut sandbox: Sandbox = observed.sandbox().clone();
    sandbox.metadata.generation = Some(2);
    let recorded = sandbox.status.get_or_insert_default();
    recorded.observed_generation = Some(1);
    let recorded = recorded.clone();
    observed.row = std::sync::Arc::new(SandboxRow::new(sandbox));
    for decision in [Decision::Expire, Decision::MakeSetup] {
        assert_eq!(status(&observed, &decision, at(9)), recorded, "{decision:?}");
    }
    assert_eq!(status(&observed, &Decision::Released, at(9)).observed_generation, Some(2));
}
