//! The pods of a pool: their names and what is in them.

use arl_crds::{
    WarmPool,
    labels::{self, PodState},
    template::fnv1a,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};

use crate::{effects::NewPod, object::Key};

/// Pods get this long to end where the template does not say: `sleep infinity` ignores TERM and would hold its slot for 30 s.
const GRACE_SECONDS: i64 = 1;
/// A host name has at most 63 characters, and a pod's is its name.
const NAME_MAX: usize = 63;

/// Room for `-`, 8 characters of the pool's uid hashed, `-` and a number of up to 12 digits.
const SUFFIX_MAX: usize = 22;

fn prefix(pool: &WarmPool) -> String {
    let name = pool.name_any();
    let uid = fnv1a(pool.uid().unwrap_or_default().as_bytes());
    let short = name[..name.floor_char_boundary(NAME_MAX - SUFFIX_MAX)].trim_end_matches(['-', '.']).to_owned();
    format!("{short}-{:08x}-", uid & 0xffff_ffff)
}

/// The number in the name of a pod of this pool.
pub(super) fn number(pool: &WarmPool, pod: &ObjectMeta) -> Option<i64> {
    pod.name.as_deref()?.strip_prefix(&prefix(pool))?.parse().ok()
}

/// The pool's pod with this number.
pub(super) fn pod(pool: &WarmPool, number: i64) -> NewPod {
    let template = &pool.spec.template;
    let key = Key::of(pool).sibling(&format!("{}{number}", prefix(pool)));

    let mut metadata = template.section("metadata").cloned().unwrap_or_default();
    for generated in ["generateName", "uid", "resourceVersion", "creationTimestamp", "managedFields", "finalizers"] {
        metadata.remove(generated);
    }
    metadata.insert("name".into(), json!(key.name));
    metadata.insert("namespace".into(), json!(key.namespace));
    let labels = section(&mut metadata, "labels");
    labels.remove(labels::SANDBOX);
    labels.insert(labels::WARMPOOL.into(), json!(pool.name_any()));
    labels.insert(labels::POD_STATE.into(), json!(PodState::Ready.as_str()));
    labels.entry(labels::MANAGED_BY).or_insert_with(|| json!(labels::MANAGER));
    section(&mut metadata, "annotations").insert(labels::TEMPLATE_HASH.into(), json!(template.fingerprint()));
    let mut owner = pool.controller_owner_ref(&());
    if let Some(owner) = &mut owner {
        owner.block_owner_deletion = None;
    }
    metadata.insert("ownerReferences".into(), json!(owner.into_iter().collect::<Vec<_>>()));

    let mut spec = template.section("spec").cloned().unwrap_or_default();
    spec.entry("terminationGracePeriodSeconds").or_insert_with(|| json!(GRACE_SECONDS));
    let manifest = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    NewPod { key, manifest }
}

fn section<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = object.entry(key).or_insert_with(|| json!({}));
    if !entry.is_object() {
        *entry = json!({});
    }
    match entry {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str, template: Value) -> WarmPool {
        let mut pool = WarmPool::new(
            name,
            arl_crds::WarmPoolSpec { replicas: 1, template: serde_json::from_value(template).unwrap() },
        );
        pool.metadata.namespace = Some("ns".into());
        pool.metadata.uid = Some("uid-1".into());
        pool
    }

    #[test]
    fn a_template_is_kept_and_only_our_labels_win() {
        let template = json!({
            "metadata": { "labels": { "team": "a", labels::WARMPOOL: "spoof", labels::SANDBOX: "spoof" }, "annotations": { "note": "b" } },
            "spec": { "containers": [{ "name": "c", "image": "i", "futureField": { "x": [1] } }], "futureField": true },
        });
        let made = pod(&pool("p", template), 7).manifest;
        assert_eq!(
            made["metadata"]["labels"],
            json!({ "team": "a", labels::WARMPOOL: "p", labels::POD_STATE: "ready", labels::MANAGED_BY: labels::MANAGER })
        );
        assert_eq!(made["metadata"]["annotations"]["note"], "b");
        assert_eq!(made["spec"]["containers"][0]["futureField"], json!({ "x": [1] }));
        assert_eq!(
            (&made["spec"]["futureField"], &made["spec"]["terminationGracePeriodSeconds"]),
            (&json!(true), &json!(1))
        );
        assert_eq!(made["metadata"]["ownerReferences"][0]["controller"], true);
        assert!(made["metadata"]["ownerReferences"][0].get("blockOwnerDeletion").is_none());
    }

    #[test]
    fn names_fit_and_carry_the_number() {
        for name in ["p", &"x".repeat(63), &format!("{}.{}", "y".repeat(40), "z".repeat(22))] {
            let pool = pool(name, json!({ "spec": { "containers": [] } }));
            let made = pod(&pool, 999_999_999_999);
            assert!(made.key.name.len() <= NAME_MAX, "{}", made.key.name);
            let metadata = ObjectMeta { name: Some(made.key.name), ..ObjectMeta::default() };
            assert_eq!(number(&pool, &metadata), Some(999_999_999_999));
        }
    }
}
