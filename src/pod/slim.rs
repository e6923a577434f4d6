//! The metadata of a pod that nobody reads is left out.

use arl_crds::labels;

use super::Pod;

/// The annotations that are read, and the labels. Who may label pods can make any number of them large.
const ANNOTATIONS: [&str; 4] = [labels::TEMPLATE_HASH, labels::DEFAULT_CONTAINER, labels::EXECUTOR, labels::AGENT];
const LABELS: [&str; 3] = [labels::WARMPOOL, labels::POD_STATE, labels::SANDBOX];
/// The longest annotation that is kept: the name of a container has 63 bytes.
const ANNOTATION_MAX: usize = 256;

impl Pod {
    /// Without the metadata nobody reads.
    #[must_use]
    pub fn slim(mut self) -> Self {
        let metadata = &mut self.metadata;
        (metadata.managed_fields, metadata.finalizers) = (None, None);
        if let Some(annotations) = &mut metadata.annotations {
            annotations.retain(|name, value| ANNOTATIONS.contains(&name.as_str()) && value.len() <= ANNOTATION_MAX);
        }
        if let Some(labels) = &mut metadata.labels {
            labels.retain(|name, _| LABELS.contains(&name.as_str()));
        }
        if let Some(owners) = &mut metadata.owner_references {
            owners.retain(|owner| owner.controller == Some(true));
            owners.shrink_to_fit();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_reads_of_a_pods_metadata_is_left_out() {
        let large = "x".repeat(200_000);
        let owner = |uid: &str, controller| json!({ "apiVersion": "v1", "kind": "K", "name": "n", "uid": uid, "controller": controller });
        let metadata = json!({
            "name": "n", "finalizers": [large], "ownerReferences": [owner("a", false), owner("b", true)],
            "labels": { labels::WARMPOOL: "p", "other": large },
            "annotations": { labels::AGENT: "2", labels::EXECUTOR: large, "other": large },
        });
        let pod: Pod = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        let slim = pod.slim();
        let kept = json!({
            "name": "n", "ownerReferences": [owner("b", true)],
            "labels": { labels::WARMPOOL: "p" }, "annotations": { labels::AGENT: "2" },
        });
        assert_eq!(serde_json::to_value(&slim.metadata).unwrap(), kept);
    }
}
