//! The metadata of a pod that nobody reads is left out, and containers beyond the first ones.

use arl_crds::labels;

use super::{Container, ContainerStatus, Pod};

/// The annotations that are read, and the labels. Who may label pods can make any number of them large.
const ANNOTATIONS: [&str; 4] = [labels::TEMPLATE_HASH, labels::DEFAULT_CONTAINER, labels::EXECUTOR, labels::AGENT];
const LABELS: [&str; 3] = [labels::WARMPOOL, labels::POD_STATE, labels::SANDBOX];
/// The longest annotation that is kept: the name of a container has 63 bytes.
const ANNOTATION_MAX: usize = 256;
/// So many containers are kept of each list, and the executor. Pods have a handful; thousands fit into the largest object that the API server
/// takes.
const CONTAINERS_MAX: usize = 64;

/// The first ones, and those that are needed.
fn first<T>(all: &mut Vec<T>, is_needed: impl Fn(&T) -> bool) {
    if all.len() > CONTAINERS_MAX {
        let mut left = CONTAINERS_MAX;
        all.retain(|one| {
            let is_kept = left > 0 || is_needed(one);
            left = left.saturating_sub(1);
            is_kept
        });
        all.shrink_to_fit();
    }
}

/// The statuses of these containers.
fn of_kept(statuses: &mut Vec<ContainerStatus>, kept: &[Container]) {
    if statuses.len() > CONTAINERS_MAX {
        statuses.retain(|status| kept.iter().any(|container| container.name == status.name));
        statuses.shrink_to_fit();
    }
}

impl Pod {
    /// Without what nobody reads of it, and with a bounded number of containers.
    #[must_use]
    pub fn slim(mut self) -> Self {
        let is_ready = self.is_ready();
        let metadata = &mut self.metadata;
        (metadata.managed_fields, metadata.finalizers) = (None, None);
        if let Some(annotations) = &mut metadata.annotations {
            // Where its agent came from concerns nobody once a pod is ready.
            let is_read = |name: &str| ANNOTATIONS.contains(&name) || !is_ready && name == labels::AGENT_IMAGE;
            annotations.retain(|name, value| is_read(name) && value.len() <= ANNOTATION_MAX);
        }
        if let Some(labels) = &mut metadata.labels {
            labels.retain(|name, _| LABELS.contains(&name.as_str()));
        }
        if let Some(owners) = &mut metadata.owner_references {
            owners.retain(|owner| owner.controller == Some(true));
            owners.shrink_to_fit();
        }
        // By the annotations that are kept, as it is asked for later.
        let executor = self.executor().to_owned();
        let (spec, status) = (&mut self.spec, &mut self.status);
        first(&mut spec.containers, |container| container.name == executor);
        first(&mut spec.init_containers, |_| false);
        of_kept(&mut status.container_statuses, &spec.containers);
        of_kept(&mut status.init_container_statuses, &spec.init_containers);
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::PodStatus, *};

    #[test]
    fn what_nobody_reads_of_a_pods_metadata_is_left_out() {
        let large = "x".repeat(200_000);
        let owner = |uid: &str, controller| json!({ "apiVersion": "v1", "kind": "K", "name": "n", "uid": uid, "controller": controller });
        let metadata = json!({
            "name": "n", "finalizers": [large], "ownerReferences": [owner("a", false), owner("b", true)],
            "labels": { labels::WARMPOOL: "p", "other": large },
            "annotations": { labels::AGENT: "2", labels::AGENT_IMAGE: "i", labels::EXECUTOR: large, "other": large },
        });
        let pod: Pod = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        let slim = pod.clone().slim();
        let kept = json!({
            "name": "n", "ownerReferences": [owner("b", true)],
            "labels": { labels::WARMPOOL: "p" }, "annotations": { labels::AGENT: "2", labels::AGENT_IMAGE: "i" },
        });
        assert_eq!(serde_json::to_value(&slim.metadata).unwrap(), kept);
        let ready = serde_json::from_value(json!([{ "type": "Ready", "status": "True" }])).unwrap();
        let ready = Pod { status: PodStatus { conditions: ready, ..PodStatus::default() }, ..pod };
        assert_eq!(ready.slim().metadata.annotations.map(|kept| kept.len()), Some(1));
    }

    #[test]
    fn of_thousands_of_containers_the_executor_is_kept_and_a_few_others() {
        let some = |count: usize, name: &str| {
            (0..count).map(|n| json!({ "name": format!("{name}-{n}"), "state": { "running": {} } })).collect::<Vec<_>>()
        };
        for (count, executor, kept) in [
            (4500, "c-4000", 65),
            (4500, "c-7", 64),
            (4500, "c-64", 65),
            (65, "c-0", 64),
            (64, "c-63", 64),
            (1, "c-0", 1),
        ] {
            // The kubelet sorts the statuses; their order is not that of the spec.
            let (mut statuses, inits) = (some(count, "c"), some(count, "init"));
            statuses.reverse();
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": "n", "annotations": { labels::EXECUTOR: executor } },
                "spec": { "containers": some(count, "c"), "initContainers": inits },
                "status": { "containerStatuses": statuses, "initContainerStatuses": inits },
            }))
            .unwrap();
            let slim = pod.slim();
            let (spec, status) = (&slim.spec, &slim.status);
            assert_eq!((slim.executor(), slim.executor_status().is_some()), (executor, true));
            assert_eq!([spec.containers.len(), status.container_statuses.len()], [kept; 2], "{count} {executor}");
            assert_eq!([spec.init_containers.len(), status.init_container_statuses.len()], [count.min(64); 2]);
            assert!(
                spec.containers.capacity() <= 128 && status.container_statuses.capacity() <= 128,
                "no room is left"
            );
        }
    }
}
