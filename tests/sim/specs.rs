//! Specs with any of their fields, and which fields were set: no field of a kind is left out of the histories.

use std::collections::{BTreeMap, BTreeSet};

use arl_crds::ExecutorMode;
use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::users::{Deed, template};

/// A pool of one to three pods.
pub fn pool(name: &str, rng: &mut Rng) -> Deed {
    let container = rng.bool().then(|| ["executor", "other"][rng.usize(..2)]);
    let mode = if rng.u8(..4) == 0 { ExecutorMode::Exec } else { ExecutorMode::Agent };
    let mut template = json!({ "spec": { "containers": [{ "name": "executor", "image": "v1" }] } });
    if rng.bool() {
        template["metadata"] = json!({ "labels": { "team": "a" }, "annotations": { "note": "b" } });
    }
    if rng.bool() || container == Some("other") {
        template["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "other", "image": "v1" }));
    }
    let mut executor = json!({ "mode": mode });
    if let Some(container) = container {
        executor["container"] = json!(container);
    }
    if mode == ExecutorMode::Agent && rng.bool() {
        executor["connect"] = json!("Idle");
    }
    let mut spec = json!({ "replicas": rng.i64(1..4), "template": template, "executor": executor });
    if rng.bool() {
        spec["scaling"] = json!({ "maxReplicas": rng.i64(3..9) });
        if rng.bool() {
            spec["scaling"]["maxPods"] = json!(rng.i64(9..20));
        }
        // The default is longer than a history takes to converge.
        spec["scaling"]["scaleDownAfterSeconds"] = json!(rng.i64(1..20));
    }
    Deed::Any { kind: crate::kind::Kind::WarmPool, name: name.into(), spec }
}

pub fn sandbox(name: &str, pool: &str, rng: &mut Rng) -> Deed {
    let mut spec = json!({});
    if rng.bool() {
        spec["keepAlive"] = json!(rng.bool());
    }
    if rng.bool() {
        spec["ttlSecondsAfterFinished"] = json!(rng.i64(0..9));
    }
    if rng.bool() {
        spec["env"] = json!({ "A": "sandbox", "B": "sandbox" });
    }
    Deed::Sandbox { name: name.into(), pool: pool.into(), spec }
}

/// A Task of one to three steps, commands and files.
pub fn task(name: &str, sandbox: &str, rng: &mut Rng) -> Deed {
    let mut spec = json!({ "steps": (0..rng.u8(1..4)).map(|n| step(n, rng)).collect::<Vec<_>>() });
    if rng.bool() {
        spec["timeout"] = json!(["900ms", "1.5s", "1m30s"][rng.usize(..3)]);
    }
    if rng.bool() {
        spec["ttlSecondsAfterFinished"] = json!(rng.i64(0..9));
    }
    if rng.u8(..5) == 0 {
        spec["cancel"] = json!(true);
    }
    Deed::Task { name: name.into(), sandbox: sandbox.into(), spec }
}

/// A setup of one to three steps, commands and files.
pub fn setup(rng: &mut Rng) -> Value {
    let mut setup = json!({ "steps": (0..rng.u8(1..4)).map(|n| step(n, rng)).collect::<Vec<_>>() });
    if rng.bool() {
        setup["timeout"] = json!(["900ms", "1.5s", "1m30s"][rng.usize(..3)]);
    }
    setup
}

fn step(n: u8, rng: &mut Rng) -> Value {
    let mut step = json!({ "name": format!("step-{n}") });
    if rng.u8(..3) == 0 {
        step["type"] = json!("FilePatch");
        (step["path"], step["content"]) = (json!("a/file"), json!("text"));
    } else {
        step["type"] = json!("Command");
        let exit = u8::from(rng.u8(..6) == 0) * 3;
        step["command"] = json!(["sim", rng.u32(..900).to_string(), exit.to_string()]);
        if rng.bool() {
            step["env"] = json!({ "A": "b" });
        }
    }
    if rng.bool() {
        step["workDir"] = json!("/workspace");
    }
    step
}

/// Sets fields that change nothing of how long a deed's object takes: a scenario leaves most of them out.
pub fn enrich(deed: &mut Deed, rng: &mut Rng) {
    if let Deed::Pool { name, replicas, image, mode } = deed
        && rng.u8(..3) == 0
    {
        let mut executor = json!({ "mode": mode, "container": "executor" });
        if *mode == ExecutorMode::Agent && rng.bool() {
            executor["connect"] = json!("Idle");
        }
        let spec = json!({ "replicas": replicas, "template": template(image), "executor": executor });
        *deed = Deed::Any { kind: crate::kind::Kind::WarmPool, name: name.clone(), spec };
        return;
    }
    let Deed::Task { spec, .. } = deed else { return };
    if spec.get("ttlSecondsAfterFinished").is_none() && rng.u8(..4) == 0 {
        // Longer than a history.
        spec["ttlSecondsAfterFinished"] = json!(100_000);
    }
    let Some(steps) = spec["steps"].as_array_mut() else { return };
    for step in steps.iter_mut() {
        if rng.u8(..3) == 0 {
            step["workDir"] = json!("/workspace");
        }
        if step["type"] == "Command" && rng.u8(..3) == 0 {
            step["env"] = json!({ "A": "b" });
        }
    }
    if steps.len() < 30 && rng.u8(..4) == 0 {
        // Some are larger than what is kept of a Task.
        let content = "text".repeat(if rng.u8(..3) == 0 { 2_000 } else { 1 });
        steps.insert(0, json!({ "name": "file", "type": "FilePatch", "path": "a/file", "content": content }));
    }
}

/// Fields by kind and path, and in how many histories each was set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(BTreeMap<String, u64>);

impl Fields {
    /// Notes the fields that are set in a spec as a person wrote it.
    pub fn note(&mut self, kind: &str, spec: &Value) {
        let mut found = BTreeSet::new();
        leaves(kind, spec, &mut found);
        for path in found {
            self.0.insert(path, 1);
        }
    }

    pub fn add(&mut self, other: &Self) {
        for (path, count) in &other.0 {
            *self.0.entry(path.clone()).or_default() += count;
        }
    }

    /// The fields of all kinds, as published, with the number of histories that set them.
    pub fn of_all_kinds(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for (_, crd) in arl_crds::definitions() {
            let version = crd.spec.versions.into_iter().next().expect("a CRD has a version");
            let schema = version.schema.and_then(|s| s.open_api_v3_schema).expect("a version has a schema");
            let schema = serde_json::to_value(schema).expect("a schema is JSON");
            published(&crd.spec.names.kind, &schema["properties"]["spec"], &mut all);
        }
        all.into_iter().map(|path| (self.0.get(&path).copied().unwrap_or(0), path)).map(|(n, path)| (path, n)).collect()
    }
}

/// Where a path ends: the API server's own kinds are not taken apart.
fn is_leaf(path: &str) -> bool {
    [".template", ".env", ".command"].iter().any(|leaf| path.ends_with(leaf))
}

fn leaves(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if !is_leaf(path) => {
            for (key, inner) in object {
                leaves(&format!("{path}.{key}"), inner, found);
            }
        }
        Value::Array(items) if !is_leaf(path) => items.iter().for_each(|item| leaves(path, item, found)),
        _ => drop(found.insert(path.to_owned())),
    }
}

fn published(path: &str, schema: &Value, all: &mut Vec<String>) {
    let properties: Option<&Map<String, Value>> = schema["properties"].as_object();
    match (properties, schema.get("items")) {
        (Some(properties), _) if !is_leaf(path) => {
            for (key, inner) in properties {
                published(&format!("{path}.{key}"), inner, all);
            }
        }
        (_, Some(items)) if !is_leaf(path) => published(path, items, all),
        _ => all.push(path.to_owned()),
    }
}
