//! What the API is relied on for, as a dialogue that the model and a real API server must answer alike.

use std::{fmt::Debug, pin::pin};

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
        Preconditions, WatchEvent, WatchParams,
    },
};
use serde_json::{Value, json};

/// What must be answered.
pub const ANSWERS: &[&str] = &[
    "create: ok",
    "a default is filled in: Bool(false), an unknown field is gone: true, generation 1",
    "create again: 409 AlreadyExists",
    "create without what is required: 422 Invalid",
    "patch the status, at its version: ok",
    "generation 1, version moved: true",
    "patch the status, at an old version: 409 Conflict",
    "patch the status to what it is: ok",
    "version moved: false",
    "write a status beside a spec: ok",
    "status taken: false, generation 2",
    "change what cannot be changed: 422 Invalid",
    "a test that fails: 422",
    "a path that leads nowhere: 422",
    "a test of an old version: 422",
    "tests that hold: ok",
    "delete another uid: 409 Conflict",
    "delete an old version: 409 Conflict",
    "delete: ok",
    "get what is gone: 404 NotFound",
    "delete what is gone: 404 NotFound",
    "patch what is gone: 404 NotFound",
    "the watch: ADDED a, ADDED b, MODIFIED a, DELETED b, DELETED a",
];

fn outcome<T: Debug>(what: &str, answer: &kube::Result<T>, with_reason: bool) -> String {
    match answer {
        Ok(_) => format!("{what}: ok"),
        Err(kube::Error::Api(status)) if with_reason => format!("{what}: {} {}", status.code, status.reason),
        Err(kube::Error::Api(status)) => format!("{what}: {}", status.code),
        Err(other) => format!("{what}: {other}"),
    }
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn json_patch(operations: Value) -> Patch<()> {
    Patch::Json(serde_json::from_value(operations).unwrap())
}

fn sandbox(name: &str, spec: &Value) -> DynamicObject {
    object(
        json!({ "apiVersion": "arl.infra.io/v1alpha1", "kind": "Sandbox", "metadata": { "name": name }, "spec": spec }),
    )
}

/// Has the dialogue in a namespace of its own, without an operator.
pub async fn dialogue(client: Client, namespace: &str) -> Vec<String> {
    let kind =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(arl_crds::GROUP, "v1alpha1", "Sandbox"), "sandboxes");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let mut said = Vec::new();
    writes(&api, &mut said).await;
    deletions(&api, &mut said).await;
    let pods = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    said.push(watched(&Api::namespaced_with(client, namespace, &pods)).await);
    said
}

async fn writes(api: &Api<DynamicObject>, said: &mut Vec<String>) {
    let (new, none) = (PostParams::default(), PatchParams::default());
    let created = api.create(&new, &sandbox("s", &json!({ "poolRef": "p", "unknown": 1 }))).await;
    said.push(outcome("create", &created, true));
    let first = created.unwrap();
    let (spec, generation) = (&first.data["spec"], first.metadata.generation.unwrap_or(0));
    let pruned = spec.get("unknown").is_none();
    let default = &spec["keepAlive"];
    said.push(format!(
        "a default is filled in: {default:?}, an unknown field is gone: {pruned}, generation {generation}"
    ));
    said.push(outcome("create again", &api.create(&new, &sandbox("s", &json!({ "poolRef": "p" }))).await, true));
    let invalid = api.create(&new, &sandbox("t", &json!({ "keepAlive": true }))).await;
    said.push(outcome("create without what is required", &invalid, true));

    let status = |version: &str| {
        json_patch(json!([
            { "op": "replace", "path": "/metadata/resourceVersion", "value": version },
            { "op": "add", "path": "/status", "value": { "phase": "Pending" } },
        ]))
    };
    let old = first.resource_version().unwrap();
    let written = api.patch_status("s", &none, &status(&old)).await;
    said.push(outcome("patch the status, at its version", &written, true));
    let written = written.unwrap();
    let version = written.resource_version().unwrap();
    said.push(format!("generation {}, version moved: {}", written.metadata.generation.unwrap_or(0), version != old));
    said.push(outcome("patch the status, at an old version", &api.patch_status("s", &none, &status(&old)).await, true));
    let same = api.patch_status("s", &none, &status(&version)).await;
    said.push(outcome("patch the status to what it is", &same, true));
    said.push(format!("version moved: {}", same.unwrap().resource_version().unwrap() != version));

    let both = Patch::Merge(json!({ "spec": { "keepAlive": true }, "status": { "phase": "Bound" } }));
    let merged = api.patch("s", &none, &both).await;
    said.push(outcome("write a status beside a spec", &merged, true));
    let merged = merged.unwrap();
    let taken = merged.data["status"]["phase"] == "Bound";
    said.push(format!("status taken: {taken}, generation {}", merged.metadata.generation.unwrap_or(0)));
    let immutable = Patch::Merge(json!({ "spec": { "poolRef": "q" } }));
    said.push(outcome("change what cannot be changed", &api.patch("s", &none, &immutable).await, true));
    let annotate = |test: Value| {
        json_patch(json!([test, { "op": "add", "path": "/metadata/annotations", "value": { "a": "b" } }]))
    };
    let test = |path: &str, value: &str| json!({ "op": "test", "path": path, "value": value });
    for (what, first) in [
        ("a test that fails", test("/spec/poolRef", "q")),
        ("a path that leads nowhere", json!({ "op": "add", "path": "/metadata/nosuch/x", "value": 1 })),
        ("a test of an old version", test("/metadata/resourceVersion", &old)),
        ("tests that hold", test("/metadata/uid", &merged.uid().unwrap())),
    ] {
        said.push(outcome(what, &api.patch("s", &none, &annotate(first)).await, false));
    }
}

