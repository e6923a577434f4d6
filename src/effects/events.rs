//! Events: what a person would want to know. Nobody waits for them, so they go out one at a time, after everything else,
//! and are dropped rather than piled up.

use std::fmt::Debug;

use arl_crds::reason::EventReason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event as Published, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;

/// The longest note the API accepts.
const NOTE_MAX: usize = 1024;
/// Events that may wait to go out.
const WAITING: usize = 4096;

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
    while let Some(Event { about, reason, note }) = events.recv().await {
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
