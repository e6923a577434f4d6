//! Events: what a person would want to know. Nobody waits for them, so they go out a few at a time, namespaces in turn and one of each, and
//! those of a namespace that has too many are dropped rather than piled up: one costs the API server as much as a Task's result does,
//! which says the same.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arl_crds::{reason::EventReason, text::printable};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event as ApiEvent},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, Resource, api::PostParams};
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
/// Events that may wait to go out; beyond it, one of each namespace.
const WAITING: usize = 4096;
/// Events on their way at a time, no two of one namespace: it may have a webhook that does not answer.
const ON_THEIR_WAY: usize = 8;
/// One that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is told that one was not taken: the next ones fail like it.
const TOLD_EVERY: Duration = Duration::from_secs(600);

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
#[derive(Debug)]
struct Outbox {
    events: Mutex<Rotation<Event>>,
    allowances: Mutex<BTreeMap<(String, bool), Allowance>>,
    changed: Notify,
}

impl Default for Outbox {
    fn default() -> Self {
        let mut events = Rotation::default();
        events.limit(1);
        Self { events: Mutex::new(events), allowances: Mutex::default(), changed: Notify::new() }
    }
}

impl Outbox {
    fn events(&self) -> MutexGuard<'_, Rotation<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no room for it. However many wait, one of each namespace may: others take nothing from it.
    fn is_full(&self, event: &Event) -> bool {
        let events = self.events();
        events.len() >= WAITING && events.has_of(event.namespace())
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

    /// The next Event; [`Outbox::finished`] must follow.
    async fn next(&self) -> Event {
        loop {
            let next = self.events().pop();
            if let Some(event) = next {
                return event;
            }
            self.changed.notified().await;
        }
    }

    /// It has gone out, or been given up.
    fn finished(&self, event: &Event) {
        self.events().finished(event);
        self.changed.notify_one();
    }
}

impl EventSink {
    /// A sink that keeps Events until they are published.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn send(&self, event: Event) {
        if self.0.is_full(&event) || !self.0.allows(&event, Instant::now()) {
            tracing::debug!(reason = event.reason.as_str(), event.note, "an Event was dropped: too many at once");
            return;
        }
        self.0.events().push(event);
        self.0.changed.notify_one();
    }
}

/// Publishes what goes into the sink, for ever.
pub async fn publish(client: Client, instance: Option<String>, sink: EventSink, clock: Clock) {
    let instance = instance.unwrap_or_else(|| arl_crds::labels::MANAGER.to_owned());
    let told = Mutex::default();
    let allowance = Allowance::full(OF_ALL, Instant::now());
    let events = stream::unfold(allowance, async |mut allowance| {
        let event = sink.0.next().await;
        while !allowance.take(Instant::now()) {
            tokio::time::sleep_until(allowance.at + Duration::from_secs_f64(1.0 / OF_ALL.per_second)).await;
        }
        Some((event, allowance))
    });
    events
        .for_each_concurrent(ON_THEIR_WAY, async |event| {
            let why = match tokio::time::timeout(PATIENCE, create(&client, &instance, &event, clock.now())).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(late) => Some(late.to_string()),
            };
            if let Some(error) = why {
                let (namespace, reason) = (event.namespace(), event.reason.as_str());
                // There is nobody to read them in a namespace that goes.
                if !error.contains("being terminated") && is_due(&told, Instant::now()) {
                    tracing::warn!(
                        error,
                        namespace,
                        reason,
                        "an Event could not be published; it and others are missing, conditions are not"
                    );
                } else {
                    tracing::debug!(error, namespace, reason, "an Event could not be published");
                }
            }
            sink.0.finished(&event);
        })
        .await;
}

fn is_due(told: &Mutex<Option<Instant>>, now: Instant) -> bool {
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = told.is_none_or(|at| now.saturating_duration_since(at) >= TOLD_EVERY);
    if is_due {
        *told = Some(now);
    }
    is_due
}

