//! The version of the exec protocol that is asked for.

use http::{HeaderValue, Request, header::SEC_WEBSOCKET_PROTOCOL};
use kube::{Client, client::Body};

/// The same client, for websockets that the API server passes on to the node as they are. It does so with version 4 of the exec
/// protocol; version 5, which kube's client prefers, it takes apart and sends on in another protocol, frame by frame. All that
/// version 5 adds is closing standard input before the others.
/// <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets>
pub fn with_protocol_v4(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let client = client.clone();
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v4.channel.k8s.io"));
        async move { client.send(request).await }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Response;
    use tower::BoxError;

    use super::*;

    #[tokio::test]
    async fn a_stream_is_asked_for_that_the_api_server_passes_on() {
        let asked = Arc::new(Mutex::new(None));
        let server = {
            let asked = Arc::clone(&asked);
            tower::service_fn(move |request: Request<Body>| {
                *asked.lock().unwrap() = request.headers().get(SEC_WEBSOCKET_PROTOCOL).cloned();
                async { Ok::<_, BoxError>(Response::new(Body::empty())) }
            })
        };
        let client = with_protocol_v4(Client::new(server, "mine"));
        assert_eq!(client.default_namespace(), "mine");
        let refused = client.connect(Request::get("/exec").body(Vec::new()).unwrap()).await;
        assert!(refused.is_err(), "an answer that is no websocket passed for one");
        assert_eq!(asked.lock().unwrap().as_ref().unwrap(), "v4.channel.k8s.io");
    }
}
