//! Thousands: claims at a rate that does not wait for answers, Sandboxes that wait, and pods that nobody asks for.

use std::{
    f64::consts::E,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use arl_crds::Sandbox;
use kube::api::DeleteParams;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    bench::Bench,
    claims::begun,
    contestant::Who,
    floor,
    place::{Place, all},
    results::Results,
    stats::{Block, Sample},
};

/// Pools in which pods wait for nobody.
const POOLS: usize = 100;
/// Claims that such pools get in a minute.
const CLAIMS: f64 = 1000.0;
/// For how long nothing is asked for.
const QUIET: Duration = Duration::from_secs(30);
/// Idle pods of the pool that Sandboxes wait for.
const SERVING: usize = 50;
/// So many wait for it: few more than it has, and many.
const WAITING: [usize; 2] = [SERVING + 10, SERVING + 1000];

/// When the next claim comes.
#[derive(Clone, Copy, Debug)]
enum Arrivals {
    /// As often as this a second, each when it pleases.
    Poisson(f64),
    /// At equal distances, so many a second.
    Fixed(f64),
}

impl Arrivals {
    /// From the one before to the next; `drawn` is between 0 and 1.
    fn gap(self, drawn: f64) -> Duration {
        Duration::from_secs_f64(match self {
            Self::Poisson(per_s) => -(1.0 - drawn).log(E) / per_s,
            Self::Fixed(per_s) => 1.0 / per_s,
        })
    }

    fn workload(self) -> String {
        match self {
            Self::Poisson(per_s) => format!("claims, {per_s} a second (Poisson)"),
            Self::Fixed(per_s) => format!("claims, {per_s} a second"),
        }
    }
}

/// Claims that come whether or not those before are done; each Sandbox is deleted once it is Ready. A pod is started for each, by the
/// floor as well: a load that goes on cannot do without.
pub async fn rates(bench: &Bench, results: &mut Results) -> Result<()> {
    let idle = bench.flags.rate_idle;
    bench.scale(Who::Operator, idle).await?;
    let arrivals = bench.flags.rates.iter().enumerate();
    let arrivals = arrivals.map(|(at, rate)| if at == 0 { Arrivals::Poisson(*rate) } else { Arrivals::Fixed(*rate) });
    for arrivals in arrivals {
        let workload = arrivals.workload();
        for who in [Who::Floor, Who::Operator] {
            eprintln!("{workload}: {}", who.name());
            bench.real.has_pods(idle).await?;
            bench.floor.has_only(floor::PODS).await?;
            let pools = [who.name().to_owned()];
            let windows = open_loop(bench, results, &workload, who, &pools, arrivals).await?;
            results.notes.push(format!("{workload}, {}: {windows}", who.name()));
        }
    }
    bench.scale(Who::Operator, 0).await?;
    bench.real.has_pods(0).await
}

/// How many began and how many ended in each window of a load.
struct Windows(Vec<(usize, usize)>);

impl Windows {
    fn of(samples: &[Sample], began: Instant, minute: Duration, window: Duration) -> Self {
        let number_of = |at: Instant| (at - began).as_nanos() / window.as_nanos();
        let count = minute.as_nanos().div_ceil(window.as_nanos());
        let in_window = |number| {
            let sent = samples.iter().filter(|sample| number_of(sample.sent) == number).count();
            (sent, samples.iter().filter(|sample| number_of(sample.seen) == number).count())
        };
        Self((0..count).map(in_window).collect())
    }
}

impl std::fmt::Display for Windows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let windows: Vec<String> = self.0.iter().map(|(began, ended)| format!("{ended} of {began}")).collect();
        write!(f, "ended of begun, in windows of a sixth: {}", windows.join(", "))
    }
}

/// Measures claims that come from the pools in turn.
async fn open_loop(
    bench: &Bench,
    results: &mut Results,
    workload: &str,
    who: Who,
    pools: &[String],
    arrivals: Arrivals,
) -> Result<Windows> {
    let length = Duration::from_secs(bench.flags.rate_s);
    let mut windows = Windows(Vec::new());
    let work = async {
        let began = Instant::now();
        let samples = arriving(bench.place(who), who, pools, arrivals, began + length).await?;
        windows = Windows::of(&samples, began, length, length / 6);
        Ok(Block::window(samples, length, began + length))
    };
    bench.measure(results, workload, who, work).await?;
    Ok(windows)
}

