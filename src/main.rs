//! Flags and start-up only; [`arl_operator`] says how the operator works.

use std::{io::IsTerminal, process::ExitCode, sync::Arc};

use arl_operator::{
    clock::Clock,
    effects::{self, EventSink},
    flags::{Flags, LogFormat},
    operator,
    runs::{Exec, Runner},
};
use clap::Parser;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The longest a connection to the API server may be silent.
const SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(330);

#[tokio::main]
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
    start_logging(&flags)?;
    let client = connect(&flags).await?;
    let clock = Clock::system();
    let (events, waiting) = EventSink::new();
    let mut scopes = JoinSet::new();
    scopes.spawn(effects::publish(client.clone(), flags.pod_name.clone(), waiting));
    let namespaces: Vec<Option<String>> = match flags.watch_namespaces.as_slice() {
        [] => vec![None],
        named => named.iter().cloned().map(Some).collect(),
    };
    let runner: Arc<dyn Runner> = Arc::new(Exec::new(client.clone(), clock.clone()));
    for namespace in namespaces {
        let (flags, clock, runner) = (flags.clone(), clock.clone(), Arc::clone(&runner));
        scopes.spawn(operator::run_scope(client.clone(), namespace, flags, clock, events.clone(), runner));
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        Some(Err(error)) = scopes.join_next() => return Err(error.into()),
    }
    scopes.shutdown().await;
    Ok(())
}

fn start_logging(flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    let filter =
        EnvFilter::try_new(&flags.log_level).map_err(|error| format!("--log-level {:?}: {error}", flags.log_level))?;
    let registry = tracing_subscriber::registry().with(filter);
    match flags.log_format {
        LogFormat::Json => registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).init(),
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .init(),
    }
    Ok(())
}

async fn connect(flags: &Flags) -> Result<Client, Box<dyn std::error::Error>> {
    let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &flags.kubeconfig {
        Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        None if flags.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    // Watches hear from the API server within 290 s and exec streams are pinged every 60 s: a connection that is silent for
    // longer is dead, and would otherwise be waited on for ever.
    config.read_timeout = Some(SILENCE_MAX);
    Ok(Client::try_from(config)?)
}
