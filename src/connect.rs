//! The connection to the API server: kube's client over a stack of our own.
//!
//! It differs from kube's in three points. Small writes are sent at once: with Nagle's algorithm a message on an exec stream
//! waits up to 40 ms for the acknowledgement of the one before. Nothing is sent again behind our back: a request whose outcome
//! is not known is for the reconciler to look into. And kube's own log line for each failed request is left out.

use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
};
use tower::{BoxError, ServiceBuilder};

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
pub fn client(config: Config) -> Result<Client, NoClient> {
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
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(Http::builder(TokioExecutor::new()).build::<_, Body>(connector));
    Ok(Client::new(service, config.default_namespace))
}
