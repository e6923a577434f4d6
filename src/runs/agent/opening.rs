//! How many streams are opened at a time: each costs its node more than a claim costs all others. What takes long costs nothing any more: its pod or
//! node does not answer, and no other waits for that.

use std::{future::Future, pin::pin, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::queue::Shares;

/// By then an exec that is answered at all has started its process.
const STARTING_MAX: Duration = Duration::from_secs(2);

/// Places for streams that are being opened.
pub(super) struct Opening {
    places: Semaphore,
    shares: Shares,
}

/// One of them.
pub(super) struct OpeningPlace<'a> {
    _own: OwnedSemaphorePermit,
    _any: SemaphorePermit<'a>,
}

impl Opening {
    pub(super) fn new(places: usize) -> Self {
        Self { places: Semaphore::new(places), shares: Shares::new(places) }
    }

    /// Waits for a place.
    pub(super) async fn place(&self, namespace: &str) -> Option<OpeningPlace<'_>> {
        let own = self.shares.of(namespace).acquire_owned().await.ok()?;
        Some(OpeningPlace { _own: own, _any: self.places.acquire().await.ok()? })
    }
}

impl OpeningPlace<'_> {
    /// Opens a stream in this place, and gives it back as soon as that is open or takes long.
    pub(super) async fn open<T>(self, stream: impl Future<Output = T>) -> T {
        let mut stream = pin!(stream);
        if let Ok(opened) = timeout(STARTING_MAX, &mut stream).await {
            return opened;
        }
        drop(self);
        stream.await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use arl_agent::message::RunId;
    use http::{Request, Response};
    use kube::{Client, client::Body};
    use tokio::{
        sync::mpsc,
        time::{Instant, timeout},
    };
    use tower::service_fn;

    use super::super::{
        attached::{Attach, StreamCommand, StreamEvent},
        streams::Agent,
        testing,
    };
    use crate::{metrics::Metrics, queue::InFlight};

    fn attach(agent: &Arc<Agent>, namespace: &str, pod: &str) -> mpsc::Receiver<StreamEvent> {
        let target = testing::target(namespace, pod);
        let (events, receiver) = mpsc::channel(4);
        let attach = Attach { run: RunId::new("r").unwrap(), start: None, steps: 1, taken: 0, sent: false, events };
        agent.command(&target, StreamCommand::Attach(attach));
        receiver
    }

    /// How long one with a Task waits for its stream, in this namespace, where so many of `a` do not answer.
    async fn waited(hung: usize, namespace: &str) -> Duration {
        let api = service_fn(|request: Request<Body>| async move {
            if request.uri().path().contains("/pods/hung-") {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(Response::builder().status(503).body(Body::empty()).unwrap())
        });
        let agent = testing::agent(Client::new(api, "ns"), &Metrics::unread());
        let _waiting: Vec<_> = (0..hung).map(|number| attach(&agent, "a", &format!("hung-{number}"))).collect();
        let begun = Instant::now();
        let mut tried = attach(&agent, namespace, "well");
        assert!(timeout(Duration::from_secs(3600), tried.recv()).await.unwrap().is_some());
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn claims_that_never_cease_hold_up_idle_streams_once_and_not_one_after_the_other() {
        let tried = Arc::new(AtomicUsize::new(0));
        let api = service_fn({
            let tried = Arc::clone(&tried);
            move |_: Request<Body>| {
                tried.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Ok::<_, Infallible>(Response::builder().status(403).body(Body::empty()).unwrap()))
            }
        });
        let claims = InFlight::default();
        claims.more();
        let agent = testing::agent_beside(&claims, Client::new(api, "ns"), &Metrics::unread());
        for number in 0..40 {
            assert!(agent.open(&testing::target("a", &format!("idle-{number}"))));
        }
        let _ = timeout(Duration::from_secs(12), std::future::pending::<()>()).await;
        assert!(tried.load(Ordering::SeqCst) >= 40, "{tried:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_do_not_answer_keep_no_other_from_its_stream() {
        let of_another = waited(1_000, "b").await;
        assert!(of_another < Duration::from_secs(1), "another namespace's: {of_another:?}");
        let of_the_same = waited(40, "a").await;
        assert!(of_the_same < Duration::from_secs(10), "{of_the_same:?}");
    }
}
