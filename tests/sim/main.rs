//! The whole operator against a simulated cluster, in simulated time: one seed, one history.
//!
//! `cargo test --test sim` runs a fixed set of seeds and a crash at every write of the short scenarios; `make sim SEEDS=n` runs
//! n seeds. A violation prints its seed and the command that repeats it.

// Time is simulated, and a simulation that cannot go on should say so at once.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod agenda;
mod agent;
mod api;
mod call;
mod contract;
mod controllers;
mod converged;
mod costs;
mod deeds;
#[path = "../docs/diagram.rs"]
mod diagram;
mod disturbances;
mod drawn;
mod fate;
mod faults;
mod fields;
mod history;
mod interruptions;
mod kind;
mod kubelet;
mod live;
mod outages;
mod patch;
mod plan;
mod pools;
mod process;
mod refusal;
#[macro_use]
mod scenario;
mod elastic;
mod schema;
mod seeds;
mod select;
mod server;
mod setups;
mod specs;
mod store;
mod stories;
mod streams;
mod trace;
mod users;
mod watch;
mod world;

use faults::Faults;
use history::run;
use plan::{Deal, Plan};
use process::Death;
use seeds::{explain, verdict};

/// Seeds that found something since most of them play stories.
const FOUND_IN_STORIES: &[(u64, &str)] = &[
    (741, "a claim that was lost because its pod was not ready any more, after which nothing ever woke the Sandbox"),
    (2_079, "the same, where the pod went"),
    (3_684, "the Task of a setup that was made and deleted between two lists"),
    (2_572, "a pool that was made again while the list of pools was without an answer: its pods were made on and on"),
    (6_444, "a pod that was made and gone between two lists, after which nothing ever woke its pool"),
];

/// Those that were found since, as they were dealt out then.
const FOUND_LAST: &[(u64, &str)] = &[
    (1_501, "the ttl of a Sandbox that was released before it ever was ready"),
    (1_741, "the same, with faults"),
    (2_453, "a pod of a pool whose name another pool has by now"),
    (7_418, "a Task that was changed before its arrival was on record"),
];

/// Seeds that found something since there are more stories.
const FOUND_LATER: &[(u64, &str)] = &[
    (7_176, "a run that another operator ended for a reason not heard of yet"),
    (9_767, "a pod that is given to a Sandbox which has gone"),
    (6_061, "a pod that was ready until a moment ago"),
    (9_974, "a refused claim after one that was outrun"),
];

/// Seeds that once found something, and what; they are run for ever, as they were dealt out then.
const FOUND: &[(u64, &str)] = &[
    (66, "a watch from before a compaction"),
    (73, "numbers asked for again once the last pod was out of sight"),
    (146, "a list without an answer"),
    (178, "a pod lost before it was in sight"),
    (1_054, "a Released Sandbox, due to go, that an unfinished Task names"),
    (200, "a pod lost and made again before either was in sight"),
    (3_669, "a clock set back while the end of a Task was not yet on its Sandbox's record"),
    (254, "an old leader that makes surplus pods again and again beside its successor"),
    (40, "a Sandbox that is on a Task's record and not in sight yet"),
    (79, "a pod that is on a Sandbox's record and not in sight yet"),
    (119, "a Task that ran in the pod of a Sandbox whose name another one has by now"),
    (7_512, "a Task whose run is not on record when its Sandbox is deleted and made again"),
    (8_206, "an old leader that finds the run of a Task while it sees only the Sandbox before its own"),
    (6_126, "a Task that ended while the end of its Sandbox's ttl was being confirmed"),
    (7_034, "a list of which a part was taken for the whole"),
    (536, "the age of evicted pods by a clock that is ahead"),
    (2_953, "a refusal that could not be told before"),
    (9_435, "a refusal of what was not needed any more"),
];

/// The histories that once found something.
fn found() -> impl Iterator<Item = Plan> {
    let dealt = |seeds: &'static [(u64, &str)], deal| seeds.iter().map(move |(seed, _)| Plan::dealt(*seed, deal));
    dealt(FOUND, Deal::FIRST)
        .chain(dealt(FOUND_LATER, Deal::SECOND))
        .chain(dealt(FOUND_LAST, Deal::THIRD))
        .chain(dealt(FOUND_IN_STORIES, Deal::FOURTH))
}

/// The fixed seeds of every test run.
const FIXED: u64 = 60;

