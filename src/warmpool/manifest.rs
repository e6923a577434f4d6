//! The pods of a pool: their names and what is in them.

use arl_agent::message::VERSION;
use arl_crds::{
    ExecutorMode, WarmPool,
    labels::{self, PodState},
    template::fnv1a,
    text::printable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};

use super::inject::{self, AgentImage};
use crate::{effects::NewPod, object::Key};

/// Pods get this long to end where the template does not say: `sleep infinity` ignores TERM and would hold its slot for 30 s.
const GRACE_SECONDS: i64 = 1;
/// The fields that name a ServiceAccount, the older one included.
const SERVICE_ACCOUNT: [&str; 2] = ["serviceAccountName", "serviceAccount"];
/// A host name has at most 63 characters, and a pod's is its name.
const NAME_MAX: usize = 63;

/// Room for `-`, 8 characters of the pool's uid hashed, `-` and a number of up to 12 digits.
const SUFFIX_MAX: usize = 22;
/// A number that does not fit there is nobody's but a forger's.
pub(super) const NUMBER_MAX: i64 = 999_999_999_999;

fn prefix(pool: &WarmPool) -> String {
    let name = pool.name_any();
    let uid = fnv1a(pool.uid().unwrap_or_default().as_bytes());
    let short = name[..name.floor_char_boundary(NAME_MAX - SUFFIX_MAX)].trim_end_matches(['-', '.']).to_owned();
    format!("{short}-{:08x}-", uid & 0xffff_ffff)
}

/// The highest number in the names of these pods, where they are of this pool.
pub(super) fn last_number<'a>(pool: &WarmPool, pods: impl Iterator<Item = &'a ObjectMeta>) -> Option<i64> {
    let prefix = prefix(pool);
    let number = |pod: &ObjectMeta| pod.name.as_deref()?.strip_prefix(&prefix)?.parse().ok();
    pods.filter_map(number).filter(|number| (1..=NUMBER_MAX).contains(number)).max()
}

/// What warnings begin with of what is left out of a pod: two in the API server's words, and one of our own.
const LEFT_OUT: [&str; 3] = ["unknown field", "duplicate field", "unused field"];

/// Whether a warning is of something that is left out of the pod.
pub(super) fn is_left_out(warning: &str) -> bool {
    LEFT_OUT.iter().any(|words| warning.starts_with(words))
}

/// What a template has and pods are not made of, in words like the API server's for the rest.
pub(super) fn unused(pool: &WarmPool) -> impl Iterator<Item = String> {
    let template = &pool.spec.template;
    let is_used = |name: &str| matches!(name, "metadata" | "spec" | "apiVersion" | "kind");
    let names: Vec<_> = template.0.keys().filter(|name| !is_used(name)).collect();
    let beside = names.first().map(|name| {
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        format!("unknown field \"{}\" beside metadata and spec{more}", printable(name, 64))
    });
    let finalizers = template.section("metadata").and_then(|metadata| metadata.get("finalizers"));
    let finalizers = finalizers.and_then(Value::as_array).filter(|finalizers| !finalizers.is_empty());
    let finalizers = finalizers.map(|_| "unused field \"metadata.finalizers\": a pool's pods have none".to_owned());
    beside.into_iter().chain(finalizers)
}

