//! What is kept of Sandboxes beside their status.

use std::convert::Infallible;

use kube::{Client, client::Body};
use tower::service_fn;

use super::*;
use crate::{
    effects::EventSink,
    runs::{Bounds, testing::Idle},
};

#[tokio::test]
async fn nothing_is_kept_of_a_sandbox_that_is_deleted_while_it_claims_a_pod() {
    let (metrics, clock) = (Metrics::unread(), Clock::new(|| Timestamp::UNIX_EPOCH));
    let watch = Arc::new(Watch {
        cache: Arc::default(),
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
        wake: Arc::new(|_| {}),
    });
    let silent = service_fn(|_| std::future::pending::<Result<http::Response<Body>, Infallible>>());
    let effects = Arc::new(Effects::new(Client::new(silent, "ns"), EventSink::new()));
    let runs = Arc::new(Runs::new(Arc::new(Idle), clock.clone(), Bounds::default(), Arc::new(|_| {})));
    let sandboxes = Sandboxes::new(watch, effects, runs, clock, None, metrics);
    for number in 0..100 {
        let key = Key::new("ns", &format!("s-{number}"));
        sandboxes.claiming().insert(key.clone(), Uid(key.name.clone()));
        assert_eq!(sandboxes.reconcile(&key).await.unwrap(), None);
    }
    assert!(sandboxes.claiming().is_empty());
}
