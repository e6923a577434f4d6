//! What one more Sandbox, Task or pod costs the operator, counted and not timed, so that it is the same on any machine: its writes,
//! its instructions, which valgrind counts, and its memory. `make costs` holds all of it against `costs.json`, which
//! `make record-costs` writes.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use serde::{Deserialize, Serialize};

use crate::{
    deeds::{Deeds, pool, sandbox, task},
    faults::Faults,
    history::{Report, weigh},
    plan::Plan,
    scenario::Scenario,
    seeds::verdict,
    users::Deed,
};

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/costs.json");
/// How far a figure may be from the one on record.
const SLACK: f64 = 0.1;

/// Something that is played with few and with many: what one costs is the difference, without what a start costs.
struct Workload {
    what: &'static str,
    few: Scenario,
    many: Scenario,
    more: u32,
}

macro_rules! workload {
    ($what:literal, $deeds:ident, $few:literal, $many:literal) => {
        Workload {
            what: $what,
            few: Scenario { name: $what, deeds: |_| $deeds($few) },
            many: Scenario { name: $what, deeds: |_| $deeds($many) },
            more: $many - $few,
        }
    };
}

const WORKLOADS: &[Workload] = &[
    workload!("a Sandbox with a Task, claimed and released", one_after_the_other, 10, 30),
    workload!("a Sandbox among those that wait, claimed", at_once, 10, 60),
    workload!("a Sandbox that waits", in_vain, 10, 60),
    workload!("a Task that has ended", kept_tasks, 10, 40),
    workload!("an idle pod", idle_pods, 5, 35),
];

fn one_after_the_other(count: u32) -> Deeds {
    let each = |n: u32| {
        let (at, name) = (5_000 + u64::from(n) * 500, format!("s{n}"));
        [(at, sandbox(&name, "p", false, None)), (at + 1, task(&format!("t{n}"), &name, &[(20, 0)]))]
    };
    [(0, pool("p", 4))].into_iter().chain((0..count).flat_map(each)).collect()
}

fn at_once(count: u32) -> Deeds {
    all_for(count, (2_000, pool("p", 5)))
}

fn in_vain(count: u32) -> Deeds {
    all_for(count, (0, pool("p", 0)))
}

fn all_for(count: u32, pool: (u64, Deed)) -> Deeds {
    let each = |n: u32| (1_000, sandbox(&format!("s{n}"), "p", true, None));
    [pool].into_iter().chain((0..count).map(each)).collect()
}

fn kept_tasks(count: u32) -> Deeds {
    let each = |n: u32| (5_000 + u64::from(n) * 500, task(&format!("t{n}"), "s", &[(20, 0)]));
    [(0, pool("p", 1)), (10, sandbox("s", "p", true, None))].into_iter().chain((0..count).map(each)).collect()
}

fn idle_pods(count: u32) -> Deeds {
    vec![(0, pool("p", i64::from(count)))]
}

/// What one more costs.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Cost {
    /// Thousands, of a debug build.
    kilo_instructions: f64,
    /// Calls that write, Events included.
    writes: f64,
    /// Bytes of memory at the end.
    bytes: f64,
}

impl Cost {
    /// What is not as it was on record.
    fn unlike(&self, recorded: &Self) -> Vec<String> {
        let figures = [
            ("kilo_instructions", self.kilo_instructions, recorded.kilo_instructions, 1.0),
            ("writes", self.writes, recorded.writes, 0.05),
            ("bytes", self.bytes, recorded.bytes, 64.0),
        ];
        let is_unlike = |(_, now, then, least): &(&str, f64, f64, f64)| (now - then).abs() > least.max(then * SLACK);
        figures.into_iter().filter(is_unlike).map(|(what, now, then, _)| format!("{what}: {now}, was {then}")).collect()
    }
}

type Costs = BTreeMap<String, Cost>;

