//! Steps through the agent in the pod: one exec stream a pod, opened when a Sandbox gets it, shared by all Tasks of the Sandbox.
//!
//! A stream is only a way to the run: it may break, and this process may end, while the run goes on in the pod. Whoever comes
//! back follows it and gets all of it. `arl_agent` says how the two talk.

mod attached;
mod decode;
mod limit;
mod lull;
mod sent;
mod socket;
mod stream;

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arl_agent::message::{RunId, ToAgent};
use futures::{FutureExt, future::BoxFuture};
use kube::Client;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout_at,
};

use super::{
    report::Report,
    run::{Left, Request, RunEnd, Wish, wished},
    runner::Runner,
};
use crate::{
    clock::Clock,
    connect::passed_on,
    metrics::Metrics,
    object::{Key, Uid},
    pod::Target,
    queue::Load,
};
use attached::{Attach, Order, Said};
use limit::{Limit, PATIENCE};
use lull::Lull;
use sent::Sent;

/// Opening a stream costs the node more than a claim costs all others: so many at a time for Sandboxes that nobody waits for,
/// and only while no Sandbox waits for its pod; so many for those with a Task.
const OPENING_IDLE: usize = 4;
const OPENING_BUSY: usize = 16;
/// What the pod has on record of a run whose container was restarted is there as soon as the container is.
const SETTLING: Duration = Duration::from_secs(5);

/// Whether the Task of this name still has this uid and is not over, asked of the API server; where that cannot be known, it has.
pub type StillWanted = Arc<dyn Fn(Key, Uid) -> BoxFuture<'static, bool> + Send + Sync>;

/// The runner that uses the agent.
pub struct Agent {
    client: Client,
    clock: Clock,
    still_wanted: StillWanted,
    metrics: Arc<Metrics>,
    claims: Load,
    lull: Lull,
    streams: Mutex<BTreeMap<Uid, mpsc::UnboundedSender<Order>>>,
    opening_idle: Semaphore,
    opening_busy: Semaphore,
}

