//! The only code that writes API objects and Events. It does what a plan says.
//!
//! Every call but those for Events passes [`Effects::call`]: a bounded number at a time, each under a timeout. What a caller can use, such as that the
//! object changed or went away meanwhile, is an answer of its own type, and a watch event reconciles it again; everything else is a
//! [`Failure`], and is tried again and shown.

mod confirm;
mod events;
mod failure;
mod lease;
mod marks;
mod objects;
mod permits;
mod pod_events;
mod pods;
mod tasks;

use std::{fmt::Debug, future::Future, sync::Arc};

use kube::{Api, Client, Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

pub use events::{Event, EventSink, publish};
use failure::CALL_TIMEOUT;
pub use failure::{Cause, Failure, Refusal};
pub use lease::LeaseWrite;
pub use marks::NOT_AS_ASKED;
pub use objects::{Deleted, Ours, Written};
pub use permits::{Haste, Permits};
pub use pod_events::{PodEvent, Warning};
pub use pods::{Astray, Claim, Claimed, Created, NewPod};

use crate::{
    object::{Key, Uid, Version},
    traces::Traces,
};

/// The way to the API server, for writes and for the reads that confirm them.
pub struct Effects {
    client: Client,
    permits: Arc<Permits>,
    events: EventSink,
    traces: Traces,
}

impl Effects {
    /// Writes through `client`; Events go to `events`.
    pub fn new(client: Client, events: EventSink) -> Self {
        Self { client, permits: Arc::default(), events, traces: Traces::default() }
    }

    /// The same, with as many calls in flight as `permits` allows all who share it.
    #[must_use]
    pub fn sharing(self, permits: Arc<Permits>) -> Self {
        Self { permits, ..self }
    }

    /// The same, with spans going to `traces`.
    #[must_use]
    pub fn tracing_to(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Where spans go.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Tells people that something happened; never waits and never fails.
    pub fn event(&self, event: Event) {
        tracing::info!(reason = event.reason.as_str(), "{}", event.note);
        self.events.send(event);
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        kind: &'static str,
        object: &Key,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        self.call_in(Haste::Awaited, 1, verb, kind, object, request).await
    }

    async fn call_in<T>(
        &self,
        haste: Haste,
        weight: u32,
        verb: &'static str,
        kind: &'static str,
        object: &Key,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        let _permit = self.permits.acquire(&object.namespace, haste, weight).await;
        let begun = Instant::now();
        let answer = match timeout(CALL_TIMEOUT, request).await {
            Ok(answer) => answer.map_err(|error| Failure::of(verb, kind, object, error)),
            Err(_) => Err(Failure::new(verb, kind, object, Cause::Timeout)),
        };
        let answer = answer.map_err(|failure| failure.after(begun.elapsed()));
        let answered = answer.as_ref().map_or_else(ToString::to_string, |_| "well".to_owned());
        tracing::debug!(verb, resource = kind, target = %object, answered, "called");
        answer
    }

    /// Whether an object has changed since a version of it, so that a write on that version was rightly refused: then a watch
    /// will tell, and the write is decided anew. Quotas, policies and webhooks refuse with the same codes as a version that has
    /// passed, and nothing would follow from that.
    async fn since<K>(&self, kind: &'static str, version: &Version) -> Result<Since, Failure>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let (key, api) = (&version.key, Api::<K>::namespaced(self.client.clone(), &version.key.namespace));
        match self.call("get", kind, key, api.get_metadata(&key.name)).await {
            Ok(found) if Version::of(&found) == *version => Ok(Since::Same),
            Ok(found) if Uid::of(&found) == version.uid => Ok(Since::Changed),
            Ok(_) => Ok(Since::Gone),
            Err(failure) if failure.is_gone() => Ok(Since::Gone),
            Err(failure) => Err(failure),
        }
    }
}

/// What became of an object since a decision.
enum Since {
    Same,
    Changed,
    Gone,
}
