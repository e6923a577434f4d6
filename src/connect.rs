//! The connection to the API server: kube's client over a stack of our own.
//!
//! It differs from kube's in three points. Small writes are sent at once: with Nagle's algorithm a message on an exec stream
//! waits up to 40 ms for the acknowledgement of the one before. Nothing is sent again behind our back: a request whose outcome
//! is not known is for the reconciler to look into. And kube's own log line for each failed request is left out.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use tokio::time::Instant;
use tower::{BoxError, Service, ServiceBuilder};

use crate::metrics::Metrics;

/// The longest a connection may be silent. Watches hear from the API server within 290 s and exec streams are pinged more
/// often: one that is silent for longer is dead, and would otherwise be waited on for ever.
const SILENCE_MAX: Duration = Duration::from_secs(330);

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
pub fn client(config: Config, metrics: &Arc<Metrics>) -> Result<Client, NoClient> {
    if let Some(proxy) = &config.proxy_url {
        return Err(NoClient::Proxy(proxy.to_string()));
    }
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(http)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(Some(SILENCE_MAX));
    connector.set_write_timeout(config.write_timeout);
    let host: Arc<str> = config.cluster_url.host().unwrap_or_default().into();
    let count = {
        let metrics = Arc::clone(metrics);
        move |inner| Counted { inner, metrics: Arc::clone(&metrics), host: Arc::clone(&host) }
    };
    let service = ServiceBuilder::new()
        .layer_fn(count)
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Http::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(Client::new(service, config.default_namespace))
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
