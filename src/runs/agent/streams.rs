//! The streams that are open, one a pod.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arl_client::stream::{Meter, with_protocol_v4};
use futures::future::BoxFuture;
use kube::Client;
use tokio::sync::mpsc;

use super::{attached::StreamCommand, lull::Lull, opening::Opening};
use crate::{
    clock::Clock,
    metrics::Metrics,
    object::{Key, Uid},
    pod::Target,
    queue::InFlight,
    runs::{LiveReport, Quota, Share},
};

/// Opening a stream costs the node more than a claim costs all others: so many at a time for Sandboxes that nobody waits for,
/// and only while no Sandbox waits for its pod; so many for those with a Task.
const OPENING_IDLE: usize = 4;
const OPENING_BUSY: usize = 16;

/// Streams to pods that no Sandbox has, all together and in one namespace: however many idle pods there are, those that are used keep
/// their memory.
const IDLE: usize = 1000;
const IDLE_OF_A_NAMESPACE: usize = 500;

/// What streams may hold of messages that have not arrived as a whole, all together and in one namespace. It passes in milliseconds
/// where pods do not mean harm.
const ARRIVING: usize = 24 * 1024 * 1024;
const ARRIVING_OF_A_NAMESPACE: usize = 8 * 1024 * 1024;
/// What a stream may hold at any time.
const ARRIVING_ALWAYS: usize = 16 * 1024;

/// Bounds what a stream of this namespace holds.
pub(super) fn meter(arriving: &Arc<Quota>, namespace: &str) -> Meter {
    let mut share = Share::new(arriving, namespace);
    Box::new(move |bytes| {
        share.set(bytes);
        bytes <= ARRIVING_ALWAYS || !share.is_too_much()
    })
}

/// What keeps a stream open.
pub(super) struct Stream {
    commands: mpsc::UnboundedSender<StreamCommand>,
    /// Whether it was told to tell of live processes.
    watches_live: bool,
    /// Its part of those to pods that no Sandbox has; none once one has it.
    idle: Option<Share>,
}

impl Stream {
    /// One that has just ended drops the command, and whoever waits for its effect sees that.
    pub(super) fn send(&self, command: StreamCommand) {
        let _ = self.commands.send(command);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }
}

/// Whether the Task of this name still has this uid and is not over, asked of the API server; none where that cannot be known now.
pub type StillWanted = Arc<dyn Fn(Key, Uid) -> BoxFuture<'static, Option<bool>> + Send + Sync>;

/// The runner that uses the agent.
pub struct Agent {
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) still_wanted: StillWanted,
    pub(super) metrics: Arc<Metrics>,
    pub(super) claims: InFlight,
    pub(super) lull: Lull,
    /// Of what pods say: messages that have not arrived as a whole.
    pub(super) arriving: Arc<Quota>,
    idle: Arc<Quota>,
    streams: Mutex<BTreeMap<Uid, Stream>>,
    pub(super) opening_idle: Opening,
    pub(super) opening_busy: Opening,
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
            arriving: Arc::new(Quota::new(ARRIVING, ARRIVING_OF_A_NAMESPACE)),
            idle: Arc::new(Quota::new(IDLE, IDLE_OF_A_NAMESPACE)),
            streams: Mutex::default(),
            opening_idle: Opening::new(OPENING_IDLE),
            opening_busy: Opening::new(OPENING_BUSY),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a command to the stream of a pod; opens one where there is none.
    pub(super) fn command(self: &Arc<Self>, target: &Target, command: StreamCommand) {
        self.with_stream(target, |stream| stream.send(command));
    }

    /// Opens the stream of a pod that no Sandbox has, where there is none, once nothing that somebody waits for is in the way; false where
    /// there are too many such streams.
    pub(super) fn open(self: &Arc<Self>, target: &Target) -> bool {
        let mut streams = self.lock();
        if streams.get(&target.pod_uid).is_some_and(|stream| !stream.is_closed()) {
            return true;
        }
        // That of a stream that has ended is given back first.
        streams.remove(&target.pod_uid);
        let mut idle = Share::new(&self.idle, &target.pod.namespace);
        idle.set(1);
        if idle.is_too_much() {
            return false;
        }
        self.start(&mut streams, target, Some(idle));
        true
    }

    /// Opens the stream of a pod where there is none, and has it tell of live processes there.
    pub(super) fn watch_live(self: &Arc<Self>, target: &Target, report: &LiveReport) {
        self.with_stream(target, |stream| {
            // One more command would cut short what it waits for before it tries again.
            if !std::mem::replace(&mut stream.watches_live, true) {
                let in_burst = self.lull.claimed();
                stream.send(StreamCommand::WatchLive { report: report.clone(), in_burst });
            }
        });
    }

    fn with_stream(self: &Arc<Self>, target: &Target, work: impl FnOnce(&mut Stream)) {
        let mut streams = self.lock();
        if streams.get(&target.pod_uid).is_none_or(Stream::is_closed) {
            self.start(&mut streams, target, None);
        }
        if let Some(stream) = streams.get_mut(&target.pod_uid) {
            stream.idle = None;
            work(stream);
        }
    }

    fn start(self: &Arc<Self>, streams: &mut BTreeMap<Uid, Stream>, target: &Target, idle: Option<Share>) {
        let (commands, received) = mpsc::unbounded_channel();
        streams.insert(target.pod_uid.clone(), Stream { commands, watches_live: false, idle });
        tokio::spawn(Arc::clone(self).keep(target.clone(), received));
    }
}

#[cfg(test)]
mod tests {
    use arl_agent::message::VERSION;
    use arl_client::stream::testing::agents_of;

    use super::{super::testing, *};

    fn target(namespace: &str, number: usize) -> Target {
        testing::target(namespace, &format!("{namespace}-{number}"))
    }

    #[tokio::test]
    async fn streams_to_idle_pods_are_bounded_and_those_of_sandboxes_do_not_count() {
        let (client, _told) = agents_of(VERSION).await.unwrap();
        let agent = testing::agent(client, &Metrics::unread());
        let opened = |ns: &str, most: usize| (0..most).filter(|number| agent.open(&target(ns, *number))).count();
        assert_eq!(opened("a", IDLE_OF_A_NAMESPACE + 50), IDLE_OF_A_NAMESPACE);
        let late = target("a", IDLE_OF_A_NAMESPACE);
        assert!(agent.open(&target("a", 0)), "it is open already");
        assert!(!agent.open(&late));
        agent.watch_live(&target("a", 0), &LiveReport::new(testing::clock(), Arc::new(|| {})));
        assert!(agent.open(&late), "one that a Sandbox has makes room");
        assert_eq!(
            opened("b", IDLE),
            IDLE_OF_A_NAMESPACE,
            "what one namespace has too many is not at the cost of another"
        );
        assert_eq!(opened("c", 50), 0, "all together");
    }
}
