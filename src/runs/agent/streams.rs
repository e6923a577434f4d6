//! The streams that are open, one a pod.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arl_client::stream::with_protocol_v4;
use futures::future::BoxFuture;
use kube::Client;
use tokio::sync::{Semaphore, mpsc};

use super::{attached::StreamCommand, lull::Lull};
use crate::{
    clock::Clock,
    metrics::Metrics,
    object::{Key, Uid},
    pod::Target,
    queue::InFlight,
};

/// Opening a stream costs the node more than a claim costs all others: so many at a time for Sandboxes that nobody waits for,
/// and only while no Sandbox waits for its pod; so many for those with a Task.
const OPENING_IDLE: usize = 4;
const OPENING_BUSY: usize = 16;

/// Whether the Task of this name still has this uid and is not over, asked of the API server; where that cannot be known, it has.
pub type StillWanted = Arc<dyn Fn(Key, Uid) -> BoxFuture<'static, bool> + Send + Sync>;

/// The runner that uses the agent.
pub struct Agent {
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) still_wanted: StillWanted,
    pub(super) metrics: Arc<Metrics>,
    pub(super) claims: InFlight,
    pub(super) lull: Lull,
    streams: Mutex<BTreeMap<Uid, mpsc::UnboundedSender<StreamCommand>>>,
    pub(super) opening_idle: Semaphore,
    pub(super) opening_busy: Semaphore,
}

impl Agent {
    /// Runs through `client`; runs found in a pod whose Task is not `still_wanted` are ended; `claims` come before streams that
    /// nobody waits for.
    pub fn new(
        client: Client,
        clock: Clock,
        still_wanted: StillWanted,
        metrics: Arc<Metrics>,
        claims: InFlight,
    ) -> Arc<Self> {
        Arc::new(Self {
            client: with_protocol_v4(client),
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

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, mpsc::UnboundedSender<StreamCommand>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a command to the stream of a pod; opens one where there is none.
    pub(super) fn command(self: &Arc<Self>, target: &Target, command: Option<StreamCommand>) {
        let mut streams = self.lock();
        let open = streams.get(&target.pod_uid).filter(|commands| !commands.is_closed());
        let commands = open.cloned().unwrap_or_else(|| {
            let (commands, received) = mpsc::unbounded_channel();
            streams.insert(target.pod_uid.clone(), commands.clone());
            tokio::spawn(Arc::clone(self).keep(target.clone(), received));
            commands
        });
        // One that has just ended drops the command, and whoever waits for its effect sees that.
        let _ = command.map(|command| commands.send(command));
    }
}
