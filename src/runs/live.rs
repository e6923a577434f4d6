//! Live processes and clients in pods, as far as the agents tell of them. They need no object, and keep their Sandbox from being idle.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::Clock,
    object::{Key, Uid},
    pod::Target,
};

/// What is known of a pod now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LiveState {
    /// Nothing: it was not heard of yet, or the stream to it broke.
    #[default]
    Unreached,
    /// Nothing, though the pod is reached since then, by the agent or by what stands in its place.
    Unanswered(Timestamp),
    /// Live processes or clients are there.
    Active,
    /// None are; said then.
    Idle(Timestamp),
    /// There is nobody to ask: the agent knows no live processes, or is of no use.
    Absent,
}

/// What is known of live processes and clients in a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveView {
    /// What is known now.
    pub state: LiveState,
    /// When the last of them ended, as far as that was seen or said.
    pub ended: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Known {
    view: LiveView,
    /// Whether an answer is waited for.
    asked: bool,
}

/// Where what is heard of a pod's live processes goes.
#[derive(Clone)]
pub struct LiveReport {
    known: Arc<Mutex<Known>>,
    clock: Clock,
    changed: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for LiveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", *self.lock())
    }
}

impl LiveReport {
    /// Of a pod that was not heard of yet; `changed` is called after each change.
    pub fn new(clock: Clock, changed: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { known: Arc::default(), clock, changed }
    }

    /// Live processes or clients are there.
    pub fn active(&self) {
        self.set(|view, _| view.state = LiveState::Active);
    }

    /// None are; since how long, where there ever were any since the agent was started.
    pub fn idle(&self, since: Option<Duration>) {
        self.set(|view, now| {
            // An agent that was started anew does not know those that ended with the one before.
            let seen = (view.state == LiveState::Active && since.is_none()).then_some(now);
            let said = since.map(|since| now.checked_sub(since).unwrap_or(Timestamp::MIN));
            view.ended = [view.ended, seen, said].into_iter().flatten().max();
            view.state = LiveState::Idle(now);
        });
    }

    /// Nobody there can be asked.
    pub fn absent(&self) {
        self.set(|view, _| view.state = LiveState::Absent);
    }

    /// A question is on its way, or the stream ended; `reached`: something in the pod is there that could have answered.
    pub fn unknown(&self, reached: bool) {
        self.set(|view, now| {
            if view.state == LiveState::Active {
                view.ended = Some(now);
            }
            view.state = match view.state {
                LiveState::Absent => LiveState::Absent,
                LiveState::Unanswered(since) if reached => LiveState::Unanswered(since),
                _ if reached => LiveState::Unanswered(now),
                _ => LiveState::Unreached,
            };
        });
    }

    /// Nobody looks after the stream any more: who waits for an answer has to ask again.
    pub fn unfollowed(&self) {
        if std::mem::take(&mut self.lock().asked) {
            (self.changed)();
        }
    }

    /// Whether the question has to be asked now: nobody did, and the answer is not known.
    pub(super) fn ask(&self) -> bool {
        let mut known = self.lock();
        let is_open = !known.asked && !matches!(known.view.state, LiveState::Active | LiveState::Absent);
        if is_open {
            known.asked = true;
            if let LiveState::Idle(_) = known.view.state {
                known.view.state = LiveState::Unreached;
            }
        }
        is_open
    }

