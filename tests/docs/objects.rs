//! The objects in examples/ and in the documentation would be taken by the API server, and can be run.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use arl_crds::{GROUP, Sandbox, Task, WarmPool};
use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::{Value, json};

use crate::{DEFINITIONS, kind, markdown::pages, read, root, schema};

/// The schema of each kind, and its rules.
static COMPILED: LazyLock<BTreeMap<&str, (&Value, CompiledSchema)>> =
    LazyLock::new(|| DEFINITIONS.iter().map(|crd| (kind(crd), (schema(crd), compile_schema(schema(crd))))).collect());

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap_or_else(|e| panic!("{e} in:\n{yaml}"))
}

/// Reads `document` as its kind and checks what the schema alone cannot.
fn parsed(document: &Value) -> Result<&'static str, String> {
    if document["apiVersion"] != json!("arl.infra.io/v1alpha1") {
        return Err(format!("apiVersion {}", document["apiVersion"]));
    }
    let say = |e: serde_json::Error| e.to_string();
    let value = document.clone();
    match document["kind"].as_str() {
        Some("WarmPool") => {
            let pool: WarmPool = serde_json::from_value(value).map_err(say)?;
            pool.spec.executor_container().map_err(|e| e.to_string())?;
            Ok("WarmPool")
        }
        Some("Sandbox") => serde_json::from_value::<Sandbox>(value).map_err(say).map(|_| "Sandbox"),
        Some("Task") => {
            let task: Task = serde_json::from_value(value).map_err(say)?;
            task.spec.validate().map_err(|e| e.to_string())?;
            Ok("Task")
        }
        other => Err(format!("kind {other:?}")),
    }
}

/// The fields of `written` that the schema does not know: typos.
fn unknown_fields(schema: &Value, written: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), written.as_object()) {
        for (key, value) in object {
            let at = format!("{path}.{key}");
            match properties.get(key) {
                _ if [".apiVersion", ".kind", ".metadata"].contains(&at.as_str()) => {}
                Some(property) => found.extend(unknown_fields(property, value, &at)),
                None => found.push(at),
            }
        }
    }
    for (index, item) in written.as_array().into_iter().flatten().enumerate() {
        found.extend(unknown_fields(&schema["items"], item, &format!("{path}[{index}]")));
    }
    found
}

/// The kind of an object with which nothing is wrong.
fn check(document: &Value) -> Result<&'static str, String> {
    let found = parsed(document)?;
    let (schema, rules) = &COMPILED[found];
    let unknown = unknown_fields(schema, document, "");
    if !unknown.is_empty() {
        return Err(format!("unknown fields: {}", unknown.join(", ")));
    }
    let broken = Validator::new().validate_compiled(rules, document, None);
    broken.map_err(|errors| format!("{errors:?}")).map(|()| found)
}

fn examples() -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    let documents = |file: &PathBuf| {
        documents(&read(file)).into_iter().map(|d| (file.display().to_string(), d)).collect::<Vec<_>>()
    };
    files.iter().flat_map(documents).collect()
}

/// The objects of our group in the pages, whether in a block of YAML or in a here-document.
fn documented() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for page in pages() {
        for (language, text) in &page.blocks {
            let yaml = match text.split_once("<<'YAML'\n") {
                Some((_, rest)) => rest.split("\nYAML").next().unwrap(),
                None if language == "yaml" => text,
                None => continue,
            };
            let ours = |d: &Value| d["apiVersion"].as_str().is_some_and(|v| v.starts_with(GROUP));
            found.extend(documents(yaml).into_iter().filter(ours).map(|d| (page.path.clone(), d)));
        }
    }
    found
}

/// All of them, with the place where each is written.
pub fn all() -> Vec<(String, Value)> {
    [examples(), documented()].concat()
}

/// The object as kubectl takes it: `tasks.arl.infra.io/name`.
pub fn address(object: &Value) -> String {
    let crd = DEFINITIONS.iter().find(|crd| object["kind"] == kind(crd)).unwrap();
    format!("{}/{}", crd["metadata"]["name"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

/// kubectl refuses `apply --namespace mine` of an object that names another.
#[test]
fn the_examples_go_to_any_namespace_and_are_the_references_else() {
    for (file, object) in examples() {
        assert_eq!(object["metadata"]["namespace"], Value::Null, "{file} names a namespace");
    }
    let mut compared = 0;
    for entry in std::fs::read_dir(root().join("examples/reference")).unwrap() {
        let original = entry.unwrap().path();
        let ours = read(Path::new("examples").join(original.file_name().unwrap()));
        let theirs = read(&original);
        assert_eq!(theirs.replacen("\n  namespace: default\n", "\n", 1), ours, "{}", original.display());
        compared += 1;
    }
    assert_eq!(compared, 4, "the reference has four examples with a namespace");
}

#[test]
fn the_examples_can_be_run() {
    let mut kinds = Vec::new();
    for (file, document) in examples() {
        kinds.push(check(&document).unwrap_or_else(|e| panic!("{file}: {e}")));
    }
    for (kind, count) in [("WarmPool", 3), ("Sandbox", 4), ("Task", 6)] {
        assert_eq!(kinds.iter().filter(|k| **k == kind).count(), count, "examples of kind {kind}");
    }
}

#[test]
fn the_objects_in_the_documentation_can_be_run() {
    let found = documented();
    for (page, document) in &found {
        check(document).unwrap_or_else(|e| panic!("{page}: {e}"));
    }
    assert!(found.len() >= 2, "{found:?}");
}

#[test]
fn the_check_of_objects_can_fail() {
    let task = |timeout: &str, step: Value| {
        json!({"apiVersion": "arl.infra.io/v1alpha1", "kind": "Task", "metadata": {"name": "x"},
            "spec": {"sandboxRef": "s", "timeout": timeout, "cancel": false, "steps": [step]}})
    };
    let step = json!({"name": "a", "type": "Command", "command": ["true"]});
    assert_eq!(check(&task("30s", step.clone())), Ok("Task"));
    assert!(check(&task("30 seconds", step)).is_err());
    assert!(check(&task("30s", json!({"name": "a", "type": "FilePatch"}))).is_err());
    assert!(check(&task("30s", json!({"name": "a", "type": "Command", "command": ["true"], "workdir": "/"}))).is_err());
    let variable =
        check(&task("30s", json!({"name": "a", "type": "Command", "command": ["true"], "env": {"A-B": ""}})));
    assert!(variable.as_ref().is_err_and(|e| e.contains("names of variables")), "{variable:?}");
    assert!(check(&json!({"apiVersion": "v1", "kind": "Pod"})).is_err());
    assert_eq!(unknown_fields(schema(&DEFINITIONS[1]), &json!({"spec": {"poolReff": "p"}}), ""), [".spec.poolReff"]);
}
