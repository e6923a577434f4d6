//! What a failed test prints, so that nobody has to run it again to see why.

use std::fmt::Debug;
use std::path::Path;

use arl_crds::{Sandbox, Task, WarmPool};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use super::wait::Kind;

/// The longest description of one object: outputs of Tasks can be half a megabyte.
const MOST: usize = 4_000;
const LOG_LINES: usize = 80;

/// Prints the objects, pods and events of the namespace and the end of the operator's log.
pub async fn everything(client: &Client, ns: &str, log: &Path) {
    eprintln!("=== {ns} as the test left it ===");
    objects::<WarmPool>(client, ns).await;
    objects::<Sandbox>(client, ns).await;
    objects::<Task>(client, ns).await;
    pods(client, ns).await;
    events(client, ns).await;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("--- last lines of {} ---", log.display());
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().for_each(|line| eprintln!("{line}"));
}

async fn list<K: Kind>(client: &Client, ns: &str) -> Vec<K> {
    let api: Api<K> = Api::namespaced(client.clone(), ns);
    api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default()
}

async fn objects<K: Kind + Serialize>(client: &Client, ns: &str) {
    for mut object in list::<K>(client, ns).await {
        object.managed_fields_mut().clear();
        print(&K::kind(&()), &object.name_any(), &serde_json::to_value(&object).unwrap_or_default());
    }
}

async fn pods(client: &Client, ns: &str) {
    for pod in list::<Pod>(client, ns).await {
        let containers = pod.status.as_ref().map(|s| (&s.phase, &s.reason, &s.container_statuses));
        let deleting = &pod.metadata.deletion_timestamp;
        print("Pod", &pod.name_any(), &(pod.labels(), pod.owner_references(), deleting, containers));
    }
}

async fn events(client: &Client, ns: &str) {
    for event in list::<Event>(client, ns).await {
        let about = event.involved_object.name.unwrap_or_default();
        print("Event", &about, &(event.reason, event.message));
    }
}

fn print(kind: &str, name: &str, object: &impl Debug) {
    let mut text = format!("{object:?}");
    text.truncate(text.floor_char_boundary(MOST));
    eprintln!("--- {kind} {name}\n{text}");
}