async fn arriving(
    place: &Arc<Place>,
    who: Who,
    pools: &[String],
    arrivals: Arrivals,
    until: Instant,
) -> Result<Vec<Sample>> {
    let mut claims = JoinSet::new();
    // The same draws in each run: a linear congruential generator (Numerical Recipes).
    let (mut due, mut state) = (Instant::now(), 1_u32);
    for number in 0.. {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        due += arrivals.gap(f64::from(state) / f64::from(u32::MAX).next_up());
        if due >= until {
            break;
        }
        sleep_until(due.into()).await;
        let (place, pool) = (Arc::clone(place), pools[number % pools.len()].clone());
        claims.spawn(async move { Ok(vec![claim_and_delete(&place, who, &pool).await?]) });
    }
    all(claims).await
}

async fn claim_and_delete(place: &Place, who: Who, pool: &str) -> Result<Sample> {
    let name = place.name(who.name());
    let sample = place.claim_and_start(&name, pool).await?;
    place.api::<Sandbox>().delete(&name, &DeleteParams::default()).await?;
    Ok(sample)
}

/// What a claim costs the operator while few and while many Sandboxes wait.
pub async fn waiting(bench: &Bench, results: &mut Results) -> Result<()> {
    let mut costs = Vec::new();
    for count in WAITING {
        let workload = format!("claims, {count} Sandboxes waiting");
        eprintln!("{workload}");
        let place = bench.place(Who::Operator);
        let (names, claims) = begun(place, Who::Operator, count);
        place.has_waiting(count).await?;
        let work = async {
            bench.scale(Who::Operator, SERVING).await?;
            Ok(Block::whole(all(claims).await?))
        };
        bench.measure(results, &workload, Who::Operator, work).await?;
        costs.extend(results.series(&workload, Who::Operator).cpu_ms_per_op());
        bench.scale(Who::Operator, 0).await?;
        place.delete_sandboxes(&names).await?;
        bench.real.has_pods(0).await?;
    }
    let ([few, many], [of_few, of_many]) = (WAITING, costs.as_slice()) else { return Ok(()) };
    let ratio = of_many / of_few;
    results
        .notes
        .push(format!("A claim among {many} that wait takes {ratio:.2} x the processor time of one among {few}."));
    Ok(())
}

/// Idle pods in a hundred pools: while nobody asks, and while each pool is asked now and then.
pub async fn idle(bench: &Bench, results: &mut Results) -> Result<()> {
    let each = bench.flags.idle_pods / POOLS;
    eprintln!("{} idle pods in {POOLS} pools", each * POOLS);
    let names: Vec<String> = (0..POOLS).map(|number| format!("idle-{number}")).collect();
    for name in &names {
        bench.create_pool(name, &Value::Null, each).await?;
    }
    bench.real.has_pods(each * POOLS).await?;
    bench.real.has_full_pools(POOLS + bench.pools().count()).await?;
    let (began, cpu) = (Instant::now(), bench.usage.cpu()?);
    let mark = bench.mark().await?;
    sleep_until((began + QUIET).into()).await;
    let used = bench.usage.cpu()?.saturating_sub(cpu);
    let writes = bench.writes_since(Who::Operator, mark).await?;
    let written = writes.map_or_else(|| "not counted".to_owned(), |writes| writes.values().sum::<usize>().to_string());
    let (now, most) = bench.usage.memory_mb()?;
    results.notes.push(format!(
        "{} idle pods in {POOLS} pools: {now:.1} MB resident, {most:.1} MB at most; while nothing was asked for {} s long, writes: \
         {written}, processor time: {} ms.",
        each * POOLS,
        began.elapsed().as_secs(),
        used.as_millis()
    ));
    let workload = format!("claims, {CLAIMS} a minute from {POOLS} pools");
    let arrivals = Arrivals::Fixed(CLAIMS / 60.0);
    let windows = open_loop(bench, results, &workload, Who::Operator, &names, arrivals).await?;
    let (_, most) = bench.usage.memory_mb()?;
    results.notes.push(format!("{workload}: {windows}; the operator's memory: {most:.1} MB at most."));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_their_rate() {
        assert_eq!(Arrivals::Fixed(50.0).gap(0.9), Duration::from_millis(20));
        let drawn = (0..1000).map(|number| Arrivals::Poisson(50.0).gap(f64::from(number) / 1000.0));
        let mean = drawn.sum::<Duration>() / 1000;
        assert!((mean.as_secs_f64() - 0.02).abs() < 0.001, "{mean:?}");
    }

    #[test]
    fn windows_count_beginnings_and_ends() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let samples =
            [(0, 5), (9, 15), (11, 12), (19, 40)].map(|(sent, seen)| Sample { sent: at(sent), seen: at(seen) });
        let windows = Windows::of(&samples, began, Duration::from_millis(20), Duration::from_millis(10));
        assert_eq!(windows.0, [(2, 1), (2, 2)]);
    }
}
