//! Live processes: no object tells of them, only the agent in their pod, to whoever has a stream to it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use arl_operator::{pod::Target, runs::LiveReport};
use fastrand::Rng;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    agenda::Action,
    contract::{has_agent, is_running},
    faults::Faults,
    kind::{Actor, Id, Kind},
    world::{NS, State, World},
};

/// So often a pod that cannot be reached is tried.
const RETRY: Duration = Duration::from_secs(1);

/// What the agent in one container knows.
#[derive(Clone, Debug, Default)]
struct Container {
    /// Since when each of its live processes runs, by their number.
    running: BTreeMap<u64, Instant>,
    /// When the last of those ended that have.
    ended: Option<Timestamp>,
}

/// All live processes, by pod.
#[derive(Debug)]
pub struct Live {
    pods: BTreeMap<String, (String, Container)>,
    count: u64,
    /// How often something has changed.
    pub changes: u64,
    /// Draws that change nothing in histories without live processes.
    rng: Rng,
}

impl Live {
    pub fn new(seed: u64) -> Self {
        Self { pods: BTreeMap::new(), count: 0, changes: 0, rng: Rng::with_seed(seed ^ 0x11fe) }
    }

    /// Since when there have been live processes in a pod without a break, where there are.
    pub fn since(&self, pod: &str) -> Option<Instant> {
        self.pods.get(pod)?.1.running.values().min().copied()
    }

    /// When the last live process in a pod ended, if that is known there.
    pub fn ended(&self, pod: &str) -> Option<Timestamp> {
        self.pods.get(pod)?.1.ended
    }

    /// A node is out of reach: who follows what runs in its pods notices that its stream is broken.
    pub fn cut(&mut self) {
        self.changes += u64::from(self.pods.values().any(|(_, container)| !container.running.is_empty()));
    }

    /// They end with their container, and the next agent knows nothing of them.
    pub fn end_container(&mut self, container: &str) {
        self.changes += 1;
        self.pods.retain(|_, (of, _)| of != container);
    }
}

/// How far a stream got.
enum Reached {
    /// The agent says whether there are any, and for how long there have not been.
    Agent(bool, Option<Duration>),
    Nobody,
    /// The pod is gone.
    Never,
}

impl State {
    /// A client starts a process in the pod of a Sandbox, if there is one that it reaches.
    pub fn begin_live(&mut self, sandbox: &str, takes: Duration) {
        let Some(uid) = self.store.get(&Id::new(Kind::Sandbox, NS, sandbox)).map(|s| s["status"]["podUID"].clone())
        else {
            return;
        };
        let uid = uid.as_str().unwrap_or_default().to_owned();
        let found = self.store.by_uid(Kind::Pod, &uid).map(|(_, pod)| Arc::clone(pod));
        let Some(pod) = found.filter(|pod| is_running(pod) && has_agent(pod) && !self.is_away(pod)) else { return };
        let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default().to_owned();
        let live = &mut self.live;
        (live.count, live.changes) = (live.count + 1, live.changes + 1);
        let number = live.count;
        let of = live.pods.entry(uid.clone()).or_insert_with(|| (container, Container::default()));
        of.1.running.insert(number, Instant::now());
        self.trace.say(&format!("agent: live process {number} starts in {uid}"));
        self.agenda.after(takes, Action::EndLive(uid, number));
    }

    pub fn end_live(&mut self, pod: &str, number: u64) {
        let now = self.store.time();
        self.live.changes += 1;
        if let Some((_, container)) = self.live.pods.get_mut(pod)
            && container.running.remove(&number).is_some()
        {
            self.trace.say(&format!("agent: live process {number} ends in {pod}"));
            if container.running.is_empty() {
                container.ended = Some(now);
            }
        }
    }

    fn reach(&mut self, pod: &str) -> Reached {
        let Some((_, found)) = self.store.by_uid(Kind::Pod, pod) else { return Reached::Never };
        if self.is_away(found) || !is_running(found) || Faults::happens(&mut self.live.rng, self.faults.stream) {
            return Reached::Nobody;
        }
        let now = self.store.time();
        let ended = self.live.ended(pod).map(|at| Duration::try_from(now.duration_since(at)).unwrap_or_default());
        Reached::Agent(self.live.since(pod).is_some(), ended)
    }
}

/// An operator's stream to the agent in a pod. It is quiet unless something happens, so that whether it still is one is not known.
pub async fn follow(world: Arc<World>, who: Actor, target: Target, report: LiveReport, asked: Arc<AtomicBool>) {
    let pod = target.pod_uid.0;
    let mut told = None;
    loop {
        world.runs(who).await;
        let delay = Duration::from_millis(world.with(|s| s.live.rng.u64(1..30)));
        tokio::time::sleep(delay).await;
        world.runs(who).await;
        let pulse = world.live_pulse();
        let is_asked = asked.swap(false, Ordering::SeqCst);
        match world.with(|s| s.reach(&pod)) {
            Reached::Agent(active, _) if told == Some(active) && !is_asked => {}
            Reached::Agent(active, idle) => {
                told = Some(active);
                if active { report.active() } else { report.idle(idle) }
            }
            Reached::Nobody => {
                told = None;
                report.unknown(false);
                drop(tokio::time::timeout(RETRY, pulse).await);
                continue;
            }
            Reached::Never => return report.absent(),
        }
        pulse.await;
    }
}
