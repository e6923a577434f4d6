//! How fast the operator is, seen by a client: from sending the create request to the watch event that shows the end. Beside it,
//! in the same run and in turns, the bare API writes that nothing can do without: what counts is the ratio.
#![forbid(unsafe_code)]

mod audit;
mod bench;
mod claims;
mod cluster;
mod contestant;
mod fake;
mod figures;
mod files;
mod flags;
mod floor;
mod forks;
mod kubectl;
mod live;
mod once;
mod place;
mod process;
mod report;
mod results;
mod scale;
mod seen;
mod stats;
mod tasks;
mod together;

use std::{process::ExitCode, sync::Arc, time::Instant};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, config::Kubeconfig};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    audit::Audit,
    bench::Bench,
    cluster::{Cluster, client_of, from},
    fake::{Nodes, PODS_EACH},
    flags::{Flags, Row},
    floor::Floor,
    kubectl::Kubectl,
    place::Place,
    process::Operator,
    report::Report,
    results::Results,
};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::read()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("arl-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<()> {
    let began = Instant::now();
    let cluster = Cluster::connect(&flags.kubeconfig).await?;
    let kubernetes = cluster.version().await?;
    cluster.is_prepared().await?;
    if let Some(docs) = &flags.docs {
        report::has_markers(docs, flags.at_scale())?;
    }
    let real = cluster.namespace("arl-bench-").await?;
    let floor = match cluster.namespace("arl-bench-floor-").await {
        Ok(floor) => floor,
        Err(error) => {
            cluster.delete_namespace(&real).await;
            return Err(error);
        }
    };
    let report = on_nodes(&flags, &cluster, &real, &floor, kubernetes).await?;
    println!("{}", report.table());
    report.write(&flags)?;
    eprintln!("{:.0} s in all", began.elapsed().as_secs_f64());
    Ok(())
}

/// Measures on the nodes that are there, or on fake ones, and tidies up.
async fn on_nodes(flags: &Flags, cluster: &Cluster, real: &str, floor: &str, kubernetes: String) -> Result<Report> {
    let (nodes, report) = match Nodes::create(cluster.client.clone(), real, flags.fake_nodes).await {
        Ok(nodes) => (Some(nodes), in_namespaces(flags, cluster, real, floor, kubernetes).await),
        Err(error) => (None, Err(error)),
    };
    eprintln!("tidying up");
    tokio::join!(cluster.delete_namespace(real), cluster.delete_namespace(floor));
    // Without its node, a pod is not seen to be gone.
    if let Some(nodes) = nodes {
        nodes.delete().await;
    }
    report
}

/// Starts who serves, and measures until all is measured, something fails or somebody interrupts.
async fn in_namespaces(
    flags: &Flags,
    cluster: &Cluster,
    real: &str,
    floor: &str,
    kubernetes: String,
) -> Result<Report> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let floor_config: Kubeconfig = from(cluster.identity(floor).await?)?;
    let server = Floor::new(client_of(&floor_config).await?, floor).await?;
    let mut serving = tokio::spawn(server.serve());
    let mut operator = Operator::start(flags, &cluster.identity(real).await?, real)?;
    let bench = Bench {
        flags: flags.clone(),
        floor: Arc::new(Place::new(cluster.client.clone(), floor.to_owned())),
        real: Arc::new(Place::new(cluster.client.clone(), real.to_owned())),
        kubectl: Kubectl::new(flags, real),
        usage: operator.usage.clone(),
        audit: audit(flags, cluster, real),
        exec: !flags.no_exec && !flags.at_scale() && flags.wants_any(&IN_MODES) && has_modes(cluster).await?,
        free_pods: match flags.fake_nodes {
            0 => cluster.free_pods().await?,
            nodes => nodes * PODS_EACH,
        },
    };
    let measured = tokio::select! {
        results = Box::pin(measure(&bench)) => results,
        failed = &mut serving => Err(match failed {
            Ok(Err(error)) => error,
            other => anyhow!("the floor ended: {other:?}"),
        }),
        failed = operator.ended() => Err(failed),
        _ = terminate.recv() => Err(anyhow!("ended by SIGTERM")),
        _ = interrupt.recv() => Err(anyhow!("interrupted")),
    };
    let memory_mb = bench.usage.memory_mb();
    operator.stop().await;
    serving.abort();
    Ok(Report {
        results: measured?,
        memory_mb: memory_mb?,
        kubernetes,
        quick: flags.quick,
        at_scale: flags.at_scale(),
        exec: bench.exec,
    })
}

