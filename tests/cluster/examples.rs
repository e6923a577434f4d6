//! The reference's examples, without its namespace, do what the reference says.

use std::collections::BTreeSet;

use arl_crds::{Sandbox, SandboxPhase, Task, TaskState, WarmPool};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use crate::harness::World;
use crate::harness::make::{message, status};
use crate::harness::setup::{documents, root};
use crate::harness::wait::state;

/// All objects of `examples/`, in the order of the files' names: Sandboxes and Tasks come before their pool.
fn examples() -> Vec<Value> {
    let files = std::fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let yaml: BTreeSet<_> = files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    yaml.iter().flat_map(|path| documents(path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_do_what_the_reference_says() {
    let world = World::new("examples").await;
    let objects = examples();
    assert!(objects.len() >= 10, "the reference has at least ten objects");
    for object in &objects {
        world.create(object).await;
    }
    world.pool_is_ready("python-pool", 3).await;
    for object in objects.iter().filter(|o| o["kind"] == "Task") {
        let task = world.finished(object["metadata"]["name"].as_str().unwrap()).await;
        assert_eq!(state(&task), Some(TaskState::Succeeded), "{}: {}", task.name_any(), message(&task));
    }
    let output = async |name: &str| {
        let task = world.finished(name).await;
        status(&task).stdout.clone().unwrap_or_default()
    };
    assert_eq!(output("run-python").await, "Hello, World!\n");
    let script = output("write-and-run").await;
    assert!(script.starts_with("Hello from /") && script.ends_with("Environment: custom-value\n"), "{script}");
    assert_eq!(output("data-pipeline").await, "Sum: 6\n");
    assert_eq!(output("task-2").await, "initialized");
    assert_eq!(output("use-what-was-prepared").await, "{\"seed\": 7}\n1,2,3");
    assert_in_order(&world.finished("task-1").await, &world.finished("task-2").await);

    for name in ["my-workspace", "prepared-workspace", "persistent-workspace", "temp-workspace"] {
        let sandbox: Sandbox = world.phase(name, SandboxPhase::Ready).await;
        assert!(sandbox.status.unwrap().pod_ip.is_some(), "{name}");
    }
    needs_a_gpu(&world).await;
}

fn assert_in_order(first: &Task, second: &Task) {
    let (end, start) = (status(first).completed_at.clone().unwrap(), status(second).started_at.clone().unwrap());
    assert!(end.0 <= start.0, "task-2 started before task-1 had completed");
}

/// No test cluster has a GPU: the pool makes its pods as the template says, and says that no node takes them.
async fn needs_a_gpu(world: &World) {
    let unschedulable = |p: &WarmPool| {
        p.status.iter().flat_map(|s| &s.conditions).any(|c| c.type_ == "PodsFailing" && c.reason == "Unschedulable")
    };
    let pool = world.one("ml-pool", "Unschedulable", unschedulable).await;
    assert_eq!(pool.status.unwrap().replicas, 2);
    let pods: Vec<Pod> = world.pods("the pods of ml-pool", |pods| pods.iter().filter(|p| is_ml(p)).count() == 2).await;
    for pod in pods.iter().filter(|p| is_ml(p)) {
        let limits =
            pod.spec.as_ref().unwrap().containers[0].resources.as_ref().and_then(|r| r.limits.clone()).unwrap();
        assert_eq!(limits.get("nvidia.com/gpu").map(|q| q.0.as_str()), Some("1"));
    }
}

fn is_ml(pod: &Pod) -> bool {
    pod.labels().get(arl_crds::labels::WARMPOOL).is_some_and(|name| name == "ml-pool")
}
