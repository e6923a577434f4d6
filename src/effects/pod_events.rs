//! What the Events about a pod say of why it is not well.

use std::fmt;

use k8s_openapi::api::events::v1::Event as CoreEvent;
use kube::{Api, api::ListParams};

use super::{Effects, Failure, Haste, objects::next_page, pods::PAGE};
use crate::object::Version;

/// A pod that is late has few Events, and one is asked for.
const EVENTS_MAX: u32 = 24;
/// They say that a container is started again and again, or that no node takes the pod, which its status does too, and are always the newest.
const BACK_OFF: &str = "BackOff";
const SCHEDULING: &str = "FailedScheduling";
/// With these a kubelet goes on with the pod: they may be about each pod of a node that is well. What comes of them, such as an image that
/// cannot be pulled without its secret, is said by itself.
const ADVISORY: [&str; 8] = [
    "DNSConfigForming",
    "FailedToRetrieveImagePullSecret",
    "HostIPsIPFamilyMismatch",
    "LifecycleHTTPFallback",
    "MissingClusterDNS",
    "PossibleMemoryBackedVolumesOnDisk",
    "ProbeWarning",
    "VolumeConditionAbnormal",
];

/// With these a kubelet tells, without a warning, how far the start of a container is: its status says nothing while its postStart hook runs.
const STARTS: [&str; 4] = ["Created", "Pulled", "Pulling", STARTED];
const STARTED: &str = "Started";

/// How much an Event with this reason says of why a pod is not well.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    InStatus,
    Advisory,
    Telling,
}

impl Weight {
    fn of(reason: &str) -> Self {
        match reason {
            BACK_OFF | SCHEDULING => Self::InStatus,
            _ if ADVISORY.contains(&reason) => Self::Advisory,
            _ => Self::Telling,
        }
    }
}

/// What the Events about a pod warn of.
#[derive(Debug, PartialEq)]
pub enum Warning {
    /// This, or nothing.
    Found(Option<PodEvent>),
    /// Those of another pod are being looked at.
    Later,
    /// They cannot be had.
    Unknown,
}

/// What an Event says of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEvent {
    /// A word of the controller or kubelet that wrote it; none where the Events could not be read.
    pub reason: String,
    /// The container that it is about, if it is about one.
    pub container: Option<String>,
    /// In words.
    pub note: String,
}

impl PodEvent {
    fn of(event: CoreEvent) -> Self {
        let field = event.regarding.and_then(|pod| pod.field_path).unwrap_or_default();
        // Such as `spec.containers{executor}`.
        let container = field.split_once('{').and_then(|(_, name)| name.strip_suffix('}')).map(str::to_owned);
        Self { reason: event.reason.unwrap_or_default(), container, note: event.note.unwrap_or_default() }
    }

    /// That they may not be read.
    pub fn unreadable() -> Self {
        let note = "the operator may not list Events, which would say why".to_owned();
        Self { note, ..Self::default() }
    }

    /// Whether it is one at all, and names a cause.
    pub fn names_a_cause(&self) -> bool {
        !self.reason.is_empty()
    }

    /// Whether a scheduler wrote it, which says the same in the pod's status.
    pub fn is_of_the_scheduler(&self) -> bool {
        self.reason == SCHEDULING
    }

    /// Whether it is of something that the kubelet goes on in spite of.
    pub fn is_advisory(&self) -> bool {
        Weight::of(&self.reason) == Weight::Advisory
    }

    /// Whether it only tells how far the start of a container is.
    pub fn is_of_a_start(&self) -> bool {
        STARTS.contains(&self.reason.as_str())
    }

    /// Whether this container's command was started, and nothing was said since.
    pub fn is_of_the_start_of(&self, container: &str) -> bool {
        self.reason == STARTED && self.is_about(container)
    }

    /// Whether a probe failed.
    pub fn is_of_a_probe(&self) -> bool {
        self.reason == "Unhealthy"
    }

