//! The connection to the API server: kube's layers over a connector of our own.
//!
//! Small writes are sent at once. With Nagle's algorithm, which kube's own client leaves on, a message on an exec stream waits up to 40 ms
//! for the acknowledgement of the one before: ten times what a command takes.

use http::{Request, Response};
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
use tower::{BoxError, Service, ServiceBuilder, retry::RetryLayer};

/// A client of kube's for the cluster of `config`, for [`Client::new`](crate::Client::new): its commands take a tenth of the time that
/// they take through kube's own. Through a proxy it is kube's own.
///
/// # Errors
/// Where the credentials or certificates cannot be used.
pub fn connect(config: Config) -> Result<Client, Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let retry = config.default_retry.then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new().option_layer(retry).service(service(&config, connector())?);
    Ok(Client::new(service, config.default_namespace))
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
    use tokio::{io::AsyncReadExt, net::TcpListener};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn small_writes_are_sent_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connection = connector().oneshot(url.parse().unwrap()).await.unwrap();
        assert!(connection.inner().nodelay().unwrap());
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
