//! The chart, deploy/install.yaml and deploy/kustomize say the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use crate::tools::{NAMESPACE, chart, documents, kubectl, name, of_kind, read, root, run, scratch, sets, template};

/// The objects by name, without what only Helm understands, and with what the pod's own namespace is.
fn plain(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for mut object in objects {
        for path in ["/metadata", "/spec/template/metadata"] {
            let Some(metadata) = object.pointer_mut(path) else { continue };
            let helms = [
                ("labels", "helm.sh/chart"),
                ("labels", "app.kubernetes.io/managed-by"),
                ("annotations", "helm.sh/resource-policy"),
            ];
            for (key, of_helm) in helms {
                if let Some(map) = metadata.get_mut(key).and_then(Value::as_object_mut) {
                    map.remove(of_helm);
                    if map.is_empty() {
                        metadata.as_object_mut().unwrap().remove(key);
                    }
                }
            }
        }
        // The order of variables means nothing as long as none refers to another.
        if let Some(env) = object.pointer_mut("/spec/template/spec/containers/0/env").and_then(Value::as_array_mut) {
            for variable in env.iter_mut().filter(|v| v["name"] == "ARL_WATCH_NAMESPACES") {
                if variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace" {
                    *variable = json!({"name": "ARL_WATCH_NAMESPACES", "value": NAMESPACE});
                }
            }
            env.sort_by_key(|variable| variable["name"].as_str().unwrap().to_owned());
        }
        let twice = found.insert(name(&object), object);
        assert!(twice.is_none(), "twice: {}", name(&twice.unwrap()));
    }
    found
}

fn assert_same(what: &str, left: &BTreeMap<String, Value>, right: &BTreeMap<String, Value>) {
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right), "{what}");
    for (name, object) in left {
        // The whole objects would be hundreds of kilobytes.
        for key in object.as_object().unwrap().keys().chain(right[name].as_object().unwrap().keys()) {
            assert!(
                object[key] == right[name][key],
                "{what}: {name}: {key}:\n{:.2000}\n{:.2000}",
                object[key],
                right[name][key]
            );
        }
    }
}

/// The chart's objects with the image that the files in the repository have, without the CustomResourceDefinitions.
fn rendered(set: &str) -> BTreeMap<String, Value> {
    plain(chart(set, &["--set", "image.tag=dev"]))
}

/// What an overlay of deploy/kustomize makes, written as a user would.
fn overlay(name: &str, kustomization: &str) -> Vec<Value> {
    let folder = scratch(&format!("overlay-{name}"));
    // kustomize takes relative paths only.
    let up = "../".repeat(folder.strip_prefix(root()).expect("target/ in the repository").components().count());
    let deploy = format!("{up}deploy/kustomize");
    std::fs::write(folder.join("kustomization.yaml"), kustomization.replace("DEPLOY", &deploy)).unwrap();
    documents(&run(kubectl().arg("kustomize").arg(&folder)))
}

#[test]
fn install_yaml_and_the_kustomization_are_the_chart() {
    let chart = rendered("default");
    assert_same("deploy/install.yaml", &plain(documents(&read("deploy/install.yaml"))), &chart);
    let kustomized = documents(&run(kubectl().arg("kustomize").arg(root().join("deploy/kustomize"))));
    assert_same("deploy/kustomize", &plain(kustomized), &chart);

    let mut definitions = plain(documents(&run(&mut template("HELM", "default", &[]))));
    definitions.retain(|name, _| name.starts_with("CustomResourceDefinition "));
    let kustomized = documents(&run(kubectl().arg("kustomize").arg(root().join("deploy/kustomize/crds"))));
    assert_same("deploy/kustomize/crds", &plain(kustomized), &definitions);
}

/// `kubectl delete` takes what `kubectl apply` was given. A namespace may hold what others put there, and a definition takes all
/// objects of its kind with it.
#[test]
fn what_removes_the_operator_deletes_no_namespace_and_nobodys_objects() {
    let kustomized = |folder: &str| documents(&run(kubectl().arg("kustomize").arg(root().join(folder))));
    let mut ways = vec![
        ("deploy/install.yaml".to_owned(), documents(&read("deploy/install.yaml"))),
        ("deploy/kustomize".to_owned(), kustomized("deploy/kustomize")),
        ("deploy/kustomize/base".to_owned(), kustomized("deploy/kustomize/base")),
        ("the documented overlay".to_owned(), documented_overlay("removed-documented")),
    ];
    for component in components() {
        let written = format!("resources: [DEPLOY]\ncomponents: [DEPLOY/components/{component}]\n");
        ways.push((component.clone(), overlay(&format!("removed-{component}"), &written)));
    }
    for (way, objects) in ways {
        assert!(objects.len() > 3, "{way}");
        for kind in ["Namespace", "CustomResourceDefinition"] {
            assert_eq!(of_kind(&objects, kind), Vec::<&Value>::new(), "{way} has a {kind}");
        }
    }
}

