//! Traces, as a collector gets them.

use std::sync::Arc;

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};

use crate::harness::World;
use crate::harness::make::shell;
use crate::harness::wait::DEADLINE;

/// What a collector was sent.
type Received = Arc<watch::Sender<Vec<(String, Span)>>>;

async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    for of_resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let service = format!("{:?}", of_resource.resource);
        let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        received.send_modify(|all| all.extend(spans.map(|span| (service.clone(), span))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_and_its_tasks_are_one_trace() {
    let received = Received::new(watch::Sender::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let world = World::without_operator("traces").await;
    let _operator = world.another_operator("one", &world.ns, &["--otlp-endpoint", &endpoint]).await;
    world.pool("p", 1).await;
    world.sandbox("s", "p").await;
    world.run("t", "s", json!([shell("a", "true"), shell("b", "exit 3")])).await;

    let mut told = received.subscribe();
    let complete = told.wait_for(|spans| spans.len() >= 4);
    let spans = tokio::time::timeout(DEADLINE, complete).await.expect("four spans arrive").unwrap().clone();
    let named =
        |name: &str| spans.iter().filter(|(_, span)| span.name == name).map(|(_, span)| span).collect::<Vec<_>>();
    let (claim, task, steps) = (named("claim"), named("task"), named("step"));
    assert_eq!((claim.len(), task.len(), steps.len()), (1, 1, 2), "{spans:?}");
    assert!(spans.iter().all(|(service, span)| service.contains("arl-operator") && span.trace_id == claim[0].trace_id));
    assert_eq!((claim[0].parent_span_id.as_slice(), &task[0].parent_span_id), (&[][..], &claim[0].span_id));
    assert!(steps.iter().all(|step| step.parent_span_id == task[0].span_id));
    assert!(spans.iter().all(|(_, span)| span.start_time_unix_nano <= span.end_time_unix_nano), "{spans:?}");
    assert_eq!(task[0].status.as_ref().map(|status| status.message.as_str()), Some("StepFailed"));
}
