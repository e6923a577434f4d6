//! Flags and start-up only; [`arl_operator`] says how the operator works.

use std::{process::ExitCode, sync::Arc};

use arl_operator::{
    clock::Clock,
    collector::Objects,
    connect, definitions,
    effects::{self, Effects, EventSink},
    endpoints,
    flags::Flags,
    leader::{Candidate, Lost, Terms},
    logs,
    metrics::{Catalogue, Metrics, Process},
    open_files,
    operator::{self, Common, Scope, Stage},
    queue::InFlight,
    runs::Bounds,
    traces::{Exporter, InvalidSetting, Settings, Traces, Variables},
};
use clap::Parser;
use futures::FutureExt;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinSet},
};

/// On one thread, as in simulation: a Task is handed on a dozen times, which costs more where another thread has to be woken for it,
/// and takes the processor for a millisecond, a tenth of what the API server needs for it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("arl-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Box<dyn std::error::Error>> {
    logs::start(&flags.log_level, flags.log_format)?;
    open_files::raise();
    let terms = Terms::of(&flags)?;
    let traces = export_traces(&flags)?;
    let mut catalogue = Catalogue::default();
    let metrics = Metrics::new(&mut catalogue);
    metrics.set_build();
    let scrapes = endpoints::listen("--metrics-bind-address", &flags.metrics_bind_address).await?;
    let probes = endpoints::listen("--health-probe-bind-address", &flags.health_probe_bind_address).await?;
    let client = connect(&flags, &metrics).await?;
    let clock = Clock::system();
    let events = EventSink::new();
    tokio::spawn(definitions::compare(client.clone(), Arc::clone(&metrics)));
    let mut services = JoinSet::new();
    services.spawn(effects::publish(client.clone(), flags.pod_name.clone(), events.clone(), clock.clone()));
    let namespaces: Vec<Option<String>> = match flags.watch_namespaces.as_slice() {
        [] => vec![None],
        named => named.iter().cloned().map(Some).collect(),
    };
    let (claims, bounds) = (InFlight::default(), Bounds::default());
    let runner = operator::pod_runner(&client, &clock, events.clone(), &metrics, &claims);
    let scope = |namespace| Scope::new(namespace, &clock, &runner, &metrics, &claims, &bounds);
    let scopes: Vec<_> = namespaces.into_iter().map(scope).collect();
    catalogue.add_collector(Objects::ENTRIES, Objects::new(scopes.clone()));
    catalogue.add_collector(Process::ENTRIES, Process);
    if let Some(listener) = scrapes {
        services.spawn(endpoints::metrics(listener, catalogue));
    }
    if let Some(listener) = probes {
        services.spawn(endpoints::probes(listener, scopes.clone()));
    }
    let election = terms.map(|terms| {
        let effects = Effects::new(client.clone(), events.clone());
        let leads = metrics.leads.with([&terms.lease.name]);
        Candidate::new(terms, effects, clock.clone(), leads)
    });
    let stage = watch::Sender::new(if election.is_some() { Stage::StandBy } else { Stage::Lead });
    let common =
        Common { client, flags, clock, events, metrics, traces, permits: Arc::default(), stage: stage.subscribe() };
    let mut working = JoinSet::new();
    for scope in &scopes {
        working.spawn(Arc::clone(scope).run(common.clone()));
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    serve(&scopes, election, &stage, working, services).await
}

/// Where spans go: to the collector that was named, or nowhere.
fn export_traces(flags: &Flags) -> Result<Traces, InvalidSetting> {
    let Some(settings) = Settings::read(flags.otlp_endpoint.as_deref(), Variables::of_process())? else {
        return Ok(Traces::default());
    };
    for name in &settings.unheeded {
        tracing::warn!(name, "the operator does not heed this variable of OpenTelemetry");
    }
    let (traces, waiting) = Traces::new(settings.sampler);
    tokio::spawn(Exporter::new(&settings)?.export(waiting));
    Ok(traces)
}

fn why(ended: Result<(), JoinError>) -> String {
    ended.map_or_else(|error| error.to_string(), |()| "a part of the operator has ended by itself".to_owned())
}

/// Until a signal comes or the Lease is lost. The Lease is given up once nothing works any more.
async fn serve(
    scopes: &[Arc<Scope>],
    mut election: Option<Candidate>,
    stage: &watch::Sender<Stage>,
    mut working: JoinSet<()>,
    mut services: JoinSet<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut end = Ok(());
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        // Neither ends by itself: whatever is left would work on what is no longer told.
        Some(ended) = working.join_next() => return Err(why(ended).into()),
        Some(ended) = services.join_next() => return Err(why(ended).into()),
        lost = lead(scopes, election.as_mut(), stage) => end = Err(lost.into()),
    }
    stage.send_replace(Stage::Stop);
    while working.join_next().await.is_some() {}
    if let Some(candidate) = election.filter(|_| end.is_ok()) {
        candidate.resign().await;
    }
    end
}

/// Stands for election once the caches of some scope are complete: nobody shall hold the Lease who cannot work, and one
/// namespace that is gone shall not stop the work in the others.
async fn lead(scopes: &[Arc<Scope>], election: Option<&mut Candidate>, stage: &watch::Sender<Stage>) -> Lost {
    let Some(candidate) = election else { return std::future::pending().await };
    futures::future::select_all(scopes.iter().map(|scope| scope.synced().boxed())).await;
    candidate.win().await;
    stage.send_replace(Stage::Lead);
    candidate.lead().await
}

async fn connect(flags: &Flags, metrics: &Arc<Metrics>) -> Result<Client, Box<dyn std::error::Error>> {
    let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    let config = match &flags.kubeconfig {
        Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        None if flags.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    Ok(connect::client(config, metrics)?)
}
