//! The connection to the API server: kube's client over a stack of our own.
//!
//! It differs from kube's in three points. Small writes are sent at once, as every client of ours sends them. Nothing is sent again
//! behind our back: a request whose outcome is not known is for the reconciler to look into. And kube's own log line for each failed
//! request is left out.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arl_client::connection::{connector, service};
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::{Client, Config, client::Body};
use tokio::time::Instant;
use tower::Service;

use crate::metrics::Metrics;

/// The longest a connection may be silent. Watches get something from the API server within 290 s and exec streams are pinged more
/// often: one that is silent for longer is dead, and would otherwise be waited on for ever.
const SILENCE_MAX: Duration = Duration::from_secs(330);

/// A watch sends nothing: that its peer is gone (behind a balancer, or a full table of connections) only TCP keepalive detects. The idle time
/// before the first probe, and the time between probes.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long what was sent, probes too, may stay unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    /// The kubeconfig asks for what is not there.
    #[error(
        "the kubeconfig names the proxy {0}, which is not supported; remove proxy-url, or run the operator in the cluster"
    )]
    Proxy(String),
    /// The credentials or certificates cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Unusable(#[from] kube::Error),
}

/// A client for the cluster of `config`.
pub fn client(mut config: Config, metrics: &Arc<Metrics>) -> Result<Client, NoClient> {
    if let Some(proxy) = &config.proxy_url {
        return Err(NoClient::Proxy(proxy.to_string()));
    }
    let mut http = connector();
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    http.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
    config.read_timeout = Some(SILENCE_MAX);
    let inner = service(&config, http)?;
    let host = config.cluster_url.host().unwrap_or_default().into();
    Ok(Client::new(Counted { inner, metrics: Arc::clone(metrics), host }, config.default_namespace))
}

/// Counts each request, and how long it took until the answer began.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
    host: Arc<str>,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, host) = (Arc::clone(&self.metrics), Arc::clone(&self.host));
        let (method, sent) = (request.method().clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or("<error>".to_owned(), |answer| answer.status().as_u16().to_string());
            metrics.requests.with([&code, method.as_str(), &host]).inc();
            metrics.request_seconds.with([method.as_str(), &host]).observe(sent.elapsed().as_secs_f64());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The timer that the kernel has for the connection from this port: 2 is one for a question whether the peer is there.
    fn timer(port: u16) -> Option<String> {
        let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
        let from = format!(":{port:04X}");
        let row =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row[1].ends_with(&from));
        row.map(|row| row[5].split(':').next().unwrap_or_default().to_owned())
    }

    #[tokio::test]
    async fn a_peer_that_is_silent_is_asked_by_the_kernel_whether_it_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = client(Config::new(url.parse().unwrap()), &Metrics::unread()).unwrap();
        let call = tokio::spawn(async move { client.request_text(Request::get("/").body(Vec::new()).unwrap()).await });
        let (_open, peer) = listener.accept().await.unwrap();
        let asked = async {
            // For a moment it is the timer of the request's acknowledgement.
            while timer(peer.port()).as_deref() != Some("02") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("a timer for a silent peer");
        call.abort();
    }
}
