//! What a real API server says to it, in dry runs.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::tools::{attempt, chart, kubectl, name, of_kind, sets};

/// A namespace that enforces Pod Security restricted, until it is dropped.
struct Namespace(String);

impl Namespace {
    fn new(what: &str) -> Self {
        let own = Self(format!("t-packaging-{what}-{}", std::process::id()));
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own.0, "labels": labels}});
        send(kubectl().args(["create", "-f", "-"]), &[object]).unwrap();
        own
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(complaints) = attempt(kubectl().args(["delete", "namespace", "--wait=false", &self.0])) {
            eprintln!("{complaints}");
        }
    }
}

/// Gives objects to a command that reads its standard input.
fn send(command: &mut Command, objects: &[Value]) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; run `make cluster-up` first"));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    child.stdin.take().unwrap().write_all(list.to_string().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let (output, complaints) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if done.status.success() { Ok(output.into_owned()) } else { Err(format!("{output}{complaints}")) }
}

/// A dry run that refuses unknown fields.
fn dry_run(objects: &[Value], more: &[&str]) -> Result<String, String> {
    let mut command = kubectl();
    command.args(["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"]);
    send(command.args(more).args(["-f", "-"]), objects)
}

/// The objects of kinds that the cluster has, all namespaced ones in the one namespace.
fn moved(objects: Vec<Value>, namespace: &str) -> Vec<Value> {
    let mut found: Vec<_> = objects.into_iter().filter(|o| o["apiVersion"] != "monitoring.coreos.com/v1").collect();
    for object in found.iter_mut().filter(|o| o["metadata"]["namespace"].is_string()) {
        object["metadata"]["namespace"] = json!(namespace);
    }
    found
}

#[test]
fn the_api_server_accepts_every_set_of_values() {
    let namespace = Namespace::new("sets");
    for set in sets() {
        let objects = moved(chart(&set, &[]), &namespace.0);
        let answer = dry_run(&objects, &[]).unwrap_or_else(|complaints| panic!("{set}: {complaints}"));
        assert_eq!(answer.lines().count(), objects.len(), "{set}: {answer}");
    }
    let mut objects = moved(chart("default", &[]), &namespace.0);
    let deployment = objects.iter_mut().find(|o| o["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["comand"] = json!(["x"]);
    assert!(
        dry_run(&objects, &[]).is_err_and(|complaints| complaints.contains("comand")),
        "unknown fields are refused"
    );
}

#[test]
fn the_operators_pod_passes_pod_security_restricted() {
    let namespace = Namespace::new("restricted");
    for set in ["default", "namespaced", "ha"] {
        let objects = moved(chart(set, &[]), &namespace.0);
        let account = of_kind(&objects, "ServiceAccount")[0].clone();
        send(kubectl().args(["apply", "--server-side", "-f", "-"]), &[account]).unwrap();
        let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": namespace.0}});
        pod["spec"] = template["spec"].clone();
        dry_run(&[pod.clone()], &[]).unwrap_or_else(|complaints| panic!("{set}: {complaints}"));

        pod["spec"]["containers"][0]["securityContext"] = Value::Null;
        let refused = dry_run(&[pod], &[]);
        assert!(refused.as_ref().is_err_and(|complaints| complaints.contains("violates PodSecurity")), "{refused:?}");
    }
}

/// The rights of a namespace's administrator are enough where somebody else has made the definitions and the roles.
#[test]
fn an_administrator_of_a_namespace_can_install_without_cluster_rights() {
    let namespace = Namespace::new("admin");
    let user = "t-packaging-admin";
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": user, "namespace": namespace.0},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    send(kubectl().args(["create", "-f", "-"]), &[binding]).unwrap();
    let render = |more: &str| {
        let values = format!("crds.enabled=false,watchNamespaces={{{}}}{more}", namespace.0);
        moved(chart("default", &["--set", &values]), &namespace.0)
    };
    let objects = render(",rbac.create=false");
    let names: Vec<_> = objects.iter().map(name).collect();
    assert_eq!(objects.len(), 3, "ServiceAccount, Service, Deployment: {names:?}");
    dry_run(&objects, &["--as", user]).unwrap();
    let refused = dry_run(&render(""), &["--as", user]);
    assert!(
        refused.as_ref().is_err_and(|complaints| complaints.contains("attempting to grant RBAC permissions")),
        "{refused:?}"
    );
    let refused = dry_run(&moved(chart("default", &[]), &namespace.0), &["--as", user]);
    assert!(refused.as_ref().is_err_and(|complaints| complaints.contains("clusterroles")), "{refused:?}");
}
