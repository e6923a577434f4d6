//! The operator put together: for each watched scope, four watches, three queues and their workers.

mod queues;

use std::sync::Arc;

use arl_crds::{WarmPool, labels};
use futures::FutureExt;
use jiff::Timestamp;
use kube::{Api, Client, core::NamespaceResourceScope, runtime::watcher};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    cache::{Cache, Guarded, SandboxRow, Source, TaskRow, Watch},
    clock::Clock,
    controller,
    effects::{Effects, EventSink, Permits},
    flags::Flags,
    metrics::Metrics,
    object::{Key, Uid},
    pod::Pod,
    queue::InFlight,
    runs::{Agent, Bounds, ByMode, Exec, Runner, Runs},
    sandbox::Sandboxes,
    task::Tasks,
    traces::Traces,
    warmpool::{AgentImage, WarmPools},
};

pub use queues::Queues;

/// What all scopes of a process have in common.
#[derive(Clone)]
pub struct Common {
    /// The way to the API server.
    pub client: Client,
    /// What the operator was told.
    pub flags: Flags,
    /// The wall clock.
    pub clock: Clock,
    /// Where Events go.
    pub events: EventSink,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where spans go.
    pub traces: Traces,
    /// How many calls are in flight.
    pub permits: Arc<Permits>,
    /// What this operator is to do.
    pub stage: watch::Receiver<Stage>,
}

/// What an operator is to do; it only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To keep its caches warm.
    StandBy,
    /// To work.
    Lead,
    /// To stop.
    Stop,
}

/// All objects in one namespace, or in all namespaces. All references stay inside one namespace, so scopes have nothing in
/// common.
pub struct Scope {
    namespace: Option<String>,
    queues: Queues,
    watch: Arc<Watch>,
    runs: Arc<Runs>,
    synced: watch::Sender<bool>,
}

impl Scope {
    /// A scope that nobody looks after yet. `claims` are all scopes' Sandboxes that are to be looked at, `bounds`
    /// hold for the runs of all scopes.
    pub fn new(
        namespace: Option<String>,
        clock: &Clock,
        runner: &Arc<dyn Runner>,
        metrics: &Arc<Metrics>,
        claims: &InFlight,
        bounds: &Bounds,
    ) -> Arc<Self> {
        let queues = Queues::new(metrics, claims);
        let wake_all = queues.clone();
        let watch = Arc::new(Watch {
            cache: Arc::default(),
            clock: clock.clone(),
            metrics: Arc::clone(metrics),
            wake: Arc::new(move |wake| wake_all.wake(wake)),
        });
        let runs = Arc::new(Runs::new(Arc::clone(runner), clock.clone(), bounds.clone(), Arc::clone(&watch.wake)));
        Arc::new(Self { namespace, queues, watch, runs, synced: watch::Sender::new(false) })
    }

    /// Its namespace, where it is one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Its namespace, in words.
    pub fn name(&self) -> &str {
        self.namespace.as_deref().unwrap_or("all namespaces")
    }

    /// What is known of its objects.
    pub fn cache(&self) -> &Cache {
        &self.watch.cache
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.watch.clock.now()
    }

