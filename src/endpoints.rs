//! What the operator answers over HTTP: probes and metrics. Plain text, no rights, nothing that changes anything.
//!
//! `/healthz` (`/livez`) says whether the process moves: an operator that cannot reach the API server, or that stands by, is
//! alive, and starting it again would help nobody. `/readyz` says whether it knows the cluster, so that it works or could.

use std::{fmt::Write, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    metrics::{CONTENT_TYPE, Catalogue},
    operator::Scope,
};

/// A queue whose keys wait this long while no worker takes or finishes any is stuck: each call of a worker ends within seconds,
/// and one key needs few of them; only a pool that creates many pods on a crawling API server takes minutes.
const STALLED: Duration = Duration::from_mins(10);

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
pub async fn probes(listener: TcpListener, scopes: Vec<Arc<Scope>>) -> io::Result<()> {
    let scopes: Arc<[Arc<Scope>]> = scopes.into();
    let (healthy, ready) = (Arc::clone(&scopes), scopes);
    let healthy = move || std::future::ready(health(&healthy));
    let routes = Router::new()
        .route("/healthz", get(healthy.clone()))
        .route("/livez", get(healthy))
        .route("/readyz", get(move || std::future::ready(readiness(&ready))));
    axum::serve(listener, routes).await
}

fn health(scopes: &[Arc<Scope>]) -> (StatusCode, String) {
    let queues = scopes.iter().flat_map(|scope| scope.queues().named());
    let stuck = queues.filter(|(_, queue)| queue.stats().stalled > STALLED);
    verdict(stuck.map(|(name, _)| format!("no worker of {name} has moved for {} s", STALLED.as_secs())))
}

fn readiness(scopes: &[Arc<Scope>]) -> (StatusCode, String) {
    let behind = scopes.iter().filter(|scope| !scope.is_synced());
    verdict(behind.map(|scope| format!("the objects of {} are not all listed yet", scope.name())))
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
pub async fn metrics(listener: TcpListener, catalogue: Catalogue) -> io::Result<()> {
    let catalogue = Arc::new(catalogue);
    let scrape = move || {
        std::future::ready(match catalogue.text() {
            Ok(text) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text)),
            Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        })
    };
    axum::serve(listener, Router::new().route("/metrics", get(scrape))).await
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