/// The pool's pod with this number.
pub(super) fn pod(pool: &WarmPool, number: i64, agent: &AgentImage) -> NewPod {
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
    let annotations = section(&mut metadata, "annotations");
    annotations.insert(labels::TEMPLATE_HASH.into(), json!(pool.spec.fingerprint()));
    annotations.remove(labels::AGENT);
    annotations.remove(labels::AGENT_IMAGE);
    annotations.remove(labels::EXECUTOR);
    // What an injector adds to the pod, or to its annotations, later changes nothing of what was chosen here.
    if let Ok(chosen) = pool.spec.executor_container() {
        annotations.insert(labels::EXECUTOR.into(), json!(chosen));
    }
    // Nobody has it yet. Who claims it says otherwise.
    annotations.entry(labels::SAFE_TO_EVICT).or_insert_with(|| json!("true"));
    if pool.spec.executor.mode == ExecutorMode::Agent {
        annotations.insert(labels::AGENT.into(), json!(VERSION.to_string()));
        annotations.insert(labels::AGENT_IMAGE.into(), json!(agent.fingerprint()));
        inject::let_nodes_go(annotations);
    }
    let mut owner = pool.controller_owner_ref(&());
    if let Some(owner) = &mut owner {
        owner.block_owner_deletion = None;
    }
    metadata.insert("ownerReferences".into(), json!(owner.into_iter().collect::<Vec<_>>()));

    let mut spec = template.section("spec").cloned().unwrap_or_default();
    spec.entry("terminationGracePeriodSeconds").or_insert_with(|| json!(GRACE_SECONDS));
    // Code of others runs here: it gets no identity that nobody thought of. Who names a ServiceAccount wants it used.
    if !SERVICE_ACCOUNT.iter().any(|key| spec.get(*key).and_then(Value::as_str).is_some_and(|name| !name.is_empty())) {
        spec.entry("automountServiceAccountToken").or_insert_with(|| json!(false));
    }
    if pool.spec.executor.mode == ExecutorMode::Agent {
        inject::agent(&mut spec, pool.spec.executor_container().ok(), agent);
    }
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
    use arl_crds::Executor;

    use super::*;

    fn made(pool: &WarmPool, number: i64) -> NewPod {
        pod(pool, number, &AgentImage { image: "agent:1".into(), pull_policy: "IfNotPresent".into() })
    }

    fn pool(name: &str, template: Value) -> WarmPool {
        pool_with(name, template, Executor { mode: ExecutorMode::Exec, ..Executor::default() })
    }

    fn pool_with(name: &str, template: Value, executor: Executor) -> WarmPool {
        let mut pool = WarmPool::new(
            name,
            arl_crds::WarmPoolSpec {
                replicas: 1,
                template: serde_json::from_value(template).unwrap(),
                executor,
                scaling: None,
            },
        );
        pool.metadata.namespace = Some("ns".into());
        pool.metadata.uid = Some("uid-1".into());
        pool
    }

    #[test]
    fn what_a_template_has_and_pods_are_not_made_of_is_named() {
        let spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
        for (template, expected) in [
            (json!({ "metadata": {}, "spec": spec, "apiVersion": "v1", "kind": "Pod" }), &[][..]),
            (json!({ "metdata": {}, "spec": spec }), &["unknown field \"metdata\" beside metadata and spec"]),
            (
                json!({ "a": {}, "b": 1, "c": 2, "spec": spec }),
                &["unknown field \"a\" beside metadata and spec and 2 more"],
            ),
            (json!({ "metadata": { "finalizers": [] }, "spec": spec }), &[]),
            (
                json!({ "metadata": { "finalizers": ["x.io/y"] }, "a": {}, "spec": spec }),
                &[
                    "unknown field \"a\" beside metadata and spec",
                    "unused field \"metadata.finalizers\": a pool's pods have none",
                ],
            ),
        ] {
            let found: Vec<String> = unused(&pool("p", template)).collect();
            assert_eq!(found, expected);
            assert!(found.iter().all(|warning| is_left_out(warning)), "{found:?}");
        }
    }

    #[test]
    fn a_template_is_kept_and_only_our_labels_win() {
        let template = json!({
            "metadata": { "labels": { "team": "a", labels::WARMPOOL: "spoof", labels::SANDBOX: "spoof" }, "annotations": { "note": "b" } },
            "spec": { "containers": [{ "name": "c", "image": "i", "futureField": { "x": [1] } }], "futureField": true },
        });
        let made = made(&pool("p", template), 7).manifest;
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
    fn a_pod_has_no_token_unless_the_template_asks_for_one() {
        for (fields, expected) in [
            (json!({}), json!(false)),
            (json!({ "serviceAccountName": "", "serviceAccount": "" }), json!(false)),
            (json!({ "serviceAccountName": "runner" }), Value::Null),
            (json!({ "serviceAccountName": "default" }), Value::Null),
            (json!({ "serviceAccount": "runner" }), Value::Null),
            (json!({ "automountServiceAccountToken": true }), json!(true)),
            (json!({ "automountServiceAccountToken": false, "serviceAccountName": "runner" }), json!(false)),
        ] {
            for mode in [ExecutorMode::Agent, ExecutorMode::Exec] {
                let mut spec = fields.clone();
                spec["containers"] = json!([{ "name": "c" }]);
                let pool = pool_with("p", json!({ "spec": spec }), Executor { mode, ..Executor::default() });
                let made = made(&pool, 1).manifest;
                assert_eq!(made["spec"]["automountServiceAccountToken"], expected, "{mode:?}, {fields}");
            }
        }
    }

    #[test]
    fn what_an_injector_adds_later_does_not_change_where_steps_run() {
        let template =
            json!({ "spec": { "containers": [{ "name": "main", "image": "i" }, { "name": "helper", "image": "i" }] } });
        for executor in [Executor::default(), Executor { container: Some("helper".into()), ..Executor::default() }] {
            let chosen = executor.container.clone().unwrap_or_else(|| "main".into());
            let mut pod = made(&pool_with("p", template.clone(), executor), 1).manifest;
            let containers = pod["spec"]["containers"].as_array_mut().unwrap();
            containers.insert(0, json!({ "name": "executor", "image": "proxy" }));
            pod["metadata"]["annotations"][labels::DEFAULT_CONTAINER] = json!("executor");
            let pod: crate::pod::Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(pod.executor(), chosen);
        }
    }

    #[test]
    fn the_agent_is_added_and_nothing_else_changes() {
        let template = json!({
            "spec": {
                "initContainers": [{ "name": "mine", "image": "i" }],
                "volumes": [{ "name": "data", "emptyDir": {} }],
                "containers": [
                    { "name": "sidecar", "image": "i" },
                    { "name": "main", "image": "i", "resources": { "limits": { "cpu": "1" }, "claims": [{ "name": "gpu" }] },
                      "volumeMounts": [{ "name": "data", "mountPath": "/data" }] },
                ],
            },
        });
        let executor = Executor { container: Some("main".into()), ..Executor::default() };
        let made = made(&pool_with("p", template.clone(), executor), 1).manifest;
        let annotations = &made["metadata"]["annotations"];
        assert_eq!(
            (&annotations[labels::AGENT], &annotations[labels::EXECUTOR]),
            (&json!(VERSION.to_string()), &json!("main"))
        );
        assert!(annotations[labels::AGENT_IMAGE].is_string());
        let spec = &made["spec"];
        assert_eq!(spec["containers"][0], template["spec"]["containers"][0]);
        assert_eq!(
            spec["containers"][1]["volumeMounts"],
            json!([
                { "name": "data", "mountPath": "/data" },
                { "name": "arl-agent", "mountPath": "/.arl", "subPath": "bin", "readOnly": true },
                { "name": "arl-agent", "mountPath": "/.arl/state", "subPath": "state" },
            ])
        );
        assert_eq!(spec["volumes"][1], json!({ "name": "arl-agent", "emptyDir": {} }));
        assert_eq!(spec["initContainers"][1], template["spec"]["initContainers"][0]);
        let install = &spec["initContainers"][0];
        assert_eq!(install["resources"], json!({ "limits": { "cpu": "1" } }), "a Guaranteed pod stays one");
        assert_eq!((&install["image"], &install["imagePullPolicy"]), (&json!("agent:1"), &json!("IfNotPresent")));
        assert_eq!(install["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
        assert_eq!(install["terminationMessagePolicy"], "FallbackToLogsOnError");
        assert_eq!(install["volumeMounts"], json!([{ "name": "arl-agent", "mountPath": "/.arl" }]));
    }

    fn with_agent(template: Value) -> Value {
        made(&pool_with("p", template, Executor::default()), 1).manifest
    }

    #[test]
    fn the_init_container_has_a_user_only_where_the_pods_is_root() {
        for (context, user) in [
            (json!({}), Value::Null),
            (json!({ "runAsUser": 1000, "runAsNonRoot": true }), Value::Null),
            (json!({ "fsGroup": 2000 }), Value::Null),
            (json!({ "runAsUser": 0 }), json!(65532)),
        ] {
            let spec = json!({ "securityContext": context, "containers": [{ "name": "c" }] });
            let made = with_agent(json!({ "spec": spec }));
            let own = &made["spec"]["initContainers"][0]["securityContext"];
            assert_eq!((&own["runAsUser"], &own["runAsNonRoot"]), (&user, &json!(true)), "{context}");
        }
    }

    #[test]
    fn the_init_container_asks_for_no_device() {
        let amounts = json!({
            "cpu": "2", "memory": "1Gi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "1", "hugepages-2Mi": "64Mi",
        });
        let resources = json!({ "requests": amounts, "limits": amounts, "claims": [{ "name": "gpu" }] });
        let made = with_agent(json!({ "spec": { "containers": [{ "name": "c", "resources": resources }] } }));
        let kept = json!({ "cpu": "2", "memory": "1Gi", "ephemeral-storage": "1Gi" });
        assert_eq!(made["spec"]["initContainers"][0]["resources"], json!({ "requests": kept, "limits": kept }));
        assert_eq!(made["spec"]["containers"][0]["resources"], resources);
        let only_a_device = json!({ "limits": { "nvidia.com/gpu": "1" } });
        let made = with_agent(json!({ "spec": { "containers": [{ "name": "c", "resources": only_a_device }] } }));
        assert_eq!(made["spec"]["initContainers"][0]["resources"], json!({}));
    }

    /// The kubelet puts variables in arguments, and none in a working directory.
    #[test]
    fn the_agent_is_told_the_working_directory_as_it_is() {
        for (named, told) in [(json!("/a$(B)$$c"), json!(["/a$$(B)$$$$c"])), (Value::Null, json!([]))] {
            let mut container = json!({ "name": "c" });
            if !named.is_null() {
                container["workingDir"] = named;
            }
            let made = with_agent(json!({ "spec": { "containers": [container] } }));
            let command = made["spec"]["initContainers"][0]["command"].as_array().unwrap();
            assert_eq!(json!(command[3..]), told);
        }
    }

    #[test]
    fn the_agents_volume_keeps_no_node_from_going() {
        let key = labels::SAFE_TO_EVICT_VOLUMES;
        for (named, expected) in [
            (json!({}), json!("arl-agent")),
            (json!({ key: "cache, scratch" }), json!("cache,scratch,arl-agent")),
            (json!({ key: "arl-agent,cache" }), json!("cache,arl-agent")),
        ] {
            let template = json!({ "metadata": { "annotations": named }, "spec": { "containers": [{ "name": "c" }] } });
            assert_eq!(with_agent(template.clone())["metadata"]["annotations"][key], expected);
            let plain = made(&pool("p", template), 1).manifest;
            assert_eq!(plain["metadata"]["annotations"][key], named[key], "plain exec has no volume");
        }
    }

    /// By default the cluster autoscaler keeps nodes that have pods of controllers that it does not know.
    #[test]
    fn an_idle_pod_keeps_no_node_from_going_unless_its_template_says_so() {
        let key = labels::SAFE_TO_EVICT;
        for (named, expected) in [(json!({}), "true"), (json!({ key: "false" }), "false")] {
            let template = json!({ "metadata": { "annotations": named }, "spec": { "containers": [{ "name": "c" }] } });
            assert_eq!(with_agent(template.clone())["metadata"]["annotations"][key], expected);
            assert_eq!(made(&pool("p", template), 1).manifest["metadata"]["annotations"][key], expected);
        }
    }

    #[test]
    fn a_number_that_no_pod_of_ours_can_have_is_not_counted_from() {
        let pool = pool("p", json!({ "spec": { "containers": [] } }));
        let named =
            |number: &str| ObjectMeta { name: Some(format!("{}{number}", prefix(&pool))), ..ObjectMeta::default() };
        let forged = ["-5", "0", "9223372036854775807", "99999999999999999999", "1000000000000", "x", ""].map(named);
        assert_eq!(last_number(&pool, forged.iter()), None);
        assert_eq!(last_number(&pool, forged.iter().chain([&named("7"), &named("3")])), Some(7));
    }

    #[test]
    fn what_an_injector_adds_does_not_change_where_steps_run() {
        let template = json!({ "spec": { "containers": [{ "name": "main" }, { "name": "helper" }] } });
        for mode in [ExecutorMode::Agent, ExecutorMode::Exec] {
            let mut injected =
                made(&pool_with("p", template.clone(), Executor { mode, ..Executor::default() }), 1).manifest;
            injected["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({ "name": "linkerd-proxy" }));
            injected["metadata"]["annotations"][labels::DEFAULT_CONTAINER] = json!("helper");
            let pod: crate::pod::Pod = serde_json::from_value(injected).unwrap();
            assert_eq!(pod.slim().executor(), "main", "{mode:?}");
        }
    }

    #[test]
    fn names_fit_and_carry_the_number() {
        for name in ["p", &"x".repeat(63), &format!("{}.{}", "y".repeat(40), "z".repeat(22))] {
            let pool = pool(name, json!({ "spec": { "containers": [] } }));
            let made = made(&pool, 999_999_999_999);
            assert!(made.key.name.len() <= NAME_MAX, "{}", made.key.name);
            let metadata = ObjectMeta { name: Some(made.key.name), ..ObjectMeta::default() };
            assert_eq!(last_number(&pool, [&metadata].into_iter()), Some(999_999_999_999));
        }
    }
}
