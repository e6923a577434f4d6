//! One command in a Sandbox of its own, from nothing to its release: by the client library, and by a process of `kubectl arl run`.

use std::time::Instant;

use anyhow::Result;
use arl_client::Client;
use kube::config::Kubeconfig;

use crate::{
    bench::Bench,
    cluster::client_of,
    contestant::{Who, in_turns},
    live,
    results::Results,
    stats::{Block, Sample},
};

/// What is measured.
pub const WORKLOAD: &str = "claim, command and release";
const ALL: [Who; 2] = [Who::Live, Who::Cli];

/// As often as asked for, each time from a full pool, with connections of its own.
pub async fn commands(bench: &Bench, results: &mut Results) -> Result<()> {
    eprintln!("{WORKLOAD}");
    let kubeconfig = Kubeconfig::read_from(&bench.flags.kubeconfig)?;
    bench.scale(Who::Operator, 1).await?;
    // The first round only fills caches.
    for round in 0..=bench.flags.once {
        for who in in_turns(ALL, round) {
            bench.real.has_pods(1).await?;
            let work = async {
                let sample = match who {
                    Who::Cli => bench.kubectl.arl_run(Who::Operator.name(), &["true"]).await?,
                    _ => once(Client::new(client_of(&kubeconfig).await?, &*bench.real.ns)).await?,
                };
                Ok(Block::one_by_one(vec![sample]))
            };
            if round == 0 {
                work.await?;
            } else {
                bench.measure(results, WORKLOAD, who, work).await?;
            }
        }
    }
    bench.scale(Who::Operator, 0).await?;
    bench.real.has_pods(0).await
}

async fn once(client: Client) -> Result<Sample> {
    let sent = Instant::now();
    let sandbox = client.claim(Who::Operator.name()).await?;
    live::run(&sandbox).await?;
    sandbox.release().await?;
    Ok(Sample { sent, seen: Instant::now() })
}
