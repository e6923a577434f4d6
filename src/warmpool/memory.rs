//! What is remembered of pools beside their status. It only slows things down: after a restart everything is tried at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::{record::Record, scaling::Level, setback::Setback};
use crate::{
    clock::{after, backoff},
    effects::{PodEvent, Warning},
    object::{Key, Uid},
    pod::Target,
};

/// A late pod's Events are looked at again after so long, growing.
const ASK_FIRST: Duration = Duration::from_secs(15);
const ASK_LAST: Duration = Duration::from_secs(600);
/// Where those of another pod were looked at.
const ASK_SOON: Duration = Duration::from_secs(1);

/// What may wait is on record within this time. A write for each claim, start and end of a pod would be more than claims themselves take.
const RECORDED_WITHIN: Duration = Duration::from_secs(1);

/// A clock that shows so much less than before was set back.
const SET_BACK: Duration = Duration::from_secs(1);

/// What is remembered of a pool.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When it was last looked at.
    seen: Timestamp,
    /// Whether the API server said that the pool is gone: its watch may be late.
    pub(super) is_gone: bool,
    pub(super) record: Record,
    /// The highest number whose name a pod has that is not the pool's.
    pub(super) taken: i64,
    pub(super) setback: Option<Setback>,
    /// The pods that had ended, or were disrupted or relabelled, at the last look. They are there still where they cannot be deleted, or take their
    /// time.
    pub(super) ended: BTreeSet<Uid>,
    /// The idle pods that a stream was to be opened to, at the last look.
    connected: BTreeSet<Uid>,
    pub(super) asked: Option<Asked>,
    /// What the API server warned of when the last pod was created, if one was.
    pub(super) warnings: Option<Vec<String>>,
    /// Since when pods are missing that a burst of claims put off.
    pub(super) put_off_since: Option<Timestamp>,
    /// Whether this process has seen its status right on record.
    was_recorded: bool,
    /// Since when its status on record is not what it is, where that may wait.
    unrecorded_since: Option<Timestamp>,
    /// How many idle pods the pool was at, where it follows what is asked for.
    pub(super) level: Option<Level>,
}

/// A pod that is late or crashes, whose Events were looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) pod: Uid,
    /// What they say.
    pub(super) said: Option<PodEvent>,
    pub(super) times: u32,
    /// When they are looked at again.
    pub(super) next: Timestamp,
}

impl Asked {
    /// The look that follows `earlier`, or its next attempt.
    pub(super) fn after(earlier: Option<&Self>, pod: Uid, warning: Warning, now: Timestamp) -> Self {
        let earlier = earlier.filter(|e| e.pod == pod);
        let times = earlier.map_or(0, |e| e.times);
        let (times, next) = match warning {
            Warning::Later => (times, now + ASK_SOON),
            Warning::Found(_) | Warning::Unknown => {
                let times = times.saturating_add(1);
                (times, now + backoff(times, ASK_FIRST, ASK_LAST))
            }
        };
        let said = match warning {
            Warning::Found(said) => said,
            Warning::Later | Warning::Unknown => earlier.and_then(|e| e.said.clone()),
        };
        Self { pod, said, times, next }
    }
}

impl Memory {
    /// It is looked at. All times in it are of one clock: where that was set back, everything is tried at once.
    pub(super) fn look(&mut self, now: Timestamp) {
        if after(now, SET_BACK) < self.seen {
            *self = Self::default();
        }
        self.seen = now;
    }

    /// Takes note of a new setback, or that the old one is over; returns the one in force.
    pub(super) fn update(&mut self, new: Option<Setback>, is_over: bool, now: Timestamp) -> Option<Setback> {
        match new {
            Some(new) => self.setback = Some(new.after(self.setback.as_ref(), now)),
            None if is_over => self.setback = None,
            None => {}
        }
        self.setback.clone()
    }

    /// Whether a pod was admitted: where a refusal stays in force all the same, the next one is the first again.
    pub(super) fn admitted(&mut self, is_so: bool) {
        let refusal = self.setback.iter_mut().filter(|setback| is_so && setback.is_refusal());
        refusal.for_each(|refusal| refusal.attempts = 0);
    }

    /// The status on record is as it should be.
    pub(super) fn recorded(&mut self) {
        (self.was_recorded, self.unrecorded_since) = (true, None);
    }

    /// Until when the status is not written, where it may wait.
    pub(super) fn put_off_status(&mut self, may_wait: bool, now: Timestamp) -> Option<Timestamp> {
        let may_wait = may_wait && self.was_recorded;
        self.unrecorded_since = self.unrecorded_since.or(Some(now)).filter(|_| may_wait);
        self.unrecorded_since.map(|since| after(since, RECORDED_WITHIN)).filter(|until| *until > now)
    }

    /// Has a stream opened to each of these pods of which that is new, and takes note of those where there was room for one.
    pub(super) fn connect(&mut self, pods: Vec<Target>, open: impl Fn(&Target) -> bool) {
        let known = std::mem::take(&mut self.connected);
        let connected = pods.into_iter().filter(|pod| known.contains(&pod.pod_uid) || open(pod));
        self.connected = connected.map(|pod| pod.pod_uid).collect();
    }
}

/// What is remembered of all pools.
#[derive(Debug, Default)]
pub(super) struct Memories(Mutex<BTreeMap<Key, (Uid, Memory)>>);

