//! The metrics of what caches, queues and runs hold now, computed when they are asked for: nothing can be forgotten to be counted
//! down. What is counted where it happens is in [`crate::metrics`].

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arl_crds::{
    SandboxPhase,
    condition::{self, SCALING_LIMITED},
    reason::{SandboxReason, WarmPoolReason},
};
use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::{
    cache::{PoolDemand, Row, SandboxRow, Tables},
    metrics::{Catalogue, Entry, Metrics, Process},
    object::Key,
    operator::Scope,
    pod::Pod,
    warmpool,
};

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, kind: "gauge", labels, help }
}

const DEPTH: Entry = gauge("workqueue_depth", &["name"], "Keys that wait in the queue");
const UNFINISHED: Entry = gauge(
    "workqueue_unfinished_work_seconds",
    &["name"],
    "How long the keys now worked on have been so, together, in seconds",
);
const LONGEST: Entry = gauge(
    "workqueue_longest_running_processor_seconds",
    &["name"],
    "How long the key longest worked on has been so, in seconds",
);
const PODS: Entry = gauge(
    "arl_warmpool_pods",
    &["namespace", "warmpool", "state"],
    "Pods of a pool: pending, ready (idle, can be claimed), allocated or failing (idle, ended or kept from starting)",
);
const DESIRED: Entry = gauge(
    "arl_warmpool_desired_pods",
    &["namespace", "warmpool"],
    "Idle pods that a pool is to keep: spec.replicas, or with spec.scaling what is wanted now",
);
const LIMITED: Entry = gauge(
    "arl_warmpool_scaling_limited",
    &["namespace", "warmpool", "reason"],
    "1 while a pool with spec.scaling is kept from having the pods that are wanted: AtMaxReplicas, AtMaxPods or GrowthHeld",
);
const SANDBOXES: Entry = gauge("arl_sandboxes", &["namespace", "phase"], "Sandboxes by phase");
const WAITING: Entry = gauge(
    "arl_sandboxes_waiting",
    &["namespace", "warmpool", "reason"],
    "Sandboxes that have no pod yet, by why; warmpool is empty where the pool does not exist",
);
const ORPHANED: Entry = gauge(
    "arl_orphaned_pods",
    &["namespace"],
    "Pods labelled as a pool's that nothing controls, such as those that a deletion with --cascade=orphan left, or that are neither idle nor a \
     Sandbox's: nobody deletes them",
);
const LIVE: Entry = gauge(
    "arl_sandboxes_live",
    &["namespace"],
    "Sandboxes with live processes or clients, which keep them from being idle, as the agents in their pods say",
);
const TASKS: Entry = gauge("arl_tasks", &["namespace", "state"], "Tasks by state");
const FAILING: Entry = gauge(
    "arl_watch_failing_seconds",
    &["namespace", "kind"],
    "How long the watch of a kind has failed, in seconds, while it does: what the operator knows of that kind may be old; namespace is empty \
     where all are watched",
);
const RUNS: Entry = gauge("arl_runs_active", &[], "Tasks whose steps this operator runs or follows now");

/// Every metric of an operator that looks after nothing: what docs/metrics.md describes.
pub fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    Metrics::new(&mut catalogue);
    catalogue.add_collector(Objects::ENTRIES, Objects::new(Vec::new()));
    catalogue.add_collector(Process::ENTRIES, Process);
    catalogue
}

/// Values by the values of the labels.
type Series = BTreeMap<Vec<String>, f64>;

/// The scopes of an operator, to be looked at.
pub struct Objects(Vec<Arc<Scope>>);

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Objects of {} scopes", self.0.len())
    }
}

impl Objects {
    /// What it tells.
    pub const ENTRIES: &'static [Entry] =
        &[DEPTH, UNFINISHED, LONGEST, PODS, DESIRED, LIMITED, SANDBOXES, WAITING, LIVE, TASKS, ORPHANED, FAILING, RUNS];

    /// Looks at these scopes.
    pub fn new(scopes: Vec<Arc<Scope>>) -> Self {
        Self(scopes)
    }

    fn queues(&self) -> [Series; 3] {
        let mut found = [Series::new(), Series::new(), Series::new()];
        for (name, queue) in self.0.iter().flat_map(|scope| scope.queues().named()) {
            let (name, look) = (vec![name.to_owned()], queue.stats());
            *found[0].entry(name.clone()).or_default() += count(look.depth);
            *found[1].entry(name.clone()).or_default() += look.unfinished.as_secs_f64();
            let longest = found[2].entry(name).or_default();
            *longest = longest.max(look.longest.as_secs_f64());
        }
        found
    }

