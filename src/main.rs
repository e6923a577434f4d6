//! Flags and start-up only; [`arl_operator`] says how the operator works.

use std::{io::IsTerminal, process::ExitCode, sync::Arc};

use arl_operator::{
    clock::Clock,
    connect,
    effects::{self, EventSink},
    flags::{Flags, LogFormat},
    operator,
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

/// The libraries log each failed request, some at level ERROR; whoever asked reports it once more, with the object.
const QUIETER: &str = "kube_client::client=error,kube_client::client::builder=off,kube_client::client::tls=warn,kube_runtime::watcher=error,";

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
    let runner = operator::pod_runner(&client, &clock, events.clone());
    for namespace in namespaces {
        let (flags, clock, events) = (flags.clone(), clock.clone(), events.clone());
        scopes.spawn(operator::run_scope(client.clone(), namespace, flags, clock, events, Arc::clone(&runner)));
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
    let quieter = if flags.log_level.contains("kube_") { "" } else { QUIETER };
    let filter = EnvFilter::try_new(format!("{quieter}{}", flags.log_level))
        .map_err(|error| format!("--log-level {:?}: {error}", flags.log_level))?;
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
    let config = match &flags.kubeconfig {
        Some(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        None if flags.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    Ok(connect::client(config)?)
}
