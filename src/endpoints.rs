//! What the operator answers over HTTP: probes and metrics. Plain text, no rights, nothing that changes anything.
//!
//! `/healthz` (`/livez`) says whether the process moves: an operator that cannot reach the API server, or that stands by, is
//! alive, and starting it again would help nobody. `/readyz` says whether it knows the cluster, so that it works or could.

use std::{
    collections::VecDeque,
    fmt::Write,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
    serve::Listener,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    metrics::{CONTENT_TYPE, Catalogue},
    operator::Scope,
};

/// A queue whose keys wait this long while no worker takes or finishes any is stuck: each call of a worker ends within seconds,
/// and one key needs few of them; only a pool that creates many pods on a crawling API server takes minutes.
const STALLED: Duration = Duration::from_mins(10);
/// A watch that has failed for this long is more than an API server that is started again.
const OUTAGE: Duration = Duration::from_secs(10);

/// Connections at a time. Any pod may open some; beyond it the oldest goes, since those that ask for something are answered at once.
const CONNECTIONS: usize = 64;
/// No request takes longer.
const LONGEST: Duration = Duration::from_secs(10);
/// Scrapes take at most this part of the time, however many ask: a text is given again until so many times what it took have passed.
const SCRAPED_AGAIN: u32 = 10;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{flag}={address}: {cause}; give another address, such as 127.0.0.1:0, or 0 for none")]
pub struct NoListener {
    flag: &'static str,
    address: String,
    cause: io::Error,
}

/// Listens where a flag says, as in Go: `:8080` is that port on all addresses, `0` is nowhere.
pub async fn listen(flag: &'static str, address: &str) -> Result<Option<TcpListener>, NoListener> {
    let no_listener = |cause| NoListener { flag, address: address.to_owned(), cause };
    let bound = match address {
        "" | "0" => return Ok(None),
        // A machine without IPv6 cannot listen on both at once.
        port if port.starts_with(':') => match TcpListener::bind(format!("[::]{port}")).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => TcpListener::bind(format!("0.0.0.0{port}")).await,
            bound => bound,
        },
        whole => TcpListener::bind(whole).await,
    };
    let listener = bound.map_err(no_listener)?;
    let at = listener.local_addr().map_or_else(|_| address.to_owned(), |at: SocketAddr| at.to_string());
    tracing::info!(address = at, flag, "listening");
    Ok(Some(listener))
}

/// Answers probes for ever.
pub async fn probes(listener: TcpListener, scopes: Vec<Arc<Scope>>) {
    let scopes: Arc<[Arc<Scope>]> = scopes.into();
    let (healthy, ready) = (Arc::clone(&scopes), scopes);
    let healthy = move || std::future::ready(health(&healthy));
    let routes = Router::new()
        .route("/healthz", get(healthy.clone()))
        .route("/livez", get(healthy))
        .route("/readyz", get(move || std::future::ready(readiness(&ready))));
    serve(listener, routes).await;
}

/// One request a connection, so that none is kept.
async fn serve(mut listener: TcpListener, routes: Router) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, _) = Listener::accept(&mut listener).await;
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(routes.clone());
        let connection = tokio::spawn(async move {
            let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
            http.http1().keep_alive(false);
            let answered = http.serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(LONGEST, answered).await {
                tracing::debug!(error, "a request could not be answered");
            }
        });
        open.push_back(connection.abort_handle());
    }
}

fn health(scopes: &[Arc<Scope>]) -> (StatusCode, String) {
    let queues = scopes.iter().flat_map(|scope| scope.queues().named());
    let stuck = queues.filter(|(_, queue)| queue.stats().stalled > STALLED);
    verdict(stuck.map(|(name, _)| format!("no worker of {name} has moved for {} s", STALLED.as_secs())))
}

fn readiness(scopes: &[Arc<Scope>]) -> (StatusCode, String) {
    let behind = scopes.iter().filter(|scope| !scope.is_synced());
    let behind = behind.map(|scope| format!("the objects of {} are not all listed yet", scope.name()));
    let failing = scopes.iter().flat_map(|scope| {
        let outages = scope.cache().outages.lasting(OUTAGE).into_iter();
        outages.map(|(kind, time, error)| {
            format!("the watch of {kind} in {} has failed for {} s: {error}", scope.name(), time.as_secs())
        })
    });
    verdict(behind.chain(failing))
}

fn verdict(complaints: impl Iterator<Item = String>) -> (StatusCode, String) {
    let mut said = String::new();
    for complaint in complaints {
        // Writing to a String cannot fail.
        let _ = writeln!(said, "{complaint}");
    }
    if said.is_empty() { (StatusCode::OK, "ok\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, said) }
}

/// Answers scrapes for ever.
pub async fn metrics(listener: TcpListener, catalogue: Catalogue) {
    let (texts, catalogue) = (Arc::new(Texts::default()), Arc::new(catalogue));
    let scrape = move || {
        let text = texts.get(|| catalogue.text().map_err(|error| error.to_string()));
        std::future::ready(match text {
            Ok(text) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text)),
            Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error)),
        })
    };
    serve(listener, Router::new().route("/metrics", get(scrape))).await;
}