    fn live(&self) -> Series {
        let namespaces = self.0.iter().flat_map(|scope| scope.runs().live_sandboxes());
        namespaces.map(|(namespace, number)| (vec![namespace], count(number))).collect()
    }

    fn failing(&self) -> Series {
        let of_scope = |scope: &Arc<Scope>| {
            let namespace = scope.namespace().unwrap_or_default().to_owned();
            let outages = scope.cache().outages.lasting(Duration::ZERO).into_iter();
            outages.map(move |(kind, time, _)| (vec![namespace.clone(), kind], time.as_secs_f64())).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_scope).collect()
    }

    fn runs(&self) -> Series {
        let active: usize = self.0.iter().map(|scope| scope.runs().active()).sum();
        Series::from([(Vec::new(), count(active))])
    }
}

/// Counts of objects are far below the 2^52 that a number of a metric can hold exactly.
#[allow(clippy::cast_precision_loss)]
fn count(n: usize) -> f64 {
    n as f64
}

fn add(series: &mut Series, labels: &[&str]) {
    *series.entry(labels.iter().map(|label| (*label).to_owned()).collect()).or_default() += 1.0;
}

/// What is in the tables: pods, those wanted, pools at a limit, Sandboxes, those that wait, Tasks, pods that are nobody's.
fn of(tables: &Tables, now: Timestamp) -> [Series; 7] {
    let [mut pods, mut desired, mut limited, mut sandboxes, mut waiting, mut tasks, mut orphaned] =
        <[Series; 7]>::default();
    for Key { namespace, name } in tables.pools.keys() {
        for state in ["pending", "ready", "allocated", "failing"] {
            pods.insert([namespace, name, state].map(Into::into).to_vec(), 0.0);
        }
    }
    for pool in tables.pools.rows() {
        let Key { namespace, name } = pool.key();
        let status = pool.status.as_ref().filter(|_| pool.spec.scaling.is_some());
        let wanted = status.and_then(|status| status.wanted).unwrap_or(pool.spec.replicas);
        if let Some(limit) = status.and_then(|s| condition::find_true(&s.conditions, SCALING_LIMITED)) {
            let known = WarmPoolReason::parse(&limit.reason).map(WarmPoolReason::as_str);
            limited.extend(known.map(|reason| (vec![namespace.clone(), name.clone(), reason.to_owned()], 1.0)));
        }
        desired.insert(vec![namespace, name], f64::from(wanted));
    }
    for (pool, pod) in tables.pods.rows().filter_map(|pod| Some((pod.pool()?, pod))) {
        let start = tables.demand.get(&pool).map(PoolDemand::start).unwrap_or_default();
        // Labels are for anybody to write, and each name that is counted is a series.
        if let (Some(_), Some(state)) = (tables.pools.get(&pool), state(pod, start, now)) {
            add(&mut pods, &[&pool.namespace, &pool.name, state]);
        }
        if pod.is_orphaned() {
            add(&mut orphaned, &[&pool.namespace]);
        }
    }
    for row in tables.sandboxes.rows() {
        let namespace = row.key().namespace;
        let phase = row.sandbox.status.as_ref().and_then(|s| s.phase).unwrap_or(SandboxPhase::Pending);
        add(&mut sandboxes, &[&namespace, &format!("{phase:?}")]);
        if row.is_waiting() {
            let pool = row.pool();
            let known = tables.pools.get(&pool).map_or("", |_| &pool.name);
            add(&mut waiting, &[&namespace, known, why_waiting(row)]);
        }
    }
    for row in tables.tasks.rows() {
        add(&mut tasks, &[&row.key().namespace, &format!("{:?}", row.state())]);
    }
    [pods, desired, limited, sandboxes, waiting, tasks, orphaned]
}

fn state(pod: &Pod, start: Duration, now: Timestamp) -> Option<&'static str> {
    match () {
        () if pod.is_deleting() => None,
        () if !pod.is_idle() => pod.is_held().then_some("allocated"),
        () if warmpool::is_failing(pod, start, now) => Some("failing"),
        () if pod.is_ready() => Some("ready"),
        () => Some("pending"),
    }
}

fn why_waiting(row: &SandboxRow) -> &'static str {
    let recorded = row.sandbox.status.as_ref().and_then(|s| s.conditions.first()).map(|c| c.reason.as_str());
    let known = SandboxReason::ALL.iter().find(|reason| Some(reason.as_str()) == recorded);
    known.map_or(SandboxReason::Claiming.as_str(), |reason| reason.as_str())
}

