//! The samples for autoscalers scale what can be scaled, by metrics that there are.

use std::collections::BTreeSet;

use arl_operator::collector::catalogue;
use serde_json::Value;

use crate::{DEFINITIONS, kind, read};

fn sample(name: &str) -> Value {
    let text = read(format!("examples/autoscaling/{name}.yaml"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The metrics of a query, with the labels that they are selected by.
fn selected(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let of_part = |part: &str| {
        let (name, rest) = part.split_once('{').expect("a metric is selected by labels");
        let labels = rest.split('}').next().unwrap().split(',');
        (format!("arl_{name}"), labels.map(|label| label.split('=').next().unwrap().to_owned()).collect())
    };
    query.split("arl_").skip(1).map(of_part).collect()
}

#[test]
fn what_an_autoscaler_asks_for_is_there() {
    let (hpa, keda) = (sample("hpa"), sample("keda"));
    for target in [&hpa["spec"]["scaleTargetRef"], &keda["spec"]["scaleTargetRef"]] {
        assert_eq!(target["apiVersion"], "arl.infra.io/v1alpha1");
        let definition = DEFINITIONS.iter().find(|crd| target["kind"] == kind(crd)).expect("one of our kinds");
        assert!(definition["spec"]["versions"][0]["subresources"]["scale"].is_object(), "{target} cannot be scaled");
    }
    let metric = &hpa["spec"]["metrics"][0]["external"]["metric"];
    let labels = metric["selector"]["matchLabels"].as_object().unwrap().keys().cloned().collect();
    let mut asked = selected(keda["spec"]["triggers"][0]["metadata"]["query"].as_str().unwrap());
    assert_eq!(asked.len(), 2, "{asked:?}");
    asked.push((metric["name"].as_str().unwrap().to_owned(), labels));
    let catalogue = catalogue();
    for (name, labels) in asked {
        let entry = catalogue.entries().iter().find(|entry| entry.name == name);
        let known = entry.unwrap_or_else(|| panic!("no metric {name}")).labels;
        assert!(labels.iter().all(|label| known.contains(&label.as_str())), "{name} has {known:?}, not {labels:?}");
        assert!(["namespace", "warmpool"].iter().all(|label| labels.contains(*label)), "{name} is of one pool");
    }
}
