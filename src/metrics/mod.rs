//! What an operator counts. Everything is in one [`Metrics`], handed to those who count, so that operators that share a process
//! share no numbers. What can be computed from the caches is not counted here but computed when it is asked for, by the collector.
//!
//! docs/metrics.md is made from the [`Catalogue`].

mod families;
mod process;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

pub use families::{Catalogue, Counters, Entry, Exemplar, Exemplary, Gauges, Histograms};
pub use process::Process;

use crate::object::Key;

/// The type of the exposition; Prometheus 3 refuses an answer without the right one.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a lookup in a cache to a call that takes as long as calls may.
const SHORT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// What a person or a program waits for.
const WAIT: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// What users' commands take.
const RUN: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];

/// The metrics that are counted where something happens.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each has its help text below, which is what docs/metrics.md shows")]
pub struct Metrics {
    pub build_info: Gauges<3>,
    pub leads: Gauges<1>,
    pub crd_outdated: Gauges<1>,
    pub reconciles: Counters<2>,
    pub reconcile_errors: Counters<1>,
    pub reconcile_panics: Counters<1>,
    pub reconcile_seconds: Histograms<1>,
    pub active_workers: Gauges<1>,
    pub max_workers: Gauges<1>,
    pub queue_adds: Counters<1>,
    pub queue_retries: Counters<1>,
    pub queue_seconds: Histograms<1>,
    pub queue_work_seconds: Histograms<1>,
    pub requests: Counters<3>,
    pub request_seconds: Histograms<2>,
    pub pod_ready_seconds: Histograms<2>,
    pub pod_replacements: Counters<3>,
    pub claims: Counters<3>,
    pub claim_conflicts: Counters<2>,
    pub claim_seconds: Exemplary<3>,
    pub tasks_finished: Counters<2>,
    pub task_queue_seconds: Histograms<1>,
    pub task_seconds: Exemplary<1>,
    pub step_seconds: Histograms<2>,
    pub run_streams: Counters<1>,
    pub open_streams: Gauge,
    pub runs_reattached: Counter,
    pub output_bytes: Counters<1>,
    pub output_truncated: Counters<1>,
    pub status_shrunk: Counter,
}

