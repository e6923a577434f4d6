//! The pools, Sandboxes and Tasks of a namespace, kept as they change by one watch a kind.

use std::{collections::BTreeMap, fmt::Debug, pin::pin, sync::Arc, time::Duration};

use arl_client::guarded::Guarded;
use arl_crds::{Sandbox, SandboxPhase, Task, WarmPool};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource,
    api::ListParams,
    runtime::{
        reflector::{self, Lookup, ObjectRef, Store, store::Writer},
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{
    join,
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    connect::Connection,
    failure::Failure,
    listing::{self, without_outputs},
    print,
    screen::Objects,
    table, terminal, versions,
};

/// Before a watch that failed is tried again, at first and at most: somebody looks at the screen.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Why objects may have changed without our knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// When the watch failed.
    pub since: Timestamp,
    /// How it failed the last time.
    pub why: String,
}

/// The kinds whose watch fails now.
pub type Failing = BTreeMap<String, Stale>;

/// They end with this.
#[derive(Debug)]
pub struct LiveObjects {
    pools: Store<WarmPool>,
    sandboxes: Store<Sandbox>,
    tasks: Store<Task>,
    failing: watch::Receiver<Failing>,
    watches: [AbortHandle; 3],
}

impl LiveObjects {
    /// All that are there now, and each change from now on.
    pub async fn watch(connection: &Connection) -> Result<Self, Failure> {
        let (sender, failing) = watch::channel(Failing::new());
        let sender = Arc::new(sender);
        let (pools, sandboxes, tasks) = join!(
            follow(connection, &sender, |_: &mut WarmPool| ()),
            follow(connection, &sender, |_: &mut Sandbox| ()),
            follow(connection, &sender, without_outputs),
        );
        // Of several failures that of the first kind is said, whichever came first.
        let ((pools, of_pools), (sandboxes, of_sandboxes), (tasks, of_tasks)) = (pools?, sandboxes?, tasks?);
        let watches = [of_pools, of_sandboxes, of_tasks];
        let objects = Self { pools, sandboxes, tasks, failing, watches };
        let gone = |_| Failure::ours("the watch has ended");
        objects.pools.wait_until_ready().await.map_err(gone)?;
        objects.sandboxes.wait_until_ready().await.map_err(gone)?;
        objects.tasks.wait_until_ready().await.map_err(gone)?;
        if objects.now().is_empty() {
            connection.check_namespace().await?;
        }
        Ok(objects)
    }

    /// Told of each change, several at once where they come fast, and of watches that fail or go on again.
    pub fn changes(&self) -> watch::Receiver<Failing> {
        self.failing.clone()
    }

    /// Why what is shown may be old; none while all watches go on.
    pub fn stale(&self) -> Option<Stale> {
        self.failing.borrow().values().min_by_key(|stale| stale.since).cloned()
    }

    /// They as they are now, by name.
    pub fn now(&self) -> Objects {
        let sandboxes = sorted(&self.sandboxes);
        let is_pending = |sandbox: &&Sandbox| {
            let phase = sandbox.status.as_ref().and_then(|status| status.phase);
            phase.is_none_or(|phase| phase == SandboxPhase::Pending)
        };
        let waiting = sandboxes.iter().filter(is_pending).cloned().collect();
        Objects {
            pools: Some(sorted(&self.pools)),
            sandboxes: Some(sandboxes),
            tasks: Some(sorted(&self.tasks)),
            waiting,
        }
    }
}

impl Drop for LiveObjects {
    fn drop(&mut self) {
        self.watches.iter().for_each(AbortHandle::abort);
    }
}

fn sorted<K>(store: &Store<K>) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + 'static,
{
    let mut objects: Vec<K> = store.state().iter().map(|object| K::clone(object)).collect();
    objects.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    objects
}

/// A kind that can be kept.
trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Lookup<DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl Kept for WarmPool {}
impl Kept for Sandbox {}
impl Kept for Task {}

async fn follow<K: Kept>(
    connection: &Connection,
    sender: &Arc<watch::Sender<Failing>>,
    strip: impl FnMut(&mut K) + Send + 'static,
) -> Result<(Store<K>, AbortHandle), Failure> {
    let api = connection.api::<Guarded<K>>();
    listing::allowed(&api, &ListParams::default()).await?;
    let (store, writer) = reflector::store();
    let watching = keep(api, writer, strip, Arc::clone(sender));
    Ok((store, tokio::spawn(watching).abort_handle()))
}

/// What the store is told: one that cannot be read is not there. That is said once, before the screen is drawn.
fn kept<K: Kept>(
    event: &watcher::Event<Guarded<K>>,
    strip: impl FnOnce(&mut K),
    store: &Store<K>,
) -> Option<watcher::Event<K>> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    let (Apply(object) | Delete(object) | InitApply(object)) = event else {
        return Some(if matches!(event, Init) { Init } else { InitDone });
    };
    match &object.0 {
        Ok(object) => {
            let mut object = object.clone();
            strip(&mut object);
            Some(match event {
                Apply(_) => Apply(object),
                Delete(_) => Delete(object),
                _ => InitApply(object),
            })
        }
        Err(unreadable) => {
            if !terminal::is_raw() {
                print::note(listing::left_out::<K>(unreadable));
            }
            let name = unreadable.metadata.name.as_deref().unwrap_or_default();
            let same = ObjectRef::new(name).within(unreadable.metadata.namespace.as_deref().unwrap_or_default());
            store.get(&same).map(|before| Delete(K::clone(&before)))
        }
    }
}

/// Watches again and again. After a failure it lists anew, for a watch that goes on where it was does not say so before the next change.
async fn keep<K: Kept>(
    api: Api<Guarded<K>>,
    mut store: Writer<K>,
    mut strip: impl FnMut(&mut K),
    sender: Arc<watch::Sender<Failing>>,
) {
    let plural = <K as Resource>::plural(&()).into_owned();
    let mut delay = RETRY.0;
    loop {
        let started = Instant::now();
        let error = {
            let mut events = pin!(watcher(api.clone(), watcher::Config::default()));
            loop {
                match events.next().await {
                    Some(Ok(event)) => {
                        if let Some(event) = kept(&event, &mut strip, &store.as_reader()) {
                            store.apply_watcher_event(&event);
                        }
                        if !matches!(event, watcher::Event::Init | watcher::Event::InitApply(_)) {
                            sender.send_modify(|failing| drop(failing.remove(&plural)));
                        }
                    }
                    Some(Err(error)) => break error,
                    None => return,
                }
            }
        };
        let why = versions::failure("list", &plural, &error).message;
        sender.send_modify(|failing| {
            let stale = failing.entry(plural.clone());
            stale.and_modify(|stale| stale.why.clone_from(&why)).or_insert(Stale { since: table::now(), why });
        });
        delay = if started.elapsed() > RETRY.1 { RETRY.0 } else { RETRY.1.min(delay * 2) };
        sleep_until(Instant::now() + delay).await;
    }
}
