//! Claims: one at a time, and many at once.

use std::sync::Arc;

use anyhow::Result;
use tokio::task::JoinSet;

use crate::{
    bench::Bench,
    contestant::Who,
    place::{Place, all},
    results::{Grown, Results},
    stats::{Block, Sample},
};

/// Idle pods while claims come one at a time.
const FEW: usize = 3;

/// Claims one at a time. A pool is full again before the next claim, which is part of what is counted, not of the latency.
pub async fn one_at_a_time(bench: &Bench, results: &mut Results) -> Result<()> {
    eprintln!("claims, one at a time");
    for who in bench.pools() {
        bench.scale(who, FEW).await?;
    }
    let idle = FEW * bench.pools().count();
    bench.real.has_pods(idle).await?;
    let warm_up = at_once(bench, Who::Floor, FEW).await?;
    bench.floor.delete_sandboxes(&warm_up.names).await?;
    let mut claimed = Vec::new();
    for round in 0..bench.flags.claims {
        for who in bench.contestants(round) {
            let place = bench.place(who);
            let name = place.name(who.name());
            let work = async {
                let sample = place.claim(&name, who.name()).await?;
                if who != Who::Floor {
                    bench.real.has_pods(idle + claimed.len() + 1).await?;
                }
                Ok(Block::one_by_one(vec![sample]))
            };
            bench.measure(results, "claim, one at a time", who, work).await?;
            if who == Who::Floor {
                place.delete_sandboxes(&[name]).await?;
            } else {
                claimed.push(name);
            }
        }
    }
    for who in bench.pools() {
        bench.scale(who, 0).await?;
    }
    bench.real.delete_sandboxes(&claimed).await?;
    bench.real.has_pods(0).await
}

/// Claims one after the other, while the pods that were claimed are replaced. The floor's are not: they cost nothing to start.
pub async fn back_to_back(bench: &Bench, results: &mut Results) -> Result<()> {
    let count = bench.flags.back_to_back.min(bench.free_pods / 3);
    let workload = format!("claim, {count} back to back");
    eprintln!("{workload}");
    let idle = count + count / 5;
    bench.scale(Who::Operator, idle).await?;
    bench.real.has_pods(idle).await?;
    for who in [Who::Floor, Who::Operator, Who::Floor] {
        let place = bench.place(who);
        let names: Vec<String> = (0..count).map(|_| place.name(who.name())).collect();
        let work = async {
            let mut samples = Vec::new();
            for name in &names {
                samples.push(place.claim(name, who.name()).await?);
            }
            Ok(Block::one_by_one(samples))
        };
        bench.measure(results, &workload, who, work).await?;
        if who == Who::Operator {
            let began = std::time::Instant::now();
            bench.real.has_pods(idle + count).await?;
            eprintln!("the pool is full again after {:.1} s", began.elapsed().as_secs_f64());
            bench.scale(Who::Operator, 0).await?;
        }
        place.delete_sandboxes(&names).await?;
    }
    bench.real.has_pods(0).await
}

/// Claims at once, from a pool with as many idle pods; the last burst leaves each pool's Sandboxes for the Tasks.
pub async fn bursts(bench: &Bench, results: &mut Results, at_first: f64) -> Result<Kept> {
    let keep = bench.sandboxes();
    let largest = bench.flags.burst_max.min(bench.free_pods).max(keep);
    let mut sizes: Vec<usize> = bench.flags.bursts.iter().copied().filter(|size| *size < largest).collect();
    sizes.push(largest);
    let mut kept = Kept { operator: Vec::new(), exec: Vec::new() };
    for (index, size) in sizes.iter().enumerate() {
        let after = match sizes.get(index + 1) {
            // The pods that replace the claimed ones are those of the next burst.
            Some(next) => After { keep: 0, idle: *next },
            None => After { keep, idle: 0 },
        };
        kept.operator = burst(bench, results, Who::Operator, *size, 0, after).await?;
        // No stream can be opened to a pod that does not run.
        if !kept.operator.is_empty() && !bench.flags.at_scale() {
            let streams = kept.operator.len();
            bench.usage.has_streams(streams).await?;
            results.grown = Some(Grown { sandboxes: streams, mb: bench.usage.memory_mb()?.0 - at_first });
        }
    }
    if bench.exec {
        kept.exec = burst(bench, results, Who::Exec, keep, keep, After { keep, idle: 0 }).await?;
    }
    Ok(kept)
}

