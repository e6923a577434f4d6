//! Sandboxes that are set up.

use std::sync::Arc;

use arl_crds::{Sandbox, SandboxPhase, SandboxStatus, setup_task};
use serde_json::{Value, json};

use super::*;
use crate::{
    runs::LiveView,
    sandbox::{
        plan::{
            Decision, plan,
            tests::{at, hold, holder, with_agent},
        },
        status::{events, status},
    },
};

/// A Sandbox with a setup, with its pod since second 0 and this on record of it.
fn set_up_by(lifetime: &Value, recorded: Option<&Value>) -> Observed {
    let mut spec = lifetime.clone();
    spec["setup"] = json!({ "steps": [{ "name": "a", "type": "Command", "command": ["true"] }] });
    let mut observed = holder(&spec);
    let mut sandbox = observed.sandbox().clone();
    if let (Some(status), Some(recorded)) = (&mut sandbox.status, recorded) {
        status.setup = serde_json::from_value(recorded.clone()).unwrap();
    }
    observed.row = Arc::new(crate::cache::SandboxRow::new(sandbox));
    observed
}

fn on_record(state: &str) -> Value {
    json!({ "task": setup_task("s", "sandbox"), "taskUID": "setup", "state": state })
}

fn task(state: Option<&str>, fields: &Value) -> Arc<TaskRow> {
    let mut status = json!({ "state": state, "sandboxUID": "sandbox" });
    json_patch_merge(&mut status, fields);
    let object = json!({
        "metadata": { "name": setup_task("s", "sandbox"), "namespace": "ns", "uid": "setup" },
        "spec": { "sandboxRef": "s", "steps": [] }, "status": state.map(|_| status),
    });
    Arc::new(TaskRow::new(serde_json::from_value(object).unwrap()))
}

fn json_patch_merge(into: &mut Value, fields: &Value) {
    into.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
}

#[test]
fn a_sandbox_is_ready_once_its_setup_has_succeeded_on_record() {
    let set_up = Decision::SetUp(Uid("a".into()));
    let recorded = on_record("Pending");
    let failed = Decision::Release(SandboxReason::SetupFailed);
    let ready = hold(SandboxPhase::Ready, None);
    for (recorded, task, expected) in [
        (None, None, Decision::MakeSetup),
        (None, Some(task(None, &json!({}))), set_up.clone()),
        (Some(&recorded), Some(task(Some("Pending"), &json!({}))), set_up.clone()),
        (Some(&recorded), Some(task(Some("Running"), &json!({}))), set_up),
        (Some(&recorded), Some(task(Some("Succeeded"), &json!({}))), ready.clone()),
        (Some(&recorded), Some(task(Some("Failed"), &json!({}))), failed.clone()),
        (Some(&recorded), None, failed),
        (Some(&on_record("Succeeded")), None, ready.clone()),
        (Some(&on_record("Succeeded")), Some(task(Some("Failed"), &json!({}))), ready),
    ] {
        let observed = Observed { setup_task: task, ..set_up_by(&json!({}), recorded) };
        let plan = plan(&observed, at(1));
        assert_eq!(plan.decision, expected, "{recorded:?} {:?}", observed.setup_task);
        // What is on record is never another Task's.
        let written = status(&observed, &plan.decision, at(1));
        assert!(written.setup.as_ref().is_none_or(|setup| setup.task_uid == "setup"));
        let is_ready = plan.decision == hold(SandboxPhase::Ready, None);
        assert_eq!(written.setup.is_some_and(|setup| setup.state == TaskState::Succeeded), is_ready);
    }
}

#[test]
fn a_claim_is_put_on_record_before_the_setup_is_made() {
    let running = with_agent(&json!({}), LiveView::default());
    let mut claimed = Observed { owned: running.owned, ..set_up_by(&json!({}), None) };
    let mut sandbox = claimed.sandbox().clone();
    sandbox.status = None;
    claimed.row = Arc::new(crate::cache::SandboxRow::new(sandbox));
    let plan = plan(&claimed, at(1));
    assert_eq!(plan.decision, Decision::SetUp(Uid("a".into())));
    let written = status(&claimed, &plan.decision, at(1));
    assert_eq!((written.phase, written.pod_uid.as_deref()), (Some(SandboxPhase::Pending), Some("a")));
    assert_eq!((written.conditions[0].status.as_str(), written.conditions[0].reason.as_str()), ("False", "SettingUp"));
    assert_eq!(events(None, &written).len(), 1, "it is claimed, and waits for no pod");
}

