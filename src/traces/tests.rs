use arl_crds::{Sandbox, Task};
use serde_json::{Value, json};

use super::*;

const SANDBOX: &str = "11111111-2222-4333-8444-555555555555";
const TASK: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
const OF_SANDBOX: u128 = 0x1111_1111_2222_4333_8444_5555_5555_5555;
const CREATED: &str = "2026-11-24T15:00:00Z";
const FOREIGN: &str = r#"{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;

fn at(second: &str) -> Timestamp {
    format!("2026-11-24T15:00:{second}Z").parse().unwrap()
}

fn sandbox(annotations: &Value) -> Sandbox {
    serde_json::from_value(json!({
        "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "spec": {"poolRef": "p"},
        "metadata": {"name": "s", "namespace": "ns", "uid": SANDBOX, "creationTimestamp": CREATED, "annotations": annotations},
    }))
    .unwrap()
}

fn row(annotations: &Value) -> TaskRow {
    let step = |name: &str| json!({"name": name, "type": "Command", "command": ["true"]});
    TaskRow::new(
        serde_json::from_value::<Task>(json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "Task",
            "metadata": {"name": "t", "namespace": "ns", "uid": TASK, "creationTimestamp": CREATED, "annotations": annotations},
            "spec": {"sandboxRef": "s", "steps": [step("a"), step("b"), step("c")]},
        }))
        .unwrap(),
    )
}

fn status() -> TaskStatus {
    serde_json::from_value(json!({
        "state": "Failed", "sandboxUID": SANDBOX,
        "startedAt": "2026-11-24T15:00:01.000000Z", "completedAt": "2026-11-24T15:00:04.000000Z",
        "conditions": [{"type": "Finished", "status": "True", "reason": "StepFailed", "message": "", "lastTransitionTime": CREATED}],
        "steps": [
            {"name": "a", "state": "Succeeded", "exitCode": 0,
             "startedAt": "2026-11-24T15:00:01.000000Z", "completedAt": "2026-11-24T15:00:02.000000Z"},
            {"name": "b", "state": "Failed", "exitCode": 3,
             "startedAt": "2026-11-24T15:00:02.000000Z", "completedAt": "2026-11-24T15:00:04.000000Z"},
            {"name": "c", "state": "Skipped"},
        ],
    }))
    .unwrap()
}

fn value<'a>(span: &'a Span, key: &str) -> &'a str {
    span.attributes.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
}

#[test]
fn a_claim_and_its_tasks_are_one_trace() {
    let sandbox = sandbox(&json!({}));
    let claim = claim(&SandboxRow::new(sandbox.clone()), "pod", at("01")).unwrap();
    assert_eq!(claim.context, Context { trace: OF_SANDBOX, parent: None });
    assert_eq!((claim.start, claim.end, value(&claim, "k8s.pod.name")), (at("00"), at("01"), "pod"));

    let spans = task(&row(&json!({})), &status(), Some(&sandbox));
    let names: Vec<_> = spans.iter().map(|span| (span.name, value(span, "arl.step.name"))).collect();
    assert_eq!(names, [("task", ""), ("step", "a"), ("step", "b")], "a step that was not started took no time");
    assert_eq!(spans[0].context, Context { trace: OF_SANDBOX, parent: Some(claim.id) });
    assert!(spans[1..].iter().all(|s| s.context == Context { trace: OF_SANDBOX, parent: Some(spans[0].id) }));
    assert_eq!((spans[0].start, spans[0].end), (at("00"), at("04")));
    assert_eq!((spans[2].start, spans[2].end, value(&spans[2], "process.exit.code")), (at("02"), at("04"), "3"));
    let errors: Vec<_> = spans.iter().map(|span| span.error.as_deref()).collect();
    assert_eq!(errors, [Some("StepFailed"), None, Some("Failed")]);
    assert_eq!(spans, task(&row(&json!({})), &status(), Some(&sandbox)), "told twice, it is the same");
}

#[test]
fn whoever_names_a_trace_is_part_of_it() {
    let named = json!({ CONTEXT: FOREIGN });
    let foreign = Context { trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, parent: Some(0xb7ad_6b71_6920_3331) };
    let sandbox = sandbox(&named);
    let claim = claim(&SandboxRow::new(sandbox.clone()), "pod", at("01")).unwrap();
    assert_eq!(claim.context, foreign);
    let of_claim = Context { parent: Some(claim.id), ..foreign };
    assert_eq!(task(&row(&json!({})), &status(), Some(&sandbox))[0].context, of_claim);
    assert_eq!(task(&row(&named), &status(), None)[0].context, foreign);
    assert_eq!(task(&row(&json!({})), &status(), None)[0].context.parent, None, "without its Sandbox it stands alone");
}

#[test]
fn what_names_no_trace_is_left_aside() {
    for bad in [
        "",
        "{}",
        r#"{"traceparent": ""}"#,
        r#"{"traceparent": "00-00000000000000000000000000000000-b7ad6b7169203331-01"}"#,
        r#"{"traceparent": "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        r#"{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033-01"}"#,
    ] {
        let claim = claim(&SandboxRow::new(sandbox(&json!({ CONTEXT: bad }))), "pod", at("01")).unwrap();
        assert_eq!(claim.context, Context { trace: OF_SANDBOX, parent: None }, "{bad}");
    }
}
