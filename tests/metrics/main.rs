//! The catalogue of metrics: what the alerts and the dashboard say of it, and how it is shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod exposition;

use std::collections::BTreeSet;
use std::path::Path;

use arl_operator::{
    collector::catalogue,
    metrics::{Catalogue, Metrics, exemplar},
};
use exposition::faults;
use serde_json::Value;

/// Prefixes of all names in the catalogue: whatever begins so in an expression is the name of a metric.
const PREFIXES: [&str; 6] =
    ["arl_", "controller_runtime_", "leader_election_", "process_", "rest_client_", "workqueue_"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn names_and_labels_follow_the_conventions() {
    let catalogue = catalogue();
    let names: BTreeSet<_> = catalogue.entries().iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), catalogue.entries().len(), "each name once");
    for entry in catalogue.entries() {
        let name = entry.name;
        assert!(PREFIXES.iter().any(|prefix| name.starts_with(prefix)), "{name}");
        assert_eq!(entry.kind == "counter", name.ends_with("_total"), "{name}");
        assert!(entry.kind != "histogram" || name.ends_with("_seconds"), "{name}");
        assert!(!entry.help.is_empty() && !entry.help.ends_with('.'), "{name}: the library adds the full stop");
        for label in entry.labels {
            assert!(!["sandbox", "task", "pod", "uid"].contains(label), "{name} has a label with unbounded values");
        }
    }
}

/// The names of series that a metric has.
fn series(name: &str, kind: &str) -> Vec<String> {
    match kind {
        "histogram" => ["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}")).to_vec(),
        _ => vec![name.to_owned()],
    }
}

/// The names of metrics in an expression.
fn named(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| PREFIXES.iter().any(|prefix| word.starts_with(prefix))).collect()
}

fn unknown<'a>(expressions: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let known: BTreeSet<_> = catalogue().entries().iter().flat_map(|entry| series(entry.name, entry.kind)).collect();
    expressions.into_iter().flat_map(named).filter(|name| !known.contains(*name)).collect()
}

#[test]
fn the_name_check_can_fail() {
    let good = "sum by (le) (rate(arl_task_seconds_bucket{namespace=\"x\"}[5m])) / arl_tasks";
    assert_eq!(named(good), ["arl_task_seconds_bucket", "arl_tasks"]);
    assert_eq!(
        unknown([good, "arl_task_seconds > 0", "process_cpu_seconds"]),
        ["arl_task_seconds", "process_cpu_seconds"]
    );
}

/// Every value of `key` anywhere in a document.
fn values<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match document {
        Value::Object(object) => {
            found.extend(object.get(key).and_then(Value::as_str));
            object.values().for_each(|value| values(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| values(item, key, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("deploy/chart/files/dashboard.json")).unwrap();
    let mut found = Vec::new();
    values(&dashboard, "expr", &mut found);
    assert!(found.len() > 15, "{found:?}");
    assert!(found.iter().all(|expression| !named(expression).is_empty()), "{found:?}");
    assert_eq!(unknown(found), Vec::<&str>::new());
    let ids: BTreeSet<_> = dashboard["panels"].as_array().unwrap().iter().map(|p| p["id"].to_string()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len(), "each panel has an id of its own");
}

#[test]
fn the_alerts_ask_for_metrics_that_exist_and_each_has_its_runbook() {
    let alerts: Value = serde_saphyr::from_str(&read("deploy/chart/files/alerts.yaml")).unwrap();
    let (mut expressions, mut names) = (Vec::new(), Vec::new());
    values(&alerts, "expr", &mut expressions);
    values(&alerts, "alert", &mut names);
    assert!(names.len() >= 8 && names.len() == expressions.len(), "{names:?}");
    assert_eq!(unknown(expressions), Vec::<&str>::new());
    let runbook = read("docs/operations.md");
    let headings: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, names, "the headings of the runbook in docs/operations.md");
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        for key in ["summary", "description"] {
            assert!(rule["annotations"][key].is_string(), "{name} has no {key}");
        }
        let place = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], place, "{name}");
    }
}

#[test]
fn the_exposition_check_can_fail() {
    assert_eq!(faults("# TYPE a gauge\na 1\n# EOF\n"), Vec::<String>::new());
    assert_eq!(faults("# TYPE a gauge\na 1"), ["no end"]);
    assert_eq!(faults("# TYPE a gauge\na x\n# EOF\n"), ["a x"]);
    assert_eq!(faults("b 1\n# EOF\n"), ["b 1"]);
    assert_eq!(faults("# TYPE a gauge\na 1\na 1\n# EOF\n"), ["a 1"]);
    let exemplar = "# TYPE a histogram\na_bucket{le=\"1.0\"} 1 # {trace_id=\"x\"} 0.5\n# EOF\n";
    assert_eq!(faults(exemplar), Vec::<String>::new());
    assert_eq!(faults(&exemplar.replace("0.5", "x")).len(), 1);
    assert_eq!(faults(&exemplar.replace("a_bucket", "a_count")).len(), 1);
    assert_eq!(faults("# TYPE a gauge\n# TYPE a gauge\n# EOF\n"), ["twice: # TYPE a gauge"]);
}

#[test]
fn what_is_counted_is_shown() {
    let mut catalogue = Catalogue::default();
    let metrics = Metrics::new(&mut catalogue);
    assert_eq!(faults(&catalogue.text().unwrap()), Vec::<String>::new());
    metrics.claims.with(["ns", "p", "warm"]).inc();
    metrics.claim_seconds.with(["ns", "p", "warm"]).observe(0.02, None, None);
    metrics.task_seconds.with(["ns"]).observe(0.02, Some(exemplar("0af7".into())), None);
    metrics.leads.with(["arl-operator"]).set(1);
    metrics.status_shrunk.inc();
    metrics.set_build();
    let text = catalogue.text().unwrap();
    assert_eq!(faults(&text), Vec::<String>::new());
    for line in [
        "arl_sandbox_claims_total{namespace=\"ns\",warmpool=\"p\",result=\"warm\"} 1",
        "arl_sandbox_claim_seconds_bucket{le=\"0.01\",namespace=\"ns\",warmpool=\"p\",result=\"warm\"} 0",
        "arl_sandbox_claim_seconds_bucket{le=\"0.025\",namespace=\"ns\",warmpool=\"p\",result=\"warm\"} 1",
        "arl_task_seconds_bucket{le=\"0.025\",namespace=\"ns\"} 1 # {trace_id=\"0af7\"} 0.02",
        "leader_election_master_status{name=\"arl-operator\"} 1",
        "arl_status_shrunk_total 1",
        "arl_run_reattached_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let build = text.lines().find(|line| line.starts_with("arl_build_info{")).expect("the build");
    assert!(
        build.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")) && build.contains("rustc=\"1."),
        "{build}"
    );
    // Two operators in one process share nothing.
    let mut other = Catalogue::default();
    Metrics::new(&mut other);
    assert!(!other.text().unwrap().contains("arl_sandbox_claims_total{"));
}
