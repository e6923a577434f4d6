//! Spans by OTLP over HTTP, as protobuf: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>. The library
//! reads the variables about headers and about the resource itself.

use std::{
    fmt::Debug,
    time::{Duration, SystemTime},
};

use http::Uri;
use hyper_util::client::legacy::connect::Connect;
use jiff::Timestamp;
use kube::{Config, client::ConfigExt};
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

use super::{
    settings::{InvalidSetting, Settings},
    span::Span,
};

/// No export takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);
const EXAMPLE: &str = "it takes the address of a collector, such as http://collector.monitoring:4318";
const CERTIFICATE: &str =
    "OTEL_EXPORTER_OTLP_CERTIFICATE takes a PEM file with the certificates by which a collector is trusted";
/// Spans that go out together.
const TOGETHER: usize = 512;

/// The way to a collector.
#[derive(Debug)]
pub struct Exporter(SpanExporter);

impl Exporter {
    /// To the collector that the settings name.
    pub fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        let endpoint = &settings.endpoint;
        let invalid = |rule: String| InvalidSetting { name: settings.said_by, value: endpoint.clone(), rule };
        let address = endpoint.parse().ok().filter(|uri: &Uri| ["http", "https"].map(Some).contains(&uri.scheme_str()));
        let address = address.ok_or_else(|| invalid(format!("not an http:// or https:// address; {EXAMPLE}")))?;
        let connector = connector(address, settings).map_err(|error| invalid(format!("{error}; {CERTIFICATE}")))?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(HyperClient::new(connector, TIMEOUT, None))
            .with_endpoint(endpoint)
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| invalid(format!("{error}; {EXAMPLE}")))?;
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

/// With the TLS that is spoken to the API server.
fn connector(address: Uri, settings: &Settings) -> kube::Result<impl Connect + Clone + Debug + Send + Sync + 'static> {
    let needs_system = address.scheme_str() == Some("https") && settings.certificate.is_none();
    let mut config = Config::new(address);
    config.root_cert_file.clone_from(&settings.certificate);
    // The system's certificates, of which an image without a system has none, are looked for only where nothing is named here.
    config.root_cert = (!needs_system).then(Vec::new);
    config.rustls_https_connector()
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

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}
