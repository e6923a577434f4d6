//! Objects that people give to `kubectl apply`, as the troubleshooting page says.

use std::process::Stdio;

use arl_crds::Task;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::World;
use crate::harness::make::{file, manifest, shell, template};
use crate::harness::setup::root;

/// What kubectl says, or complains of.
async fn kubectl(world: &World, arguments: &[&str], object: &Value) -> Result<String, String> {
    let cluster = root().join(".cluster");
    let mut kubectl = Command::new(cluster.join("kubectl"));
    kubectl.arg("--kubeconfig").arg(cluster.join("kubeconfig")).args(["--namespace", &world.ns]);
    let piped =
        kubectl.args(arguments).args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).await.unwrap();
    let done = child.wait_with_output().await.unwrap();
    let [said, complaint] = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
    if done.status.success() { Ok(said) } else { Err(complaint) }
}

/// What the troubleshooting page says under a heading.
fn page(heading: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let section = page.split(&format!("\n### {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    section.split("\n#").next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_kubectl_apply_is_taken_as_the_page_says() {
    let world = World::new("apply-large").await;
    let large = || "x".repeat(300_000);
    let mut laden = template();
    laden["spec"]["containers"][0]["env"] =
        (0..10).map(|n| json!({"name": format!("V{n}"), "value": "x".repeat(30_000)})).collect();
    let said = page("metadata.annotations: Too long");
    for (kind, spec) in [
        ("Task", json!({"sandboxRef": "s", "steps": [file("a", "/workspace/a", &large())]})),
        ("Sandbox", json!({"poolRef": "p", "setup": {"steps": [file("a", "/workspace/a", &large())]}})),
        ("WarmPool", json!({"replicas": 0, "template": laden})),
    ] {
        let of = |name: &str| manifest(kind, name, &spec);
        let refused = kubectl(&world, &["apply"], &of("a")).await.unwrap_err();
        assert!(refused.contains("metadata.annotations: Too long"), "{kind}: {refused}");
        for (name, fix) in [("b", "kubectl create -f FILE"), ("c", "kubectl apply --server-side -f FILE")] {
            assert!(said.contains(fix) && said.contains(kind), "{kind}, {fix}: {said}");
            let arguments: Vec<&str> =
                fix.split(' ').filter(|word| !["kubectl", "-f", "FILE"].contains(word)).collect();
            kubectl(&world, &arguments, &of(name)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_applied_again_runs_again_only_where_its_ttl_has_deleted_it() {
    let world = World::with_sandbox("apply-again").await;
    let task = |name: &str, ttl: Value| {
        let steps = json!([shell("a", &format!("echo ran >>/workspace/{name}"))]);
        let mut task = manifest("Task", name, &json!({"sandboxRef": "s", "steps": steps}));
        if !ttl.is_null() {
            task["spec"]["ttlSecondsAfterFinished"] = ttl;
        }
        task
    };
    kubectl(&world, &["apply"], &task("stays", Value::Null)).await.unwrap();
    let first = world.finished("stays").await;
    kubectl(&world, &["apply"], &task("stays", Value::Null)).await.unwrap();
    for _ in 0..2 {
        kubectl(&world, &["apply"], &task("goes", json!(0))).await.unwrap();
        world.gone::<Task>("goes").await;
    }
    assert_eq!(world.output("look", "s", "cat /workspace/stays; echo; cat /workspace/goes").await, "ran\n\nran\nran\n");
    assert_eq!(world.finished("stays").await.uid(), first.uid());
    let said = page("A Task runs again and again");
    for words in ["ttlSecondsAfterFinished", "--task-ttl", "no ttl on what such a tool keeps", "Sandbox that has a ttl"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
}