/// Sandboxes for the Tasks and commands, where no burst leaves any.
pub async fn keep(bench: &Bench) -> Result<Kept> {
    let count = bench.sandboxes();
    let mut kept = Kept { operator: Vec::new(), exec: Vec::new() };
    for (index, who) in bench.pools().enumerate() {
        bench.scale(who, count).await?;
        bench.real.has_pods((index + 1) * count).await?;
        let names = at_once(bench, who, count).await?.names;
        bench.scale(who, 0).await?;
        bench.real.has_pods((index + 1) * count).await?;
        *if who == Who::Exec { &mut kept.exec } else { &mut kept.operator } = names;
    }
    Ok(kept)
}

/// What a burst leaves.
struct After {
    /// Sandboxes.
    keep: usize,
    /// Idle pods of its pool.
    idle: usize,
}

/// The names of Sandboxes that are Ready.
pub struct Kept {
    operator: Vec<String>,
    exec: Vec<String>,
}

impl Kept {
    /// Ends them.
    pub async fn release(self, bench: &Bench) -> Result<()> {
        bench.real.delete_sandboxes(&[self.operator, self.exec].concat()).await?;
        bench.real.has_pods(0).await
    }

    /// As many as each contestant has; those of the floor need not exist.
    pub fn of(&self, who: Who) -> Vec<String> {
        match who {
            Who::Floor => (0..self.operator.len()).map(|number| format!("floor-{number}")).collect(),
            Who::Exec => self.exec.clone(),
            _ => self.operator.clone(),
        }
    }
}

/// One burst between two of the floor, each begun when nothing else is going on. There are `others` pods already; returns the
/// Sandboxes that stay.
async fn burst(
    bench: &Bench,
    results: &mut Results,
    who: Who,
    size: usize,
    others: usize,
    after: After,
) -> Result<Vec<String>> {
    let workload = format!("claim, {size} at once");
    eprintln!("{workload}: {}", who.name());
    bench.scale(who, size).await?;
    bench.real.has_pods(others + size).await?;
    // The first one only opens connections.
    for is_measured in [false, true] {
        floor_burst(bench, results, is_measured.then_some(workload.as_str()), size).await?;
    }
    let mut names = Vec::new();
    let work = async {
        let burst = at_once(bench, who, size).await?;
        names = burst.names;
        Ok(Block::whole(burst.samples))
    };
    bench.measure(results, &workload, who, work).await?;
    bench.scale(who, after.idle).await?;
    bench.real.delete_sandboxes(&names.split_off(after.keep.min(names.len()))).await?;
    bench.real.has_pods(others + after.keep + after.idle).await?;
    floor_burst(bench, results, Some(&workload), size).await?;
    Ok(names)
}

async fn floor_burst(bench: &Bench, results: &mut Results, workload: Option<&str>, size: usize) -> Result<()> {
    let mut names = Vec::new();
    let work = async {
        let burst = at_once(bench, Who::Floor, size).await?;
        names = burst.names;
        Ok(Block::whole(burst.samples))
    };
    match workload {
        Some(workload) => bench.measure(results, workload, Who::Floor, work).await?,
        None => drop(work.await?),
    }
    bench.floor.delete_sandboxes(&names).await
}

struct Burst {
    names: Vec<String>,
    samples: Vec<Sample>,
}

async fn at_once(bench: &Bench, who: Who, count: usize) -> Result<Burst> {
    let (names, claims) = begun(bench.place(who), who, count);
    Ok(Burst { names, samples: all(claims).await? })
}

/// The names of claims that are on their way at once, and what waits for their ends.
pub fn begun(place: &Arc<Place>, who: Who, count: usize) -> (Vec<String>, JoinSet<Result<Vec<Sample>>>) {
    let names: Vec<String> = (0..count).map(|_| place.name(who.name())).collect();
    let mut claims = JoinSet::new();
    for name in names.clone() {
        let place = Arc::clone(place);
        claims.spawn(async move { Ok(vec![place.claim(&name, who.name()).await?]) });
    }
    (names, claims)
}