async fn deletions(api: &Api<DynamicObject>, said: &mut Vec<String>) {
    let found = api.get("s").await.unwrap();
    let (uid, version) = (found.uid().unwrap(), found.resource_version().unwrap());
    let only = |uid: &str, version: &str| {
        DeleteParams::default()
            .preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: Some(version.to_owned()) })
    };
    for (what, params) in [
        ("delete another uid", only("00000000-0000-0000-0000-000000000000", &version)),
        ("delete an old version", only(&uid, "1")),
        ("delete", only(&uid, &version)),
    ] {
        let answer = api.delete("s", &params).await;
        said.push(outcome(what, &answer.map(|_| ()), true));
    }
    said.push(outcome("get what is gone", &api.get("s").await, true));
    let again = api.delete("s", &DeleteParams::default()).await;
    said.push(outcome("delete what is gone", &again.map(|_| ()), true));
    let patch = Patch::Merge(json!({ "spec": { "keepAlive": true } }));
    said.push(outcome("patch what is gone", &api.patch("s", &PatchParams::default(), &patch).await, true));
}

/// Pods that no node takes come and go, and one loses the label that the watch asks for.
async fn watched(api: &Api<DynamicObject>) -> String {
    let pod = |name: &str| {
        object(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "watched": "yes" } },
            "spec": { "containers": [{ "name": "c", "image": "i" }], "schedulingGates": [{ "name": "example.com/never" }] },
        }))
    };
    let from = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let watch = api.watch(&WatchParams::default().labels("watched=yes"), &from).await.unwrap();
    for name in ["a", "b"] {
        api.create(&PostParams::default(), &pod(name)).await.unwrap();
    }
    let change = |labels: Value| Patch::Merge(json!({ "metadata": { "labels": labels } }));
    api.patch("a", &PatchParams::default(), &change(json!({ "more": "yes" }))).await.unwrap();
    api.patch("b", &PatchParams::default(), &change(json!({ "watched": null }))).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let mut seen: Vec<String> = Vec::new();
    let mut watch = pin!(watch);
    while let Some(Ok(event)) = watch.next().await {
        let line = match event {
            WatchEvent::Added(o) => format!("ADDED {}", o.name_any()),
            WatchEvent::Modified(o) => format!("MODIFIED {}", o.name_any()),
            WatchEvent::Deleted(o) => format!("DELETED {}", o.name_any()),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
        };
        // A real scheduler writes to the pods as well: each kind of report counts once, in its place.
        let early = line == "MODIFIED a" && !seen.contains(&"ADDED b".to_owned());
        if !seen.contains(&line) && line != "MODIFIED b" && !early {
            seen.push(line);
        }
        if seen.last().is_some_and(|last| last == "DELETED a") {
            break;
        }
    }
    format!("the watch: {}", seen.join(", "))
}
