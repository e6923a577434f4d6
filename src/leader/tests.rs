//! Elections in front of an API server in memory that has one Lease, in paused time.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
};

use futures::FutureExt;
use jiff::Timestamp;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::advance;
use tower::service_fn;

use super::*;
use crate::{effects::EventSink, object::Key};

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    cut_off: BTreeSet<String>,
    /// How many requests are not answered.
    unanswered: usize,
}

/// The one Lease, and the operators that cannot reach it.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<State>>);

type Answer = http::Response<Body>;

fn answer(code: u16, body: &Value) -> Answer {
    http::Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap()
}

fn refusal(code: u16, reason: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason, "details": {"name": "arl-operator"}});
    answer(code, &status)
}

impl Api {
    fn handle(&self, operator: &str, method: &http::Method, body: &[u8]) -> Answer {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { lease, version, cut_off, .. } = &mut *state;
        if cut_off.contains(operator) {
            return refusal(500, "InternalError");
        }
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let spec = match (method.as_str(), &*lease) {
            ("GET" | "PATCH", None) => return refusal(404, "NotFound"),
            ("GET", Some(lease)) => return answer(200, lease),
            ("POST", None) => sent["spec"].clone(),
            ("POST", Some(_)) => return refusal(409, "AlreadyExists"),
            ("PATCH", Some(lease)) if sent[0]["value"] != lease["metadata"]["resourceVersion"] => {
                return refusal(409, "Conflict");
            }
            ("PATCH", Some(_)) => sent[1]["value"].clone(),
            other => panic!("{other:?}"),
        };
        *version += 1;
        let metadata =
            json!({"name": "arl-operator", "namespace": "ns", "uid": "u", "resourceVersion": version.to_string()});
        answer(
            200,
            lease.insert(
                json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}),
            ),
        )
    }

    fn candidate(&self, name: &'static str) -> Candidate {
        let api = self.clone();
        let service = service_fn(move |request: http::Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                if api.leaves_unanswered() {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(api.handle(name, &parts.method, &body))
            }
        });
        let terms = Terms {
            lease: Key::new("ns", "arl-operator"),
            identity: name.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        };
        let events = EventSink::new();
        let effects = Effects::new(Client::new(service, "ns"), events);
        // A wall clock that stands still: nothing may rest on it.
        Candidate::new(terms, effects, Clock::new(|| Timestamp::UNIX_EPOCH), Gauge::default())
    }

    fn leaves_unanswered(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        let left = state.unanswered > 0;
        state.unanswered = state.unanswered.saturating_sub(1);
        left
    }

    fn cut_off(&self, operator: &str) {
        self.0.lock().unwrap().cut_off.insert(operator.to_owned());
    }

    fn let_back(&self, operator: &str) {
        self.0.lock().unwrap().cut_off.remove(operator);
    }

    fn lease(&self) -> Value {
        self.0.lock().unwrap().lease.clone().unwrap()["spec"].clone()
    }

    fn delete(&self) {
        self.0.lock().unwrap().lease = None;
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_keeps_leading_while_it_renews() {
    let api = Api::default();
    let (mut first, mut second) = (api.candidate("first"), api.candidate("second"));
    first.win().await;
    tokio::select! {
        lost = first.lead() => panic!("{lost}"),
        () = second.win() => panic!("two leaders"),
        () = tokio::time::sleep_until(Instant::now() + secs(3600)) => {}
    }
    assert_eq!((&api.lease()["holderIdentity"], &api.lease()["leaseTransitions"]), (&json!("first"), &json!(1)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_has_stopped_before_another_leads() {
    let api = Api::default();
    let (mut first, mut second) = (api.candidate("first"), api.candidate("second"));
    first.win().await;
    let start = Instant::now();
    let cut = async {
        tokio::time::sleep_until(start + secs(31)).await;
        api.cut_off("first");
    };
    let stopped = async { (first.lead().await, start.elapsed()) };
    let taken = async {
        second.win().await;
        start.elapsed()
    };
    let (_, (lost, stopped), taken) = futures::join!(cut, stopped, taken);
    assert!(lost.to_string().contains("could not be renewed for 10s: patch Lease ns/arl-operator"), "{lost}");
    assert!(stopped <= secs(31 + 10), "{stopped:?}");
    assert!(taken > stopped && taken <= secs(31 + 15 + 2), "{taken:?} after {stopped:?}");
    assert_eq!(api.lease()["leaseTransitions"], json!(2));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_changes_nothing() {
    let api = Api::default();
    let (mut first, mut second) = (api.candidate("first"), api.candidate("second"));
    first.win().await;
    let start = Instant::now();
    let outage = async {
        tokio::time::sleep_until(start + secs(5)).await;
        api.cut_off("first");
        api.cut_off("second");
        tokio::time::sleep_until(start + secs(12)).await;
        api.let_back("first");
        api.let_back("second");
        tokio::time::sleep_until(start + secs(600)).await;
    };
    tokio::select! {
        lost = first.lead() => panic!("{lost}"),
        () = second.win() => panic!("two leaders"),
        () = outage => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_answered_costs_a_leader_nothing() {
    let api = Api::default();
    let mut first = api.candidate("first");
    first.win().await;
    api.0.lock().unwrap().unanswered = 1;
    tokio::select! {
        lost = first.lead() => panic!("{lost}"),
        () = tokio::time::sleep_until(Instant::now() + secs(60)) => {}
    }
    api.0.lock().unwrap().unanswered = usize::MAX;
    let start = Instant::now();
    let lost = first.lead().await.to_string();
    assert!(lost.contains("no answer from the API server within 5s"), "{lost}");
    assert!(start.elapsed() <= secs(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_that_resigns_is_followed_at_the_next_turn() {
    let api = Api::default();
    let (mut first, mut second) = (api.candidate("first"), api.candidate("second"));
    first.win().await;
    assert!(second.win().now_or_never().is_none());
    // In the middle of a renewal, of which nobody then knows whether it took effect.
    tokio::select! {
        biased;
        lost = first.lead() => panic!("{lost}"),
        () = advance(secs(2)) => {}
    }
    first.resign().await;
    let start = Instant::now();
    second.win().await;
    assert!(start.elapsed() <= secs(2), "{:?}", start.elapsed());
    assert_eq!((&api.lease()["holderIdentity"], &api.lease()["leaseDurationSeconds"]), (&json!("second"), &json!(15)));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_lead_gives_nothing_up() {
    let api = Api::default();
    let (mut first, second) = (api.candidate("first"), api.candidate("second"));
    first.win().await;
    second.resign().await;
    assert_eq!(api.lease()["holderIdentity"], json!("first"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_again_under_its_name_leads_at_once() {
    let api = Api::default();
    api.candidate("first").win().await;
    let start = Instant::now();
    api.candidate("first").win().await;
    assert_eq!(start.elapsed(), secs(0));
    assert_eq!(api.lease()["leaseTransitions"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_deleted_or_taken_is_lost_at_once() {
    for (take, holder) in [(false, "nobody holds it"), (true, "second holds it")] {
        let api = Api::default();
        let mut first = api.candidate("first");
        first.win().await;
        api.delete();
        if take {
            api.candidate("second").win().await;
        }
        let start = Instant::now();
        let lost = first.lead().await;
        assert!(lost.to_string().contains(holder), "{lost}");
        assert_eq!(start.elapsed(), secs(2), "at the next renewal");
    }
}
