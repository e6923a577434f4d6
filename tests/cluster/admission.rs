//! Bad input is refused by the API server itself, with a message that says what to write instead; good input is not.

use arl_crds::{Sandbox, Task};
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use crate::harness::World;
use crate::harness::make::{command, file, manifest, template};

fn task(steps: Value) -> Value {
    manifest("Task", "t", &json!({"sandboxRef": "s", "steps": steps}))
}

fn step(fields: Value) -> Value {
    let mut step = json!({"name": "a", "type": "Command", "command": ["true"]});
    for (key, value) in fields.as_object().unwrap() {
        step[key] = value.clone();
    }
    task(json!([step]))
}

fn patch_step(fields: &Value) -> Value {
    let mut step = json!({"name": "a", "type": "FilePatch"});
    for (key, value) in fields.as_object().unwrap() {
        step[key] = value.clone();
    }
    task(json!([step]))
}

fn with(mut manifest: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    manifest.pointer_mut(parent).unwrap()[key] = value;
    manifest
}

fn timeout(text: &str) -> Value {
    with(task(json!([command("a", &["true"])])), "/spec/timeout", json!(text))
}

fn pool() -> Value {
    manifest("WarmPool", "p", &json!({"replicas": 1, "template": template()}))
}

fn sandbox() -> Value {
    manifest("Sandbox", "s", &json!({"poolRef": "p"}))
}

fn set_up(timeout: &str, steps: Value) -> Value {
    with(sandbox(), "/spec/setup", json!({"timeout": timeout, "steps": steps}))
}

/// Each bad manifest and what its refusal must say.
fn bad_tasks() -> Vec<(Value, &'static str)> {
    let script = || step(json!({}));
    vec![
        (step(json!({"type": "Shell"})), "Unsupported value: \"Shell\""),
        (task(json!([{"name": "a", "type": "Command"}])), "a Command step needs command"),
        (step(json!({"command": []})), "a Command step needs command"),
        (step(json!({"command": [""]})), "a Command step needs command"),
        (step(json!({"command": ["", "x"]})), "a Command step needs command"),
        (step(json!({"command": "true"})), "must be of type array"),
        (step(json!({"path": "/x"})), "belong to a FilePatch step"),
        (step(json!({"content": "x"})), "belong to a FilePatch step"),
        (patch_step(&json!({"content": "x"})), "a FilePatch step needs path"),
        (patch_step(&json!({"content": "x", "path": ""})), "a FilePatch step needs path"),
        (patch_step(&json!({"path": "/x"})), "a FilePatch step needs content"),
        (patch_step(&json!({"path": "/x", "content": "x", "command": ["true"]})), "command belongs to a Command step"),
        (patch_step(&json!({"path": "/x", "content": "x".repeat(512 * 1024 + 1)})), "content"),
        (task(json!([])), "spec.steps"),
        (manifest("Task", "t", &json!({"sandboxRef": "s"})), "spec.steps: Required value"),
        (step(json!({"name": ""})), "spec.steps[0].name"),
        (task(json!([command("a", &["true"]), command("a", &["true"])])), "Duplicate value"),
        (with(script(), "/spec/sandboxRef", json!("")), "spec.sandboxRef"),
        (with(script(), "/spec/ttlSecondsAfterFinished", json!(-1)), "spec.ttlSecondsAfterFinished"),
        (with(script(), "/spec/ttlSecondsAfterFinished", json!(3_000_000_000_i64)), "spec.ttlSecondsAfterFinished"),
        (step(json!({"command": ["a\0b"]})), "spec.steps[0].command[0]"),
        (step(json!({"command": ["a", "\0"]})), "spec.steps[0].command[1]"),
        (step(json!({"env": {"A": "a\0b"}})), "spec.steps[0].env"),
        (step(json!({"workDir": "/\0"})), "spec.steps[0].workDir"),
        (patch_step(&json!({"path": "/\0", "content": "x"})), "spec.steps[0].path"),
        (step(json!({"env": {"A": 1}})), "must be of type string"),
        (step(json!({"command": null})), "a Command step needs command"),
    ]
}

