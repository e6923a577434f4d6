//! Many histories, and what is said about them.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    contract::Counts,
    history::{Report, run},
    plan::Plan,
    specs::Fields,
};

/// The sum of many histories.
#[derive(Debug, Default)]
pub struct Total {
    seeds: u64,
    events: u64,
    pub crashes: u64,
    faults: u64,
    pub violations: u64,
    pub rules: Counts,
    pub fields: Fields,
    cores: usize,
    took: Duration,
    /// The first of the histories that broke a rule, and how: the same whatever the threads do.
    first: Option<(usize, String)>,
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, events, crashes, faults, violations, rules, fields, cores, took, first } = self;
        write!(f, "{rules}")?;
        for (field, count) in fields.of_all_kinds() {
            #[allow(clippy::cast_precision_loss)] // a number of histories
            writeln!(f, "field: {:>5.1}% {field}", count as f64 * 100.0 / *seeds as f64)?;
        }
        if let Some((number, what)) = first {
            writeln!(f, "first: history {}: {what}", number + 1)?;
        }
        let took = took.as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // a number of histories
        writeln!(f, "sim: {:.1} histories a second on {cores} cores, {took:.0} s", *seeds as f64 / took)?;
        write!(f, "sim: {seeds} seeds, {events} events, {crashes} crashes, {faults} faults, {violations} violations")
    }
}

/// Runs these seeds and prints what is wrong with them.
pub fn run_all(seeds: impl IntoIterator<Item = u64>) -> Total {
    run_plans(&seeds.into_iter().map(Plan::of).collect::<Vec<_>>())
}

/// Runs these histories on all cores and prints what is wrong with them.
pub fn run_plans(plans: &[Plan]) -> Total {
    let start = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Total { cores, ..Total::default() }));
    let slow = from_environment("SIM_SLOW_MS").map(u128::from);
    // Mutants are caught once.
    let stop = std::env::var_os("SIM_STOP").is_some();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(plan) = plans.get(number) else { return };
            let began = Instant::now();
            let report = std::panic::catch_unwind(|| run(plan)).unwrap_or_else(|_| Report::panicked());
            let took = began.elapsed().as_millis();
            if !verdict(&report) || slow.is_some_and(|slow| took > slow) {
                println!("{}\n{took} ms", explain(plan, &report));
            }
            let mut total = total.lock().unwrap();
            total.seeds += 1;
            total.events += report.events;
            total.crashes += report.crashes;
            total.faults += report.faults;
            total.violations += report.violations.len() as u64;
            if let Some(what) = report.violations.first()
                && total.first.as_ref().is_none_or(|(first, _)| number < *first)
            {
                total.first = Some((number, what.clone()));
            }
            total.rules.add(&report.rules);
            total.fields.add(&report.fields);
            if stop && total.violations > 0 {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    Total { took: start.elapsed(), ..total.into_inner().unwrap() }
}

impl Total {
    /// The rules and the fields that no history put to the test.
    pub fn untested(&self) -> Vec<String> {
        let rules = self.rules.untested().into_iter().map(|rule| format!("{rule:?}"));
        rules.chain(self.fields.of_all_kinds().into_iter().filter(|(_, n)| *n == 0).map(|(field, _)| field)).collect()
    }
}

/// Whether all was well.
pub fn verdict(report: &Report) -> bool {
    report.violations.is_empty()
}

/// What went wrong, the end of the history, and how to see it again.
pub fn explain(plan: &Plan, report: &Report) -> String {
    if verdict(report) {
        let Report { events, crashes, faults, steps, .. } = report;
        let (seed, scenario) = (plan.seed, plan.scenario.name);
        return format!(
            "seed {seed} ({scenario}): {events} events, {crashes} crashes, {faults} faults, {steps} steps, well"
        );
    }
    let again = match plan.death {
        None => {
            format!("SIM_SEED={} SIM_TRACE=1 cargo test --test sim one_seed_aloud -- --ignored --nocapture", plan.seed)
        }
        Some(death) => format!("cargo test --test sim a_crash_at_every_write: {} with {death:?}", plan.scenario.name),
    };
    let tail: Vec<_> = report.tail.iter().rev().take(60).rev().map(String::as_str).collect();
    let (seed, scenario, violations) = (plan.seed, plan.scenario.name, report.violations.join("\n  "));
    format!("...\n{}\nseed {seed} ({scenario}) violates:\n  {violations}\nagain: {again}\n", tail.join("\n"))
}

/// A number from the environment.
pub fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
