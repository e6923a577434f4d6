//! Making objects in few words.

use std::time::Duration;

use arl_crds::{Sandbox, Task, TaskStatus};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, Result};
use serde_json::{Value, json};

use super::World;
use super::wait::Kind;

/// An image of the test cluster that starts at once and has a shell.
pub const IMAGE: &str = "busybox:1";

/// A pod template whose executor has `/workspace`, in the least that does.
pub fn template() -> Value {
    json!({"spec": {
        "containers": [{
            "name": "executor", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "2147483647"],
            "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
        }],
        "volumes": [{"name": "workspace", "emptyDir": {}}],
    }})
}

/// A manifest of one of our kinds.
pub fn manifest(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "arl.infra.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A Command step named `name`.
pub fn command(name: &str, command: &[&str]) -> Value {
    json!({"name": name, "type": "Command", "command": command})
}

/// A Command step that runs a shell script.
pub fn shell(name: &str, script: &str) -> Value {
    command(name, &["sh", "-c", script])
}

/// A FilePatch step.
pub fn file(name: &str, path: &str, content: &str) -> Value {
    json!({"name": name, "type": "FilePatch", "path": path, "content": content})
}

/// The step in another working directory.
pub fn in_folder(mut step: Value, folder: &str) -> Value {
    step["workDir"] = json!(folder);
    step
}

/// The status of a Task that has one.
pub fn status(task: &Task) -> &TaskStatus {
    task.status.as_ref().expect("the Task has a status")
}

/// Why the Task ended as it did.
pub fn reason(task: &Task) -> &str {
    let conditions = &status(task).conditions;
    conditions.iter().find(|c| c.type_ == "Succeeded").map_or("", |c| c.reason.as_str())
}

/// What the Task's `Succeeded` condition says.
pub fn message(task: &Task) -> &str {
    let conditions = &status(task).conditions;
    conditions.iter().find(|c| c.type_ == "Succeeded").map_or("", |c| c.message.as_str())
}

impl World {
    /// The untyped API for a manifest: what the typed one would drop or refuse still reaches the API server.
    pub fn untyped(&self, kind: &str) -> Api<DynamicObject> {
        let gvk = GroupVersionKind::gvk(arl_crds::GROUP, "v1alpha1", kind);
        let plural = if kind == "Sandbox" { "sandboxes".to_owned() } else { format!("{}s", kind.to_lowercase()) };
        Api::namespaced_with(self.client.clone(), &self.ns, &ApiResource::from_gvk_with_plural(&gvk, &plural))
    }

    /// Sends a manifest as it is; a dry run has every check and keeps nothing.
    pub async fn try_create(&self, manifest: &Value, dry_run: bool) -> Result<DynamicObject> {
        let api = self.untyped(manifest["kind"].as_str().unwrap());
        let object = serde_json::from_value(manifest.clone()).unwrap();
        api.create(&PostParams { dry_run, ..PostParams::default() }, &object).await
    }

    /// Creates what a manifest says.
    pub async fn create(&self, manifest: &Value) {
        let created = self.try_create(manifest, false).await;
        created.unwrap_or_else(|e| panic!("{} was refused: {e}", manifest["metadata"]["name"]));
    }

    /// A pool of small pods.
    pub async fn pool(&self, name: &str, replicas: i32) {
        self.pool_of(name, replicas, &template()).await;
    }

    /// Room for so many pods.
    pub async fn quota(&self, pods: usize) {
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": pods.to_string()}}});
        let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
        self.api::<ResourceQuota>().create(&PostParams::default(), &quota).await.unwrap();
        let in_force = |q: &ResourceQuota| q.status.as_ref().is_some_and(|s| s.used.is_some());
        self.one("q", "the quota is in force", in_force).await;
    }

    /// A pool of pods of a template.
    pub async fn pool_of(&self, name: &str, replicas: i32, template: &Value) {
        self.create(&manifest("WarmPool", name, &json!({"replicas": replicas, "template": template}))).await;
    }

    /// A pool of one small pod with plain exec in place of the agent.
    pub async fn exec_pool(&self, name: &str, template: &Value) {
        let spec = json!({"replicas": 1, "template": template, "executor": {"mode": "Exec"}});
        self.create(&manifest("WarmPool", name, &spec)).await;
    }

    /// A Sandbox that stays after its Tasks.
    pub async fn sandbox(&self, name: &str, pool: &str) {
        self.sandbox_with(name, &json!({"poolRef": pool, "keepAlive": true})).await;
    }

    /// A Sandbox with this spec.
    pub async fn sandbox_with(&self, name: &str, spec: &Value) {
        self.create(&manifest("Sandbox", name, spec)).await;
    }

    /// Waits until the Sandbox has a pod, and returns the pod's name.
    pub async fn pod_of(&self, sandbox: &str) -> String {
        let has_pod = |s: &Sandbox| s.status.as_ref().is_some_and(|s| s.pod_name.is_some());
        self.one(sandbox, "it has a pod", has_pod).await.status.unwrap().pod_name.unwrap()
    }

    /// A Task with these steps, and a timeout that only a hang reaches.
    pub async fn task(&self, name: &str, sandbox: &str, steps: Value) {
        self.task_with(name, &json!({"sandboxRef": sandbox, "timeout": "60s", "steps": steps})).await;
    }

    /// A Task with this spec.
    pub async fn task_with(&self, name: &str, spec: &Value) {
        self.create(&manifest("Task", name, spec)).await;
    }

    /// Runs the steps in a Task and waits for its end.
    pub async fn run(&self, name: &str, sandbox: &str, steps: Value) -> Task {
        self.task(name, sandbox, steps).await;
        self.finished(name).await
    }

    /// Runs a shell script in a Sandbox and returns what it printed.
    pub async fn output(&self, name: &str, sandbox: &str, script: &str) -> String {
        let task = self.run(name, sandbox, json!([shell("look", script)])).await;
        assert_eq!(status(&task).exit_code, Some(0), "{script}: {:?}", task.status);
        status(&task).stdout.clone().unwrap_or_default()
    }

    /// A pool `p` of one and a Sandbox `s` on it, not yet waited for.
    pub async fn with_sandbox(name: &str) -> Self {
        let world = Self::new(name).await;
        world.pool("p", 1).await;
        world.sandbox("s", "p").await;
        world
    }

    /// Merges a change into an object.
    pub async fn merge<K: Kind>(&self, name: &str, change: &Value) -> K {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
    }

    /// Deletes an object without waiting for its end.
    pub async fn delete<K: Kind>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Lets time pass, for properties of the kind "nothing happens": there is no event to wait for.
    pub async fn pass(&self, time: Duration) {
        tokio::time::sleep_until(tokio::time::Instant::now() + time).await;
    }
}
