//! What a security review looks at, in everything that the chart can render.

use clap::CommandFactory;
use serde_json::{Value, json};

use crate::tools::{chart, documents, kubeconform, name, of_kind, run, scratch, sets};

/// The rules of all roles of a kind.
fn rules<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    of_kind(objects, kind).into_iter().flat_map(|role| role["rules"].as_array().unwrap()).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn with_namespaces_nothing_is_cluster_wide() {
    let objects = chart("default", &["--set", "watchNamespaces={one,two}"]);
    let is_wide = |o: &&Value| o["metadata"]["namespace"].is_null() && o["kind"] != "CustomResourceDefinition";
    assert_eq!(objects.iter().filter(is_wide).map(name).collect::<Vec<_>>(), Vec::<String>::new());
    let mut roles: Vec<_> = of_kind(&objects, "Role").into_iter().map(name).collect();
    roles.sort();
    assert_eq!(
        roles,
        ["Role arl-system/arl-operator-leader-election", "Role one/arl-operator", "Role two/arl-operator"]
    );

    let whole = chart("default", &[]);
    let of_operator = |objects: &[Value], kind: &str| {
        let all = of_kind(objects, kind);
        all.into_iter().find(|o| o["metadata"]["name"] == "arl-operator").expect("a role of the operator")["rules"]
            .clone()
    };
    let mut granted = of_operator(&whole, "ClusterRole").as_array().cloned().unwrap();
    let of_nodes = |rule: &mut Value| rule["resources"] == json!(["nodes"]);
    let wide: Vec<_> = granted.extract_if(.., of_nodes).map(|rule| rule["verbs"].clone()).collect();
    assert_eq!(wide, [json!(["list", "watch"])], "what is of no namespace is only looked at");
    assert_eq!(of_operator(&objects, "Role"), json!(granted), "the rights in a namespace and in all");
    assert_eq!(whole.iter().filter(is_wide).count(), 4, "the operator's role and binding, view and edit");
}

#[test]
fn no_role_has_a_wildcard_or_secrets_and_nobody_may_write_a_status_by_hand() {
    for set in sets() {
        let objects = chart(&set, &[]);
        for rule in rules(&objects, "ClusterRole").into_iter().chain(rules(&objects, "Role")) {
            for key in ["apiGroups", "resources", "verbs"] {
                assert!(!strings(&rule[key]).contains(&"*"), "{set}: {rule}");
            }
            assert!(!strings(&rule["resources"]).iter().any(|r| r.starts_with("secrets")), "{set}: {rule}");
        }
        for role in of_kind(&objects, "ClusterRole").into_iter().filter(|r| r["metadata"]["name"] != "arl-operator") {
            assert!(!role["rules"].to_string().contains("/status"), "{set}: {}", name(role));
        }
    }
}

/// People get their rights on our kinds by the roles that Kubernetes has: this is what view and edit are made of.
#[test]
fn view_may_look_and_edit_may_run() {
    let objects = chart("default", &[]);
    let role = |name: &str| {
        of_kind(&objects, "ClusterRole").into_iter().find(|o| o["metadata"]["name"] == name).unwrap().clone()
    };
    let joins = |role: &Value, to: &str| {
        role["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{to}")] == "true"
    };
    let (view, edit) = (role("arl-operator-view"), role("arl-operator-edit"));
    assert!(["view", "edit", "admin"].iter().all(|to| joins(&view, to)));
    assert!(["edit", "admin"].iter().all(|to| joins(&edit, to)) && !joins(&edit, "view"));
    let verbs = |role: &Value| {
        let rules = role["rules"].as_array().unwrap();
        let mut all: Vec<_> =
            rules.iter().flat_map(|r| r["verbs"].as_array().unwrap()).map(|v| v.as_str().unwrap().to_owned()).collect();
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(verbs(&view), ["get", "list", "watch"]);
    assert_eq!(verbs(&edit), ["create", "delete", "deletecollection", "patch", "update"]);
    let apart = chart("default", &["--set", "rbac.aggregateClusterRoles=false"]);
    assert!(
        of_kind(&apart, "ClusterRole")
            .iter()
            .all(|role| !role["metadata"]["labels"].to_string().contains("aggregate-to"))
    );
}

#[test]
fn the_lease_is_written_in_the_operators_namespace_only() {
    let objects = chart("default", &[]);
    let found = rules(&objects, "Role");
    let expected = [
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["arl-operator"], "verbs": ["get", "patch"]}),
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]}),
    ];
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    let without = chart("default", &["--set", "leaderElection.enabled=false"]);
    assert_eq!(rules(&without, "Role"), Vec::<&Value>::new());
    assert_eq!(of_kind(&without, "Deployment")[0]["spec"]["strategy"]["type"], "Recreate");
}

#[test]
fn there_is_no_namespace_and_every_selector_finds_the_operator() {
    for set in sets() {
        let objects = chart(&set, &[]);
        assert_eq!(of_kind(&objects, "Namespace"), Vec::<&Value>::new(), "{set}");
        let deployment = of_kind(&objects, "Deployment")[0];
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let keys: Vec<_> = selector.as_object().unwrap().keys().map(String::as_str).collect();
        let stable = ["component", "instance", "name"].map(|key| format!("app.kubernetes.io/{key}"));
        assert_eq!(keys, stable, "{set}: a selector cannot be changed");
        let pod = &deployment["spec"]["template"]["metadata"]["labels"];
        assert!(keys.iter().all(|key| pod[key] == selector[key]), "{set}: {pod}");
        for (kind, path) in [
            ("Service", "/spec/selector"),
            ("PodDisruptionBudget", "/spec/selector/matchLabels"),
            ("NetworkPolicy", "/spec/podSelector/matchLabels"),
            ("PodMonitor", "/spec/selector/matchLabels"),
            ("ServiceMonitor", "/spec/selector/matchLabels"),
        ] {
            for object in of_kind(&objects, kind) {
                assert_eq!(object.pointer(path), Some(selector), "{set}: {}", name(object));
            }
        }
        for object in of_kind(&objects, "ServiceMonitor") {
            let service = of_kind(&objects, "Service")[0];
            assert!(
                keys.iter().all(|key| service["metadata"]["labels"][key] == selector[key]),
                "{set}: {}",
                name(object)
            );
        }
    }
}

