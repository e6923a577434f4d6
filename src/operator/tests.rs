//! A scope in front of an API server that never answers.

use std::{convert::Infallible, time::Duration};

use arl_crds::ExecutorMode;
use clap::Parser;
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::client::Body;
use tokio::time::timeout;
use tower::service_fn;

use super::*;
use crate::{
    pod::Target,
    runs::{Leftovers, LiveReport, Report, Request, RunControl, RunEnd},
};

/// Runs without an end; counts those that go on.
struct Endless(watch::Sender<usize>);

struct GoesOn<'a>(&'a watch::Sender<usize>);

impl Drop for GoesOn<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|runs| *runs -= 1);
    }
}

impl Runner for Endless {
    fn run<'a>(
        &'a self,
        _: Request,
        _: &'a Report,
        _: watch::Receiver<RunControl>,
    ) -> BoxFuture<'a, (RunEnd, Leftovers)> {
        self.0.send_modify(|runs| *runs += 1);
        let goes_on = GoesOn(&self.0);
        async move {
            let _goes_on = goes_on;
            std::future::pending().await
        }
        .boxed()
    }

    fn prepare(&self, _: &Target, _: &LiveReport) {}

    fn ask_live(&self, _: &Target) {}

    fn forget(&self, _: &Target, _: &Uid) {}
}

fn request() -> Request {
    let target = Target {
        pod: Key::new("ns", "pod"),
        pod_uid: Uid("pod-uid".into()),
        container: "c".into(),
        container_id: "id".into(),
        mode: ExecutorMode::Agent,
    };
    Request {
        task: Key::new("ns", "t"),
        task_uid: Uid("task-uid".into()),
        created: None,
        steps: Vec::new(),
        sandbox_env: std::collections::BTreeMap::new(),
        room: None,
        timeout: Duration::from_secs(1),
        target,
        started_at: None,
    }
}

#[tokio::test(start_paused = true)]
async fn runs_end_with_their_scope() {
    for is_told in [true, false] {
        let (clock, metrics) = (Clock::new(|| Timestamp::UNIX_EPOCH), Metrics::unread());
        let (count, mut runs) = watch::channel(0);
        let runner: Arc<dyn Runner> = Arc::new(Endless(count));
        let scope = Scope::new(None, &clock, &runner, &metrics, &InFlight::default(), &Bounds::default());
        let stage = watch::Sender::new(Stage::Lead);
        let common = Common {
            client: Client::new(
                service_fn(|_| std::future::pending::<Result<http::Response<Body>, Infallible>>()),
                "ns",
            ),
            flags: Flags::parse_from(["arl-operator"]),
            clock,
            events: EventSink::new(),
            metrics,
            traces: Traces::default(),
            permits: Arc::default(),
            stage: stage.subscribe(),
        };
        let work = tokio::spawn(Arc::clone(&scope).run(common));
        let mut are = async |number: usize| {
            timeout(Duration::from_secs(60), runs.wait_for(|runs| *runs == number)).await.is_ok_and(|r| r.is_ok())
        };
        // The scope is looked after from here on.
        tokio::task::yield_now().await;
        scope.runs.start(request());
        assert!(are(1).await, "told: {is_told}");
        if is_told {
            stage.send_replace(Stage::Stop);
        } else {
            work.abort();
        }
        assert!(are(0).await, "told: {is_told}");
    }
}
