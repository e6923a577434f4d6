//! One history: the operator against the simulated cluster, from a seed to a verdict.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arl_operator::{
    effects::{self, EventSink},
    flags::Flags,
    metrics::{Catalogue, Metrics},
    operator::{Common, Scope, Stage},
    queue::InFlight,
    runs::{Bounds, Runner},
    traces::Traces,
};
use clap::Parser;
use kube::Client;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use crate::{
    agenda::Action,
    contract::{Contract, Counts, Rule, STALE},
    converged,
    costs::allocated,
    kind::Actor,
    plan::Plan,
    process::Process,
    server::ApiServer,
    specs::{self, Fields},
    streams::Streams,
    users::Deed,
    world::{NS, State, World},
};

/// The longest that convergence may take once nothing disturbs, and that surplus may last.
const CONVERGED_WITHIN: Duration = Duration::from_secs(120);
/// What follows from the last change is written by then: that a pool's trouble is over once it has stayed away for a minute after
/// the last pause, which is a minute at most, and that a container is in no crash loop any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(200);
/// A request that hangs is given up within this time, and followed by another.
const HANGS: Duration = Duration::from_secs(350);
/// So long the operator is then listened to.
const SILENCE: Duration = Duration::from_secs(300);
/// What cannot be had is tried again and again, at growing intervals.
const SEEKING: u64 = 300;
/// No history has as many events, except where something never stops.
const EVENTS_MAX: u64 = 60_000;

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    pub events: u64,
    pub hash: u64,
    pub crashes: u64,
    pub faults: u64,
    /// Writes of the first operator process.
    pub writes: u64,
    pub steps: usize,
    pub violations: Vec<String>,
    pub rules: Counts,
    pub fields: Fields,
    pub tail: Vec<String>,
}

impl Report {
    /// Of a history that did not come to its end: the simulation itself has a defect.
    pub fn panicked() -> Self {
        Self { violations: vec!["a panic, see above".to_owned()], ..Self::default() }
    }
}

/// Runs a history.
pub fn run(plan: &Plan) -> Report {
    played(plan, async |history| history.report())
}

/// Runs a history, and says how many bytes of memory the operators had in use at its end.
pub fn weigh(plan: &Plan) -> (Report, usize) {
    played(plan, async |history| {
        let in_use = allocated();
        history.end().await;
        (history.report(), in_use.saturating_sub(allocated()))
    })
}

fn played<T>(plan: &Plan, then: impl AsyncFnOnce(&mut History) -> T) -> T {
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut history =
            History { world: World::new(plan.seed, plan.faults.clone()), plan: plan.clone(), tasks: BTreeMap::new() };
        history.play().await;
        then(&mut history).await
    })
}

struct History {
    world: Arc<World>,
    plan: Plan,
    tasks: BTreeMap<usize, AbortHandle>,
}