/// The names of the components, in order.
fn components() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("deploy/kustomize/components")).unwrap();
    let mut components: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    components.sort();
    components
}

#[test]
fn each_component_is_the_chart_with_its_values() {
    let components = components();
    assert_eq!(components, ["ha", "namespaced", "network-policy", "prometheus"]);
    for component in components {
        let written = format!("resources: [DEPLOY/base]\ncomponents: [DEPLOY/components/{component}]\n");
        let found = plain(overlay(&component, &written));
        assert_same(&component, &found, &rendered(&component));
        assert_ne!(found, rendered("default"), "{component} changes nothing");
    }
}

/// What the overlay of docs/install.md makes.
fn documented_overlay(name: &str) -> Vec<Value> {
    let text = read("docs/install.md");
    let (_, rest) = text.split_once("```yaml\n# kustomization.yaml\n").expect("the overlay in docs/install.md");
    let (written, _) = rest.split_once("```").unwrap();
    assert!(written.contains("path/to/deploy/kustomize"), "{written}");
    overlay(name, &written.replace("path/to/deploy/kustomize", "DEPLOY"))
}

#[test]
fn the_documented_overlay_moves_namespace_and_image() {
    let objects = documented_overlay("documented");
    for object in &objects {
        assert!(!object.to_string().contains(NAMESPACE), "{} still names {NAMESPACE}", name(object));
    }
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    let variable = |wanted: &str| {
        let all = container["env"].as_array().unwrap();
        all.iter().find(|v| v["name"] == wanted).unwrap_or_else(|| panic!("no {wanted}"))["value"].clone()
    };
    assert_eq!(container["image"], "registry.example.com/arl-operator:0.1.0");
    assert_eq!(variable("ARL_AGENT_IMAGE"), container["image"]);
    assert_eq!(variable("ARL_AGENT_IMAGE_PULL_POLICY"), "IfNotPresent");
}

#[test]
fn helm_3_and_helm_4_render_the_same() {
    for set in sets() {
        let with = |variable| plain(documents(&run(&mut template(variable, &set, &["--set", "crds.enabled=false"]))));
        assert_same(&set, &with("HELM3"), &with("HELM"));
    }
}

#[test]
fn the_definitions_are_those_of_the_types() {
    for variable in ["HELM", "HELM3"] {
        let mut all = documents(&run(&mut template(variable, "default", &[])));
        all.retain(|object| object["kind"] == "CustomResourceDefinition");
        assert_eq!(all.len(), arl_crds::definitions().len());
        for (name, expected) in arl_crds::definitions() {
            let found = all.iter().find(|o| o["metadata"]["name"] == format!("{name}.arl.infra.io")).expect(name);
            let found: CustomResourceDefinition = serde_json::from_value(found.clone()).unwrap();
            assert!(found.spec == expected.spec, "{variable}: {name}");
            assert_eq!(found.metadata.annotations.unwrap()["helm.sh/resource-policy"], "keep", "{variable}: {name}");
        }
    }
}

/// Every file below a folder, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(folder).unwrap().to_owned()) }
        }
    }
    found.sort();
    found
}

#[test]
fn the_generated_files_are_current() {
    let folder = scratch("manifests");
    let mut script = Command::new(root().join("dev/manifests"));
    run(script.arg(&folder).env_remove("IMAGE"));
    let made = files(&folder);
    for file in &made {
        let current = std::fs::read_to_string(folder.join(file)).unwrap();
        assert!(read(file) == current, "{} is not what the chart says: run `make manifests`", file.display());
    }
    let marked = |file: &PathBuf| read(Path::new("deploy").join(file)).starts_with("# Generated by `make manifests`");
    let left: Vec<_> = files(&root().join("deploy"))
        .into_iter()
        .filter(marked)
        .map(|file| Path::new("deploy").join(file))
        .filter(|file| !made.contains(file))
        .collect();
    assert_eq!(left, Vec::<PathBuf>::new(), "files that nothing generates any more");
}
