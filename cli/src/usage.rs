//! CPU and memory of Sandboxes' pods, where the cluster measures them.

use std::collections::BTreeMap;

use arl_crds::labels;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use serde_json::Value;

use crate::connect::Connection;

/// What a pod uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// In thousandths of a core.
    pub millicores: f64,
    /// In bytes.
    pub bytes: f64,
}

impl Usage {
    /// As kubectl writes it.
    pub fn cells(&self) -> [String; 2] {
        [format!("{:.0}m", self.millicores.ceil()), format!("{:.0}Mi", (self.bytes / 1_048_576.0).ceil())]
    }

    /// Of all containers of a pod's metrics.
    fn of(metrics: &Value) -> Self {
        let mut usage = Self::default();
        for container in metrics["containers"].as_array().into_iter().flatten() {
            let amount = |resource: &str| amount(container["usage"][resource].as_str().unwrap_or_default());
            usage.millicores += amount("cpu") * 1000.0;
            usage.bytes += amount("memory");
        }
        usage
    }
}

/// A quantity as metrics have it; none is 0.
fn amount(quantity: &str) -> f64 {
    let unit = quantity.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(quantity.len());
    let factor = match &quantity[unit..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        _ => 1.0,
    };
    quantity[..unit].parse::<f64>().unwrap_or_default() * factor
}

/// By pod; nothing where the cluster measures nothing, or does not tell us.
pub async fn of_sandboxes(connection: &Connection) -> BTreeMap<String, Usage> {
    let resource = ApiResource {
        group: "metrics.k8s.io".into(),
        version: "v1beta1".into(),
        api_version: "metrics.k8s.io/v1beta1".into(),
        kind: "PodMetrics".into(),
        plural: "pods".into(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(connection.kube.clone(), &connection.namespace, &resource);
    let listed = api.list(&ListParams::default().labels(labels::SANDBOX)).await;
    let pods = listed.map(|list| list.items).unwrap_or_default();
    pods.iter().map(|pod| (pod.name_any(), Usage::of(&pod.data))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_containers_use_adds_up() {
        let container = |cpu: &str, memory: &str| json!({ "usage": { "cpu": cpu, "memory": memory } });
        let metrics = json!({ "containers": [container("1500000n", "2048Ki"), container("2m", "1Mi"), {}] });
        assert_eq!(Usage::of(&metrics).cells(), ["4m", "3Mi"]);
        assert_eq!(Usage::of(&json!({})).cells(), ["0m", "0Mi"]);
    }
}