async fn assert_refused(world: &World, what: &str, bad: &Value, expected: &str) {
    let mut shown = bad.to_string();
    shown.truncate(shown.floor_char_boundary(300));
    match world.try_create(bad, true).await {
        Ok(_) => panic!("{what} was accepted: {shown}"),
        Err(kube::Error::Api(refusal)) => {
            let message = &refusal.message;
            assert!(message.contains(expected), "{what} {shown}\nrefused with: {message}\nwithout: {expected}");
        }
        Err(error) => panic!("{what} {shown}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tasks_are_refused_with_a_remedy() {
    let world = World::without_operator("bad-tasks").await;
    for (index, (bad, expected)) in bad_tasks().iter().enumerate() {
        assert_refused(&world, &format!("bad Task {index}"), bad, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_durations_are_refused_with_a_remedy() {
    let world = World::without_operator("bad-durations").await;
    for text in ["30", "abc", "-5s", "", "5 s", "5d", "1e3s", "s", "+5s", "30S", "1..5s"] {
        assert_refused(&world, text, &timeout(text), "must be a duration with units, such as 30s").await;
    }
    for text in ["0s", "25h", "24h1ns", "0h0m0s", "1441m"] {
        assert_refused(&world, text, &timeout(text), "must be greater than 0 and at most 24h").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_names_of_variables_are_refused_with_a_remedy() {
    let world = World::without_operator("bad-variables").await;
    for name in ["1A", "A-B", "A B", "", "A=B", "\u{e9}", "A\n", "A\0"] {
        let bad = step(json!({"env": {name: "x"}}));
        assert_refused(&world, name, &bad, "letters, digits and underscores").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pools_and_sandboxes_are_refused_with_a_remedy() {
    let world = World::without_operator("bad-pools").await;
    let long = "n".repeat(64);
    for (bad, expected) in [
        (with(pool(), "/metadata/name", json!(long)), "choose a shorter name"),
        (with(sandbox(), "/metadata/name", json!(long)), "choose a shorter name"),
        (with(pool(), "/spec/template/spec/containers", json!([])), "spec.template.spec.containers"),
        (with(pool(), "/spec/template/spec", json!({})), "spec.template.spec.containers"),
        (with(pool(), "/spec/template", json!({})), "spec.template.spec"),
        (manifest("WarmPool", "p", &json!({"replicas": 1})), "spec.template: Required value"),
        (manifest("WarmPool", "p", &json!({"template": template()})), "spec.replicas: Required value"),
        (with(pool(), "/spec/replicas", json!(-1)), "spec.replicas"),
        (with(pool(), "/spec/replicas", json!(100_001)), "should be less than or equal to 100000"),
        (with(pool(), "/spec/replicas", json!(i32::MAX)), "should be less than or equal to 100000"),
        (with(pool(), "/spec/executor", json!({"mode": "Shell"})), "Unsupported value: \"Shell\""),
        (with(pool(), "/spec/executor", json!({"mode": "exec"})), "supported values: \"Agent\", \"Exec\""),
        (with(pool(), "/spec/executor", json!({"container": ""})), "spec.executor.container"),
        (with(pool(), "/spec/executor", json!({"container": long})), "spec.executor.container"),
        (with(sandbox(), "/spec/poolRef", json!("")), "spec.poolRef"),
        (manifest("Sandbox", "s", &json!({})), "spec.poolRef: Required value"),
        (with(sandbox(), "/spec/ttlSecondsAfterFinished", json!(-1)), "spec.ttlSecondsAfterFinished"),
        (with(sandbox(), "/spec/ttlSecondsAfterFinished", json!(3_000_000_000_i64)), "spec.ttlSecondsAfterFinished"),
        (with(sandbox(), "/spec/setup", json!({})), "spec.setup.steps: Required value"),
        (with(sandbox(), "/spec/setup", json!({"steps": []})), "spec.setup.steps"),
        (with(sandbox(), "/spec/setup", json!({"steps": [command("a", &[])]})), "a Command step needs command"),
        (set_up("30", json!([command("a", &["true"])])), "must be a duration with units, such as 30s"),
        (set_up("0s", json!([command("a", &["true"])])), "must be greater than 0 and at most 24h"),
        (set_up("1s", json!([command("a", &["true"]), command("a", &["true"])])), "Duplicate value"),
    ] {
        assert_refused(&world, expected, &bad, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_cannot_be_followed_are_refused() {
    let world = World::without_operator("bad-changes").await;
    world.create(&sandbox()).await;
    world.create(&step(json!({"env": {"A": "x"}}))).await;
    let patch = async |kind: &str, spec: Value| {
        let name = if kind == "Task" { "t" } else { "s" };
        let change = Patch::Merge(json!({"spec": spec}));
        world.untyped(kind).patch(name, &PatchParams::default(), &change).await
    };
    for (kind, change, expected) in [
        ("Sandbox", json!({"poolRef": "other"}), "poolRef cannot be changed"),
        ("Sandbox", json!({"setup": {"steps": [command("a", &["true"])]}}), "setup cannot be added or taken away"),
        ("Task", json!({"sandboxRef": "other"}), "spec cannot be changed"),
        ("Task", json!({"timeout": "31s"}), "spec cannot be changed"),
        ("Task", json!({"steps": [command("a", &["false"])]}), "spec cannot be changed"),
        ("Task", json!({"steps": [command("b", &["true"])]}), "spec cannot be changed"),
        ("Task", json!({"steps": [command("a", &["true"]), command("b", &["true"])]}), "spec cannot be changed"),
        ("Task", json!({"steps": [command("a", &["true"])]}), "spec cannot be changed"),
        ("Task", json!({"steps": [step(json!({"env": {"A": "y"}}))["spec"]["steps"][0]]}), "spec cannot be changed"),
    ] {
        let refusal = patch(kind, change.clone()).await.expect_err(&change.to_string()).to_string();
        assert!(refusal.contains(expected), "{change}: {refusal}");
    }
    world.delete::<Sandbox>("s").await;
    world.create(&set_up("1s", json!([command("a", &["true"]), command("b", &["true"])]))).await;
    for (change, expected) in [
        (json!(null), "setup cannot be added or taken away"),
        (json!({"timeout": "2s"}), "setup cannot be changed"),
        (json!({"steps": [command("a", &["true"])]}), "setup cannot be changed"),
        (json!({"steps": [command("b", &["true"]), command("a", &["true"])]}), "the order of the steps of setup"),
    ] {
        let refusal = patch("Sandbox", json!({"setup": change})).await.expect_err(&change.to_string()).to_string();
        assert!(refusal.contains(expected), "{change}: {refusal}");
    }
    patch("Sandbox", json!({"keepAlive": true, "ttlSecondsAfterFinished": 5})).await.expect("idle rules can change");
    patch("Task", json!({"ttlSecondsAfterFinished": 5})).await.expect("the ttl can change");
    patch("Task", json!({"cancel": true})).await.expect("a Task can be cancelled");
    let taken_back = patch("Task", json!({"cancel": false})).await.expect_err("cancel is one-way").to_string();
    assert!(taken_back.contains("cancel cannot be taken back"), "{taken_back}");
    world.delete::<Task>("t").await;
    world.delete::<Sandbox>("s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn good_input_is_accepted_up_to_the_limits() {
    let world = World::without_operator("good").await;
    let env: Map<String, Value> = (0..64).map(|i| (format!("_VARIABLE_{i}"), json!("a value = 'x'\n"))).collect();
    let arguments: Vec<String> = (0..256).map(|i| format!("argument {i}")).collect();
    let many = |i| json!({"name": format!("step-{i}"), "type": "Command", "command": arguments, "env": env});
    let steps: Vec<Value> = (0..32).map(many).collect();
    let mut good = vec![
        ("32 steps of 64 variables and 256 arguments", task(json!(steps.clone()))),
        ("512 KiB of content", task(json!([file("a", "/x", &"x".repeat(512 * 1024))]))),
        ("empty content", task(json!([file("a", "x", "")]))),
        ("a workDir for a file", patch_step(&json!({"path": "x", "content": "x", "workDir": "/workspace"}))),
        ("arguments of any text", task(json!([command("a", &["true", "", "\u{fc}\u{4e2d}\n'\"=$HOME", "--"])]))),
        ("no pods", with(pool(), "/spec/replicas", json!(0))),
        ("an executor", with(pool(), "/spec/executor", json!({"mode": "Exec", "container": "executor"}))),
        ("an executor by default", with(pool(), "/spec/executor", json!({}))),
        ("ttl 0", with(sandbox(), "/spec/ttlSecondsAfterFinished", json!(0))),
        ("a setup of 32 steps of 64 variables and 256 arguments", set_up("1m", json!(steps))),
        ("a name of 63", with(sandbox(), "/metadata/name", json!("n".repeat(63)))),
        ("a Task name of 200", with(step(json!({})), "/metadata/name", json!("n".repeat(200)))),
    ];
    for text in ["30s", "1m30s", "500ms", "1.5h", "24h", ".5s", "1.s", "1ns", "7us", "7\u{b5}s", "7\u{3bc}s"] {
        good.push((text, timeout(text)));
    }
    let resources = "/spec/template/spec/containers/0/resources";
    for (what, limits) in [
        ("a GPU", json!({"limits": {"nvidia.com/gpu": 1}})),
        ("half a cpu", json!({"requests": {"cpu": 0.5, "memory": "256Mi"}})),
    ] {
        good.push((what, with(pool(), resources, limits)));
    }
    for (what, manifest) in good {
        let answer = world.try_create(&manifest, true).await;
        assert!(answer.is_ok(), "{what} was refused: {}", answer.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_kept_as_it_was_written() {
    let world = World::without_operator("lossless").await;
    let mut wanted = with(template(), "/spec/futureField", json!({"a": 1}));
    wanted["metadata"] = json!({"labels": {"team": "x"}, "annotations": {"note": "y"}});
    wanted["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": 0.5}, "limits": {"cpu": 2}});
    wanted["spec"]["containers"][0]["futureField"] = json!([1, "b"]);
    world.pool_of("p", 0, &wanted).await;
    let kept = world.untyped("WarmPool").get("p").await.unwrap();
    assert_eq!(kept.data["spec"]["template"], wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_to_run_steps_are_explained() {
    let world = World::without_operator("explain").await;
    let kept = {
        world.pool("p", 0).await;
        world.untyped("WarmPool").get("p").await.unwrap().data["spec"]["executor"].clone()
    };
    let defaults = json!({"mode": "Agent", "connect": "Claimed"});
    assert!(kept.is_null() || kept == defaults, "the agent is the default: {kept}");
    let explained = explain("warmpools.spec.executor.mode").await;
    for words in ["Agent", "Exec", "pods/exec"] {
        assert!(explained.contains(words), "{words} is not in {explained}");
    }
}

async fn explain(field: &str) -> String {
    let cluster = crate::harness::setup::root().join(".cluster");
    let mut kubectl = tokio::process::Command::new(cluster.join("kubectl"));
    let said = kubectl.arg("--kubeconfig").arg(cluster.join("kubeconfig")).args(["explain", field]).output().await;
    String::from_utf8(said.unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_steps_cannot_be_changed() {
    let world = World::without_operator("order").await;
    let steps = |names: [&str; 3]| json!(names.map(|name| command(name, &["true"])));
    world.create(&task(steps(["a", "b", "c"]))).await;
    for names in [["b", "a", "c"], ["c", "b", "a"]] {
        let change = Patch::Merge(json!({"spec": {"steps": steps(names)}}));
        let refused = world.api::<Task>().patch("t", &PatchParams::default(), &change).await.unwrap_err();
        assert!(refused.to_string().contains("the order of a Task's steps cannot be changed"), "{refused}");
    }
    let same = Patch::Merge(json!({"spec": {"steps": steps(["a", "b", "c"]), "cancel": true}}));
    world.api::<Task>().patch("t", &PatchParams::default(), &same).await.unwrap();
}