    /// Its queues.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Its runs.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Whether its caches are complete.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Resolves when its caches are complete.
    pub async fn synced(&self) {
        // The sender is this scope's own, so there is always one.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Looks after the scope until it is told to stop: watches at once, and works from when its caches are complete and this
    /// operator leads. Once it is over, nothing of it works any more.
    pub async fn run(self: Arc<Self>, common: Common) {
        let mut stage = common.stage.clone();
        let _runs = Held(&self.runs);
        let mut tasks = JoinSet::new();
        tokio::select! {
            () = self.work(common, &mut tasks) => {}
            _ = stage.wait_for(|stage| *stage == Stage::Stop) => {}
        }
        tasks.shutdown().await;
    }

    async fn work(&self, common: Common, tasks: &mut JoinSet<()>) {
        let Common { client, flags, clock, events, metrics, traces, permits, mut stage } = common;
        let scope = self.namespace.as_deref();
        let pods = watcher::Config::default().labels(labels::WARMPOOL);
        let synced = [
            follow::<WarmPool>(tasks, &self.watch, &client, scope, watcher::Config::default()),
            follow::<SandboxRow>(tasks, &self.watch, &client, scope, watcher::Config::default()),
            follow::<TaskRow>(tasks, &self.watch, &client, scope, watcher::Config::default()),
            follow::<Pod>(tasks, &self.watch, &client, scope, pods),
        ];
        if scope.is_none() {
            tasks.spawn(Arc::clone(&self.watch).run_nodes(Api::all(client.clone())));
        }
        for mut kind in synced {
            if kind.wait_for(|synced| *synced).await.is_err() {
                return end_of(tasks).await;
            }
        }
        tracing::info!(namespace = self.name(), "caches are complete");
        self.synced.send_replace(true);
        if stage.wait_for(|stage| *stage == Stage::Lead).await.is_err() {
            return;
        }
        tracing::info!(namespace = self.name(), "reconciling");

        let (watch, queues, runs) = (&self.watch, &self.queues, &self.runs);
        let effects = Arc::new(Effects::new(client, events).sharing(permits).tracing_to(traces));
        let agent = AgentImage { image: flags.agent_image.clone(), pull_policy: flags.agent_image_pull_policy.clone() };
        let pools = Arc::new(WarmPools::new(
            Arc::clone(watch),
            Arc::clone(&effects),
            clock.clone(),
            agent,
            Arc::clone(runs),
            Arc::clone(&metrics),
        ));
        let sandboxes = Arc::new(Sandboxes::new(
            Arc::clone(watch),
            Arc::clone(&effects),
            Arc::clone(runs),
            clock.clone(),
            flags.released_sandbox_ttl,
            Arc::clone(&metrics),
        ));
        let task_runner = Arc::new(Tasks::new(
            Arc::clone(watch),
            effects,
            Arc::clone(runs),
            clock.clone(),
            flags.task_ttl,
            Arc::clone(&metrics),
        ));
        queues.open(self.cache());
        let workers = usize::from(flags.max_concurrent_reconciles);
        controller::spawn(tasks, workers, &queues.pools, &pools, &clock, &metrics);
        controller::spawn(tasks, workers, &queues.sandboxes, &sandboxes, &clock, &metrics);
        controller::spawn(tasks, workers, &queues.tasks, &task_runner, &clock, &metrics);
        end_of(tasks).await;
    }
}

/// What panicked goes on here, so that nothing works on without it.
async fn end_of(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Runs are tasks of their own, and end with what looks after them, whether that is told to stop or is dropped.
struct Held<'a>(&'a Runs);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// What runs steps in real pods; `claims` come before what no Task waits for.
pub fn pod_runner(
    client: &Client,
    clock: &Clock,
    events: EventSink,
    metrics: &Arc<Metrics>,
    claims: &InFlight,
) -> Arc<dyn Runner> {
    let effects = Arc::new(Effects::new(client.clone(), events));
    let still_wanted = Arc::new(move |task: Key, uid: Uid| {
        let effects = Arc::clone(&effects);
        async move { effects.is_unfinished(&task, &uid).await }.boxed()
    });
    let agent = Agent::new(client.clone(), clock.clone(), still_wanted, Arc::clone(metrics), claims.clone());
    Arc::new(ByMode { agent, exec: Exec::new(client.clone(), clock.clone()) })
}

fn follow<S: Source>(
    tasks: &mut JoinSet<()>,
    watch: &Arc<Watch>,
    client: &Client,
    namespace: Option<&str>,
    config: watcher::Config,
) -> watch::Receiver<bool>
where
    S::Object: kube::Resource<Scope = NamespaceResourceScope>,
{
    let api: Api<Guarded<S::Object>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (synced, complete) = watch::channel(false);
    tasks.spawn(Arc::clone(watch).run::<S>(api, config, synced));
    complete
}

#[cfg(test)]
mod tests;
