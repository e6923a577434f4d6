//! The operator's way to the agents: streams that break, and that nodes which are away do not answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arl_crds::ExecutorMode;
use arl_operator::{
    object::Uid,
    pod::Target,
    runs::{Leftovers, LiveReport, Report, Request, RunControl, RunEnd, Runner},
};
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    agenda::Action,
    agent::RunId,
    faults::Faults,
    kind::{Actor, Kind},
    live,
    world::{State, World},
};

/// What a run started gets TERM when it is to end, and KILL 2 s later.
const DYING: (u64, u64) = (0, 2_000);
/// So often a node that is away is tried.
const RETRY: Duration = Duration::from_secs(1);

/// How far from the pod a stream got.
enum NoStream {
    /// It may come about later.
    Now,
    /// The node does not answer.
    Away,
    /// The pod is gone.
    Ever,
}

/// The operator's way to the agents.
pub struct Streams {
    world: Arc<World>,
    who: Actor,
    /// Pods whose agent this process has asked what runs there.
    asked: Mutex<BTreeSet<Uid>>,
    /// Whether somebody waits to hear of live processes, by pod.
    asked_live: Mutex<BTreeMap<Uid, Arc<AtomicBool>>>,
}

/// How long a run is given when its container was started again.
const SETTLING: Duration = Duration::from_secs(5);

impl Streams {
    pub fn new(world: &Arc<World>, who: Actor) -> Self {
        Self { world: Arc::clone(world), who, asked: Mutex::default(), asked_live: Mutex::default() }
    }

    /// Starts or finds the run, where the pod is still the one that was meant.
    async fn open(&self, request: &Request) -> Result<RunId, NoStream> {
        self.world.runs(self.who).await;
        let delay = self.world.with(|s| s.delay(1, 30));
        tokio::time::sleep(delay).await;
        self.world.runs(self.who).await;
        self.world.with(|s| {
            let wanted = &request.target;
            let Some((_, pod)) = s.store.by_uid(Kind::Pod, &wanted.pod_uid.0) else { return Err(NoStream::Ever) };
            if s.is_away(pod) {
                return Err(NoStream::Away);
            }
            if pod["status"]["containerStatuses"][0]["state"].get("running").is_none() {
                return Err(NoStream::Now);
            }
            if self.breaks(s) {
                if request.started_at.is_none() && s.rng.bool() {
                    s.begin(request);
                }
                return Err(NoStream::Now);
            }
            let id = (wanted.pod_uid.0.clone(), request.task_uid.0.clone());
            if request.started_at.is_some() { Ok(id) } else { Ok(s.begin(request)) }
        })
    }

    fn breaks(&self, s: &mut State) -> bool {
        let rate = s.faults.stream;
        let breaks = Faults::happens(&mut s.rng, rate);
        if breaks {
            s.fault(&format!("{}'s stream to an agent breaks", self.who));
        }
        breaks
    }

    /// Reports what happens in the run until it is over; `None`: the stream broke.
    async fn follow(&self, id: &RunId, report: &Report) -> Option<RunEnd> {
        let mut seen = (0, false);
        loop {
            self.world.runs(self.who).await;
            let pulse = self.world.pulse();
            let told = self.world.with(|s| {
                let Some(run) = s.agents.run(id) else {
                    return Some(Some(RunEnd::Lost("the pod has no record of the run".into())));
                };
                let away = s.store.by_uid(Kind::Pod, &id.0).is_some_and(|(_, pod)| s.is_away(pod));
                if away {
                    return Some(None);
                }
                let now = (run.done.len(), run.done.last().is_some_and(|s| s.ended_at.is_some()));
                let (started_at, done, end) = (run.started_at, run.done.clone(), run.end.clone());
                if seen != now && self.breaks(s) {
                    return Some(None);
                }
                seen = now;
                let known = report.lock().steps.len();
                if let Some(step) = done.last().filter(|_| done.len() > known) {
                    report.begin_step(step.started_at);
                }
                report.lock().steps = done;
                Some(end).filter(Option::is_some).or_else(|| {
                    report.started(started_at);
                    None
                })
            });
            if let Some(end) = told {
                return end;
            }
            pulse.await;
        }
    }

