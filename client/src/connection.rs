//! The connection to the API server: kube's layers over a connector of our own.
//!
//! Small writes are sent at once. With Nagle's algorithm, which kube's own client leaves on, a message on an exec stream waits up to 40 ms
//! for the acknowledgement of the one before: ten times what a command takes.

use http::{Method, Request, Response, header::UPGRADE};
use hyper::body::Incoming;
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config, Error,
    client::{Body, ConfigExt, retry::RetryPolicy},
};
use tower::{
    BoxError, Service, ServiceBuilder,
    retry::{Policy, RetryLayer},
};

/// A client of kube's for the cluster of `config`, for [`Client::new`](crate::Client::new): its commands take a tenth of the time that
/// they take through kube's own, and reads that a busy API server does not answer are tried a few times more. Through a proxy it is kube's own.
///
/// # Errors
/// Where the credentials or certificates cannot be used.
pub fn connect(mut config: Config) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        // It would repeat what may have been done.
        config.default_retry = false;
        return Client::try_from(config);
    }
    let retry = config.default_retry.then(|| RetryLayer::new(Reads::default()));
    let service = ServiceBuilder::new().option_layer(retry).service(service(&config, connector())?);
    Ok(Client::new(service, config.default_namespace))
}

/// Repeats reads alone, some seconds long: what else was not answered may have been done. A stream is opened again by who needs it.
#[derive(Clone, Default)]
struct Reads(RetryPolicy);

impl<R> Policy<Request<Body>, Response<R>, BoxError> for Reads {
    type Future = <RetryPolicy as Policy<Request<Body>, Response<R>, BoxError>>::Future;

    fn retry(
        &mut self,
        request: &mut Request<Body>,
        result: &mut Result<Response<R>, BoxError>,
    ) -> Option<Self::Future> {
        self.0.retry(request, result)
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let is_read = request.method() == Method::GET && !request.headers().contains_key(UPGRADE);
        // What the answer is has no part in it.
        is_read.then(|| Policy::<_, Response<R>, _>::clone_request(&mut self.0, request)).flatten()
    }
}

/// What a client of kube's sends its requests through, to the cluster of `config` and by its credentials, over connections of `http`. It tries
/// nothing again.
///
/// # Errors
/// Where the credentials or certificates cannot be used.
pub fn service(
    config: &Config,
    http: HttpConnector,
) -> Result<
    impl Service<Request<Body>, Response = Response<Incoming>, Error = BoxError, Future: Send + 'static>
    + Clone
    + Send
    + 'static
    + use<>,
    Error,
> {
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(http)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    Ok(ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Http::builder(TokioExecutor::new()).build::<_, Body>(connector)))
}

/// Makes connections on which small writes are sent at once.
pub fn connector() -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, api::PostParams};
    use tokio::{io::AsyncReadExt, net::TcpListener, time::Instant};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn small_writes_are_sent_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connection = connector().oneshot(url.parse().unwrap()).await.unwrap();
        assert!(connection.inner().nodelay().unwrap());
    }

    /// How many requests a busy API server gets of a call, and how long that lasts.
    async fn made<T>(call: impl AsyncFnOnce(Api<ConfigMap>) -> Result<T, Error>) -> (u32, Duration) {
        let count = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let busy = tower::service_fn(move |_: Request<Body>| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, BoxError>(Response::builder().status(503).body(Body::empty()).unwrap()) }
        });
        let service = ServiceBuilder::new().layer(RetryLayer::new(Reads::default())).service(busy);
        let since = Instant::now();
        assert!(call(Api::namespaced(Client::new(service, "n"), "n")).await.is_err());
        (count.load(Ordering::SeqCst), since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_api_server_holds_up_nobody_for_long_and_is_told_to_create_once() {
        let (reads, after) = made(async |api| api.get("a").await).await;
        assert!(reads > 1 && after < Duration::from_secs(20), "{reads} in {after:?}");
        let (creations, _) = made(async |api| api.create(&PostParams::default(), &ConfigMap::default()).await).await;
        assert_eq!(creations, 1);
        let (_, after) = made(async |api| crate::deletion::delete(&api, "a", None).await).await;
        assert!(after < Duration::from_secs(30), "{after:?}");
    }

    #[tokio::test]
    async fn requests_go_to_the_cluster_of_the_config() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix", listener.local_addr().unwrap());
        let client = connect(Config::new(url.parse().unwrap())).unwrap();
        let call =
            tokio::spawn(async move { client.request_text(http::Request::get("/a").body(Vec::new()).unwrap()).await });
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut head = [0; b"GET /prefix/a HTTP/1.1".len()];
        let read = peer.read_exact(&mut head);
        tokio::time::timeout(std::time::Duration::from_secs(20), read).await.unwrap().unwrap();
        assert_eq!(&head, b"GET /prefix/a HTTP/1.1");
        call.abort();
    }
}