impl Agent {
    /// Runs through `client`; runs found in a pod whose Task is not `still_wanted` are ended; `claims` come before streams that
    /// nobody waits for.
    pub fn new(
        client: Client,
        clock: Clock,
        still_wanted: StillWanted,
        metrics: Arc<Metrics>,
        claims: Load,
    ) -> Arc<Self> {
        Arc::new(Self {
            client: passed_on(client),
            clock,
            still_wanted,
            metrics,
            claims,
            lull: Lull::default(),
            streams: Mutex::default(),
            opening_idle: Semaphore::new(OPENING_IDLE),
            opening_busy: Semaphore::new(OPENING_BUSY),
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, mpsc::UnboundedSender<Order>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an order to the stream of a pod; opens one where there is none.
    fn order(self: &Arc<Self>, target: &Target, order: Option<Order>) {
        let mut streams = self.lock();
        let open = streams.get(&target.pod_uid).filter(|orders| !orders.is_closed());
        let orders = open.cloned().unwrap_or_else(|| {
            let (orders, received) = mpsc::unbounded_channel();
            streams.insert(target.pod_uid.clone(), orders.clone());
            tokio::spawn(Arc::clone(self).keep(target.clone(), received));
            orders
        });
        // One that has just ended drops the order, and whoever waits for its effect sees that.
        let _ = order.map(|order| orders.send(order));
    }

    fn attach(self: &Arc<Self>, run: &Sent) -> mpsc::Receiver<Said> {
        let (said, receive) = mpsc::channel(4);
        let (id, start) = (run.id.clone(), run.start.clone());
        self.order(&run.target, Some(Order::Attach(Attach { run: id, start, sent: false, said })));
        receive
    }
}

enum Heard {
    Said(Option<Said>),
    Cancel,
    Settle,
}

impl Runner for Arc<Agent> {
    fn run<'a>(
        &'a self,
        request: Request,
        report: &'a Report,
        mut wish: watch::Receiver<Wish>,
    ) -> BoxFuture<'a, (RunEnd, Left)> {
        async move {
            let Some(mut run) = Sent::new(request) else {
                return (RunEnd::NotStarted("the Task's uid is none".into()), Left::Nothing);
            };
            let (mut settle, mut heeded, mut sent_at) = (wish.clone(), (false, false), None);
            let mut limit = if run.is_started() { Limit::new(run.timeout + PATIENCE) } else { Limit::none() };
            let mut answers = self.attach(&run);
            loop {
                let heard = async {
                    tokio::select! {
                        biased;
                        said = answers.recv() => Heard::Said(said),
                        () = wished(&mut wish, Wish::Cancel), if !heeded.0 => Heard::Cancel,
                        () = wished(&mut settle, Wish::Settle), if !heeded.1 => Heard::Settle,
                    }
                };
                match timeout_at(limit.at(), heard).await {
                    Ok(Heard::Said(Some(Said::Message(message)))) => {
                        if let ControlFlow::Break(end) = decode::take(message, &run, report, self.clock.now()) {
                            return end;
                        }
                        if run.start.take().is_some() && !heeded.0 {
                            limit.begin(run.timeout + PATIENCE);
                        }
                    }
                    Ok(Heard::Said(Some(Said::Sent))) => {
                        report.reached();
                        if sent_at.is_none() && !heeded.1 {
                            limit.only_reached();
                        }
                        sent_at = sent_at.or(Some(self.clock.now()));
                        // It may have to wait for the end of a run before it, whose Task was deleted.
                        limit.lower(run.timeout + 2 * PATIENCE);
                        limit.reached();
                    }
                    Ok(Heard::Said(Some(Said::Obstacle { words, reached }))) => {
                        if reached {
                            limit.reached();
                        } else {
                            limit.unreached();
                        }
                        report.obstacle(&words, self.clock.now());
                    }
                    Ok(Heard::Said(Some(Said::Gone(words)))) if run.is_started() => {
                        return (RunEnd::Lost(words), Left::Unknown);
                    }
                    Ok(Heard::Said(Some(Said::Gone(words)))) => return (RunEnd::NotStarted(words), Left::Nothing),
                    Ok(Heard::Said(None)) => answers = self.attach(&run),
                    Ok(Heard::Cancel) => {
                        heeded.0 = true;
                        if run.is_started() || sent_at.is_some() {
                            limit.lower(PATIENCE);
                        } else {
                            limit.lower_for_all(PATIENCE);
                        }
                        self.order(&run.target, Some(Order::Cancel(run.id.clone())));
                    }
                    Ok(Heard::Settle) => {
                        heeded.1 = true;
                        // The kubelet has told of it: the node is reached, whatever the container is.
                        limit.lower_for_all(SETTLING);
                    }
                    Err(_) if !heeded.1 && limit.try_again() => self.order(&run.target, Some(Order::Reopen)),
                    Err(_) => {
                        if let Some(at) = sent_at {
                            report.started(at);
                        }
                        return given_up(heeded, run.is_started() || sent_at.is_some());
                    }
                }
            }
        }
        .boxed()
    }

    fn prepare(&self, target: &Target) {
        self.order(target, None);
    }

    fn forget(&self, target: &Target, task: &Uid) {
        // Where no stream is open, none is opened for this.
        if let Some((run, orders)) = RunId::new(&task.0).zip(self.lock().get(&target.pod_uid)) {
            let _ = orders.send(Order::Mention(ToAgent::Forget { run }));
        }
    }
}

fn given_up((cancelled, settling): (bool, bool), may_run: bool) -> (RunEnd, Left) {
    let left = if may_run { Left::Survivors("the agent in the pod does not answer".into()) } else { Left::Nothing };
    match (cancelled, settling) {
        (true, _) => (RunEnd::Cancelled, left),
        (_, true) => (RunEnd::Lost("the container was started again".into()), Left::Nothing),
        _ => (RunEnd::TimedOut, left),
    }
}
