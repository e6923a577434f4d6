//! Everything there is besides the operator, behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arl_operator::clock::Clock;
use fastrand::Rng;
use serde_json::Value;
use tokio::{
    sync::{Notify, futures::Notified},
    time::Instant,
};

use crate::{
    agenda::{Action, Agenda},
    agent::Agents,
    contract::{Contract, Rule},
    faults::Faults,
    kind::Actor,
    kubelet::Kubelet,
    live::Live,
    outages::Refused,
    process::Process,
    specs::Fields,
    store::Store,
    trace::Trace,
};

/// So often the clock is read within one instant only by somebody who never waits.
const SPINS: u64 = 100_000;

/// The namespace that everything happens in.
pub const NS: &str = "ns";

pub struct State {
    pub rng: Rng,
    pub store: Store,
    pub agenda: Agenda,
    pub kubelet: Kubelet,
    pub agents: Agents,
    pub live: Live,
    pub faults: Faults,
    pub contract: Contract,
    pub trace: Trace,
    pub processes: Vec<Process>,
    /// How far the operators' wall clock is ahead of the API server's, in milliseconds.
    pub clock_ahead: i64,
    /// How far it was ever set back, all in all: what was due by it comes later by as much.
    pub set_back: Duration,
    /// How often the clock was read; each reading is a bit later than the last, by no whole microsecond.
    readings: u64,
    /// The present instant and the number of readings before it.
    moment: (Instant, u64),
    seen: u64,
    /// Pages of lists that are still to be asked for: the version, and what is left.
    pub pages: BTreeMap<String, (u64, Vec<Arc<Value>>)>,
    /// The fields that people set in specs.
    pub fields: Fields,
    /// What is refused just now.
    pub outages: Vec<Refused>,
    /// Nodes that do not answer.
    pub away: BTreeSet<String>,
    pub faults_met: u64,
}

pub struct World {
    state: Mutex<State>,
    /// Something was written or has happened, for all who follow. Not a `watch` channel, which wakes in random order.
    pulse: Notify,
    /// Something has changed in what agents tell of live processes, or somebody asks.
    live_pulse: Notify,
    /// Something in the agenda or among the processes changed.
    pub changed: Notify,
}

impl World {
    pub fn new(seed: u64, faults: Faults) -> Arc<Self> {
        let state = State {
            rng: Rng::with_seed(seed ^ 0x5eed),
            store: Store::new(),
            agenda: Agenda::default(),
            kubelet: Kubelet::default(),
            agents: Agents::default(),
            live: Live::new(seed),
            faults,
            contract: Contract::default(),
            trace: Trace::new(),
            processes: Vec::new(),
            clock_ahead: 0,
            set_back: Duration::ZERO,
            readings: 0,
            moment: (Instant::now(), 0),
            seen: 0,
            pages: BTreeMap::new(),
            fields: Fields::default(),
            outages: Vec::new(),
            away: BTreeSet::new(),
            faults_met: 0,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            pulse: Notify::new(),
            live_pulse: Notify::new(),
            changed: Notify::new(),
        })
    }

    /// Does something, then has everybody look at what it changed.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let before = (state.agenda.next(), state.contract.facts.crashes);
        let (version, live) = (state.store.version(), state.live.changes);
        let result = act(&mut state);
        state.settle();
        let (written, changed) =
            (version != state.store.version(), before != (state.agenda.next(), state.contract.facts.crashes));
        let live_changed = live != state.live.changes;
        drop(state);
        if live_changed {
            self.live_pulse.notify_waiters();
        }
        if written {
            self.pulse.notify_waiters();
        }
        if changed {
            self.changed.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes back when something happens after this call.
    pub fn pulse(&self) -> Notified<'_> {
        self.pulse.notified()
    }

    /// Comes back when an agent has something to tell of live processes, or somebody asks, after this call.
    pub fn live_pulse(&self) -> Notified<'_> {
        self.live_pulse.notified()
    }

    /// Has agents asked for live processes.
    pub fn ask_live(&self) {
        self.live_pulse.notify_waiters();
    }

    /// The operators' wall clock.
    pub fn clock(self: &Arc<Self>) -> Clock {
        let world = Arc::clone(self);
        Clock::new(move || {
            let mut state = world.lock();
            state.readings += 1;
            if state.moment.0 != Instant::now() {
                state.moment = (Instant::now(), state.readings);
            }
            if state.readings - state.moment.1 > SPINS {
                let what = "the operator works without an end and asks for nothing".to_owned();
                state.contract.ledger.broken(Rule::ComesToRest, what);
                drop(state);
                world.changed.notify_one();
                // Nothing else stops it: it never waits.
                panic!("{SPINS} readings of the clock within one instant");
            }
            let ahead = jiff::SignedDuration::from_millis(state.clock_ahead);
            state.store.time() + ahead + Duration::from_nanos(1_237 * state.readings)
        })
    }

    /// Comes back while the process may run: at once, when its pause is over, or never.
    pub async fn runs(&self, actor: Actor) {
        let Actor::Operator(number) = actor else { return };
        loop {
            let pulse = self.pulse();
            let (alive, paused) = {
                let state = self.lock();
                (state.processes[number].alive, state.processes[number].paused)
            };
            if alive && !paused {
                return;
            }
            if !alive {
                std::future::pending::<()>().await;
            }
            pulse.await;
        }
    }

    /// Wakes those that wait for a process to go on.
    pub fn wake_all(&self) {
        self.pulse.notify_waiters();
        self.changed.notify_one();
    }
}