#[test]
fn a_failure_is_said_with_step_exit_code_and_words_and_stays() {
    let condition = json!({
        "type": "Finished", "status": "True", "reason": "StepFailed", "lastTransitionTime": at(1).to_string(),
        "message": format!("{}a command exited with code 3", "x".repeat(5_000)),
    });
    let fields = json!({ "step": "install", "exitCode": 3, "conditions": [condition] });
    let failed = Observed {
        setup_task: Some(task(Some("Failed"), &fields)),
        ..set_up_by(&json!({}), Some(&on_record("Pending")))
    };
    let written = status(&failed, &plan(&failed, at(2)).decision, at(2));
    let said = &written.conditions[0];
    assert_eq!((written.phase, said.reason.as_str()), (Some(SandboxPhase::Released), "SetupFailed"));
    assert!(said.message.contains("(StepFailed, step install, exit code 3)"), "{}", said.message);
    assert!(said.message.contains("a command exited with code 3") && said.message.len() < 1_000, "{}", said.message);
    let setup = written.setup.clone().unwrap();
    assert_eq!((setup.state, setup.exit_code, setup.step.as_deref()), (TaskState::Failed, Some(3), Some("install")));
    let mut sandbox = failed.sandbox().clone();
    sandbox.status = Some(written);
    let released = Observed { row: Arc::new(crate::cache::SandboxRow::new(sandbox)), ..set_up_by(&json!({}), None) };
    assert_eq!(status(&released, &Decision::Released, at(3)).setup, Some(setup));
}

#[test]
fn the_task_is_named_for_its_outputs_only_where_a_step_ran() {
    for (step, has_outputs) in [(json!(null), false), (json!("install"), true)] {
        let setup = json!({ "task": "t", "taskUID": "u", "state": "Failed", "reason": "TimedOut", "step": step });
        let why = why_failed(&serde_json::from_value(setup).unwrap());
        assert_eq!(why.contains("Task t has the outputs"), has_outputs, "{why}");
        assert!(why.contains("raise spec.setup.timeout"), "{why}");
    }
}

#[test]
fn the_ttl_of_one_that_never_became_ready_is_counted_from_its_release() {
    let spec = json!({ "ttlSecondsAfterFinished": 10 });
    let mut waited = set_up_by(&spec, Some(&on_record("Pending")));
    let waits = status(&waited, &Decision::Wait(SandboxReason::PoolEmpty), at(0));
    let recorded = |status: SandboxStatus, observed: &Observed| {
        let sandbox = Sandbox { status: Some(status), ..observed.sandbox().clone() };
        Arc::new(crate::cache::SandboxRow::new(sandbox))
    };
    let held = SandboxStatus { conditions: waits.conditions, ..waited.status().cloned().unwrap_or_default() };
    waited.row = recorded(held, &waited);
    let failed = Observed { setup_task: Some(task(Some("Failed"), &json!({}))), ..waited };
    let released = status(&failed, &plan(&failed, at(100)).decision, at(100));
    assert_eq!(released.phase, Some(SandboxPhase::Released));
    let released = Observed { row: recorded(released, &failed), ..failed };
    assert_eq!(plan(&released, at(109)).look_again, Some(at(110)));
    assert_eq!(plan(&released, at(110)).decision, Decision::Expire);
}

#[test]
fn a_setup_whose_task_or_pod_is_gone_has_failed() {
    let gone = set_up_by(&json!({}), Some(&on_record("Pending")));
    let why = |observed: &Observed| {
        let setup = status(observed, &plan(observed, at(2)).decision, at(2)).setup.unwrap();
        (setup.state, setup.reason.unwrap_or_default())
    };
    assert_eq!(why(&gone), (TaskState::Failed, "Cancelled".to_owned()));
    let lost = Observed { owned: Vec::new(), setup_task: Some(task(Some("Running"), &json!({}))), ..gone };
    assert_eq!(plan(&lost, at(2)).decision, Decision::Release(SandboxReason::PodLost));
    assert_eq!(why(&lost), (TaskState::Failed, "PodLost".to_owned()));
}

#[test]
fn the_idle_clock_starts_once_it_is_set_up_and_the_setup_is_no_task_to_be_released_after() {
    let ttl = json!({ "ttlSecondsAfterFinished": 10 });
    let done = Some(task(Some("Succeeded"), &json!({})));
    let late = Observed { setup_task: done, ..set_up_by(&ttl, Some(&on_record("Pending"))) };
    let plan_one = plan(&late, at(100));
    assert_eq!(plan_one.decision, hold(SandboxPhase::Ready, None), "its pod has been there for longer than the ttl");
    let recorded = status(&late, &plan_one.decision, at(100)).setup.unwrap();
    let recorded = serde_json::to_value(recorded).unwrap();
    let ready = set_up_by(&ttl, Some(&recorded));
    assert!(matches!(plan(&ready, at(109)).decision, Decision::Hold { .. }));
    assert_eq!(plan(&ready, at(110)).decision, Decision::Expire);
    let once = set_up_by(&json!({}), Some(&recorded));
    assert_eq!(plan(&once, at(9_999)).decision, hold(SandboxPhase::Ready, None));
}
