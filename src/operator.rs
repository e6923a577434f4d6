//! The operator put together: for each watched scope, four watches, three queues and their workers.

use std::{sync::Arc, time::Duration};

use arl_crds::{WarmPool, labels};
use kube::{
    Api, Client,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::watcher,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{
    cache::{SandboxRow, Source, TaskRow, Watch},
    clock::Clock,
    controller,
    effects::{Effects, EventSink},
    flags::Flags,
    object::Key,
    pod::Pod,
    queue::Queue,
    runs::{Runner, Runs},
    sandbox::Sandboxes,
    task::Tasks,
    triggers::Wake,
    warmpool::WarmPools,
};

/// A pool's changes come in bursts and nobody waits for its status: they are looked at together, after this long.
const POOL_DEBOUNCE: Duration = Duration::from_millis(20);

/// The three queues of a scope.
#[derive(Clone, Default)]
struct Queues {
    pools: Arc<Queue<Key>>,
    sandboxes: Arc<Queue<Key>>,
    tasks: Arc<Queue<Key>>,
}

impl Queues {
    fn wake(&self, wake: Wake) {
        match wake {
            Wake::Pool(key) => self.pools.add_at(key, Instant::now() + POOL_DEBOUNCE),
            Wake::Sandbox(key) => self.sandboxes.add(key),
            Wake::Task(key) => self.tasks.add(key),
        }
    }
}

/// Looks after all objects in one namespace, or in all, until it is dropped. All references stay inside one namespace, so
/// scopes have nothing in common.
pub async fn run_scope(
    client: Client,
    namespace: Option<String>,
    flags: Flags,
    clock: Clock,
    events: EventSink,
    runner: Arc<dyn Runner>,
) {
    let queues = Queues::default();
    let wake_all = queues.clone();
    let watch = Arc::new(Watch {
        cache: Arc::default(),
        clock: clock.clone(),
        wake: Arc::new(move |wake| wake_all.wake(wake)),
    });

    let mut tasks = JoinSet::new();
    let scope = namespace.as_deref();
    let pods = watcher::Config::default().labels(labels::WARMPOOL);
    let synced = [
        follow::<WarmPool>(&mut tasks, &watch, &client, scope, watcher::Config::default()),
        follow::<SandboxRow>(&mut tasks, &watch, &client, scope, watcher::Config::default()),
        follow::<TaskRow>(&mut tasks, &watch, &client, scope, watcher::Config::default()),
        follow::<Pod>(&mut tasks, &watch, &client, scope, pods),
    ];
    for mut kind in synced {
        if kind.wait_for(|synced| *synced).await.is_err() {
            return;
        }
    }
    tracing::info!(namespace = scope.unwrap_or("all"), "caches are complete; reconciling");

    let effects = Arc::new(Effects::new(client, events));
    let wake_tasks = Arc::clone(&queues.tasks);
    let runs = Arc::new(Runs::new(runner, clock.clone(), Arc::new(move |key| wake_tasks.add(key))));
    let pools = Arc::new(WarmPools::new(Arc::clone(&watch), Arc::clone(&effects), clock.clone()));
    let sandboxes =
        Arc::new(Sandboxes::new(Arc::clone(&watch), Arc::clone(&effects), clock.clone(), flags.released_sandbox_ttl));
    let task_runner = Arc::new(Tasks::new(watch, effects, runs, clock.clone(), flags.task_ttl));
    let workers = usize::from(flags.max_concurrent_reconciles);
    controller::spawn(&mut tasks, workers, &queues.pools, &pools, &clock);
    controller::spawn(&mut tasks, workers, &queues.sandboxes, &sandboxes, &clock);
    controller::spawn(&mut tasks, workers, &queues.tasks, &task_runner, &clock);
    while tasks.join_next().await.is_some() {}
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
    let api: Api<DeserializeGuard<S::Object>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (synced, complete) = watch::channel(false);
    tasks.spawn(Arc::clone(watch).run::<S>(api, config, synced));
    complete
}