/// Creates one. None is counted on as the library's recorder does, which keeps the note of the first where the next one says something else.
async fn create(client: &Client, instance: &str, event: &Event, now: Timestamp) -> kube::Result<()> {
    let Event { about, reason, note } = event;
    let namespace = about.namespace.as_deref().unwrap_or_default();
    let created = ApiEvent {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name_of(about.name.as_deref().unwrap_or_default(), now)),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        regarding: Some(about.clone()),
        reporting_controller: Some(arl_crds::labels::MANAGER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        type_: Some(if reason.is_warning() { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(reason.as_str().to_owned()),
        action: Some(reason.as_str().to_owned()),
        note: Some(note.clone()),
        ..ApiEvent::default()
    };
    let api = Api::<ApiEvent>::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &created).await.map(drop)
}

/// The name of an Event of this time. Those of an object go out one after the other, so that no two are of the same.
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

    #[test]
    fn that_events_are_not_taken_is_told_but_not_of_each() {
        let (told, start) = (Mutex::default(), Instant::now());
        let is_told = |minute: &u64| is_due(&told, start + Duration::from_secs(60 * minute));
        assert_eq!((0..25).filter(is_told).collect::<Vec<_>>(), [0, 10, 20]);
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
            sink.0.finished(&event);
        }
        assert_eq!(order[..4], ["noisy", "quiet", "noisy", "quiet"]);
        assert_eq!(order.len(), 52, "the noisy one has its burst");
    }

    /// Its namespace has a webhook that does not answer, say.
    #[tokio::test(start_paused = true)]
    async fn a_namespace_whose_events_are_not_taken_delays_nobody_elses() {
        let (asked, mut asked_for) = tokio::sync::mpsc::unbounded_channel();
        let api = service_fn(move |request: Request<Body>| {
            let asked = asked.clone();
            async move {
                let path = request.uri().path().to_owned();
                asked.send(path.clone()).unwrap();
                if path.contains("/stuck/") {
                    std::future::pending::<()>().await;
                }
                let body = request.into_body().collect_bytes().await.unwrap();
                Ok::<_, Infallible>(Response::builder().status(201).body(Body::from(body.to_vec())).unwrap())
            }
        });
        let sink = EventSink::new();
        for n in 0..3 {
            let named = |namespace| {
                let mut event = event(namespace, n);
                event.about.name = Some(format!("n{n}"));
                event
            };
            sink.send(named("stuck"));
            sink.send(named("free"));
        }
        let start = Instant::now();
        let found = async {
            let mut found = Vec::new();
            while found.len() < 6 {
                let path = asked_for.recv().await.unwrap();
                found.push((path.contains("/free/"), start.elapsed().as_secs()));
            }
            found
        };
        let found = tokio::select! {
            () = publish(Client::new(api, "ns"), None, sink, Clock::system()) => unreachable!("it goes on for ever"),
            found = found => found,
        };
        let at = |free: bool| found.iter().filter(|(is, _)| *is == free).map(|(_, at)| *at).collect::<Vec<_>>();
        assert_eq!((at(true), at(false)), (vec![0, 0, 0], vec![0, 10, 20]));
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

    #[tokio::test(start_paused = true)]
    async fn namespaces_with_many_events_leave_room_for_the_first_of_another() {
        let sink = EventSink::new();
        (0..90 * 50).for_each(|n| sink.send(event(&format!("noisy-{}", n % 90), n)));
        assert_eq!(sink.0.events().len(), WAITING);
        (0..2).for_each(|n| sink.send(event("quiet", n)));
        assert_eq!(sink.0.events().len(), WAITING + 1);
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
                assert!(["first", "second"].contains(&event.note.as_deref().unwrap()));
                asked.send((event.metadata.name.unwrap(), event.regarding.unwrap().name.unwrap())).unwrap();
                Ok::<_, Infallible>(Response::builder().status(201).body(Body::from(body.to_vec())).unwrap())
            }
        });
        let sink = EventSink::new();
        for note in ["first", "second"] {
            let namespace = Some("ns".to_owned());
            let about = ObjectReference { name: Some(name.into()), namespace, ..ObjectReference::default() };
            sink.send(Event { about, reason: EventReason::PodsFailing, note: note.into() });
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
