//! What an injector, such as a service mesh's, adds to a pool's pods changes nothing of where steps run.

use arl_client::{Client, Command};
use arl_crds::SandboxPhase;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{IMAGE, manifest, template};
use crate::harness::wait::is_ready;

/// The pod as an injector would have it: with another container before all others, which kubectl takes for the pod's own, and under
/// the next number.
fn injected(pod: &Pod) -> Pod {
    let mut pod = serde_json::to_value(pod).unwrap();
    let (prefix, number) = pod["metadata"]["name"].as_str().unwrap().rsplit_once('-').unwrap();
    let name = format!("{prefix}-{}", number.parse::<u32>().unwrap() + 1);
    let mut metadata = json!({"name": name});
    for kept in ["labels", "annotations", "ownerReferences"] {
        metadata[kept] = pod["metadata"][kept].take();
    }
    metadata["annotations"]["kubectl.kubernetes.io/default-container"] = json!("proxy");
    let mut spec = pod["spec"].take();
    for given in ["nodeName", "tolerations"] {
        spec.as_object_mut().unwrap().remove(given);
    }
    let proxy =
        json!({"name": "proxy", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "2147483647"]});
    spec["containers"].as_array_mut().unwrap().insert(0, proxy);
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A Sandbox `s` whose pod an injector has changed; its executor is only the first of the template's containers.
async fn with_injector(name: &str, executor: Value) -> World {
    let mut world = World::new(name).await;
    let mut main = template();
    main["spec"]["containers"][0]["name"] = json!("main");
    let spec = json!({"replicas": 1, "template": main, "executor": executor});
    world.create(&manifest("WarmPool", "p", &spec)).await;
    world.pool_is_ready("p", 1).await;
    let made = world.pods("the pool's pod", |pods| pods.len() == 1).await.remove(0);
    world.kill();
    world.api::<Pod>().delete(&made.name_any(), &DeleteParams::default().grace_period(0)).await.unwrap();
    world.gone::<Pod>(&made.name_any()).await;
    let pod = injected(&made);
    world.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
    world.one(&pod.name_any(), "it is ready", is_ready).await;
    world.start_operator().await;
    world.sandbox("s", "p").await;
    let status = world.phase("s", SandboxPhase::Ready).await.status.unwrap();
    assert_eq!(status.pod_name, Some(pod.name_any()), "the pod that was changed");
    assert_eq!(status.container.as_deref(), Some("main"));
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_and_live_commands_run_where_the_agent_was_put_whatever_an_injector_adds() {
    let world = with_injector("injected", json!({})).await;
    assert_eq!(world.output("t", "s", "ls -d /workspace").await, "/workspace\n", "only main has it");
    let sandbox = Client::new(world.client.clone(), world.ns.as_str()).open("s").await.unwrap();
    let seen = sandbox.run(Command::shell("ls -d /workspace")).await.unwrap();
    assert_eq!(seen.stdout_text(), "/workspace\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_by_plain_exec_run_in_the_templates_container_whatever_an_injector_adds() {
    let world = with_injector("injected-exec", json!({"mode": "Exec"})).await;
    assert_eq!(world.output("t", "s", "ls -d /workspace").await, "/workspace\n", "only main has it");
}