impl History {
    async fn play(&mut self) {
        let hangs = if self.plan.faults.hang > 0 { HANGS } else { Duration::ZERO };
        let patience = CONVERGED_WITHIN + hangs;
        self.world.with(|s| {
            let facts = &mut s.contract.facts;
            (facts.patience, facts.oldest) = (patience, STALE + hangs);
            facts.is_orderly = self.plan.faults.are_orderly();
            facts.only_outages = self.plan.faults.are_only_outages();
            facts.trip = Duration::from_millis(4 * self.plan.faults.slow + 500);
            facts.stale = facts.trip + Duration::from_millis(self.plan.faults.lag + 1_000);
            s.perform(&Deed::Namespace);
            let mut varied = self.plan.is_varied.then(|| fastrand::Rng::with_seed(self.plan.seed ^ 0xf1e1d));
            for (at, mut deed) in (self.plan.scenario.deeds)(&mut s.rng) {
                if let Some(rng) = &mut varied {
                    specs::enrich(&mut deed, rng);
                }
                s.agenda.after(Duration::from_millis(at), Action::User(deed));
            }
            s.agenda.after(Duration::ZERO, Action::Start);
            s.plan_disturbances();
        });
        while !self.world.with(|s| s.agenda.users_are_done()) {
            if !self.drive(Duration::from_millis(500)).await {
                return;
            }
        }
        self.world.with(State::calm_down);
        self.world.wake_all();
        let deadline = Instant::now() + patience;
        loop {
            if !self.drive(Duration::from_millis(500)).await {
                return;
            }
            let findings = self.world.with(|s| converged::check(s));
            if findings.missing().is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return self.world.with(|s| {
                    for (rule, what) in findings.0 {
                        let said = format!("not within {patience:?}: {}", what.clone().unwrap_or_default());
                        s.contract.ledger.test(rule, what.is_none(), || said);
                    }
                });
            }
        }
        self.listen().await;
    }

    /// Nothing is left to do, so the operator asks for nothing.
    async fn listen(&mut self) {
        let settled = if self.plan.faults.hang > 0 { HANGS } else { SETTLED_WITHIN };
        let settled = settled + self.world.with(|s| s.set_back);
        if !self.drive(settled).await {
            return;
        }
        self.world.with(|s| {
            s.trace.say("silence is expected from here on");
            s.processes.iter_mut().for_each(|p| p.requests = 0);
        });
        if !self.drive(SILENCE).await {
            return;
        }
        self.world.with(|s| {
            let requests: u64 = s.processes.iter().filter(|p| p.alive).map(|p| p.requests).sum();
            let most = if converged::is_obstructed(s) { SEEKING } else { 0 };
            let ledger = &mut s.contract.ledger;
            ledger
                .test(Rule::SilentAtRest, requests <= most, || format!("{requests} requests with nothing left to do"));
            for (rule, what) in converged::check(s).0 {
                let said = what.clone().map(|what| format!("converged, and then: {what}"));
                s.contract.ledger.test(rule, what.is_none(), || said.unwrap_or_default());
            }
            let Contract { ledger, facts, events, .. } = &mut s.contract;
            events.at_rest(&s.store, facts, ledger);
        });
    }

    /// Lets this much time pass; false when the history is over before that.
    async fn drive(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            while let Some(action) = self.world.with(|s| s.agenda.pop()) {
                self.act(action);
                self.bury();
            }
            self.bury();
            let (next, over) = self.world.with(|s| {
                let stops = s.trace.events <= EVENTS_MAX;
                s.contract.ledger.test(Rule::ComesToRest, stops, || format!("more than {EVENTS_MAX} events"));
                (s.agenda.next(), !s.contract.ledger.violations.is_empty())
            });
            if over {
                return false;
            }
            if Instant::now() >= until {
                return true;
            }
            let next = next.map_or(until, |at| at.min(until));
            drop(tokio::time::timeout_at(next, self.world.changed.notified()).await);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start => self.start(),
            Action::Second => {
                self.world.with(|s| {
                    for number in s.alive() {
                        s.soon((100, 3_000), Action::Depose(number));
                    }
                });
                self.start();
            }
            other => self.world.with(|s| s.act(other)),
        }
        self.world.wake_all();
    }

    /// Ends the tasks of processes that have died.
    fn bury(&mut self) {
        let alive = self.world.with(|s| s.alive());
        self.tasks.retain(|number, task| {
            let lives = alive.contains(number);
            if !lives {
                task.abort();
            }
            lives
        });
    }

    /// Ends all operators, who drop what they have.
    async fn end(&mut self) {
        for task in std::mem::take(&mut self.tasks).into_values() {
            task.abort();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn start(&mut self) {
        let death = self.plan.death;
        let number = self.world.with(|s| {
            let number = s.processes.len();
            let faults = s.faults.clone();
            let lag = faults.lags(&mut s.rng);
            let at_once = s.alive().len() + 1;
            let facts = &mut s.contract.facts;
            (facts.operators, facts.processes) = (facts.operators.max(at_once), number + 1);
            s.processes.push(Process::new(lag, death.filter(|_| number == 0)));
            s.trace.say(&format!("operator{number} starts, its watches late by {lag:?}"));
            number
        });
        let who = Actor::Operator(number);
        let client = Client::new(ApiServer { world: Arc::clone(&self.world), who }, NS);
        let events = EventSink::new();
        let flags = Flags::parse_from(["arl-operator"]);
        let runner: Arc<dyn Runner> = Arc::new(Streams::new(&self.world, who));
        let (clock, metrics) = (self.world.clock(), Metrics::new(&mut Catalogue::default()));
        let scope = Scope::new(None, &clock, &runner, &metrics, &InFlight::default(), &Bounds::default());
        let stage = watch::Sender::new(Stage::Lead);
        let common = Common {
            client: client.clone(),
            flags,
            clock,
            events: events.clone(),
            metrics,
            traces: Traces::default(),
            permits: Arc::default(),
            stage: stage.subscribe(),
        };
        let publisher = effects::publish(client, None, events, self.world.clock());
        let task = tokio::spawn(async move {
            tokio::select! {
                () = scope.run(common) => {}
                () = publisher => {}
            }
            drop(stage);
        });
        self.tasks.insert(number, task.abort_handle());
    }

    fn report(&self) -> Report {
        self.world.with(|s| Report {
            events: s.trace.events,
            hash: s.trace.hash,
            crashes: s.contract.facts.crashes,
            faults: s.faults_met,
            writes: s.processes.first().map_or(0, |p| p.writes),
            steps: s.agents.steps_started(),
            violations: s.contract.ledger.violations.clone(),
            rules: s.contract.ledger.counts(),
            fields: s.fields.clone(),
            tail: s.trace.tail().cloned().collect(),
        })
    }
}
