//! What a running operator tells of itself.

use std::collections::BTreeSet;

use arl_crds::{TaskState, WarmPool};
use arl_operator::collector::catalogue;
use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::json;

use crate::harness::World;
use crate::harness::make::shell;
use crate::harness::operator::{METRICS, PROBES};
use crate::harness::wait::state;

#[path = "../metrics/exposition.rs"]
pub mod exposition;

/// What is shown only once something went wrong, or where several operators run.
const RARE: [&str; 9] = [
    "arl_claim_conflicts_total",
    "arl_orphaned_pods",
    "arl_output_truncated_total",
    "arl_sandboxes_live",
    "arl_sandboxes_waiting",
    "arl_warmpool_pod_replacements_total",
    "arl_warmpool_scaling_limited",
    "arl_watch_failing_seconds",
    "leader_election_master_status",
];

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_answer() {
    let world = World::new("metrics").await;
    world.pool("p", 1).await;
    world.pool_is_ready("p", 1).await;
    world.sandbox("s", "p").await;
    let task = world.run("t", "s", json!([shell("a", "true"), shell("b", "false")])).await;
    assert_eq!(state(&task), Some(TaskState::Failed));
    world.pool_is_ready("p", 1).await;

    let operator = world.operator();
    for (path, code) in [("/healthz", 200), ("/livez", 200), ("/readyz", 200), ("/", 404)] {
        assert_eq!(operator.get(PROBES, path).await.code, code, "{path}");
    }
    assert_eq!(operator.get(METRICS, "/healthz").await.code, 404, "each has its own address");

    let ns = &world.ns;
    let expected = [
        format!("arl_warmpool_pods{{namespace=\"{ns}\",warmpool=\"p\",state=\"ready\"}} 1.0"),
        format!("arl_warmpool_pods{{namespace=\"{ns}\",warmpool=\"p\",state=\"allocated\"}} 1.0"),
        format!("arl_warmpool_pods{{namespace=\"{ns}\",warmpool=\"p\",state=\"failing\"}} 0.0"),
        format!("arl_warmpool_desired_pods{{namespace=\"{ns}\",warmpool=\"p\"}} 1.0"),
        format!("arl_warmpool_pod_ready_seconds_count{{namespace=\"{ns}\",warmpool=\"p\"}} 2"),
        format!("arl_sandboxes{{namespace=\"{ns}\",phase=\"Ready\"}} 1.0"),
        format!("arl_sandbox_claims_total{{namespace=\"{ns}\",warmpool=\"p\",result=\"warm\"}} 1"),
        format!("arl_sandbox_claim_seconds_count{{namespace=\"{ns}\",warmpool=\"p\",result=\"warm\"}} 1"),
        format!("arl_tasks{{namespace=\"{ns}\",state=\"Failed\"}} 1.0"),
        format!("arl_tasks_finished_total{{namespace=\"{ns}\",reason=\"StepFailed\"}} 1"),
        format!("arl_task_queue_seconds_count{{namespace=\"{ns}\"}} 1"),
        format!("arl_task_seconds_count{{namespace=\"{ns}\"}} 1"),
        format!("arl_step_seconds_count{{namespace=\"{ns}\",type=\"Command\"}} 2"),
        "arl_crd_schema_outdated{kind=\"WarmPool\"} 0".to_owned(),
        "arl_crd_schema_outdated{kind=\"Sandbox\"} 0".to_owned(),
        "arl_crd_schema_outdated{kind=\"Task\"} 0".to_owned(),
        "arl_runs_active 0.0".to_owned(),
        "arl_run_reattached_total 0".to_owned(),
        "arl_run_streams_total{result=\"opened\"} 1".to_owned(),
        "controller_runtime_max_concurrent_reconciles{controller=\"task\"} 20".to_owned(),
        "controller_runtime_reconcile_panics_total{controller=\"task\"} 0".to_owned(),
        "workqueue_depth{name=\"sandbox\"} 0.0".to_owned(),
    ];
    let lines: Vec<_> = expected.iter().map(String::as_str).collect();
    let text = operator.metrics_with(&lines).await;
    assert_eq!(exposition::faults(&text), Vec::<String>::new());
    let shown: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let is_missing = |name: &&str| !shown.contains(name.strip_suffix("_total").unwrap_or(name));
    let missing: Vec<_> = catalogue().entries().iter().map(|e| e.name).filter(is_missing).collect();
    assert!(missing.iter().all(|name| RARE.contains(name)), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_a_deletion_leaves_without_an_owner_are_counted() {
    let world = World::new("orphans").await;
    world.pool("p", 2).await;
    world.pool_is_ready("p", 2).await;
    let orphan = DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    world.api::<WarmPool>().delete("p", &orphan).await.unwrap();
    world.gone::<WarmPool>("p").await;
    let line = |count: usize| format!("arl_orphaned_pods{{namespace=\"{}\"}} {count}.0", world.ns);
    world.operator().metrics_with(&[&line(2)]).await;
    let pods = world.pods("nobody deletes them", |pods| pods.len() == 2).await;
    world.delete::<k8s_openapi::api::core::v1::Pod>(&kube::ResourceExt::name_any(&pods[0])).await;
    world.operator().metrics_with(&[&line(1)]).await;
}