/// A history of one workload. Its name is told to valgrind, which writes what it counted when this returns.
#[inline(never)]
fn counted(scenario: Scenario) -> (Report, usize) {
    let plan = Plan { seed: 7, scenario, faults: Faults::default(), death: None, is_varied: false };
    weigh(&plan)
}

/// Bytes that are allocated in this process.
pub fn allocated() -> usize {
    // SAFETY: it takes nothing and only counts.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Lines of writes and bytes, in the order of the workloads.
#[test]
#[ignore = "run by costs::are_as_recorded, under valgrind"]
fn play() {
    for Workload { few, many, .. } in WORKLOADS {
        for scenario in [few, many] {
            let (report, bytes) = counted(*scenario);
            assert!(verdict(&report), "{}: {:?}", scenario.name, report.violations);
            println!("\ncost: {} {bytes}", report.writes);
        }
    }
}

/// Has valgrind count a run of `play`. What the world does is not counted, only what is between: the operator, and kube's client.
fn measured(folder: &Path) -> Costs {
    let dumps = folder.join("callgrind");
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--toggle-collect=*World::with", "--collect-atstart=yes"])
        .args(["--dump-after=*costs::counted", &format!("--callgrind-out-file={}", dumps.display())])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "costs::play", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = valgrind.output().expect("valgrind can be run; `apt-get install valgrind` installs it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let numbers = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<f64>>();
    let played: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("cost: ")).map(numbers).collect();
    let instructions = |number: usize| {
        let dump = fs::read_to_string(format!("{}.{number}", dumps.display())).unwrap();
        let total = dump.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
        total.and_then(|total| total.trim().parse::<f64>().ok()).expect("a total in the dump")
    };
    let cost = |(number, workload): (usize, &Workload)| {
        let (few, many) = (2 * number, 2 * number + 1);
        let each = |from: f64, to: f64| ((to - from) / f64::from(workload.more) * 100.0).round() / 100.0;
        let cost = Cost {
            kilo_instructions: each(instructions(few + 1) / 1000.0, instructions(many + 1) / 1000.0),
            writes: each(played[few][0], played[many][0]),
            bytes: each(played[few][1], played[many][1]),
        };
        (workload.what.to_owned(), cost)
    };
    WORKLOADS.iter().enumerate().map(cost).collect()
}

#[test]
#[ignore = "takes valgrind: make costs"]
fn are_as_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let costs = measured(folder.path());
    let text = serde_json::to_string_pretty(&costs).unwrap() + "\n";
    println!("{text}");
    if env::var_os("RECORD_COSTS").is_some() {
        return fs::write(RECORD, text).unwrap();
    }
    let recorded: Costs = serde_json::from_str(&fs::read_to_string(RECORD).unwrap()).unwrap();
    assert_eq!(costs.keys().collect::<Vec<_>>(), recorded.keys().collect::<Vec<_>>(), "run `make record-costs`");
    let unlike: Vec<String> = costs
        .iter()
        .flat_map(|(what, cost)| cost.unlike(&recorded[what]).into_iter().map(move |found| format!("{what}: {found}")))
        .collect();
    assert!(
        unlike.is_empty(),
        "not within a tenth of what is on record:\n  {}\nwhere that is meant, run `make record-costs`",
        unlike.join("\n  ")
    );
}

#[test]
fn a_tenth_is_told_from_more() {
    let cost = |kilo_instructions, writes, bytes| Cost { kilo_instructions, writes, bytes };
    let recorded = cost(1000.0, 5.0, 2000.0);
    assert_eq!(cost(1099.0, 5.4, 2199.0).unlike(&recorded), Vec::<String>::new());
    assert_eq!(cost(1000.0, 5.6, 2000.0).unlike(&recorded), ["writes: 5.6, was 5"]);
    assert_eq!(cost(1101.0, 5.0, 2201.0).unlike(&recorded).len(), 2);
    assert_eq!(cost(880.0, 5.0, 2000.0).unlike(&recorded).len(), 1, "what became less goes on record too");
}
