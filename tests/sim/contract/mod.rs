//! The contract, held against a history: after every write, and once all is quiet. One file for each topic.

mod claims;
pub mod elastic;
mod events;
mod lifetimes;
mod numbers;
mod pods;
mod results;
mod rule;
mod runs;
pub mod setups;
mod statuses;
mod times;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arl_crds::labels;
use jiff::Timestamp;
use serde_json::Value;

pub use rule::{Counts, Ledger, Rule};
pub use runs::InFlight;

use crate::{
    agent::Agents,
    kind::{Id, Kind},
    live::Live,
    store::{Entry, Store, controller, is_deleting, uid_of},
};

/// No view in a simulation is older, but one whose list hangs.
pub const STALE: Duration = Duration::from_secs(15);

/// What is true of a whole history so far.
#[derive(Debug, Default)]
pub struct Facts {
    /// The most operator processes that there ever were at once, and all of them.
    pub operators: usize,
    pub processes: usize,
    /// How many of them died.
    pub crashes: u64,
    /// Nothing goes wrong in this history but slowness: then much holds to the second.
    pub is_orderly: bool,
    /// Nothing goes wrong but refusals and nodes that are away.
    pub only_outages: bool,
    /// The most that the operators' clock was ever ahead of the API server's, in milliseconds, and whether it ever jumped.
    pub most_ahead: i64,
    pub clock_jumped: bool,
    /// The longest that a call and what follows from its answer may take, and that what the operator knows may be behind, where nothing goes
    /// wrong but refusals.
    pub trip: Duration,
    pub stale: Duration,
    /// The oldest that a view may be, whatever goes wrong.
    pub oldest: Duration,
    /// The longest that convergence may take.
    pub patience: Duration,
    /// When objects were created, by uid: their place in the API server's order.
    pub created: BTreeMap<String, u64>,
    /// Those that somebody but the operator changed: they may have been seen first at a later version.
    pub touched: BTreeSet<String>,
}

impl Facts {
    /// Whether there is one operator, from the beginning, and nothing goes wrong but slowness.
    pub fn is_plain(&self) -> bool {
        self.is_orderly && self.is_alone()
    }

    /// Whether there was one operator process only, from the beginning, and it lives.
    pub fn is_alone(&self) -> bool {
        self.operators == 1 && self.processes == 1 && self.crashes == 0
    }
}

/// All rules and what they remember.
#[derive(Debug, Default)]
pub struct Contract {
    pub ledger: Ledger,
    pub facts: Facts,
    pub pods: pods::Pods,
    claims: claims::Claims,
    elastic: elastic::Elastic,
    pub numbers: numbers::Numbers,
    lifetimes: lifetimes::Lifetimes,
    pub runs: runs::InFlight,
    pub setups: setups::Setups,
    pub events: events::Events,
}

impl Contract {
    /// Looks at one change.
    pub fn check(&mut self, entry: &Entry, store: &Store, agents: &Agents, live: &Live) {
        if let Some(object) = entry.after.as_deref().filter(|_| entry.id.kind != Kind::Namespace) {
            match &entry.before {
                None => drop(self.facts.created.insert(uid_of(object).to_owned(), entry.version)),
                Some(_) if !entry.by.is_operator() => drop(self.facts.touched.insert(uid_of(object).to_owned())),
                Some(_) => {}
            }
        }
        let (ledger, facts) = (&mut self.ledger, &self.facts);
        statuses::check(entry, ledger);
        self.pods.check(entry, store, facts, ledger);
        self.claims.check(entry, store, facts, ledger);
        self.numbers.check(entry, store, facts, ledger);
        self.elastic.check(entry, store, facts, ledger);
        self.lifetimes.check(entry, (store, agents, live), facts, ledger);
        self.runs.check(entry, agents);
        self.setups.check(entry, ledger);
        self.events.check(entry);
        results::check(entry, store, agents, facts, ledger);
    }
}

/// What is alike in all histories: how an object looks.
pub fn is_alive(pod: &Value) -> bool {
    !is_deleting(pod) && !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

pub fn is_finished(task: &Value) -> bool {
    matches!(task["status"]["state"].as_str(), Some("Succeeded" | "Failed"))
}

pub fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True"
}

pub fn is_running(pod: &Value) -> bool {
    pod["status"]["containerStatuses"][0]["state"].get("running").is_some()
}

pub fn has_agent(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(labels::AGENT).is_some()
}

pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The reason and message of a condition.
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    condition_of(&object["status"], type_)
}

/// Why a Task has ended.
fn reason_of(task: &Value) -> &str {
    condition(task, "Finished").and_then(|c| c["reason"].as_str()).unwrap_or_default()
}

fn condition_of<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    status["conditions"].as_array()?.iter().find(|c| c["type"] == type_)
}

/// The living idle pods of the pool with this uid.
pub fn idle_of<'a>(pool: &'a str, store: &'a Store) -> impl Iterator<Item = (&'a Id, &'a Value)> {
    let mine = move |pod: &Value| controller(pod) == Some(("WarmPool", pool)) && is_alive(pod);
    store.of(Kind::Pod).map(|(id, pod)| (id, &**pod)).filter(move |(_, pod)| mine(pod))
}

/// A Task's or a Sandbox's place in the queue: of those of one second, that comes first which the operator saw first.
pub fn arrival(object: &Value) -> (String, i64) {
    let created = object["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    let version = || crate::store::version_of(object).parse().unwrap_or(i64::MAX);
    (created, object["status"]["arrival"].as_i64().unwrap_or_else(version))
}
