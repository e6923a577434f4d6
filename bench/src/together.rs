//! A Sandbox and its Task created together, as who runs one command and goes does, while the pools replace what is taken.

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{
    bench::Bench,
    contestant::{Who, in_turns},
    place::all,
    results::Results,
    stats::{Block, Sample},
};

/// Of those that come one at a time, so many do before the pools are full again.
const BLOCK: usize = 5;
/// What is compared.
const ALL: [Who; 3] = [Who::Floor, Who::Operator, Who::Connected];
const POOLS: [Who; 2] = [Who::Operator, Who::Connected];

/// One at a time, and many at once.
pub async fn sandbox_and_task(bench: &Bench, results: &mut Results) -> Result<()> {
    let many = bench.flags.together_at_once.min(bench.free_pods / 4).max(1);
    for who in POOLS {
        bench.scale(who, many).await?;
    }
    for (workload, size) in
        [("Sandbox and Task, one at a time", 1), (&*format!("Sandbox and Task, {many} at once"), many)]
    {
        eprintln!("{workload}");
        // The first round only opens connections.
        for round in 0..=bench.flags.together {
            for who in in_turns(ALL, round) {
                // The floor waits too: who begins while pods are deleted seems slow.
                is_full(bench, many).await?;
                let mut names = Vec::new();
                let work = created(bench, who, size, &mut names);
                if round == 0 {
                    work.await?;
                } else {
                    bench.measure(results, workload, who, work).await?;
                }
                if who != Who::Floor {
                    // Until what was taken is replaced, it cannot be told whether the pools are full.
                    bench.real.has_pods(POOLS.len() * many + names.len()).await?;
                }
                let place = bench.place(who);
                place.delete_tasks().await?;
                place.delete_sandboxes(&names).await?;
            }
        }
    }
    for who in POOLS {
        bench.scale(who, 0).await?;
    }
    bench.real.has_pods(0).await
}

/// Pods are ready, and streams are open to those that are to have one.
async fn is_full(bench: &Bench, idle: usize) -> Result<()> {
    bench.real.has_pods(POOLS.len() * idle).await?;
    bench.usage.has_streams(idle).await
}

async fn created(bench: &Bench, who: Who, size: usize, names: &mut Vec<String>) -> Result<Block> {
    let place = bench.place(who);
    if size > 1 {
        let mut working = JoinSet::new();
        for _ in 0..size {
            let (name, place) = (place.name(who.name()), Arc::clone(place));
            names.push(name.clone());
            working.spawn(async move { Ok(vec![place.together(&name, who.name()).await?]) });
        }
        return Ok(Block::whole(all(working).await?));
    }
    let mut samples: Vec<Sample> = Vec::new();
    for _ in 0..BLOCK.min(bench.flags.together_at_once) {
        names.push(place.name(who.name()));
        samples.push(place.together(&names[names.len() - 1], who.name()).await?);
    }
    Ok(Block::one_by_one(samples))
}
