//! What the cache leaves out of objects: others can make it large, and nobody reads it here.

use arl_crds::{Sandbox, Step, Task, TaskState, WarmPool, labels, setup_task, template::PodTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use crate::object::Uid;

/// The most bytes of a Task's steps that are kept; larger ones are read when they are run.
const STEPS_KEPT: usize = 4 * 1024;
/// The most memory that a pool's template may take here; larger ones are read when a pod is made.
const TEMPLATE_KEPT: usize = 64 * 1024;
/// About what a map takes for each six entries: a node of a tree, however many of its places are taken.
const NODE: usize = 640;
/// The longest trace context that is kept: what is valid has a tenth of that.
const CONTEXT_MAX: usize = 1024;

/// Leaves out the metadata that nobody reads: what was applied last alone has up to 256 KiB.
pub fn slim(metadata: &mut ObjectMeta) {
    (metadata.managed_fields, metadata.labels) = (None, None);
    (metadata.owner_references, metadata.finalizers) = (None, None);
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, value| name == labels::TRACE_CONTEXT && value.len() <= CONTEXT_MAX);
    }
}

/// Leaves out a Task's outputs, and its steps where they are large; returns how much of its steps, which have only their names and types
/// then. Of one that has ended only the step that ran last is left, in its status.
pub(super) fn abridge(task: &mut Task) -> usize {
    slim(&mut task.metadata);
    let mut is_finished = false;
    if let Some(status) = &mut task.status {
        is_finished = status.state.is_some_and(TaskState::is_finished);
        (status.stdout, status.stderr) = (None, None);
        if is_finished {
            status.steps =
                std::mem::take(&mut status.steps).into_iter().rfind(|s| s.started_at.is_some()).into_iter().collect();
        }
        status.steps.iter_mut().for_each(|step| (step.stdout, step.stderr) = (None, None));
    }
    let size = task.spec.steps.iter().map(Step::size).sum();
    if is_finished {
        task.spec.steps = Vec::new();
    } else if size > STEPS_KEPT {
        for step in &mut task.spec.steps {
            (step.path, step.content, step.work_dir, step.command) = (None, None, None, None);
            step.env.clear();
        }
    } else {
        return 0;
    }
    size
}

/// Leaves out the steps of a Sandbox's setup, which are read when its Task is made; returns how much.
pub(super) fn abridge_setup(sandbox: &mut Sandbox) -> usize {
    let steps = sandbox.spec.setup.as_mut().map(|setup| std::mem::take(&mut setup.steps));
    steps.iter().flatten().map(Step::size).sum()
}

/// The Sandbox whose setup a Task has the name of.
pub(super) fn setup_of(task: &Task) -> Option<Uid> {
    let sandbox = &task.spec.sandbox_ref;
    let owners = task.metadata.owner_references.iter().flatten();
    let owners = owners.filter(|owner| owner.kind == "Sandbox" && owner.name == *sandbox).map(|owner| &owner.uid);
    let recorded = task.status.as_ref().and_then(|status| status.sandbox_uid.as_ref());
    let is_its = |uid: &&String| task.metadata.name.as_deref() == Some(setup_task(sandbox, uid).as_str());
    owners.chain(recorded).find(is_its).cloned().map(Uid)
}

/// Leaves out a large template, but for the container that the steps run in. The pool then carries its fingerprint.
pub fn abridge_pool(pool: &mut WarmPool) {
    slim(&mut pool.metadata);
    let template = &pool.spec.template;
    if template.0.values().map(memory).sum::<usize>() <= TEMPLATE_KEPT {
        return;
    }
    let fingerprint = pool.spec.fingerprint();
    let chosen = pool.spec.executor_container().ok().map(|name| json!({ "name": name }));
    let named =
        template.section("metadata").and_then(|metadata| metadata.get("annotations")?.get(labels::DEFAULT_CONTAINER));
    let annotations: Map<String, Value> =
        named.map(|name| (labels::DEFAULT_CONTAINER.to_owned(), name.clone())).into_iter().collect();
    let kept = [
        ("metadata".to_owned(), json!({ "annotations": annotations })),
        ("spec".to_owned(), json!({ "containers": chosen.into_iter().collect::<Vec<_>>() })),
    ];
    pool.spec.template = PodTemplate(kept.into_iter().collect());
    pool.metadata.annotations.get_or_insert_default().insert(labels::TEMPLATE_HASH.to_owned(), fingerprint);
}