#[test]
fn fixed_seeds_and_those_that_found_something() {
    let found = found();
    let seeds = (0..FIXED).map(Plan::of).chain(found);
    // Each story once, as far from trouble as can be: some sentences can only be held against such a history.
    let plain = |(seed, scenario): (u64, &scenario::Scenario)| {
        let (drawn, mut rng) = (Plan::of(seed).faults, fastrand::Rng::with_seed(seed));
        let faults = if seed % 3 == 0 { drawn.outages(&mut rng) } else { drawn.orderly() };
        Plan { seed, scenario: *scenario, faults, death: None, is_varied: true }
    };
    let stories = (10_000..)
        .zip([stories::CONTRACT, elastic::ELASTIC].concat().repeat(3))
        .map(|(seed, scenario)| plain((seed, &scenario)));
    let total = seeds::run_plans(&seeds.chain(stories).collect::<Vec<_>>());
    println!("{total}");
    assert_eq!(total.violations, 0, "see above");
    assert_eq!(total.untested(), Vec::<String>::new(), "each rule and each field is put to the test");
}

#[test]
fn one_seed_is_one_history() {
    let (from, count) =
        (seeds::from_environment("SIM_FROM").unwrap_or(0), seeds::from_environment("SIM_TWICE").unwrap_or(10));
    for seed in from..from + count {
        let (first, second) = (run(&Plan::of(seed)), run(&Plan::of(seed)));
        assert_eq!((first.hash, first.events), (second.hash, second.events), "seed {seed}");
    }
}

/// The model answers as a real API server does; the cluster tests have the same dialogue with one.
#[test]
fn the_model_answers_as_the_api_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let said = runtime.block_on(async {
        let world = world::World::new(0, Faults::default());
        world.with(|s| s.perform(&users::Deed::Namespace));
        let server = server::ApiServer { world, who: kind::Actor::User };
        api::dialogue(kube::Client::new(server, world::NS), world::NS).await
    });
    assert_eq!(said, api::ANSWERS);
}

/// A hundred Sandboxes with a Task each, on a few pods; the thousand come up among many seeds.
#[test]
fn a_hundred_sandboxes() {
    let plan = Plan { scenario: scenario::HUNDRED, ..Plan::of(1_002) };
    let report = run(&plan);
    assert!(verdict(&report), "{}", explain(&plan, &report));
    assert!(report.steps >= 50, "{} steps", report.steps);
}

/// The operator dies before, and after, every single write of each short scenario, and another takes over.
#[test]
fn a_crash_at_every_write() {
    let mut plans = Vec::new();
    for scenario in scenario::SHORT {
        let plan = |death| Plan { seed: 7, scenario: *scenario, faults: Faults::default(), death, is_varied: false };
        let whole = run(&plan(None));
        assert!(verdict(&whole), "{}", explain(&plan(None), &whole));
        let deaths =
            (1..=whole.writes).flat_map(|write| [false, true].map(|after_effect| Death { write, after_effect }));
        plans.extend(deaths.map(|death| plan(Some(death))));
    }
    let total = seeds::run_plans(&plans);
    println!("{total}");
    assert_eq!(total.violations, 0, "see above");
    assert!(total.crashes >= plans.len() as u64, "every one of {} histories has its crash: {total}", plans.len());
}

/// `SIM_SEED=n cargo test --test sim one_seed_aloud -- --ignored --nocapture` prints a whole history.
#[test]
#[ignore = "for people: SIM_SEED says which"]
fn one_seed_aloud() {
    let seed = seeds::from_environment("SIM_SEED").expect("SIM_SEED");
    let plan = found().find(|found| found.seed == seed).unwrap_or_else(|| Plan::of(seed));
    let report = run(&plan);
    println!("{}\n{}", report.tail.join("\n"), explain(&plan, &report));
    assert!(verdict(&report));
}

/// `make sim SEEDS=n`, from SIM_FROM on.
#[test]
#[ignore = "as long as one likes: SIM_SEEDS says how many"]
fn many_seeds() {
    let from = seeds::from_environment("SIM_FROM").unwrap_or(0);
    let count = seeds::from_environment("SIM_SEEDS").expect("SIM_SEEDS");
    let total = seeds::run_all(from..from + count);
    println!("\n{total}");
    assert_eq!(total.violations, 0);
    assert!(count < 300 || total.untested().is_empty(), "never put to the test: {:?}", total.untested());
}
