//! Whether the cluster's CustomResourceDefinitions are those the operator was built with. Of what a definition does not know,
//! the API server keeps nothing and says nothing, so that an old definition looks like a bug.
//!
//! They are read as everybody may read them, from the published OpenAPI, since reading definitions needs a cluster-wide right.

use std::{sync::Arc, time::Duration};

use arl_crds::{GROUP, published};
use kube::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::{clock::backoff, metrics::Metrics, texts::call_failed};

/// Enough to recognise what is missing.
const NAMED: usize = 5;
const LOOK_FIRST: Duration = Duration::from_secs(1);
/// As often as the log says it again.
const LOOK_LAST: Duration = Duration::from_secs(300);

/// Compares until nothing is missing, and says what is in the log and in `arl_crd_schema_outdated`. Definitions that are made or
/// upgraded in one go with this operator are published a moment after it is started.
pub async fn compare(client: Client, metrics: Arc<Metrics>) {
    let mut looks = 0;
    while !is_up_to_date(&client, &metrics).await {
        looks += 1;
        sleep_until(Instant::now() + backoff(looks, LOOK_FIRST, LOOK_LAST)).await;
    }
}

async fn is_up_to_date(client: &Client, metrics: &Metrics) -> bool {
    let published = match fetch(client).await {
        Ok(published) => published,
        Err(error) => {
            tracing::warn!(
                error = call_failed(&error),
                "the cluster's CustomResourceDefinitions cannot be compared with the operator's; trying again"
            );
            return false;
        }
    };
    let mut is_complete = true;
    for (plural, definition) in arl_crds::definitions() {
        let kind = &definition.spec.names.kind;
        let missing = published::missing(&definition, &published);
        metrics.crd_outdated.with([kind]).set(i64::from(!missing.is_empty()));
        is_complete &= missing.is_empty();
        // Of one that is not there at all the watch complains.
        if !missing.is_empty() && published::has(&published, kind) {
            tracing::error!(
                definition = format!("{plural}.{GROUP}"),
                missing = missing.len(),
                fields = missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(" "),
                "the cluster's CustomResourceDefinition is older than this operator, and the API server drops these fields; bring \
                 it up to date with the crds.yaml of this version: kubectl apply --server-side --force-conflicts -f crds.yaml, or \
                 helm upgrade with crds.enabled=true"
            );
        }
    }
    is_complete
}

async fn fetch(client: &Client) -> kube::Result<Value> {
    let request = http::Request::get(published::PATH).body(Vec::new());
    match client.request(request.map_err(kube::Error::HttpError)?).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Value::Null),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Response;
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;

    /// As the API server publishes them.
    fn all_published() -> Value {
        let schemas = arl_crds::definitions().into_iter().map(|(plural, definition)| {
            let own = serde_json::to_value(&definition.spec.versions).unwrap();
            let mut schema = own[0]["schema"]["openAPIV3Schema"].clone();
            let kind = &definition.spec.names.kind;
            schema["x-kubernetes-group-version-kind"] = json!([{"group": GROUP, "kind": kind, "version": "v1alpha1"}]);
            (plural.to_string(), schema)
        });
        json!({"components": {"schemas": schemas.collect::<serde_json::Map<_, _>>()}})
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_published_after_the_start_is_waited_for() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let service = service_fn(move |_: http::Request<Body>| {
            let (code, answer) = match counter.fetch_add(1, Ordering::SeqCst) {
                0 => (503, json!({"kind": "Status", "code": 503})),
                1 => (404, json!({"kind": "Status", "code": 404})),
                2 => (200, json!({"components": {"schemas": {}}})),
                _ => (200, all_published()),
            };
            async move { Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())) }
        });
        let metrics = Metrics::unread();
        compare(Client::new(service, "ns"), Arc::clone(&metrics)).await;
        assert_eq!(asked.load(Ordering::SeqCst), 4, "until they are there, and not again");
        for kind in ["WarmPool", "Sandbox", "Task"] {
            assert_eq!(metrics.crd_outdated.with([kind]).get(), 0, "{kind}");
        }
    }
}
