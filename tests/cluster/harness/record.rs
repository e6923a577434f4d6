//! Everything that happened to the pods of a namespace, for properties of the kind "at no time".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arl_crds::labels;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::task::JoinHandle;

use super::World;

/// For each pod there ever was, by uid, every Sandbox that ever held it.
pub struct PodRecord {
    seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    watching: JoinHandle<()>,
}

impl PodRecord {
    /// How many pods there have been.
    pub fn pods(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The pairs of pod uid and Sandbox there have been.
    pub fn claims(&self) -> Vec<(String, String)> {
        let seen = self.seen.lock().unwrap();
        seen.iter().flat_map(|(pod, names)| names.iter().map(|n| (pod.clone(), n.clone()))).collect()
    }

    /// Fails where a pod had two Sandboxes or a Sandbox two pods.
    pub fn assert_exclusive(&self) {
        let claims = self.claims();
        let pods: BTreeSet<_> = claims.iter().map(|(pod, _)| pod).collect();
        let sandboxes: BTreeSet<_> = claims.iter().map(|(_, sandbox)| sandbox).collect();
        assert_eq!((pods.len(), sandboxes.len()), (claims.len(), claims.len()), "one pod, one Sandbox: {claims:?}");
    }
}

impl Drop for PodRecord {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl World {
    /// Records the namespace's pods from now on.
    pub fn record_pods(&self) -> PodRecord {
        let seen = Arc::new(Mutex::new(BTreeMap::<String, BTreeSet<String>>::new()));
        let mut pods = watcher(self.api::<Pod>(), watcher::Config::default()).default_backoff().boxed();
        let record = Arc::clone(&seen);
        let watching = tokio::spawn(async move {
            while let Some(event) = pods.next().await {
                let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod) | watcher::Event::Delete(pod)) =
                    event
                else {
                    continue;
                };
                let mut record = record.lock().unwrap();
                let holders = record.entry(pod.uid().unwrap_or_default()).or_default();
                holders.extend(pod.labels().get(labels::SANDBOX).cloned());
            }
        });
        PodRecord { seen, watching }
    }
}
