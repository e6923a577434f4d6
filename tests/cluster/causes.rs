//! What ends pods and containers, or keeps them from being ready, is told in the words of whoever knows.

use arl_crds::{Blame, Sandbox, SandboxPhase, WarmPool};
use k8s_openapi::api::core::v1::{LimitRange, PersistentVolumeClaim, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{EvictParams, ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::make::{IMAGE, message, reason, shell, status, template};
use crate::harness::wait::Kind;
use crate::harness::wait::{is_idle, is_ready};

/// The reason and the message of the pool's `PodsFailing`, where it is True.
fn failing(pool: &WarmPool) -> Option<(&str, &str)> {
    let conditions = pool.status.iter().flat_map(|s| &s.conditions);
    let failing = conditions.into_iter().find(|c| c.type_ == "PodsFailing" && c.status == "True")?;
    Some((failing.reason.as_str(), failing.message.as_str()))
}

fn ready_message(sandbox: &Sandbox) -> &str {
    let conditions = sandbox.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().find(|c| c.type_ == "Ready").map_or("", |c| c.message.as_str())
}

/// One more container, in the least that does.
fn container(name: &str, command: &[&str]) -> Value {
    json!({"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command})
}

impl World {
    /// Waits until `PodsFailing` has this reason and these words.
    async fn fails_with(&self, pool: &str, reason: &str, words: &str) -> String {
        let says = |pool: &WarmPool| failing(pool).is_some_and(|(r, said)| r == reason && said.contains(words));
        let pool = self.one(pool, &format!("{reason}: {words}"), says).await;
        failing(&pool).unwrap().1.to_owned()
    }

    /// The reasons of the Events about an object.
    async fn events_about<K: Kind>(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = self.api();
        let about = format!("regarding.kind={},regarding.name={name}", K::kind(&()));
        let events = events.list(&ListParams::default().fields(&about)).await.unwrap();
        events.items.into_iter().filter_map(|event| event.reason).collect()
    }

    /// A pool `p` of one, a Sandbox `s` that has its pod, and the pod's name.
    async fn held(&self, template: &Value) -> String {
        self.pool_of("p", 1, template).await;
        self.sandbox("s", "p").await;
        self.phase("s", SandboxPhase::Ready).await.status.unwrap().pod_name.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_pod_from_being_ready_is_named_in_the_kubelets_words() {
    let world = World::new("late").await;
    let mut secret = template();
    secret["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "s", "secret": {"secretName": "nosuch"}}));
    let mounts = &mut secret["spec"]["containers"][0]["volumeMounts"];
    mounts.as_array_mut().unwrap().push(json!({"name": "s", "mountPath": "/s"}));
    let mut probe = template();
    probe["spec"]["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["false"]}, "periodSeconds": 1});
    let mut init = template();
    let mut goes_on = container("goes-on", &["sleep", "2147483647"]);
    goes_on["restartPolicy"] = json!("Always");
    init["spec"]["initContainers"] = json!([goes_on, container("waits", &["sleep", "2147483647"])]);
    let mut startup = template();
    startup["spec"]["initContainers"] = json!([goes_on]);
    let probed = &mut startup["spec"]["initContainers"][0];
    probed["startupProbe"] = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 35});
    let mut gate = template();
    gate["spec"]["schedulingGates"] = json!([{"name": "example.org/gate"}]);
    let mut readiness = template();
    readiness["spec"]["readinessGates"] = json!([{"conditionType": "example.org/ready"}]);
    let mut helper = template();
    helper["spec"]["restartPolicy"] = json!("Never");
    helper["spec"]["containers"].as_array_mut().unwrap().push(container("helper", &["true"]));
    let cases = [
        ("secret", secret, "secret \"nosuch\" not found"),
        ("probe", probe, "container executor runs, and its startup or readiness probe does not succeed: Unhealthy"),
        ("init", init, "init container waits has not ended"),
        ("startup", startup, "init container goes-on runs, and its startup probe does not succeed"),
        ("gate", gate, "scheduling gates"),
        ("readiness", readiness, "example.org/ready"),
        ("helper", helper, "container helper exited with code 0"),
    ];
    for (name, template, _) in &cases {
        world.pool_of(name, 1, template).await;
    }
    for (name, _, words) in &cases {
        world.fails_with(name, "PodsLate", words).await;
    }
}

/// The scheduler and the kubelet say why, and each why has another remedy.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_takes_is_told_what_helps() {
    let world = World::new("no-node").await;
    let mut elsewhere = template();
    elsewhere["spec"]["nodeSelector"] = json!({"arl.infra.io/test": "nowhere"});
    let claim = json!({"metadata": {"name": "unbound"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "no-such-class",
        "resources": {"requests": {"storage": "1Mi"}}}});
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
    world.api::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await.unwrap();
    let mut unbound = template();
    unbound["spec"]["volumes"][0] = json!({"name": "workspace", "persistentVolumeClaim": {"claimName": "unbound"}});
    let mut misplaced = template();
    misplaced["spec"]["nodeName"] = json!("no-such-node");
    let mut forbidden = template();
    forbidden["spec"]["securityContext"] = json!({"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]});
    let mut devices = template();
    devices["spec"]["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "nosuch"}]);
    for (name, template, reason, advice) in [
        ("devices", devices, "PodsLate", "\"nosuch\" not found; create or correct what this names"),
        ("selector", elsewhere, "Unschedulable", "correct nodeSelector or affinity"),
        ("unbound", unbound, "Unschedulable", "needs a volume or a StorageClass"),
        ("sysctl", forbidden, "CreateContainerError", "was refused by its node (SysctlForbidden"),
        ("node", misplaced, "PodsLate", "its nodeName puts it on node no-such-node"),
    ] {
        world.pool_of(name, 1, &template).await;
        world.fails_with(name, reason, advice).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_not_the_commands_fault() {
    let world = World::new("deadline").await;
    let mut brief = template();
    brief["spec"]["activeDeadlineSeconds"] = json!(5);
    world.held(&brief).await;
    let sandbox = world.sandbox_reason("s", "PodLost").await;
    let said = ready_message(&sandbox);
    assert!(said.contains("activeDeadlineSeconds"), "{said}");
    let said = world.fails_with("p", "PodsDisrupted", "activeDeadlineSeconds").await;
    assert!(!said.contains("command"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_not_over_between_two_crashes() {
    let world = World::new("crash-loop").await;
    let mut crashes = template();
    crashes["spec"]["containers"][0]["command"] = json!(["sh", "-c", "sleep 2; exit 1"]);
    world.pool_of("p", 1, &crashes).await;
    world.fails_with("p", "CrashLoopBackOff", "").await;
    let restarts = |pods: &[Pod]| {
        let statuses = pods.iter().flat_map(|p| p.status.iter()).flat_map(|s| s.container_statuses.iter().flatten());
        statuses.map(|c| c.restart_count).max().unwrap_or(0)
    };
    world.pods("it was started again three times", |pods| restarts(pods) >= 3).await;
    let events = world.events_about::<WarmPool>("p").await;
    assert!(events.iter().any(|reason| reason == "PodsFailing"), "{events:?}");
    assert!(!events.iter().any(|reason| reason == "PodsRecovered"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_and_a_sidecar_that_crashes_get_advice_that_helps() {
    let world = World::new("advice").await;
    let mut missing = template();
    missing["spec"]["containers"][0]["command"] = json!(["nosuchprogram"]);
    world.pool_of("missing", 1, &missing).await;
    let mut beside = template();
    let mut crashes = container("crashes", &["sh", "-c", "sleep 1; exit 1"]);
    crashes["restartPolicy"] = json!("Always");
    beside["spec"]["initContainers"] = json!([crashes]);
    world.pool_of("sidecar", 1, &beside).await;
    let restarts = |pods: &[Pod]| {
        let statuses = pods.iter().flat_map(|p| p.status.iter());
        let all = statuses.flat_map(|s| s.container_statuses.iter().chain(&s.init_container_statuses).flatten());
        all.filter(|c| c.restart_count >= 3).count()
    };
    world.fails_with("missing", "CreateContainerError", "nosuchprogram").await;
    world.fails_with("sidecar", "CrashLoopBackOff", "container crashes").await;
    world.pods("both were started again three times", |pods| restarts(pods) == 2).await;
    for (pool, reason, words) in
        [("missing", "CreateContainerError", "nosuchprogram"), ("sidecar", "CrashLoopBackOff", "must keep running")]
    {
        let said = world.fails_with(pool, reason, words).await;
        assert!(!said.contains("exit code 0"), "{said}");
        let events = world.events_about::<WarmPool>(pool).await;
        assert!(!events.iter().any(|reason| reason == "PodsRecovered"), "{pool}: {events:?}");
    }
}

/// In neither case is the command at fault, and the container's status has no trace of what is.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_probe_or_a_hook_ends_is_not_told_to_keep_running() {
    let world = World::new("ended").await;
    let mut probe = template();
    let executor = &mut probe["spec"]["containers"][0];
    executor["command"] = json!(["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"]);
    executor["livenessProbe"] = json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2});
    world.pool_of("probe", 1, &probe).await;
    let mut hook = template();
    hook["spec"]["containers"][0]["lifecycle"] = json!({"postStart": {"exec": {"command": ["false"]}}});
    world.pool_of("hook", 1, &hook).await;
    let said = world.fails_with("probe", "CrashLoopBackOff", "its node ends it for that: Liveness probe failed").await;
    assert!(!said.contains("keep running"), "{said}");
    world.fails_with("hook", "CreateContainerError", "ook").await;
    let restarts = |pods: &[Pod]| {
        let statuses = pods.iter().flat_map(|p| p.status.iter()).flat_map(|s| s.container_statuses.iter().flatten());
        statuses.filter(|c| c.restart_count >= 3).count()
    };
    world.pods("both were started again three times", |pods| restarts(pods) == 2).await;
    let events = world.events_about::<WarmPool>("hook").await;
    assert_eq!(events.iter().filter(|reason| *reason == "PodsFailing").count(), 1, "{events:?}");
}

/// Its probe gives it more than half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_start_within_its_own_probe_is_no_failure() {
    let world = World::new("slow").await;
    let mut slow = template();
    slow["spec"]["containers"][0]["startupProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 60});
    slow["spec"]["containers"][0]["command"] = json!(["sh", "-c", "sleep 36; touch /tmp/up; sleep 2147483647"]);
    world.pool_of("p", 1, &slow).await;
    world.pool_is_ready("p", 1).await;
    let events = world.events_about::<WarmPool>("p").await;
    assert!(!events.iter().any(|reason| reason == "PodsFailing"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_idle_pod_is_replaced_and_nothing_is_said_to_be_wrong() {
    let world = World::new("evicted").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    let pods = world.pods("a pod", |pods| pods.len() == 1).await;
    world.api::<Pod>().evict(&pods[0].name_any(), &EvictParams::default()).await.unwrap();
    world.pods("another pod is ready", |now| now.iter().any(|p| is_ready(p) && p.uid() != pods[0].uid())).await;
    let pool = world.pool_is_ready("p", 1).await;
    assert_eq!(failing(&pool), None);
    let events = world.events_about::<WarmPool>("p").await;
    assert!(!events.iter().any(|reason| reason == "PodsFailing"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_pods_that_are_evicted_again_and_again_are_told_of() {
    let world = World::new("evictions").await;
    world.pool("p", 1).await;
    let mut evicted = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let is_new = |pod: &&Pod| !evicted.contains(&pod.uid()) && pod.metadata.deletion_timestamp.is_none();
        let pods = world.pods("a new pod is ready", |now| now.iter().filter(is_new).any(is_ready)).await;
        let pod = pods.iter().find(is_new).unwrap();
        world.api::<Pod>().evict(&pod.name_any(), &EvictParams::default()).await.unwrap();
        evicted.insert(pod.uid());
    }
    world.fails_with("p", "PodsDisrupted", "was evicted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_pod_of_a_sandbox_was_evicted() {
    let world = World::new("evicted-held").await;
    let pod = world.held(&template()).await;
    world.task("t", "s", json!([shell("a", "sleep 600")])).await;
    world.running("t").await;
    world.api::<Pod>().evict(&pod, &EvictParams::default()).await.unwrap();
    let task = world.finished("t").await;
    assert!(reason(&task) == "PodLost" && message(&task).contains("was evicted"), "{:?}", task.status);
    assert_eq!(status(&task).blame, Some(Blame::Infrastructure));
    let sandbox = world.sandbox_reason("s", "PodLost").await;
    assert!(ready_message(&sandbox).contains("was evicted"), "{}", ready_message(&sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_restart_policy_never_the_end_of_the_container_is_told_with_its_code() {
    let world = World::new("never").await;
    let mut never = template();
    never["spec"]["restartPolicy"] = json!("Never");
    // Inside its own pod a process with the id 1 dies of nothing that it does not handle.
    never["spec"]["containers"][0]["command"] = json!(["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 1; done"]);
    let pod = world.held(&never).await;
    world.task("t", "s", json!([shell("a", "sleep 600")])).await;
    world.running("t").await;
    world.look_into(&pod, "kill -TERM 1").await;
    let task = world.finished("t").await;
    let words = "container executor exited with code 3";
    assert!(message(&task).contains(words) && message(&task).contains("restartPolicy Never"), "{:?}", task.status);
    assert_eq!((reason(&task), status(&task).blame), ("PodLost", Some(Blame::Task)), "its own code ended it");
    let sandbox = world.phase("s", SandboxPhase::Released).await;
    assert!(ready_message(&sandbox).contains(words), "{}", ready_message(&sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_restart_policy_never_a_container_over_its_memory_limit_is_told_as_such() {
    let world = World::new("never-oom").await;
    let mut hungry = template();
    hungry["spec"]["restartPolicy"] = json!("Never");
    let executor = &mut hungry["spec"]["containers"][0];
    executor["resources"] = json!({"limits": {"memory": "32Mi"}});
    let eat = "a=0123456789; while :; do a=$a$a; done";
    let script = format!("while :; do if rm /workspace/eat 2>/dev/null; then {eat}; fi; sleep 0.2; done");
    executor["command"] = json!(["sh", "-c", script]);
    let pod = world.held(&hungry).await;
    world.task("t", "s", json!([shell("a", "sleep 600")])).await;
    world.running("t").await;
    world.look_into(&pod, "touch /workspace/eat").await;
    let task = world.finished("t").await;
    assert_eq!((reason(&task), status(&task).blame), ("OOMKilled", Some(Blame::Task)), "{:?}", task.status);
    let words = "container executor was killed for lack of memory";
    assert!(message(&task).contains(words), "{}", message(&task));
    let sandbox = world.phase("s", SandboxPhase::Released).await;
    assert!(ready_message(&sandbox).contains(words), "{}", ready_message(&sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_set_on_a_pod_does_not_change_where_steps_run() {
    let world = World::new("annotated").await;
    let mut two = template();
    two["spec"]["containers"].as_array_mut().unwrap().insert(0, container("helper", &["sleep", "2147483647"]));
    world.pool_of("p", 1, &two).await;
    world.pool_is_ready("p", 1).await;
    let annotate = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "helper"}}});
    let idle = world.pods("an idle pod", |pods| pods.len() == 1 && is_idle(&pods[0])).await;
    let _annotated: Pod = world.merge(&idle[0].name_any(), &annotate).await;
    world.sandbox("s", "p").await;
    let held = world.phase("s", SandboxPhase::Ready).await.status.unwrap();
    assert_eq!(held.pod_uid, idle[0].uid(), "the pod that was annotated");
    assert_eq!(world.output("before", "s", "ls -d /workspace").await, "/workspace\n", "only the executor has it");
    let _annotated: Pod = world.merge(&idle[0].name_any(), &annotate).await;
    assert_eq!(world.output("after", "s", "ls -d /workspace").await, "/workspace\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_name_is_as_long_as_names_may_be_has_its_event() {
    let world = World::new("long-names").await;
    world.held(&template()).await;
    for length in [236, 237, 253] {
        let name = "t".repeat(length);
        world.run(&name, "s", json!([shell("run", "true")])).await;
        let tells = |event: &Event| {
            let about = event.regarding.as_ref().and_then(|about| about.name.as_ref());
            about == Some(&name) && event.reason.as_deref() == Some("TaskSucceeded")
        };
        world.all("the Task's end has an Event", |events: &[Event]| events.iter().any(tells)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disruption_budgets_of_the_documentation_work_after_a_claim() {
    let world = World::new("budget").await;
    world.pool("python-pool", 2).await;
    world.sandbox("s", "python-pool").await;
    world.phase("s", SandboxPhase::Ready).await;
    world.pool_is_ready("python-pool", 2).await;
    let page = std::fs::read_to_string(crate::harness::setup::root().join("docs/operations.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let budgets: Vec<PodDisruptionBudget> = blocks
        .filter(|block| block.contains("kind: PodDisruptionBudget"))
        .map(|block| serde_saphyr::from_str(block).unwrap())
        .collect();
    assert_eq!(budgets.len(), 2);
    for budget in &budgets {
        world.api::<PodDisruptionBudget>().create(&PostParams::default(), budget).await.unwrap();
    }
    for (name, allowed) in [("idle-pods", 1), ("pods-in-use", 0)] {
        world
            .one(name, "it has been worked out", |b: &PodDisruptionBudget| {
                b.status.as_ref().is_some_and(|status| {
                    let fails = status.conditions.iter().flatten().any(|c| c.reason == "SyncFailed");
                    status.current_healthy > 0 && status.disruptions_allowed == allowed && !fails
                })
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_range_is_not_called_an_invalid_template_and_its_defaults_replace_no_pod() {
    let world = World::new("limit-range").await;
    let range = json!({"metadata": {"name": "range"}, "spec": {"limits": [{
        "type": "Container", "default": {"cpu": "200m"}, "defaultRequest": {"cpu": "10m"}, "max": {"cpu": "200m"},
    }]}});
    let range = serde_json::from_value::<LimitRange>(range).unwrap();
    world.api::<LimitRange>().create(&PostParams::default(), &range).await.unwrap();
    let mut large = template();
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
    world.pool_of("large", 1, &large).await;
    world.fails_with("large", "Refused", "maximum cpu usage per Container is 200m").await;

    let mut plain = template();
    plain["spec"]["containers"][0]["resources"] = json!({});
    world.pool_of("p", 1, &plain).await;
    world.pool_is_ready("p", 1).await;
    world.sandbox("s", "p").await;
    assert_eq!(world.output("t", "s", "echo fine").await, "fine\n");
}