    fn set(&self, change: impl FnOnce(&mut LiveView, Timestamp)) {
        let mut known = self.lock();
        let before = known.view;
        change(&mut known.view, self.clock.now());
        if !matches!(known.view.state, LiveState::Unreached | LiveState::Unanswered(_)) {
            known.asked = false;
        }
        let has_changed = known.view != before;
        drop(known);
        if has_changed {
            (self.changed)();
        }
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> LiveState {
        self.lock().view.state
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pods that Sandboxes hold.
#[derive(Default)]
pub(super) struct LivePods(Mutex<BTreeMap<Key, (Uid, LiveReport)>>);

impl LivePods {
    /// That of a Sandbox's pod.
    pub(super) fn report(&self, sandbox: &Key, target: &Target, new: impl FnOnce() -> LiveReport) -> LiveReport {
        let mut pods = self.lock();
        if let Some((_, report)) = pods.get(sandbox).filter(|(pod, _)| *pod == target.pod_uid) {
            return report.clone();
        }
        let report = new();
        pods.insert(sandbox.clone(), (target.pod_uid.clone(), report.clone()));
        report
    }

    pub(super) fn view(&self, sandbox: &Key, pod: &Uid) -> LiveView {
        let pods = self.lock();
        let known = pods.get(sandbox).filter(|(of, _)| of == pod);
        known.map(|(_, report)| report.lock().view).unwrap_or_default()
    }

    pub(super) fn forget(&self, sandbox: &Key) {
        self.lock().remove(sandbox);
    }

    /// How many Sandboxes of each namespace have live processes or clients.
    pub(super) fn active(&self) -> BTreeMap<String, usize> {
        let mut active = BTreeMap::new();
        for (sandbox, (_, report)) in &*self.lock() {
            if report.lock().view.state == LiveState::Active {
                *active.entry(sandbox.namespace.clone()).or_default() += 1;
            }
        }
        active
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, (Uid, LiveReport)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A report, the second that it is, and how often it told of a change.
    fn report() -> (LiveReport, Arc<AtomicI64>, Arc<AtomicI64>) {
        let (second, times) = (Arc::new(AtomicI64::new(100)), Arc::new(AtomicI64::new(0)));
        let (now, count) = (Arc::clone(&second), Arc::clone(&times));
        let changed = Arc::new(move || _ = count.fetch_add(1, Ordering::SeqCst));
        (LiveReport::new(Clock::new(move || at(now.load(Ordering::SeqCst))), changed), second, times)
    }

    fn view(report: &LiveReport) -> (LiveState, Option<Timestamp>) {
        let LiveView { state, ended } = report.lock().view;
        (state, ended)
    }

    #[test]
    fn what_is_heard_says_when_the_last_process_ended() {
        let (report, second, changes) = report();
        report.idle(None);
        assert_eq!(view(&report), (LiveState::Idle(at(100)), None), "there never was any");
        report.active();
        report.active();
        assert_eq!(changes.load(Ordering::SeqCst), 2, "what is no change wakes nobody");
        second.store(200, Ordering::SeqCst);
        report.idle(Some(Duration::from_secs(3)));
        assert_eq!(view(&report), (LiveState::Idle(at(200)), Some(at(197))));
        report.unknown(false);
        report.unknown(true);
        second.store(210, Ordering::SeqCst);
        report.unknown(true);
        assert_eq!(view(&report), (LiveState::Unanswered(at(200)), Some(at(197))), "it is not put off");
        report.idle(Some(Duration::MAX));
        assert_eq!(view(&report), (LiveState::Idle(at(210)), Some(at(197))), "whatever an agent says");
    }

    #[test]
    fn what_ends_unseen_ended_when_it_was_last_known_to_go_on() {
        let (report, second, _) = report();
        report.active();
        second.store(150, Ordering::SeqCst);
        report.unknown(false);
        assert_eq!(view(&report), (LiveState::Unreached, Some(at(150))));
        report.active();
        second.store(160, Ordering::SeqCst);
        report.idle(None);
        assert_eq!(view(&report), (LiveState::Idle(at(160)), Some(at(160))), "the agent was killed with them");
        report.absent();
        report.unknown(true);
        assert_eq!(view(&report).0, LiveState::Absent, "the same agent would say the same");
    }

    #[test]
    fn a_question_is_asked_once_until_it_is_answered_or_nobody_is_there_to_ask_it() {
        let (report, _, changes) = report();
        report.idle(None);
        assert_eq!((report.ask(), report.ask()), (true, false));
        assert_eq!(view(&report).0, LiveState::Unreached, "what was said before is no answer");
        report.idle(None);
        assert_eq!((report.ask(), report.ask()), (true, false));
        let before = changes.load(Ordering::SeqCst);
        report.unfollowed();
        assert_eq!(changes.load(Ordering::SeqCst), before + 1);
        report.unfollowed();
        assert_eq!(changes.load(Ordering::SeqCst), before + 1, "nobody waits");
        report.active();
        assert!(!report.ask(), "it is known");
    }
}