    /// Whether a probe of this container failed that ends it.
    pub fn is_of_an_ending_probe(&self, container: &str) -> bool {
        let fails = |probe: &str| self.note.strip_prefix(probe).is_some_and(|rest| rest.starts_with(" probe failed"));
        self.is_of_a_probe() && self.is_about(container) && ["Liveness", "Startup"].into_iter().any(fails)
    }

    /// Whether this container's postStart hook failed.
    pub fn is_of_the_hook(&self, container: &str) -> bool {
        self.reason == "FailedPostStartHook" && self.is_about(container)
    }

    fn is_about(&self, container: &str) -> bool {
        self.container.as_deref() == Some(container)
    }
}

impl fmt::Display for PodEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => f.write_str(&self.note),
            reason => write!(f, "{reason}: {}", self.note),
        }
    }
}

impl Effects {
    /// Of the Warnings among the Events about a pod, and with `starts` of what its node says of the start of its containers, the newest of those that
    /// say most.
    pub async fn warning_about(&self, pod: &Version, starts: bool) -> Result<Warning, Failure> {
        let Some(_one) = self.permits.explain(&pod.key.namespace) else { return Ok(Warning::Later) };
        let (key, api) = (&pod.key, Api::<CoreEvent>::namespaced(self.client.clone(), &pod.key.namespace));
        let type_ = if starts { "" } else { ",type=Warning" };
        let about = format!("regarding.uid={}{type_}", pod.uid.0);
        let is_telling = |event: &CoreEvent| {
            let reason = event.reason.as_deref().unwrap_or_default();
            event.type_.as_deref() == Some("Warning") || STARTS.contains(&reason)
        };
        let mut params = ListParams::default().fields(&about).limit(PAGE);
        let rank = |event: &CoreEvent| {
            let series = event.series.as_ref().map(|s| s.last_observed_time.0);
            let times =
                [series, event.event_time.as_ref().map(|t| t.0), event.deprecated_last_timestamp.as_ref().map(|t| t.0)];
            (Weight::of(event.reason.as_deref().unwrap_or_default()), times.into_iter().flatten().max())
        };
        let mut first = None;
        for _ in 0..EVENTS_MAX / PAGE {
            let page = self.call_in(Haste::Unhurried, 1, "list", "Events about", key, api.list(&params)).await?;
            first = first.into_iter().chain(page.items.into_iter().filter(is_telling)).max_by_key(rank);
            let Some(next) = next_page(params, page.metadata) else { break };
            params = next;
        }
        Ok(Warning::Found(first.map(PodEvent::of)))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        io,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use kube::{Client, client::Body};
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::{
        effects::EventSink,
        object::{Key, Uid},
    };

    fn version(namespace: &str) -> Version {
        Version { key: Key::new(namespace, "p"), uid: Uid(namespace.to_owned()), resource_version: "1".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_events_of_one_pod_of_a_namespace_are_looked_at_at_a_time() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let silent = service_fn(move |_: http::Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<io::Result<http::Response<Body>>>()
        });
        let effects = Effects::new(Client::new(silent, "ns"), EventSink::new());
        let (a, b) = (version("ns"), version("other"));
        let look = |pod| effects.warning_about(pod, false);
        let (first, second, other) = tokio::join!(look(&a), look(&a), look(&b));
        assert!(first.is_err() && other.is_err(), "they are given up in time");
        assert_eq!((second.unwrap(), calls.load(Ordering::Relaxed)), (Warning::Later, 2));
    }

    #[tokio::test]
    async fn what_is_told_of_a_crash_loop_is_why_and_not_that_there_is_one() {
        let event = |reason: &str, note: &str, second: u32| {
            json!({
                "metadata": { "name": reason }, "reason": reason, "note": note, "type": "Warning", "eventTime": null,
                "deprecatedLastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
                "regarding": { "fieldPath": "spec.containers{executor}" },
            })
        };
        let liveness = event("Unhealthy", "Liveness probe failed: no", 20);
        let (older, back_off) = (event("Failed", "before", 10), event("BackOff", "Back-off restarting", 30));
        for (events, expected) in [
            (json!([older, liveness, back_off]), Some("Unhealthy: Liveness probe failed: no")),
            (json!([back_off]), Some("BackOff: Back-off restarting")),
            (json!([older, event("DNSConfigForming", "limits", 40), back_off]), Some("Failed: before")),
            (
                json!([event("FailedToRetrieveImagePullSecret", "no", 1), back_off]),
                Some("FailedToRetrieveImagePullSecret: no"),
            ),
            (
                json!([event("FailedBinding", "quota", 1), event("FailedScheduling", "no", 50)]),
                Some("FailedBinding: quota"),
            ),
            (json!([]), None),
        ] {
            let list =
                json!({ "kind": "EventList", "apiVersion": "events.k8s.io/v1", "metadata": {}, "items": events });
            let api = service_fn(move |_: http::Request<Body>| {
                let body = Body::from(list.to_string().into_bytes());
                async move { Ok::<_, Infallible>(http::Response::new(body)) }
            });
            let effects = Effects::new(Client::new(api, "ns"), EventSink::new());
            let Warning::Found(found) = effects.warning_about(&version("ns"), false).await.unwrap() else { panic!() };
            assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), expected);
            assert!(found.is_none_or(|event| event.container.as_deref() == Some("executor")));
        }
    }

    #[tokio::test]
    async fn how_far_a_start_is_counts_where_it_is_asked_for() {
        let event = |reason: &str, type_: &str, second: u32| {
            json!({
                "metadata": { "name": reason }, "reason": reason, "note": "n", "type": type_, "eventTime": null,
                "deprecatedLastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
                "regarding": { "fieldPath": "spec.containers{executor}" },
            })
        };
        let of_a_start = [event("Scheduled", "Normal", 9), event("Pulled", "Normal", 5), event("Started", "Normal", 5)];
        let mount = event("FailedMount", "Warning", 3);
        for (events, expected) in [
            (json!([mount, of_a_start[1], of_a_start[2], of_a_start[0]]), Some("Started")),
            (json!([of_a_start[1], event("Failed", "Warning", 8), of_a_start[2]]), Some("Failed")),
            (json!([of_a_start[0]]), None),
        ] {
            let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
            let (list, queries) = (json!({ "metadata": {}, "items": events }).to_string(), Arc::clone(&asked));
            let service = service_fn(move |request: http::Request<Body>| {
                queries.lock().unwrap().push(request.uri().to_string());
                let list = list.clone();
                async move { Ok::<_, Infallible>(http::Response::new(Body::from(list.into_bytes()))) }
            });
            let effects = Effects::new(Client::new(service, "ns"), EventSink::new());
            let Warning::Found(found) = effects.warning_about(&version("ns"), true).await.unwrap() else { panic!() };
            assert_eq!(found.as_ref().map(|found| found.reason.as_str()), expected);
            assert!(found.is_none_or(|found| found.is_of_a_start() == found.is_of_the_start_of("executor")));
            assert!(!asked.lock().unwrap()[0].contains("Warning"), "{asked:?}");
        }
    }

    #[test]
    fn what_ended_a_container_is_told_from_what_failed_beside_it() {
        let event = |reason: &str, container: &str, note: &str| PodEvent {
            reason: reason.into(),
            container: Some(container.into()),
            note: note.into(),
        };
        for (event, ends) in [
            (event("Unhealthy", "executor", "Liveness probe failed: no"), true),
            (event("Unhealthy", "executor", "Startup probe failed: no"), true),
            (event("Unhealthy", "executor", "Readiness probe failed: Liveness probe failed"), false),
            (event("Unhealthy", "executor", "Liveness probe errored: no"), false),
            (event("Unhealthy", "helper", "Liveness probe failed: no"), false),
            (event("FailedPostStartHook", "executor", "PostStartHook failed"), false),
        ] {
            assert_eq!(event.is_of_an_ending_probe("executor"), ends, "{event}");
        }
        assert!(event("FailedPostStartHook", "executor", "PostStartHook failed").is_of_the_hook("executor"));
        assert!(!PodEvent::unreadable().names_a_cause());
    }
}