impl Metrics {
    /// All of them, at nothing, added to a catalogue.
    pub fn new(catalogue: &mut Catalogue) -> Arc<Self> {
        let c = catalogue;
        Arc::new(Self {
            build_info: c.gauges("arl_build_info", &["version", "revision", "rustc"], "1, for the operator that runs"),
            leads: c.gauges("leader_election_master_status", &["name"], "1 while this operator holds the Lease of that name, else 0; absent without leader election"),
            crd_outdated: c.gauges("arl_crd_schema_outdated", &["kind"], "1 if the cluster's CustomResourceDefinition of this kind lacks fields that the operator writes or reads, or is not there; looked at until it has all"),
            reconciles: c.counters("controller_runtime_reconcile_total", &["controller", "result"], "Objects looked after, by what came of it: success, requeue_after or error"),
            reconcile_errors: c.counters("controller_runtime_reconcile_errors_total", &["controller"], "Times that looking after an object failed because the API did; it is tried again"),
            reconcile_panics: c.counters("controller_runtime_reconcile_panics_total", &["controller"], "Times that looking after an object panicked: each is a bug"),
            reconcile_seconds: c.histograms("controller_runtime_reconcile_time_seconds", &["controller"], SHORT, "How long looking after an object took, in seconds"),
            active_workers: c.gauges("controller_runtime_active_workers", &["controller"], "Workers that look after an object now"),
            max_workers: c.gauges("controller_runtime_max_concurrent_reconciles", &["controller"], "Workers there are; 0 while standing by"),
            queue_adds: c.counters("workqueue_adds_total", &["name"], "Keys put into the queue"),
            queue_retries: c.counters("workqueue_retries_total", &["name"], "Keys put into the queue again after a failure"),
            queue_seconds: c.histograms("workqueue_queue_duration_seconds", &["name"], SHORT, "How long keys waited in the queue, in seconds"),
            queue_work_seconds: c.histograms("workqueue_work_duration_seconds", &["name"], SHORT, "How long keys were worked on, in seconds"),
            requests: c.counters("rest_client_requests_total", &["code", "method", "host"], "Requests to the API server, by the answer's HTTP status, or <error> where there was none"),
            request_seconds: c.histograms("rest_client_request_duration_seconds", &["verb", "host"], SHORT, "How long the API server took to begin its answer, in seconds; verb is the HTTP method"),
            pod_ready_seconds: c.histograms("arl_warmpool_pod_ready_seconds", &["namespace", "warmpool"], WAIT, "From the creation of a pool's pod until it was Ready, in seconds; the API keeps whole seconds"),
            pod_replacements: c.counters("arl_warmpool_pod_replacements_total", &["namespace", "warmpool", "reason"], "Idle pods deleted so that another takes their place: ended (failed, evicted or finished), outdated (of an earlier template, or kept from starting by an earlier agent image) or relabelled (from outside)"),
            claims: c.counters("arl_sandbox_claims_total", &["namespace", "warmpool", "result"], "Sandboxes that got a pod: warm (at once) or waited; refused: the API server refused the claim, which is tried again"),
            claim_conflicts: c.counters("arl_claim_conflicts_total", &["namespace", "warmpool"], "Claims of a pod that had changed meanwhile; another is claimed"),
            claim_seconds: c.exemplary("arl_sandbox_claim_seconds", &["namespace", "warmpool", "result"], WAIT, "From the creation of a Sandbox until it had its pod, in seconds"),
            tasks_finished: c.counters("arl_tasks_finished_total", &["namespace", "reason"], "Tasks that ended, by the reason on their conditions"),
            task_queue_seconds: c.histograms("arl_task_queue_seconds", &["namespace"], WAIT, "From the creation of a Task until its first step was started, in seconds"),
            task_seconds: c.exemplary("arl_task_seconds", &["namespace"], RUN, "From the start of a Task's first step until its end, in seconds"),
            step_seconds: c.histograms("arl_step_seconds", &["namespace", "type"], RUN, "How long steps took, in seconds, by their type"),
            run_streams: c.counters("arl_run_streams_total", &["result"], "Streams to agents in pods: opened, broken (tried again), unfit (what answers is not the agent, not in order, or says more than it was asked for; tried again) or gone (for good)"),
            open_streams: c.single("arl_run_streams_open", "Streams to agents in pods that are open now"),
            runs_reattached: c.single("arl_run_reattached_total", "Runs on record as started that this operator follows again"),
            output_bytes: c.counters("arl_output_bytes_total", &["stream"], "Bytes that steps printed, those that were not kept included, by stream: stdout or stderr"),
            output_truncated: c.counters("arl_output_truncated_total", &["stream"], "Outputs of steps of which only the beginning and the end were kept: stdout or stderr; and Tasks whose message was cut, since what the pod says of their end was too long: message"),
            status_shrunk: c.single("arl_status_shrunk_total", "Results of Tasks that the API server called too large and that were shortened"),
        })
    }

    /// Metrics that nobody can ask for.
    pub fn unread() -> Arc<Self> {
        Self::new(&mut Catalogue::default())
    }

    /// The pool is gone: what was counted of it goes with it, or names that are never used again would pile up.
    pub fn forget_pool(&self, pool: &Key) {
        let of = [pool.namespace.as_str(), pool.name.as_str()];
        self.pod_ready_seconds.forget(&of);
        self.pod_replacements.forget(&of);
        self.claims.forget(&of);
        self.claim_conflicts.forget(&of);
        self.claim_seconds.forget(&of);
    }

    /// Nothing of ours is left in the namespace.
    pub fn forget_namespace(&self, namespace: &str) {
        let of = [namespace];
        self.tasks_finished.forget(&of);
        self.task_queue_seconds.forget(&of);
        self.task_seconds.forget(&of);
        self.step_seconds.forget(&of);
    }

    /// Says which build this is.
    pub fn set_build(&self) {
        let revision = option_env!("ARL_REVISION").unwrap_or("unknown");
        self.build_info.with([env!("CARGO_PKG_VERSION"), revision, env!("ARL_RUSTC")]).set(1);
    }
}

/// How long it was from `start` to `end`, in seconds; 0 where clocks disagree.
pub fn seconds(start: Timestamp, end: Timestamp) -> f64 {
    Duration::try_from(end.duration_since(start)).unwrap_or_default().as_secs_f64()
}

/// Where to look for what took so long: the trace of that id.
pub fn exemplar(trace: String) -> Exemplar {
    [("trace_id", trace)]
}
