//! Tasks of one trivial command: one at a time, in many Sandboxes at once, and waiting for one another in one Sandbox.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{
    bench::Bench,
    claims::Kept,
    place::{all, window},
    results::Results,
    stats::Block,
};

/// One Task at a time in one Sandbox.
pub async fn one_at_a_time(bench: &Bench, results: &mut Results, kept: &Kept) -> Result<()> {
    eprintln!("Tasks, one at a time");
    for round in 0..=bench.flags.blocks {
        for who in bench.contestants(round) {
            let place = bench.place(who);
            let sandboxes = kept.of(who);
            let work = async {
                let mut samples = Vec::new();
                for _ in 0..bench.flags.block {
                    samples.push(place.task(&sandboxes[0]).await?);
                }
                Ok(Block::one_by_one(samples))
            };
            // The first round only opens connections.
            if round == 0 {
                work.await?;
            } else {
                bench.measure(results, "Task, one at a time", who, work).await?;
            }
            place.delete_tasks().await?;
        }
    }
    Ok(())
}

/// A Task in flight in each of many Sandboxes.
pub async fn in_parallel(bench: &Bench, results: &mut Results, kept: &Kept) -> Result<()> {
    let mut levels: Vec<usize> = bench.flags.parallel.iter().map(|level| (*level).min(bench.sandboxes())).collect();
    levels.dedup();
    for level in levels {
        let workload = format!("Tasks, {level} in parallel");
        eprintln!("{workload}");
        for round in 0..bench.flags.windows {
            for who in bench.contestants(round) {
                let clients = kept.of(who).into_iter().take(level).map(|sandbox| {
                    let place = Arc::clone(bench.place(who));
                    move || {
                        let (place, sandbox) = (Arc::clone(&place), sandbox.clone());
                        async move { place.task(&sandbox).await }
                    }
                });
                let work = window(clients, Duration::from_millis(bench.flags.window_ms));
                bench.measure(results, &workload, who, work).await?;
                bench.place(who).delete_tasks().await?;
            }
        }
    }
    Ok(())
}

/// Many Tasks for one Sandbox, created at once.
pub async fn queued(bench: &Bench, results: &mut Results, kept: &Kept) -> Result<()> {
    let workload = format!("Tasks, {} queued in one Sandbox", bench.flags.queued);
    eprintln!("{workload}");
    for who in bench.contestants(0) {
        let work = async {
            let mut tasks = JoinSet::new();
            let sandboxes = kept.of(who);
            for _ in 0..bench.flags.queued {
                let (place, sandbox) = (Arc::clone(bench.place(who)), sandboxes[0].clone());
                tasks.spawn(async move { Ok(vec![place.task(&sandbox).await?]) });
            }
            Ok(Block::whole(all(tasks).await?))
        };
        bench.measure(results, &workload, who, work).await?;
        bench.place(who).delete_tasks().await?;
    }
    Ok(())
}
