//! The three ways to install, each from nothing to the examples, and away again.

use std::process::Command;

use arl_crds::{SandboxPhase, TaskState, WarmPool};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{shell, status};
use crate::harness::wait::state;
use crate::installed::{Installed, k};
use crate::tools::{NAMESPACE, root, run};

/// Every example, with what each must print.
fn demo() {
    println!("{}", run(Command::new(root().join("dev/demo")).env("OPERATOR", "installed")));
}

/// A Task's steps.
fn steps(script: &str) -> Value {
    json!([shell("a", script)])
}

/// A pool, a Sandbox with a pod and a finished Task, to be there for longer than an operator.
async fn in_use() -> World {
    let world = World::served("kept").await;
    world.pool("p", 1).await;
    world.sandbox("s", "p").await;
    assert_eq!(world.output("before", "s", "echo before | tee /workspace/f").await, "before\n");
    world.pool_is_ready("p", 1).await;
    world
}

/// Nothing has changed for the users but that nobody looks after them.
async fn assert_kept(world: &World, pods: &[String]) {
    world.one("p", "kept", |_: &WarmPool| true).await;
    world.phase("s", SandboxPhase::Ready).await;
    assert_eq!(state(&world.finished("before").await), Some(TaskState::Succeeded));
    assert_eq!(uids(world).await, pods);
}

async fn uids(world: &World) -> Vec<String> {
    let mut uids: Vec<_> = world.pods("all", |_| true).await.iter().filter_map(Pod::uid).collect();
    uids.sort();
    uids
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_runs_the_examples_leaves_the_objects_and_comes_back() {
    let operator = Installed::nothing().await;
    operator.namespace();
    operator.release("HELM", "install", &[]);
    operator.is_rolled_out();
    demo();
    operator.assert_works().await;

    let world = in_use().await;
    let pods = uids(&world).await;
    assert_eq!(pods.len(), 2, "{pods:?}");
    operator.uninstall("HELM");
    assert_eq!(operator.left(), "");
    world.task("waits", "s", steps("cat /workspace/f")).await;
    assert_kept(&world, &pods).await;

    operator.release("HELM3", "install", &["--take-ownership"]);
    operator.is_rolled_out();
    let task = world.finished("waits").await;
    assert_eq!(status(&task).stdout.as_deref(), Some("before\n"), "{:?}", task.status);
    assert_kept(&world, &pods).await;

    // From all namespaces to this one, and from a ClusterRole to a Role.
    assert!(operator.cluster_wide().contains("arl-operator"));
    let only = format!("watchNamespaces={{{}}}", world.ns);
    operator.release("HELM3", "upgrade", &["--reset-then-reuse-values", "--set", &only]);
    operator.is_rolled_out();
    assert_eq!(world.output("after", "s", "cat /workspace/f").await, "before\n");
    operator.assert_works().await;
    assert_eq!(operator.cluster_wide(), "");
    operator.uninstall("HELM3");
    assert_eq!(operator.left(), "");

    // Nothing of ours waits for an operator to let it go.
    k(&format!("-n {} delete tasks.arl.infra.io,sandboxes,warmpools --all --timeout=60s", world.ns));
    world.pods("none", <[Pod]>::is_empty).await;
}

/// Installs by kubectl, and removes the operator alone, then everything.
async fn with_kubectl(source: &str) {
    let operator = Installed::nothing().await;
    // What is in the namespace before outlives the operator.
    operator.namespace();
    k(&format!("-n {NAMESPACE} create configmap not-ours"));
    k("apply -k deploy/kustomize/crds");
    let install = || k(&format!("apply {source}"));
    install();
    operator.is_rolled_out();
    demo();
    operator.assert_works().await;

    let world = in_use().await;
    let pods = uids(&world).await;
    k(&format!("delete {source} --timeout=120s"));
    assert_eq!(operator.left(), "");
    k(&format!("-n {NAMESPACE} get configmap not-ours"));
    world.task("waits", "s", steps("cat /workspace/f")).await;
    assert_kept(&world, &pods).await;
    install();
    operator.is_rolled_out();
    let task = world.finished("waits").await;
    assert_eq!(status(&task).stdout.as_deref(), Some("before\n"), "{:?}", task.status);

    // In the order that the documentation gives: the garbage collector leaves pods alone whose owner's kind is gone.
    k("delete tasks.arl.infra.io,sandboxes.arl.infra.io,warmpools.arl.infra.io --all --all-namespaces --timeout=60s");
    world.pods("none: they went with their Sandboxes and pools", <[Pod]>::is_empty).await;
    k(&format!("delete {source} --timeout=120s"));
    k("delete -k deploy/kustomize/crds --timeout=120s");
    k(&format!("-n {NAMESPACE} get configmap not-ours"));
    assert_eq!(operator.left(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_installs_runs_the_examples_and_is_removed() {
    with_kubectl("-f deploy/install.yaml").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kustomization_installs_runs_the_examples_and_is_removed() {
    with_kubectl("-k deploy/kustomize").await;
}