/// The last text, and until when it is given again.
#[derive(Default)]
struct Texts(Mutex<Option<(Instant, Result<String, String>)>>);

impl Texts {
    fn get(&self, make: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        if let Some((_, text)) = last.as_ref().filter(|(until, _)| begin < *until) {
            return text.clone();
        }
        let text = make();
        let end = Instant::now();
        *last = Some((end + SCRAPED_AGAIN * (end - begin), text.clone()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        metrics::Metrics,
        object::Key,
        queue::InFlight,
        runs::{Bounds, Runner, testing::Idle},
    };

    #[tokio::test]
    async fn an_address_is_read_as_go_reads_it() {
        for off in ["", "0"] {
            assert!(listen("--x", off).await.unwrap().is_none());
        }
        let all = listen("--x", ":0").await.unwrap().unwrap().local_addr().unwrap();
        assert!(all.ip().is_unspecified(), "{all}");
        let one = listen("--x", "127.0.0.1:0").await.unwrap().unwrap();
        let taken = one.local_addr().unwrap().to_string();
        assert!(taken.starts_with("127.0.0.1:"), "{taken}");
        let error = listen("--x", &taken).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("--x={taken}: ")), "{error}");
    }

    #[tokio::test]
    async fn who_holds_many_connections_keeps_nobody_from_an_answer() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = listen("--x", "127.0.0.1:0").await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(probes(listener, Vec::new()));
        let mut held = Vec::new();
        for _ in 0..5 * CONNECTIONS {
            held.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
        let mut asks = tokio::net::TcpStream::connect(address).await.unwrap();
        asks.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        asks.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
        let mut ended = 0;
        for connection in &mut held[..4 * CONNECTIONS] {
            ended += usize::from(!matches!(connection.read(&mut [0]).await, Ok(read) if read > 0));
        }
        assert_eq!(ended, 4 * CONNECTIONS, "the oldest are not kept");
    }

    #[test]
    fn scrapes_take_a_part_of_the_time_however_many_ask() {
        let (texts, mut made) = (Texts::default(), 0);
        for _ in 0..100 {
            let text = texts.get(|| {
                made += 1;
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(20) {}
                Ok(made.to_string())
            });
            assert!(text.is_ok());
        }
        assert!(made < 50, "{made} of 100 texts were made");
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_is_alive_as_long_as_its_workers_move() {
        let runner: Arc<dyn Runner> = Arc::new(Idle);
        let clock = Clock::new(|| jiff::Timestamp::UNIX_EPOCH);
        let scopes = [Scope::new(
            Some("ns".into()),
            &clock,
            &runner,
            &Metrics::unread(),
            &InFlight::default(),
            &Bounds::default(),
        )];
        let said = readiness(&scopes);
        assert_eq!(said, (StatusCode::SERVICE_UNAVAILABLE, "the objects of ns are not all listed yet\n".to_owned()));

        for _ in 0..2 {
            assert!(!readiness(&scopes).1.contains("watch"));
            scopes[0].cache().outages.failed("Pod", "watch: pods is forbidden", false);
            tokio::time::advance(OUTAGE).await;
        }
        let (code, said) = readiness(&scopes);
        let expected = "the watch of Pod in ns has failed for 10 s: watch: pods is forbidden\n";
        assert!(code == StatusCode::SERVICE_UNAVAILABLE && said.ends_with(expected), "{said}");

        let queue = &scopes[0].queues().tasks;
        queue.add(Key::new("ns", "a"));
        queue.add(Key::new("ns", "b"));
        tokio::time::advance(2 * STALLED).await;
        assert_eq!(health(&scopes).0, StatusCode::OK, "it stands by: nobody has begun");
        let key = queue.next().await;
        tokio::time::advance(STALLED).await;
        assert_eq!(health(&scopes).0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(1)).await;
        let (code, said) = health(&scopes);
        assert_eq!((code, said.contains("worker of task")), (StatusCode::SERVICE_UNAVAILABLE, true), "{said}");
        queue.done(&key, None);
        assert_eq!(health(&scopes).0, StatusCode::OK);
    }

    #[test]
    fn a_complaint_makes_the_difference() {
        assert_eq!(verdict(std::iter::empty()), (StatusCode::OK, "ok\n".to_owned()));
        let bad = verdict(["a".to_owned(), "b".to_owned()].into_iter());
        assert_eq!(bad, (StatusCode::SERVICE_UNAVAILABLE, "a\nb\n".to_owned()));
    }
}