    async fn attempts(&self, request: &Request, report: &Report, is_sent: &AtomicBool) -> RunEnd {
        loop {
            match self.open(request).await {
                Ok(id) => {
                    is_sent.store(true, Ordering::SeqCst);
                    report.reached();
                    if let Some(end) = self.follow(&id, report).await {
                        return end;
                    }
                    // Plain exec has no second stream.
                    if request.target.mode == ExecutorMode::Exec {
                        return RunEnd::Lost("the stream broke".into());
                    }
                }
                Err(_) if request.target.mode == ExecutorMode::Exec => {
                    return RunEnd::Lost("there is no stream".into());
                }
                Err(NoStream::Ever) => return RunEnd::Lost("the pod is gone".into()),
                Err(NoStream::Now) => {}
                Err(NoStream::Away) => {
                    report.obstacle("the node does not answer", self.world.clock().now());
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Asks the agent to end a run, as soon as its node answers, and comes back when all of it is gone.
    async fn cancel(&self, id: &RunId) {
        let mut is_asked = false;
        loop {
            self.world.runs(self.who).await;
            let pulse = self.world.pulse();
            let is_over = self.world.with(|s| {
                let Some((_, pod)) = s.store.by_uid(Kind::Pod, &id.0) else { return true };
                let is_away = s.is_away(pod);
                if !is_away && !std::mem::replace(&mut is_asked, true) {
                    s.soon(DYING, Action::EndRun(id.clone(), RunEnd::Cancelled));
                }
                !s.agents.goes_on(id)
            });
            if is_over {
                return;
            }
            drop(tokio::time::timeout(RETRY, pulse).await);
        }
    }

    async fn heeds(&self, request: &Request, mut control: watch::Receiver<RunControl>, is_sent: &AtomicBool) -> RunEnd {
        let asked_to = control.wait_for(|control| *control != RunControl::Continue).await.map(|control| *control);
        match asked_to {
            Ok(RunControl::Cancel) => {
                self.cancel(&(request.target.pod_uid.0.clone(), request.task_uid.0.clone())).await;
                RunEnd::Cancelled
            }
            // A stream that broke meanwhile may have been good enough for the agent to begin.
            Ok(_) if request.target.mode == ExecutorMode::Agent && !is_sent.load(Ordering::SeqCst) => RunEnd::NotSent,
            Ok(_) => {
                tokio::time::sleep(SETTLING).await;
                RunEnd::Lost("the container was started again".into())
            }
            Err(_) => std::future::pending().await,
        }
    }
}

impl Runner for Streams {
    fn run<'a>(
        &'a self,
        request: Request,
        report: &'a Report,
        control: watch::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        Box::pin(async move {
            let is_sent = AtomicBool::new(request.started_at.is_some());
            let end = tokio::select! {
                biased;
                end = self.attempts(&request, report, &is_sent) => end,
                end = self.heeds(&request, control, &is_sent) => end,
            };
            if request.target.mode == ExecutorMode::Exec {
                self.world.with(|s| s.agents.leave(&request.target.pod_uid.0, &request.task_uid.0));
            }
            (end, Leftovers::None)
        })
    }

    /// What runs there of Tasks that are not wanted any more is ended.
    fn prepare(&self, target: &Target, live: &LiveReport) {
        let is_new = self.asked.lock().unwrap().insert(target.pod_uid.clone());
        if !is_new || target.mode == ExecutorMode::Exec {
            return;
        }
        let asked = Arc::<AtomicBool>::default();
        self.asked_live.lock().unwrap().insert(target.pod_uid.clone(), Arc::clone(&asked));
        tokio::spawn(live::follow(Arc::clone(&self.world), self.who, target.clone(), live.clone(), asked));
        let (world, who, pod) = (Arc::clone(&self.world), self.who, target.pod_uid.0.clone());
        tokio::spawn(async move {
            loop {
                let delay = world.with(|s| s.delay(5, 300));
                tokio::time::sleep(delay).await;
                world.runs(who).await;
                let is_away = world.with(|s| {
                    let is_away = s.store.by_uid(Kind::Pod, &pod).is_some_and(|(_, pod)| s.is_away(pod));
                    if !is_away {
                        s.end_unwanted(&pod);
                    }
                    is_away
                });
                if !is_away {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    fn connect(&self, target: &Target) -> bool {
        self.world.with(|s| s.connect(self.who, target));
        true
    }

    fn ask_live(&self, target: &Target) {
        if let Some(asked) = self.asked_live.lock().unwrap().get(&target.pod_uid) {
            asked.store(true, Ordering::SeqCst);
            self.world.ask_live();
        }
    }

    fn forget(&self, _: &Target, _: &Uid) {}
}