/// About how many bytes of memory a value takes.
fn memory(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(memory).sum(),
            Value::Object(entries) => {
                let each = entries.iter().map(|(name, value)| size_of::<String>() + name.len() + memory(value));
                entries.len().div_ceil(6) * NODE + each.sum::<usize>()
            }
        }
}

/// The fingerprint of the template of a pool that was abridged.
pub fn abridged_fingerprint(pool: &WarmPool) -> Option<&str> {
    pool.metadata.annotations.as_ref()?.get(labels::TEMPLATE_HASH).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use arl_crds::template::NoExecutor;

    use super::*;

    fn task(step: &Value, state: &str) -> Task {
        let annotations = json!({
            "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(256 * 1024),
            labels::TRACE_CONTEXT: "{}",
        });
        let status =
            json!({ "state": state, "stdout": "o", "steps": [{ "name": "a", "state": "Succeeded", "stderr": "e" }] });
        serde_json::from_value(json!({
            "metadata": { "name": "t", "labels": { "l": "v" }, "annotations": annotations },
            "spec": { "sandboxRef": "s", "steps": [step] }, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn what_nobody_reads_is_left_out() {
        let small = json!({ "name": "a", "type": "Command", "command": ["true"], "env": { "A": "b" } });
        let mut waiting = task(&small, "Pending");
        assert_eq!(abridge(&mut waiting), 0);
        assert_eq!(waiting.spec.steps[0].command.as_deref(), Some(&["true".to_owned()][..]));
        let kept: Vec<_> = waiting.metadata.annotations.unwrap().into_keys().collect();
        assert_eq!((kept, waiting.metadata.labels), (vec![labels::TRACE_CONTEXT.to_owned()], None));
        let status = waiting.status.unwrap();
        assert_eq!((status.stdout, status.steps[0].stderr.clone()), (None, None));

        let large = json!({ "name": "a", "type": "Command", "command": ["echo", "x".repeat(5_000)] });
        let empty = json!({ "name": "a", "type": "Command", "command": vec![""; 256] });
        for step in [&large, &empty] {
            let mut task = task(step, "Pending");
            let size = task.spec.steps[0].size();
            assert_eq!(abridge(&mut task), size);
            let step = &task.spec.steps[0];
            assert_eq!((step.name.as_str(), step.size()), ("a", 0));
        }
    }

    #[test]
    fn steps_are_kept_up_to_their_limit() {
        let kept = |size: usize| {
            let step = |text: usize| json!({ "name": "a", "type": "Command", "command": ["x".repeat(text)] });
            let rest = task(&step(0), "Pending").spec.steps[0].size();
            abridge(&mut task(&step(size - rest), "Pending"))
        };
        assert_eq!((kept(STEPS_KEPT), kept(STEPS_KEPT + 1)), (0, STEPS_KEPT + 1));
    }

    #[test]
    fn how_much_memory_a_template_takes_is_reckoned_with_its_maps() {
        let (value, name) = (size_of::<Value>(), size_of::<String>());
        let numbers = |n: usize| Value::Object((0..n).map(|i| (i.to_string(), json!(0))).collect());
        for (what, expected) in [
            (json!(null), value),
            (json!("abc"), value + 3),
            (json!(["abc", true]), 3 * value + 3),
            (json!({}), value),
            (json!({ "ab": "cde" }), value + NODE + name + 2 + value + 3),
            (numbers(6), value + NODE + 6 * (name + 1 + value)),
            (numbers(7), value + 2 * NODE + 7 * (name + 1 + value)),
        ] {
            assert_eq!(memory(&what), expected, "{what}");
        }
    }

    #[test]
    fn a_task_is_a_setups_by_its_name_and_by_what_is_its_sandbox() {
        let of = |name: &str, owner: Option<(&str, &str, &str)>, recorded: Option<&str>| {
            let mut task = task(&json!({ "name": "a", "type": "Command" }), "Pending");
            task.metadata.name = Some(name.into());
            task.metadata.owner_references = owner.map(|(kind, name, uid)| {
                serde_json::from_value(json!([{ "apiVersion": "v1", "kind": kind, "name": name, "uid": uid }])).unwrap()
            });
            task.status.as_mut().unwrap().sandbox_uid = recorded.map(str::to_owned);
            setup_of(&task).map(|uid| uid.0)
        };
        let name = setup_task("s", "uid");
        let its = Some("uid".to_owned());
        assert_eq!(of(&name, Some(("Sandbox", "s", "uid")), None), its);
        assert_eq!(of(&name, None, Some("uid")), its);
        assert_eq!(of(&name, Some(("Sandbox", "s", "another")), Some("uid")), its);
        assert_eq!(of(&name, Some(("WarmPool", "s", "uid")), None), None);
        assert_eq!(of(&name, Some(("Sandbox", "another", "uid")), None), None);
        assert_eq!(of(&name, Some(("Sandbox", "s", "another")), None), None);
        assert_eq!(of("t", Some(("Sandbox", "s", "uid")), Some("uid")), None);
        assert_eq!(of(&name, None, None), None);
    }

    #[test]
    fn of_a_setup_the_steps_are_left_out() {
        let step = json!({ "name": "a", "type": "Command", "command": ["true"] });
        let spec = json!({ "poolRef": "p", "setup": { "steps": [step, step] } });
        let mut sandbox: Sandbox = serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap();
        let size: usize = sandbox.spec.setup.as_ref().unwrap().steps.iter().map(Step::size).sum();
        assert_eq!((abridge_setup(&mut sandbox), sandbox.spec.setup.as_ref().unwrap().steps.len()), (size, 0));
        assert_eq!(abridge_setup(&mut sandbox), 0);
    }

    #[test]
    fn of_a_task_that_has_ended_the_step_that_ran_last_is_left() {
        let mut ended = task(&json!({ "name": "a", "type": "Command", "command": ["true"] }), "Failed");
        let at = "2026-01-01T00:00:00.000000Z";
        let step = |name: &str, at: Option<&str>| json!({ "name": name, "state": "Skipped", "startedAt": at });
        let steps = json!([step("a", Some(at)), step("b", Some(at)), step("c", None)]);
        ended.status.as_mut().unwrap().steps = serde_json::from_value(steps).unwrap();
        let size = ended.spec.steps[0].size();
        assert_eq!((abridge(&mut ended), ended.spec.steps.len()), (size, 0));
        let left: Vec<_> = ended.status.unwrap().steps.into_iter().map(|step| step.name).collect();
        assert_eq!(left, ["b"]);
    }

    #[test]
    fn a_trace_context_that_cannot_be_one_is_left_out() {
        let mut metadata = ObjectMeta {
            annotations: Some([(labels::TRACE_CONTEXT.to_owned(), "x".repeat(5_000))].into()),
            ..ObjectMeta::default()
        };
        slim(&mut metadata);
        assert_eq!(metadata.annotations, Some([].into()));
    }

    fn pool(template: &Value, container: Option<&str>) -> WarmPool {
        let metadata = json!({ "name": "p", "annotations": { labels::TEMPLATE_HASH: "forged" } });
        let spec = json!({ "replicas": 1, "template": template, "executor": { "container": container } });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
    }

    #[test]
    fn a_small_template_is_kept() {
        let template = json!({ "spec": { "containers": [{ "name": "a", "image": "i" }] } });
        let mut abridged = pool(&template, None);
        abridge_pool(&mut abridged);
        assert_eq!((&abridged.spec, abridged_fingerprint(&abridged)), (&pool(&template, None).spec, None));
    }

    #[test]
    fn of_a_large_template_what_pods_are_judged_by_is_kept() {
        let containers: Vec<Value> = (0..1000).map(|i| json!({ "name": format!("c{i}"), "image": "i" })).collect();
        let annotated = |name: &str| {
            json!({
                "metadata": { "annotations": { labels::DEFAULT_CONTAINER: name, "a": "b" } },
                "spec": { "containers": containers },
            })
        };
        let none = NoExecutor::Unknown("x".into());
        let cases = [
            (annotated("c7"), None, Ok("c7")),
            (annotated("x"), None, Err(none)),
            (annotated("x"), Some("c9"), Ok("c9")),
            (json!({ "spec": { "containers": containers } }), None, Ok("c0")),
            (json!({ "spec": { "containers": containers } }), Some("x"), Err(NoExecutor::Named("x".into()))),
        ];
        for (template, container, executor) in cases {
            let whole = pool(&template, container);
            assert_eq!(whole.spec.executor_container(), executor);
            let mut abridged = whole.clone();
            abridge_pool(&mut abridged);
            assert_eq!(abridged.spec.executor_container(), executor);
            assert_eq!(abridged_fingerprint(&abridged), Some(whole.spec.fingerprint().as_str()));
            assert!(serde_json::to_string(&abridged).unwrap().len() < 1000, "{abridged:?}");
        }
    }
}