impl State {
    /// Shows what was written to all who follow it, which may write in turn.
    fn settle(&mut self) {
        while let Some(entry) = self.store.after(self.seen).cloned() {
            self.seen = entry.version;
            let verb = match (&entry.before, &entry.after) {
                (None, _) => "creates",
                (_, None) => "removes",
                _ => "changes",
            };
            let what =
                entry.before.as_ref().zip(entry.after.as_ref()).map(|(b, a)| differences(b, a)).unwrap_or_default();
            self.trace.say(&format!("{} {verb} {} at {}{what}", entry.by, entry.id, entry.version));
            self.contract.check(&entry, &self.store, &self.agents, &self.live);
            self.observe(&entry);
        }
    }

    /// A delay between these milliseconds.
    pub fn delay(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from..=to))
    }

    /// Something is due after a drawn number of milliseconds.
    pub fn soon(&mut self, (from, to): (u64, u64), action: Action) {
        let delay = self.delay(from, to);
        self.agenda.after(delay, action);
    }

    /// A fault is met.
    pub fn fault(&mut self, what: &str) {
        self.faults_met += 1;
        self.trace.say(&format!("fault: {what}"));
    }

    /// The process dies now: nothing it does from here on has an effect.
    pub fn kill(&mut self, number: usize) {
        if !std::mem::replace(&mut self.processes[number].alive, false) {
            return;
        }
        self.contract.facts.crashes += 1;
        self.trace.say(&format!("operator{number} dies after {} writes", self.processes[number].writes));
        if self.alive().is_empty() {
            self.soon((10, 3_000), Action::Start);
        }
    }

    /// The numbers of the processes that live.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|n| self.processes[*n].alive).collect()
    }
}

/// The fields that differ, and what short ones have become.
fn differences(before: &Value, after: &Value) -> String {
    let mut found = String::new();
    for part in ["metadata", "spec", "status"] {
        for (key, value) in after[part].as_object().into_iter().flatten().filter(|(key, _)| *key != "resourceVersion") {
            if before[part].get(key) != Some(value) {
                let text = if key == "conditions" { value[0]["reason"].to_string() } else { value.to_string() };
                found.extend([" ", key.as_str()]);
                if text.len() < 60 {
                    found.extend(["=", &text]);
                }
            }
        }
    }
    found
}
