//! What docs/install.md tells kustomize of our kinds: where the names of other objects are in them.

use serde_json::{Value, json};

use crate::tools::{documents, kubectl, of_kind, read, run, scratch};

/// The file in docs/install.md, as it is to be copied.
fn configuration() -> String {
    let page = read("docs/install.md");
    let (_, rest) = page.split_once("```yaml\n# arl-names.yaml\n").expect("the file is in the page");
    rest.split("```").next().unwrap().to_owned()
}

/// The names of other objects in a value: all of them have `-of-` in them.
fn named(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| named(value, found)),
        Value::Object(fields) => {
            found.extend(
                fields.values().filter_map(Value::as_str).filter(|text| text.contains("-of-")).map(str::to_owned),
            );
            fields.values().for_each(|value| named(value, found));
        }
        _ => {}
    }
}

#[test]
fn kustomize_follows_every_name_in_our_kinds() {
    let folder = scratch("kustomize-names");
    let from = |kind: &str, name: &str| json!({"name": "A", "valueFrom": {kind: {"name": name, "key": "a"}}});
    let env = json!([from("configMapKeyRef", "settings-of-a"), from("secretKeyRef", "token-of-a")]);
    let env_from = json!([{"configMapRef": {"name": "settings-of-a"}}, {"secretRef": {"name": "token-of-a"}}]);
    let container = |name: &str| json!({"name": name, "image": "i", "env": env, "envFrom": env_from});
    let object = |api: &str, kind: &str, name: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec});
    let ours = "arl.infra.io/v1alpha1";
    let template = json!({"spec": {
        "serviceAccountName": "account-of-a",
        "imagePullSecrets": [{"name": "token-of-a"}],
        "initContainers": [container("init")],
        "containers": [container("executor"), container("helper")],
        "volumes": [
            {"name": "s", "configMap": {"name": "settings-of-a"}},
            {"name": "t", "secret": {"secretName": "token-of-a"}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data-of-a"}},
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "settings-of-a"}}, {"secret": {"name": "token-of-a"}}]}},
        ],
    }});
    let scaled = json!({"apiVersion": ours, "kind": "WarmPool", "name": "pool-of-a"});
    let objects = [
        object(ours, "WarmPool", "pool-of-a", json!({"replicas": 1, "template": template})),
        object(ours, "Sandbox", "sandbox-of-a", json!({"poolRef": "pool-of-a"})),
        object(ours, "Task", "task-of-a", json!({"sandboxRef": "sandbox-of-a", "steps": []})),
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            "scaler-of-a",
            json!({"scaleTargetRef": scaled, "maxReplicas": 3}),
        ),
        object("v1", "PersistentVolumeClaim", "data-of-a", json!({})),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "account-of-a"}}),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let generator = |name: &str| json!([{"name": name, "literals": ["a=b"]}]);
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namePrefix": "team-",
        "resources": ["objects.yaml"], "configurations": ["arl-names.yaml"],
        "configMapGenerator": generator("settings-of-a"), "secretGenerator": generator("token-of-a"),
    });
    let files = [
        ("objects.yaml", list.to_string()),
        ("kustomization.yaml", kustomization.to_string()),
        ("arl-names.yaml", configuration()),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let made = documents(&run(kubectl().arg("kustomize").arg(&folder)));
    let names: Vec<_> = made.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    let mut found = Vec::new();
    for object in &made {
        named(&object["spec"], &mut found);
    }
    assert_eq!(found.len(), 2 + 3 * 4 + 5 + 3, "{found:?}");
    for name in found {
        assert!(name.starts_with("team-") && names.contains(&name), "{name} is none of {names:?}");
    }
    assert_eq!(of_kind(&made, "WarmPool").len(), 1);
}
