//! How a line of the log looks. Its fields have the same names everywhere: `kind`, `namespace`, `name` and `uid` are the object that
//! was looked after.

use std::{
    fmt,
    io::{IsTerminal, stderr},
};

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::{JsonFields, Writer},
        layer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    registry,
    registry::{LookupSpan, Scope},
    util::{SubscriberInitExt, TryInitError},
};

use crate::flags::LogFormat;

/// The libraries log each failed request, some at level ERROR; whoever asked reports it once more, with the object.
const QUIETER: &str = "kube_client::client=error,kube_client::client::tls=warn,kube_runtime::watcher=error,";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("--log-level {0:?}: {1}")]
    Filter(String, #[source] tracing_subscriber::filter::ParseError),
    /// Something else logs already.
    #[error("the log cannot be started: {0}")]
    Taken(#[from] TryInitError),
}

/// Logs to standard error what `level` lets pass.
pub fn start(level: &str, format: LogFormat) -> Result<(), LogError> {
    let quieter = if level.contains("kube_") { "" } else { QUIETER };
    let filter = EnvFilter::try_new(format!("{quieter}{level}"));
    let filter = filter.map_err(|error| LogError::Filter(level.to_owned(), error))?;
    let lines = match format {
        LogFormat::Json => json(stderr).boxed(),
        LogFormat::Text => layer().with_ansi(stderr().is_terminal()).with_writer(stderr).boxed(),
    };
    registry().with(lines).with(filter).try_init()?;
    Ok(())
}

fn json<S, W>(writer: W) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    layer().event_format(OneObject).fmt_fields(JsonFields::new()).with_writer(writer)
}

/// A line is one JSON object, with the fields of the spans and of the event side by side. The formats of the libraries put the name
/// of a span where its field `name` should be.
struct OneObject;

impl<S, N> FormatEvent<S, N> for OneObject
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            if let Some(formatted) = span.extensions().get::<FormattedFields<N>>() {
                line.extend(fields(&formatted.fields));
            }
        }
        let (mut own, mut timestamp) = (String::new(), String::new());
        context.format_fields(Writer::new(&mut own), event)?;
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        line.extend(fields(&own));
        let metadata = event.metadata();
        line.insert("timestamp".into(), timestamp.into());
        line.insert("level".into(), metadata.level().as_str().into());
        line.insert("target".into(), metadata.target().into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// What [`JsonFields`] wrote.
fn fields(formatted: &str) -> Map<String, Value> {
    serde_json::from_str(formatted).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Parsers take the first or the last of two fields of the same name, or refuse the line.
    #[test]
    fn a_line_has_each_field_once() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = registry().with(json(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("reconcile", kind = "Task", name = "t", uid = tracing::field::Empty);
            let _entered = span.enter();
            span.record("uid", "u-1");
            let _http = tracing::info_span!("HTTP", method = "GET").entered();
            tracing::info!(target: "here", pod = "p", "it \"runs\"");
        });
        let line = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
        let timestamp = fields["timestamp"].as_str().unwrap();
        assert!(timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
        let expected = serde_json::json!({
            "timestamp": timestamp, "level": "INFO", "target": "here", "message": "it \"runs\"", "pod": "p",
            "kind": "Task", "name": "t", "uid": "u-1", "method": "GET",
        });
        assert_eq!(fields, expected);
        assert_eq!(line.matches("\":").count(), expected.as_object().unwrap().len(), "{line}");
    }
}
