//! Spans by OTLP over HTTP, as protobuf: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. The other settings are the
//! variables of OpenTelemetry: `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS` and so on.

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::{
    InstrumentationScope, Key, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use tokio::sync::mpsc;

use super::{Span, system_time};

/// No export takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Spans that go out together.
const TOGETHER: usize = 512;

/// Why there is no exporter.
#[derive(Debug, thiserror::Error)]
#[error(
    "--otlp-endpoint={endpoint}: {cause}; it takes the http:// address of a collector, such as http://collector.monitoring:4318"
)]
pub struct InvalidEndpoint {
    endpoint: String,
    cause: String,
}

/// The way to a collector.
#[derive(Debug)]
pub struct Exporter(SpanExporter);

impl Exporter {
    /// To the collector at `endpoint`, without a path.
    pub fn new(endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |cause: String| InvalidEndpoint { endpoint: endpoint.to_owned(), cause };
        if !endpoint.starts_with("http://") {
            return Err(invalid("not an http:// address".into()));
        }
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(HyperClient::new(HttpConnector::new(), TIMEOUT, None))
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        exporter.set_resource(&resource());
        Ok(Self(exporter))
    }

    /// Sends what comes in, until the sinks are gone. What the collector does not take is dropped.
    pub async fn export(self, mut spans: mpsc::Receiver<Span>) {
        let scope = InstrumentationScope::builder("arl-operator").with_version(env!("CARGO_PKG_VERSION")).build();
        let mut waiting = Vec::new();
        while spans.recv_many(&mut waiting, TOGETHER).await > 0 {
            let batch = waiting.drain(..).map(|span| data(span, &scope)).collect();
            if let Err(error) = self.0.export(batch).await {
                tracing::warn!(%error, "spans were dropped: the collector did not take them");
            }
        }
    }
}

/// What the environment tells, with a name for this service where it tells none.
fn resource() -> Resource {
    let told = Resource::builder().build();
    let name = told.get(&Key::from_static_str("service.name")).map(|name| name.to_string()).unwrap_or_default();
    // https://opentelemetry.io/docs/specs/semconv/resource/#service
    if name.is_empty() || name.starts_with("unknown_service") {
        return Resource::builder().with_service_name("arl-operator").build();
    }
    told
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let id = |id: u64| SpanId::from_bytes(id.to_be_bytes());
    let trace = TraceId::from_bytes(span.context.trace.to_be_bytes());
    SpanData {
        span_context: SpanContext::new(trace, id(span.id), TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: span.context.parent.map_or(SpanId::INVALID, id),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: span.name.into(),
        start_time: system_time(span.start),
        end_time: system_time(span.end),
        attributes: span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Ok, Status::error),
        instrumentation_scope: scope.clone(),
    }
}
