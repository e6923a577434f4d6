//! Events: what a person would want to know. Nobody waits for them, so they go out one at a time, and are dropped rather than
//! piled up: one costs the API server as much as a Task's result does, which says the same.

use std::fmt::Debug;

use arl_crds::reason::EventReason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event as Published, EventType, Recorder, Reporter},
};
use tokio::{sync::mpsc, time::Instant};

/// The longest note the API accepts.
const NOTE_MAX: usize = 1024;
/// Events that may wait to go out.
const WAITING: usize = 4096;

/// Events of each type that go out a second in the long run, and at once after a quiet time.
const PER_SECOND: f64 = 5.0;
const BURST: f64 = 50.0;

/// Something a person would want to know about an object.
#[derive(Clone, Debug)]
pub struct Event {
    /// The object.
    pub about: ObjectReference,
    /// What happened.
    pub reason: EventReason,
    /// In words.
    pub note: String,
}

impl Event {
    /// An Event about `object`.
    pub fn about<K: Resource<DynamicType = ()>>(object: &K, reason: EventReason, note: impl Into<String>) -> Self {
        let mut note = note.into();
        note.truncate(note.floor_char_boundary(NOTE_MAX));
        Self { about: object.object_ref(&()), reason, note }
    }
}

/// Where Events go.
#[derive(Clone, Debug)]
pub struct EventSink(mpsc::Sender<Event>);

impl EventSink {
    /// A sink and its other end.
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    pub(super) fn send(&self, event: Event) {
        if let Err(error) = self.0.try_send(event) {
            tracing::debug!(%error, "an Event was dropped: too many wait");
        }
    }
}

/// Publishes what comes in, until the sinks are gone.
pub async fn publish(client: Client, instance: Option<String>, mut events: mpsc::Receiver<Event>) {
    let recorder = Recorder::new(client, Reporter { controller: arl_crds::labels::MANAGER.into(), instance });
    let (mut normal, mut warning) = (Allowance::full(), Allowance::full());
    while let Some(Event { about, reason, note }) = events.recv().await {
        let allowance = if reason.is_warning() { &mut warning } else { &mut normal };
        if !allowance.take(Instant::now()) {
            tracing::debug!(reason = reason.as_str(), note, "an Event was dropped: too many at once");
            continue;
        }
        let published = Published {
            type_: if reason.is_warning() { EventType::Warning } else { EventType::Normal },
            reason: reason.as_str().into(),
            note: Some(note),
            action: reason.as_str().into(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&published, &about).await {
            tracing::debug!(%error, reason = reason.as_str(), "an Event could not be published");
        }
    }
}

/// A token bucket.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn full() -> Self {
        Self { left: BURST, at: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        self.left = (self.left + now.duration_since(self.at).as_secs_f64() * PER_SECOND).min(BURST);
        self.at = now;
        let allowed = self.left >= 1.0;
        self.left -= if allowed { 1.0 } else { 0.0 };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_burst_is_let_through_and_then_so_many_a_second() {
        let mut allowance = Allowance::full();
        let start = Instant::now();
        let taken = |allowance: &mut Allowance, after: u64| {
            (0..1000).filter(|_| allowance.take(start + Duration::from_secs(after))).count()
        };
        assert_eq!((taken(&mut allowance, 1), taken(&mut allowance, 3), taken(&mut allowance, 99)), (50, 10, 50));
    }
}