impl Memories {
    /// What `with` makes of the memory of a pool. It has none of an earlier pool of the same name.
    pub(super) fn of<T>(&self, key: &Key, pool: &Uid, with: impl FnOnce(&mut Memory) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, memory) = all.entry(key.clone()).or_insert_with(|| (pool.clone(), Memory::default()));
        if of != pool {
            (*of, *memory) = (pool.clone(), Memory::default());
        }
        with(memory)
    }

    /// The pool is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use arl_crds::reason::WarmPoolReason;

    use super::*;

    #[test]
    fn a_pool_is_remembered_until_it_is_gone_or_another_has_its_name() {
        let memories = Memories::default();
        let key = Key::new("ns", "p");
        let attempts = |uid: &str, new| {
            let in_force =
                memories.of(&key, &Uid(uid.into()), |memory| memory.update(new, false, Timestamp::UNIX_EPOCH));
            in_force.map(|setback| setback.attempts)
        };
        let ended = || Some(Setback::ended("it ended".into()));
        assert_eq!(attempts("a", ended()), Some(1));
        assert_eq!(attempts("a", ended()), Some(2));
        assert_eq!(attempts("a", None), Some(2));
        assert_eq!(attempts("b", None), None);
        assert_eq!(attempts("b", ended()), Some(1));
        memories.forget(&key);
        assert_eq!(attempts("b", None), None);
    }

    #[test]
    fn a_refusal_that_stays_in_force_begins_anew_once_a_pod_was_admitted() {
        let mut memory = Memory::default();
        let now = Timestamp::UNIX_EPOCH;
        let refused = || Setback { reason: WarmPoolReason::QuotaExceeded, ..Setback::ended(String::new()) };
        for (setback, expected) in [(refused(), 1), (Setback::ended(String::new()), 10)] {
            memory.setback = None;
            for _ in 0..9 {
                memory.update(Some(setback.clone()), false, now);
            }
            memory.admitted(false);
            assert_eq!(memory.setback.as_ref().map(|setback| setback.attempts), Some(9));
            memory.admitted(true);
            let next = memory.update(Some(setback), false, now).unwrap();
            assert_eq!(next.attempts, expected);
        }
    }

    #[test]
    fn events_are_looked_at_soon_where_those_of_another_pod_were_in_the_way() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let look = |earlier: Option<&Asked>, warning, now| Asked::after(earlier, Uid("p".into()), warning, at(now));
        let later = look(None, Warning::Later, 100);
        assert_eq!((later.said.as_ref(), later.times, later.next), (None, 0, at(101)));
        let why = PodEvent { reason: "Why".into(), ..PodEvent::default() };
        let said = look(Some(&later), Warning::Found(Some(why.clone())), 101);
        assert_eq!((said.said.as_ref(), said.times, said.next), (Some(&why), 1, at(101) + ASK_FIRST));
        let again = look(Some(&said), Warning::Later, 200);
        assert_eq!((again.said.as_ref(), again.times, again.next), (Some(&why), 1, at(201)), "it is not forgotten");
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut memory = Memory::default();
        memory.look(at(7_200));
        memory.update(Some(Setback::ended("it ended".into())), false, at(7_200));
        memory.look(at(7_200) - Duration::from_millis(500));
        assert!(memory.setback.is_some(), "a moment is nothing");
        memory.look(at(3_600));
        assert!(memory.setback.is_none(), "it would last an hour");
    }

    #[test]
    fn what_may_wait_is_on_record_within_a_second_however_often_it_changes() {
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        let mut memory = Memory::default();
        assert_eq!(memory.put_off_status(true, at(0)), None, "of a process before this one");
        memory.recorded();
        let mut until = |may_wait, now| memory.put_off_status(may_wait, at(now)).map(Timestamp::as_millisecond);
        assert_eq!(until(true, 100), Some(1_100));
        assert_eq!(until(true, 1_099), Some(1_100));
        assert_eq!(until(true, 1_100), None, "it is written");
        assert_eq!(until(true, 1_200), None, "and tried again, where that failed");
        assert_eq!(until(false, 1_300), None, "it does not wait");
        assert_eq!(until(true, 1_400), Some(2_400));
    }

    #[test]
    fn a_stream_is_opened_once_to_each_pod_and_again_to_one_that_was_not_ready_meanwhile() {
        let mut memory = Memory::default();
        let mut connected = |pods: &[&str]| -> Vec<String> {
            let targets = pods.iter().map(|pod| Target {
                pod: Key::new("ns", pod),
                pod_uid: Uid((*pod).into()),
                container: "executor".into(),
                container_id: "c".into(),
                mode: arl_crds::ExecutorMode::Agent,
            });
            let opened = std::cell::RefCell::new(Vec::new());
            memory.connect(targets.collect(), |target| {
                opened.borrow_mut().push(target.pod.name.clone());
                target.pod.name != "full"
            });
            opened.into_inner()
        };
        assert_eq!(connected(&["a"]), ["a"]);
        assert_eq!(connected(&["a", "b"]), ["b"]);
        assert_eq!(connected(&["a", "b", "full"]), ["full"]);
        assert_eq!(connected(&["a", "b", "full"]), ["full"], "there may be room now");
        assert!(connected(&["b"]).is_empty());
        assert_eq!(connected(&["a", "b"]), ["a"]);
        assert!(connected(&[]).is_empty());
    }
}
