//! `kubectl arl` where something fails beside it: the Sandbox is deleted, the connection is lost, the disk is full, rights are few.

use std::{fs::OpenOptions, path::PathBuf, process::Stdio, time::Duration};

use arl_crds::Sandbox;
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::{Api, api::PostParams};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    cli::{arl, begun, command, command_as, ended, finished, has_begun, nothing_is_claimed, served},
    harness::{
        World,
        proxy::Proxy,
        setup::{admin, apply, documents, logs, root},
        wait::DEADLINE,
    },
};

const ENDLESS: [&str; 4] = ["--", "sh", "-c", "echo begun; while :; do sleep 1; done"];

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_sandbox_ends_what_runs_in_it() {
    let world = served("cli-deleted", 2).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let within = begun(&world, &[&["exec", "s"][..], &ENDLESS].concat()).await;
    world.delete::<Sandbox>("s").await;
    let done = finished(within).await;
    assert_eq!(done.code, Some(125), "{done:?}");
    assert!(done.err.contains("Sandbox s") && done.err.contains("deleted"), "{done:?}");

    let within = begun(&world, &[&["run", "p", "--name", "r"][..], &ENDLESS].concat()).await;
    world.delete::<Sandbox>("r").await;
    let done = finished(within).await;
    assert_eq!(done.code, Some(125), "{done:?}");
    assert!(done.err.contains("Sandbox r") && done.err.contains("deleted"), "{done:?}");
    nothing_is_claimed(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_is_made_again() {
    let world = served("cli-lost", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let proxy = Proxy::start(&world).await;
    let script = "echo begun; while ! [ -e /workspace/go ]; do sleep 0.1; done; echo more; exit 3";
    let mut command = command_as(&proxy.kubeconfig, &world, &["exec", "s", "--", "sh", "-c", script]).await;
    let child = has_begun(command.stdout(Stdio::piped()).spawn().unwrap()).await;
    proxy.set_away(true);
    arl(&world, &["exec", "s", "--", "touch", "/workspace/go"]).await.out();
    proxy.set_away(false);
    let done = finished(child).await;
    assert_eq!(done.code, Some(3), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_stays_away_is_told_of() {
    let world = served("cli-away", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let proxy = Proxy::start(&world).await;
    let arguments = [&["exec", "s"][..], &ENDLESS].concat();
    let child = has_begun(command_as(&proxy.kubeconfig, &world, &arguments).await.spawn().unwrap()).await;
    proxy.set_away(true);
    let done = finished(child).await;
    assert_eq!(done.code, Some(125), "{done:?}");
    assert!(done.err.contains("cannot be reached") && done.err.contains("Connection reset"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_of() {
    let world = served("cli-full", 1).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    arl(&world, &["exec", "s", "--", "sh", "-c", "head -c 1000000 /dev/zero >/workspace/f"]).await.out();
    let done = arl(&world, &["cp", "s:/workspace/f", "/dev/full"]).await;
    assert_eq!(done.code, Some(125), "{done:?}");
    assert!(done.err.contains("/dev/full") && done.err.contains("No space left on device"), "{done:?}");
    for arguments in [&["exec", "s", "--", "cat", "/workspace/f"][..], &["cp", "s:/workspace/f", "-"], &["get"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = command(&world, arguments).await;
        command.stdout(Stdio::from(full));
        let done = ended(command).await;
        assert_eq!(done.code, Some(125), "{arguments:?}: {done:?}");
        assert!(done.err.contains("No space left on device"), "{arguments:?}: {done:?}");
    }
    assert_eq!(arl(&world, &["ps", "s", "-o", "name"]).await.out(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_is_no_text_is_passed_on_as_it_is() {
    let world = served("cli-bytes", 2).await;
    arl(&world, &["claim", "p", "--name", "s"]).await.out();
    let print = ["--", "printf", r"\377\376\000\303"];
    for arguments in [["exec", "s"], ["run", "p"]] {
        let mut command = command(&world, &[&arguments[..], &print].concat()).await;
        let done = timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
        assert_eq!((done.status.code(), done.stdout.as_slice()), (Some(0), &b"\xff\xfe\0\xc3"[..]), "{arguments:?}");
    }
}

/// A kubeconfig of somebody whom the namespace's `view` is bound to, and no more.
async fn viewer(world: &World) -> PathBuf {
    for role in documents(&root().join("deploy/kustomize/base/rbac-people.yaml")) {
        let role: ClusterRole = serde_json::from_value(role).unwrap();
        apply(&Api::all(world.client.clone()), &role).await;
    }
    let user = format!("viewer-of-{}", world.ns);
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "viewer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    }))
    .unwrap();
    world.api::<RoleBinding>().create(&PostParams::default(), &binding).await.unwrap();
    let mut config = serde_json::to_value(admin()).unwrap();
    for entry in config["users"].as_array_mut().unwrap() {
        entry["user"]["as"] = json!(user);
    }
    let path = logs().join(format!("{}.viewer.kubeconfig", world.ns));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_look_sees_all_and_is_told_what_is_missing() {
    let world = served("cli-view", 1).await;
    arl(&world, &["run", "p", "--name", "s", "--task", "--keep", "--", "echo", "printed"]).await.out();
    let task = arl(&world, &["get", "tasks", "-o", "name"]).await.out();
    let task = task.trim().rsplit('/').next().unwrap();
    let kubeconfig = viewer(&world).await;
    let as_viewer = async |arguments: &[&str]| ended(command_as(&kubeconfig, &world, arguments).await).await;
    // The role `view` has what our roles add to it once the cluster has put them together.
    let may = async {
        while as_viewer(&["get"]).await.code != Some(0) {
            world.pass(Duration::from_millis(200)).await;
        }
    };
    timeout(DEADLINE, may).await.expect("a viewer may look");
    for (arguments, word) in [
        (&["get", "--no-headers"][..], "p"),
        (&["get", "tasks", "-o", "yaml"], "printed"),
        (&["top"], "1 pool,"),
        (&["why", "pool/p"], "p"),
        (&["why", task], "s"),
        (&["logs", task], "printed"),
        (&["wait", "pool/p"], "p"),
        (&["task", "wait", task], ""),
    ] {
        let done = as_viewer(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        assert!(done.out.contains(word), "{arguments:?}: {done:?}");
    }
    for arguments in [
        &["run", "p", "--", "true"][..],
        &["exec", "s", "--", "true"],
        &["cp", "s:/etc/hostname", "-"],
        &["ps", "s"],
        &["claim", "p"],
        &["release", "s"],
        &["fork", "s"],
        &["snapshot", "s", "/workspace"],
        &["task", "cancel", task],
        &["pool", "create", "busybox:1"],
        &["pool", "scale", "p", "2"],
        &["pool", "roll", "p"],
        &["pool", "delete", "p"],
    ] {
        let done = as_viewer(arguments).await;
        assert_eq!(done.code, Some(125), "{arguments:?}: {done:?}");
        let has_advice =
            ["ask for this right", "need get and create of pods/exec"].iter().any(|advice| done.err.contains(advice));
        assert!(done.err.contains("forbidden") && has_advice, "{arguments:?}: {done:?}");
    }
    let _absent = std::fs::remove_file(kubeconfig);
}
