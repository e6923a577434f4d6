//! Events: what a person would want to know. Nobody waits for them, so they go out one at a time, namespaces in turn, and those of
//! a namespace that has too many are dropped rather than piled up: one costs the API server as much as a Task's result does,
//! which says the same.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arl_crds::{reason::EventReason, text::printable};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as ApiEvent},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client, Resource,
    api::PostParams,
    runtime::events::{Event as Published, EventType, Recorder, Reporter},
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    clock::Clock,
    queue::{Namespaced, Rotation},
};

/// The longest note the API accepts.
const NOTE_MAX: usize = 1024;
/// The longest name the API accepts.
const NAME_MAX: usize = 253;
/// An Event's name is that of its object, a dot and a time in so many digits.
const TIME_DIGITS: usize = 16;
/// Events that may wait to go out.
const WAITING: usize = 4096;

/// Events of each type that one namespace may have a second in the long run, and at once after a quiet time.
const OF_A_NAMESPACE: Rate = Rate { per_second: 5.0, burst: 50.0 };
/// Those of all namespaces: beyond it they wait for their turn.
const OF_ALL: Rate = Rate { per_second: 25.0, burst: 200.0 };
/// Namespaces whose rate is watched at a time: those that have had few Events lately are as good as new.
const NAMESPACES: usize = 1000;

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
        Self { about: object.object_ref(&()), reason, note: printable(&note.into(), NOTE_MAX) }
    }
}

impl Namespaced for Event {
    fn namespace(&self) -> &str {
        self.about.namespace.as_deref().unwrap_or_default()
    }
}

/// Where Events go.
#[derive(Clone, Debug, Default)]
pub struct EventSink(Arc<Outbox>);

/// Events that wait to go out.
#[derive(Debug, Default)]
struct Outbox {
    events: Mutex<Rotation<Event>>,
    allowances: Mutex<BTreeMap<(String, bool), Allowance>>,
    changed: Notify,
}

impl Outbox {
    fn events(&self) -> MutexGuard<'_, Rotation<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the namespace may have one more Event of its type.
    fn allows(&self, event: &Event, now: Instant) -> bool {
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (event.namespace().to_owned(), event.reason.is_warning());
        if !allowances.contains_key(&of) && allowances.len() >= NAMESPACES {
            allowances.retain(|_, allowance| !allowance.is_full(now));
            if allowances.len() >= NAMESPACES {
                return false;
            }
        }
        allowances.entry(of).or_insert_with(|| Allowance::full(OF_A_NAMESPACE, now)).take(now)
    }

    async fn next(&self) -> Event {
        loop {
            let next = self.events().pop();
            if let Some(event) = next {
                self.events().finished(&event);
                return event;
            }
            self.changed.notified().await;
        }
    }
}

impl EventSink {
    /// A sink that keeps Events until they are published.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn send(&self, event: Event) {
        if self.0.events().len() >= WAITING || !self.0.allows(&event, Instant::now()) {
            tracing::debug!(reason = event.reason.as_str(), event.note, "an Event was dropped: too many at once");
            return;
        }
        self.0.events().push(event);
        self.0.changed.notify_one();
    }
}

/// Publishes what goes into the sink, for ever.
pub async fn publish(client: Client, instance: Option<String>, sink: EventSink, clock: Clock) {
    let reporter = Reporter { controller: arl_crds::labels::MANAGER.into(), instance };
    let recorder = Recorder::new(client.clone(), reporter.clone());
    let mut allowance = Allowance::full(OF_ALL, Instant::now());
    loop {
        let Event { about, reason, note } = sink.0.next().await;
        while !allowance.take(Instant::now()) {
            tokio::time::sleep_until(allowance.at + Duration::from_secs_f64(1.0 / OF_ALL.per_second)).await;
        }
        let published = Published {
            type_: if reason.is_warning() { EventType::Warning } else { EventType::Normal },
            reason: reason.as_str().into(),
            note: Some(note),
            action: reason.as_str().into(),
            secondary: None,
        };
        // The library gives an Event the whole name of its object.
        let done = if about.name.as_ref().is_some_and(|name| name.len() + 1 + TIME_DIGITS > NAME_MAX) {
            create(&client, &reporter, published, &about, clock.now()).await
        } else {
            recorder.publish(&published, &about).await
        };
        if let Err(error) = done {
            tracing::debug!(%error, reason = reason.as_str(), "an Event could not be published");
        }
    }
}