#[test]
fn the_pod_is_not_best_effort_and_has_probes() {
    let objects = chart("default", &[]);
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
    assert!(
        container["resources"]["requests"]["memory"].is_string()
            && container["resources"]["limits"]["memory"].is_string()
    );
    for (probe, path) in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "health"}), "{probe}");
    }
    assert!(
        container["ports"]
            .as_array()
            .unwrap()
            .contains(&json!({"name": "health", "containerPort": 8081, "protocol": "TCP"}))
    );
}

#[test]
fn the_pods_ports_are_those_that_the_operator_listens_on() {
    let flags = arl_operator::flags::Flags::command();
    let default = |name: &str| {
        let flag = flags.get_arguments().find(|a| a.get_long() == Some(name)).expect("the flag");
        flag.get_default_values()[0].to_str().unwrap().strip_prefix(':').unwrap().parse::<u16>().unwrap()
    };
    let ports = json!([
        {"name": "metrics", "containerPort": default("metrics-bind-address"), "protocol": "TCP"},
        {"name": "health", "containerPort": default("health-probe-bind-address"), "protocol": "TCP"},
    ]);
    let objects = chart("default", &[]);
    assert_eq!(of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["ports"], ports);
}

#[test]
fn every_variable_of_the_pod_is_a_flag_of_the_operator() {
    let flags = arl_operator::flags::Flags::command();
    let known: Vec<_> = flags.get_arguments().filter_map(|a| a.get_env()?.to_str()).collect();
    assert!(known.contains(&"ARL_LOG_LEVEL"), "{known:?}");
    let mut seen = 0;
    for set in sets() {
        let objects = chart(&set, &[]);
        let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
        for variable in container["env"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()) {
            if variable.starts_with("ARL_") {
                seen += 1;
                assert!(known.contains(&variable), "{set}: {variable} is no flag's");
            }
        }
    }
    assert!(seen > 20, "{seen} variables");
}

/// Refuses what a schema of a CustomResourceDefinition does not mention, as the API server does when asked to be strict.
fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if object.contains_key("properties") && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".into(), json!(false));
    }
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(close),
            ("items" | "additionalProperties", inner) => close(inner),
            _ => {}
        }
    }
}

/// The Prometheus operator's kinds are not on the clusters of the tests: they are checked against its own definitions.
#[test]
fn monitors_and_alerts_fit_the_definitions_of_the_prometheus_operator() {
    const MODULE: &str = "github.com/prometheus-operator/prometheus-operator@v0.85.0";
    let folder = scratch("monitoring");
    let mut go = std::process::Command::new("go");
    let module: Value =
        serde_json::from_str(&run(go.args(["mod", "download", "-json", MODULE]).current_dir(&folder))).unwrap();
    let definitions = std::path::Path::new(module["Dir"].as_str().unwrap()).join("example/prometheus-operator-crd");
    for kind in ["servicemonitor", "podmonitor", "prometheusrule"] {
        let text = std::fs::read_to_string(definitions.join(format!("monitoring.coreos.com_{kind}s.yaml"))).unwrap();
        let mut schema = documents(&text)[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        close(&mut schema);
        schema["properties"]["metadata"] = json!({"type": "object"});
        std::fs::write(folder.join(format!("{kind}.json")), schema.to_string()).unwrap();
    }
    let check = |objects: &[Value]| {
        let of_prometheus = |o: &&Value| o["apiVersion"] == "monitoring.coreos.com/v1";
        let mut checked = 0;
        for object in objects.iter().filter(of_prometheus) {
            let file = folder.join(format!("{checked}.object.json"));
            std::fs::write(&file, object.to_string()).unwrap();
            let mut command = kubeconform();
            command.arg("-strict").arg("-schema-location").arg(folder.join("{{.ResourceKind}}.json")).arg(&file);
            crate::tools::attempt(&mut command).map_err(|complaints| format!("{}: {complaints}", name(object)))?;
            checked += 1;
        }
        Ok::<_, String>(checked)
    };
    assert_eq!(check(&chart("prometheus", &[])), Ok(2));
    let monitors =
        chart("prometheus", &["--set", "metrics.serviceMonitor.enabled=false,metrics.podMonitor.enabled=true"]);
    for (objects, endpoints) in [(chart("prometheus", &[]), "endpoints"), (monitors, "podMetricsEndpoints")] {
        let monitor = objects.iter().find(|o| o["kind"].as_str().unwrap().ends_with("Monitor")).unwrap();
        let keeps = &monitor["spec"][endpoints][0]["honorLabels"];
        assert_eq!(keeps, true, "the alerts and the dashboard mean the namespaces of pools");
    }
    assert_eq!(check(&chart("everything", &[])), Ok(2));
    let typo = chart("prometheus", &["--set-json", r#"metrics.serviceMonitor.relabelings=[{"regexx":"a"}]"#]);
    assert!(check(&typo).is_err_and(|complaints| complaints.contains("regexx")));
}
