//! Traces, as a collector gets them.

use std::sync::Arc;

use arl_operator::traces::CONTEXT;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};

use crate::harness::World;
use crate::harness::make::{manifest, shell};
use crate::harness::wait::DEADLINE;
use crate::observe::exposition::faults;

/// What a collector was sent.
type Received = Arc<watch::Sender<Vec<(String, Span)>>>;

async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["authorization"], "Bearer token");
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
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20token"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=here"),
        ("OTEL_SERVICE_NAME", "sandboxes"),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
    ];
    let operator = world.operator_told("one", &world.ns, &[], &variables).await;
    world.pool("p", 2).await;
    let mut unrecorded = manifest("Sandbox", "unrecorded", &json!({"poolRef": "p"}));
    let caller = json!({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"});
    unrecorded["metadata"]["annotations"] = json!({ CONTEXT: caller.to_string() });
    world.create(&unrecorded).await;
    world.pod_of("unrecorded").await;
    world.sandbox("s", "p").await;
    world.run("t", "s", json!([shell("a", "true"), shell("b", "exit 3")])).await;

    let mut told = received.subscribe();
    let complete = told.wait_for(|spans| spans.len() >= 4);
    let spans = tokio::time::timeout(DEADLINE, complete).await.expect("four spans arrive").unwrap().clone();
    let named =
        |name: &str| spans.iter().filter(|(_, span)| span.name == name).map(|(_, span)| span).collect::<Vec<_>>();
    let (claim, task, steps) = (named("claim"), named("task"), named("step"));
    assert_eq!((claim.len(), task.len(), steps.len()), (1, 1, 2), "{spans:?}");
    assert!(
        spans.iter().all(|(_, span)| span.trace_id == claim[0].trace_id),
        "also: none that the caller does not record"
    );
    assert!(spans.iter().all(|(service, _)| service.contains("sandboxes") && service.contains("here")));
    assert_eq!((claim[0].parent_span_id.as_slice(), &task[0].parent_span_id), (&[][..], &claim[0].span_id));
    assert!(steps.iter().all(|step| step.parent_span_id == task[0].span_id));
    assert!(spans.iter().all(|(_, span)| span.start_time_unix_nano <= span.end_time_unix_nano), "{spans:?}");
    assert_eq!(task[0].status.as_ref().map(|status| status.message.as_str()), Some("StepFailed"));

    let trace = format!("{:032x}", u128::from_be_bytes(claim[0].trace_id.as_slice().try_into().unwrap()));
    let log = operator.log();
    for (kind, reason) in [("Sandbox", "Claimed"), ("Task", "TaskFailed")] {
        let is_it = |line: &&str| line.contains(&format!("kind=\"{kind}\"")) && line.contains(reason);
        let line = log.lines().rfind(is_it).unwrap_or_else(|| panic!("no {reason} in {log}"));
        assert!(line.contains(&format!("trace_id=\"{trace}\"")), "{line}");
    }
    assert!(
        log.lines().any(|line| line.contains("OTEL_BSP_SCHEDULE_DELAY") && line.contains("does not heed")),
        "{log}"
    );
    assert!(!log.contains("OTEL_SERVICE_NAME"), "{log}");
    let metrics = operator.metrics().await;
    assert_eq!(faults(&metrics), Vec::<String>::new());
    for name in ["arl_sandbox_claim_seconds_bucket", "arl_task_seconds_bucket"] {
        let exemplar = format!("# {{trace_id=\"{trace}\"}}");
        assert!(metrics.lines().any(|line| line.starts_with(name) && line.contains(&exemplar)), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_cannot_send_traces_as_it_was_told_does_not_start() {
    let world = World::without_operator("traces-refused").await;
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let mut operator =
        world.operator_told("one", &world.ns, &["--otlp-endpoint", "http://127.0.0.1:1"], &variables).await;
    assert!(!operator.ended().await.success());
    let log = operator.log();
    assert!(log.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc: only http/protobuf is built in"), "{log}");
}