/// What is measured in Exec mode too.
const IN_MODES: [Row; 5] = [Row::Claims, Row::Bursts, Row::Tasks, Row::Parallel, Row::Queued];
/// What is measured in Sandboxes that are there.
const IN_SANDBOXES: [Row; 5] = [Row::Tasks, Row::Parallel, Row::Queued, Row::Live, Row::Files];

async fn measure(bench: &Bench) -> Result<Results> {
    let (mut results, flags) = (Results::default(), &bench.flags);
    bench.create_pools().await?;
    if flags.wants(Row::Claims) {
        claims::one_at_a_time(bench, &mut results).await.context("claims, one at a time")?;
    }
    if flags.wants(Row::BackToBack) {
        claims::back_to_back(bench, &mut results).await.context("claims back to back")?;
    }
    if flags.wants(Row::Bursts) || flags.wants_any(&IN_SANDBOXES) {
        in_sandboxes(bench, &mut results).await?;
    }
    if flags.wants(Row::Once) {
        once::commands(bench, &mut results).await.context("a command in a Sandbox of its own")?;
    }
    if flags.wants(Row::Together) {
        together::sandbox_and_task(bench, &mut results).await.context("Sandbox and Task")?;
    }
    if flags.wants(Row::Waiting) {
        scale::waiting(bench, &mut results).await.context("Sandboxes that wait")?;
    }
    if flags.wants(Row::Rates) {
        scale::rates(bench, &mut results).await.context("claims at a rate")?;
    }
    if flags.wants(Row::Idle) {
        scale::idle(bench, &mut results).await.context("idle pods")?;
    }
    if flags.wants(Row::Forks) {
        forks::copies(bench, &mut results).await.context("forks")?;
    }
    Ok(results)
}

/// The bursts, and what is measured in the Sandboxes that the last of them leaves.
async fn in_sandboxes(bench: &Bench, results: &mut Results) -> Result<()> {
    let flags = &bench.flags;
    let kept = if flags.wants(Row::Bursts) {
        let (at_first, _) = bench.usage.memory_mb()?;
        claims::bursts(bench, results, at_first).await.context("claims at once")?
    } else {
        claims::keep(bench).await?
    };
    if flags.wants(Row::Tasks) {
        tasks::one_at_a_time(bench, results, &kept).await.context("Tasks, one at a time")?;
    }
    if flags.wants(Row::Parallel) {
        tasks::in_parallel(bench, results, &kept).await.context("Tasks in parallel")?;
    }
    if flags.wants(Row::Queued) {
        tasks::queued(bench, results, &kept).await.context("queued Tasks")?;
    }
    if flags.wants(Row::Live) {
        live::commands(bench, results, &kept).await.context("commands")?;
    }
    if flags.wants(Row::Files) {
        files::up_and_down(bench, results, &kept).await.context("files")?;
    }
    kept.release(bench).await
}

fn audit(flags: &Flags, cluster: &Cluster, ns: &str) -> Option<Audit> {
    if flags.no_audit {
        return None;
    }
    if !flags.audit_log.exists() {
        eprintln!("{} does not exist: API writes are not counted", flags.audit_log.display());
        return None;
    }
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), ns);
    Some(Audit::new(flags.audit_log.clone(), api))
}

async fn has_modes(cluster: &Cluster) -> Result<bool> {
    let has = cluster.has_modes().await?;
    if !has {
        eprintln!("the cluster's WarmPool has no spec.executor.mode: only the default is measured");
    }
    Ok(has)
}
