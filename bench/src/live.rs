//! Commands in Sandboxes that are there: over the stream of a live session, as Tasks, and by a process of kubectl each.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use arl_client::{Client, Command, Sandbox};
use futures::future::try_join_all;

use crate::{
    bench::Bench,
    claims::Kept,
    contestant::{Who, in_turns},
    kubectl::Kubectl,
    place::{Place, window},
    results::Results,
    stats::{Block, Sample},
};

/// Sandboxes in which the first command is measured.
const FIRST: usize = 16;
/// What is compared.
const ALL: [Who; 3] = [Who::Live, Who::Task, Who::Kubectl];

/// The first command in a Sandbox, which opens the stream; then one at a time in one Sandbox; then one at a time in each of many.
pub async fn commands(bench: &Bench, results: &mut Results, kept: &Kept) -> Result<()> {
    eprintln!("commands");
    let client = bench.real.client();
    let mut sandboxes = Vec::new();
    for name in kept.of(Who::Operator).iter().take(bench.flags.live) {
        sandboxes.push(client.open(name).await?);
    }
    first(bench, results, &client, &sandboxes).await?;
    one_at_a_time(bench, results, &sandboxes[0]).await?;
    in_parallel(bench, results, &sandboxes).await
}

async fn first(bench: &Bench, results: &mut Results, client: &Client, sandboxes: &[Sandbox]) -> Result<()> {
    for sandbox in sandboxes.iter().take(FIRST) {
        // Another session than that of the rest.
        let sandbox = client.open(sandbox.name()).await?;
        let work = async { Ok(Block::one_by_one(vec![run(&sandbox).await?])) };
        bench.measure(results, "first command", Who::Live, work).await?;
    }
    Ok(())
}

async fn one_at_a_time(bench: &Bench, results: &mut Results, sandbox: &Sandbox) -> Result<()> {
    let ways = Ways::new(bench);
    for round in 0..=bench.flags.blocks {
        for who in in_turns(ALL, round) {
            let work = async {
                let mut samples = Vec::new();
                for _ in 0..bench.flags.block {
                    samples.push(ways.command(who, sandbox).await?);
                }
                Ok(Block::one_by_one(samples))
            };
            // The first round only opens connections.
            if round == 0 {
                work.await?;
            } else {
                bench.measure(results, "command, one at a time", who, work).await?;
            }
        }
        bench.real.delete_tasks().await?;
    }
    Ok(())
}

async fn in_parallel(bench: &Bench, results: &mut Results, sandboxes: &[Sandbox]) -> Result<()> {
    let workload = format!("commands, {} in parallel", sandboxes.len());
    let ways = Ways::new(bench);
    try_join_all(sandboxes.iter().map(run)).await?;
    for round in 0..bench.flags.windows {
        for who in in_turns(ALL, round) {
            let clients = sandboxes.iter().map(|sandbox| {
                let (ways, sandbox) = (ways.clone(), sandbox.clone());
                move || {
                    let (ways, sandbox) = (ways.clone(), sandbox.clone());
                    async move { ways.command(who, &sandbox).await }
                }
            });
            let work = window(clients, Duration::from_millis(bench.flags.window_ms));
            bench.measure(results, &workload, who, work).await?;
            bench.real.delete_tasks().await?;
        }
    }
    Ok(())
}

/// The ways to a command's end.
#[derive(Clone)]
struct Ways {
    place: Arc<Place>,
    kubectl: Kubectl,
}

impl Ways {
    fn new(bench: &Bench) -> Self {
        Self { place: Arc::clone(&bench.real), kubectl: bench.kubectl.clone() }
    }

    async fn command(&self, who: Who, sandbox: &Sandbox) -> Result<Sample> {
        match who {
            Who::Live => run(sandbox).await,
            Who::Kubectl => self.kubectl.exec(sandbox.pod(), &["true"]).await,
            _ => self.place.task(sandbox.name()).await,
        }
    }
}

/// One command, from sending it to its end.
pub async fn run(sandbox: &Sandbox) -> Result<Sample> {
    let sent = Instant::now();
    let done = sandbox.run(Command::new(["true"])).await?;
    if done.exit.code != 0 {
        bail!("a command in Sandbox {} ended with {}", sandbox.name(), done.exit.code);
    }
    Ok(Sample { sent, seen: Instant::now() })
}