/// Creates an Event about an object whose name leaves no room for that of an Event.
async fn create(
    client: &Client,
    reporter: &Reporter,
    published: Published,
    about: &ObjectReference,
    now: Timestamp,
) -> kube::Result<()> {
    let Published { type_, reason, note, action, secondary: related } = published;
    let event = ApiEvent {
        metadata: ObjectMeta {
            namespace: about.namespace.clone(),
            name: Some(name_of(about.name.as_deref().unwrap_or_default(), now)),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        regarding: Some(about.clone()),
        reporting_controller: Some(reporter.controller.clone()),
        reporting_instance: reporter.instance.clone().or_else(|| Some(reporter.controller.clone())),
        type_: Some(if matches!(type_, EventType::Warning) { "Warning" } else { "Normal" }.into()),
        reason: Some(reason),
        action: Some(action),
        note,
        related,
        ..ApiEvent::default()
    };
    let api = Api::<ApiEvent>::namespaced(client.clone(), about.namespace.as_deref().unwrap_or_default());
    api.create(&PostParams::default(), &event).await.map(drop)
}

/// The name of an Event of this time. Events go out one after the other, so that no two are of the same.
fn name_of(object: &str, now: Timestamp) -> String {
    let kept = &object[..object.floor_char_boundary(NAME_MAX - 1 - TIME_DIGITS)];
    format!("{}.{:0TIME_DIGITS$x}", kept.trim_end_matches(['-', '.']), now.as_nanosecond())
}

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// A token bucket.
#[derive(Debug)]
struct Allowance {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.burst, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.rate.per_second).min(self.rate.burst);
        self.at = now;
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.left >= self.rate.burst
    }

    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let allowed = self.left >= 1.0;
        self.left -= if allowed { 1.0 } else { 0.0 };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicI64, Ordering},
    };

    use http::{Method, Request, Response};
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    fn event(namespace: &str, note: usize) -> Event {
        let about = ObjectReference { namespace: Some(namespace.into()), ..ObjectReference::default() };
        Event { about, reason: EventReason::PodsFailing, note: note.to_string() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_through_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::full(OF_A_NAMESPACE, start);
        let taken = |allowance: &mut Allowance, after: u64| {
            (0..1000).filter(|_| allowance.take(start + Duration::from_secs(after))).count()
        };
        assert_eq!((taken(&mut allowance, 1), taken(&mut allowance, 3), taken(&mut allowance, 99)), (50, 10, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_with_many_events_takes_nothing_from_another() {
        let sink = EventSink::new();
        (0..10_000).for_each(|n| sink.send(event("noisy", n)));
        sink.send(event("quiet", 1));
        sink.send(event("quiet", 2));
        let mut order = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(1), sink.0.next()).await {
            order.push(event.namespace().to_owned());
        }
        assert_eq!(order[..4], ["noisy", "quiet", "noisy", "quiet"]);
        assert_eq!(order.len(), 52, "the noisy one has its burst");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_however_many_namespaces_there_are() {
        let sink = EventSink::new();
        (0..2 * NAMESPACES).for_each(|n| sink.send(event(&n.to_string(), n)));
        assert_eq!(sink.0.events().len(), NAMESPACES);
        let allowed = |n: usize| sink.0.allows(&event(&n.to_string(), n), Instant::now());
        assert_eq!((0..2 * NAMESPACES).filter(|n| allowed(*n)).count(), NAMESPACES);
        assert_eq!(sink.0.allowances.lock().unwrap().len(), NAMESPACES);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(sink.0.allows(&event("one-more", 0), Instant::now()));
        assert_eq!(sink.0.allowances.lock().unwrap().len(), 1, "those that were quiet are forgotten");
    }

    /// The names of the Events that are asked for when two things are said of an object of this name, and of whom they are.
    async fn published(name: &str) -> Vec<(String, String)> {
        let (asked, mut asked_for) = tokio::sync::mpsc::unbounded_channel();
        let api = service_fn(move |request: Request<Body>| {
            let asked = asked.clone();
            async move {
                assert_eq!(request.method(), Method::POST);
                let body = request.into_body().collect_bytes().await.unwrap();
                let event: ApiEvent = serde_json::from_slice(&body).unwrap();
                assert!(event.event_time.is_some() && event.reporting_instance.is_some() && event.action.is_some());
                asked.send((event.metadata.name.unwrap(), event.regarding.unwrap().name.unwrap())).unwrap();
                Ok::<_, Infallible>(Response::builder().status(201).body(Body::from(body.to_vec())).unwrap())
            }
        });
        let sink = EventSink::new();
        for reason in [EventReason::PodsFailing, EventReason::PodsRecovered] {
            let namespace = Some("ns".to_owned());
            let about = ObjectReference { name: Some(name.into()), namespace, ..ObjectReference::default() };
            sink.send(Event { about, reason, note: "n".into() });
        }
        let second = AtomicI64::new(1_700_000_000);
        let clock = Clock::new(move || Timestamp::from_second(second.fetch_add(1, Ordering::Relaxed)).unwrap());
        tokio::select! {
            () = publish(Client::new(api, "ns"), None, sink, clock) => unreachable!("it goes on for ever"),
            found = async { vec![asked_for.recv().await.unwrap(), asked_for.recv().await.unwrap()] } => found,
        }
    }

    #[tokio::test]
    async fn an_event_about_an_object_with_a_long_name_has_a_name_that_the_api_accepts() {
        let dots = format!("{}--.{}", "x".repeat(233), "y".repeat(17));
        for name in ["t", &"x".repeat(236), &"x".repeat(237), &"x".repeat(253), &dots] {
            let events = published(name).await;
            assert!(events.iter().all(|(_, about)| about == name), "{events:?}");
            assert_ne!(events[0].0, events[1].0);
            for (event, _) in events {
                let is_valid = |label: &str| {
                    let edges = [label.chars().next(), label.chars().last()];
                    edges.iter().all(|edge| edge.is_some_and(|c| c.is_ascii_alphanumeric()))
                };
                assert!(event.len() <= NAME_MAX && event.split('.').all(is_valid), "{name}: {event}");
                assert!(event.starts_with(&name[..name.len().min(233)]), "{name}: {event}");
            }
        }
    }
}
