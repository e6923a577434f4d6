//! Whether anything is going on, for those who asked to be told.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use arl_agent::message::live::Event;

use super::outcome::micros;

/// A pause between two commands that is shorter is not told of: a client that comes again and again would otherwise cost a
/// message each time. The message says how long it has lasted, so that nothing is lost by it.
const PAUSE: Duration = Duration::from_secs(1);

/// Since when nothing goes on, and what each watcher knows.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Processes and calls that run, and clients.
    now: (usize, usize),
    /// When the last of them ended.
    ended: Option<Instant>,
    /// By client: whether it was told that something goes on, if it was told anything.
    watchers: BTreeMap<u64, Option<bool>>,
}

impl Activity {
    /// This client wants to be told: what there is now, and each change.
    pub(super) fn watch(&mut self, client: u64) {
        self.watchers.insert(client, None);
    }

    /// Forgets clients that are disconnected.
    pub(super) fn keep_clients(&mut self, is_there: impl Fn(u64) -> bool) {
        self.watchers.retain(|client, _| is_there(*client));
    }

    /// What to tell whom.
    pub(super) fn note(&mut self, live: usize, clients: usize, now: Instant) -> Vec<(u64, Event)> {
        let was_active = self.is_active();
        self.now = (live, clients);
        let is_active = self.is_active();
        if was_active && !is_active {
            self.ended = Some(now);
        }
        let idle = self.ended.filter(|_| !is_active).map(|ended| now.saturating_duration_since(ended));
        let is_pause = idle.is_some_and(|idle| idle < PAUSE);
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let event = Event::Activity { live: count(live), clients: count(clients), idle_us: idle.map(micros) };
        let is_news = |known: &Option<bool>| match known {
            None => true,
            Some(true) => !is_active && !is_pause,
            Some(false) => is_active,
        };
        let news = self.watchers.iter_mut().filter(|(_, known)| is_news(known));
        news.map(|(client, known)| {
            *known = Some(is_active);
            (*client, event.clone())
        })
        .collect()
    }

    /// When a pause will have lasted long enough to be told of.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_waited_for = !self.is_active() && self.watchers.values().any(|known| *known == Some(true));
        self.ended.filter(|_| is_waited_for).map(|ended| ended + PAUSE)
    }

    fn is_active(&self) -> bool {
        self.now != (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_told_at_once_and_the_end_when_it_has_lasted() {
        let (mut activity, start) = (Activity::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let told = |live, clients, idle_us| vec![(7, Event::Activity { live, clients, idle_us })];
        assert!(activity.note(1, 1, at(0)).is_empty(), "nobody asked");
        assert!(activity.note(0, 0, at(10)).is_empty());
        activity.watch(7);
        assert_eq!(
            activity.note(0, 0, at(15)),
            told(0, 0, Some(5_000)),
            "who asks is told at once, also of what was before"
        );
        assert_eq!(activity.note(1, 1, at(20)), told(1, 1, None));
        assert!(activity.note(2, 1, at(21)).is_empty(), "it goes on");
        assert!(activity.note(0, 0, at(30)).is_empty());
        assert_eq!(activity.due(), Some(at(1030)));
        assert!(activity.note(0, 1, at(40)).is_empty(), "it was a pause");
        assert_eq!(activity.due(), None);
        assert!(activity.note(0, 0, at(50)).is_empty());
        assert_eq!(activity.note(0, 0, at(1050)), told(0, 0, Some(1_000_000)));
        assert_eq!((activity.note(0, 0, at(9000)).len(), activity.due()), (0, None));
        activity.watch(7);
        assert_eq!(activity.note(0, 0, at(9050)), told(0, 0, Some(9_000_000)), "asked again, it is told again");
        activity.keep_clients(|_| false);
        assert!(activity.note(1, 0, at(9100)).is_empty());
    }

    #[test]
    fn where_there_never_was_any_that_is_said() {
        let mut activity = Activity::default();
        activity.watch(1);
        assert_eq!(activity.note(0, 0, Instant::now()), [(1, Event::Activity { live: 0, clients: 0, idle_us: None })]);
    }
}
