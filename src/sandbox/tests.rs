//! What is kept of Sandboxes beside their status.

use std::convert::Infallible;

use futures::{FutureExt, future::BoxFuture};
use kube::{Client, client::Body};
use tokio::sync::watch as channel;
use tower::service_fn;

use super::*;
use crate::{
    effects::EventSink,
    pod::Target,
    runs::{Bounds, Leftovers, Report, Request, RunControl, RunEnd, Runner},
};

struct Nothing;

impl Runner for Nothing {
    fn run<'a>(
        &'a self,
        _: Request,
        _: &'a Report,
        _: channel::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        std::future::pending().boxed()
    }

    fn prepare(&self, _: &Target) {}

    fn forget(&self, _: &Target, _: &Uid) {}
}

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
    let runs = Arc::new(Runs::new(Arc::new(Nothing), clock.clone(), Bounds::default(), Arc::new(|_| {})));
    let sandboxes = Sandboxes::new(watch, effects, runs, clock, None, metrics);
    for number in 0..100 {
        let key = Key::new("ns", &format!("s-{number}"));
        sandboxes.claiming().insert(key.clone(), Uid(key.name.clone()));
        assert_eq!(sandboxes.reconcile(&key).await.unwrap(), None);
    }
    assert!(sandboxes.claiming().is_empty());
}