fn encode(encoder: &mut DescriptorEncoder<'_>, entry: Entry, series: &Series) -> Result<(), std::fmt::Error> {
    if series.is_empty() {
        return Ok(());
    }
    let mut gauge = encoder.encode_descriptor(entry.name, entry.help, None, MetricType::Gauge)?;
    for (values, value) in series {
        let labels: Vec<_> = entry.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
        if labels.is_empty() {
            gauge.encode_gauge(value)?;
        } else {
            ConstGauge::new(*value).encode(gauge.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (entry, series) in [DEPTH, UNFINISHED, LONGEST].into_iter().zip(self.queues()) {
            encode(&mut encoder, entry, &series)?;
        }
        // No namespace is in two scopes, so that the parts only have to be put together.
        let mut all = <[Series; 7]>::default();
        for scope in &self.0 {
            for (all, part) in all.iter_mut().zip(of(&scope.cache().read(), scope.now())) {
                all.extend(part);
            }
        }
        for (entry, series) in [PODS, DESIRED, LIMITED, SANDBOXES, WAITING, TASKS, ORPHANED].into_iter().zip(all) {
            encode(&mut encoder, entry, &series)?;
        }
        encode(&mut encoder, LIVE, &self.live())?;
        encode(&mut encoder, FAILING, &self.failing())?;
        encode(&mut encoder, RUNS, &self.runs())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_labelled_as_a_sandboxs_and_is_none_is_counted_as_nobodys() {
        let mut tables = Tables::default();
        let pool = json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"replicas": 1, "template": {"spec": {}}},
        });
        tables.pools.apply(serde_json::from_value(pool).unwrap());
        for (name, state, owner, phase) in [
            ("held", "allocated", "Sandbox", "Running"),
            ("ended", "allocated", "Sandbox", "Failed"),
            ("relabelled", "allocated", "WarmPool", "Running"),
            ("misspelt", "alocated", "WarmPool", "Running"),
            ("idle", "ready", "WarmPool", "Running"),
        ] {
            let labels = json!({"arl.infra.io/warmpool": "p", "arl.infra.io/pod-state": state});
            let owner = json!([{"apiVersion": "a/v1", "kind": owner, "name": "o", "uid": "o", "controller": true}]);
            let metadata = json!({"name": name, "namespace": "ns", "labels": labels, "ownerReferences": owner});
            tables
                .pods
                .apply(serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap());
        }
        let [pods, .., orphaned] = of(&tables, Timestamp::UNIX_EPOCH);
        let of_state = |state: &str| pods[&["ns", "p", state].map(Into::into).to_vec()];
        assert_eq!((of_state("allocated"), of_state("pending")), (1.0, 1.0), "{pods:?}");
        assert_eq!(tables.held(&Key::new("ns", "p")), 1, "the status says the same");
        assert_eq!(orphaned.get(&vec!["ns".to_owned()]).copied(), Some(2.0));
    }

    #[test]
    fn a_label_that_names_no_pool_adds_no_series() {
        let mut tables = Tables::default();
        let pool = json!({
            "apiVersion": "arl.infra.io/v1alpha1", "kind": "WarmPool", "metadata": {"name": "p", "namespace": "ns"},
            "spec": {"replicas": 1, "template": {"spec": {}}},
        });
        tables.pools.apply(serde_json::from_value(pool).unwrap());
        for (namespace, name, pool) in [("ns", "a", "p"), ("ns", "b", "made-up"), ("other", "c", "p")] {
            let labels = json!({"arl.infra.io/warmpool": pool, "arl.infra.io/pod-state": "ready"});
            let pod = json!({"metadata": {"name": name, "namespace": namespace, "labels": labels}});
            tables.pods.apply(serde_json::from_value(pod).unwrap());
        }
        let [pods, .., orphaned] = of(&tables, Timestamp::UNIX_EPOCH);
        let counted: Vec<_> = pods.iter().map(|(labels, value)| (labels.join("/"), *value)).collect();
        let of_namespace = |namespace: &str| orphaned.get(&vec![namespace.to_owned()]).copied();
        assert_eq!((of_namespace("ns"), of_namespace("other")), (Some(2.0), Some(1.0)), "nothing controls them");
        let state = |state: &str, value| (format!("ns/p/{state}"), value);
        assert_eq!(
            counted,
            [state("allocated", 0.0), state("failing", 0.0), state("pending", 1.0), state("ready", 0.0)]
        );
    }
}
