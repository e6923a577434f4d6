//! What the operator is told of traces by OpenTelemetry's variables. A value that is not understood is refused: traces that go
//! another way than they were told to are noticed late.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use super::sampler::Sampler;

/// Those that the libraries read, and the one that is a flag.
const READ_ELSEWHERE: [&str; 5] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
];

/// Those of which there is one choice. Of two names the one that is only about traces comes first, and wins.
const ONE_CHOICE: [(&[&str], &str); 3] = [
    (&["OTEL_TRACES_EXPORTER"], "otlp"),
    (&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"], "http/protobuf"),
    (&["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"], "none"),
];

/// A setting that cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: {rule}")]
pub struct InvalidSetting {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) rule: String,
}

/// OpenTelemetry's variables. An empty one counts as not set.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of this process.
    pub fn of_process() -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        std::env::vars_os().filter_map(text).collect()
    }

    /// Takes out all of `names`, for the first that is set.
    fn take(&mut self, names: &[&'static str]) -> Option<(&'static str, String)> {
        let found: Vec<_> = names.iter().filter_map(|name| Some((*name, self.0.remove(*name)?))).collect();
        found.into_iter().next()
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(all: I) -> Self {
        Self(all.into_iter().filter(|(name, value)| name.starts_with("OTEL_") && !value.is_empty()).collect())
    }
}

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The name of the setting that says where.
    pub(super) said_by: &'static str,
    /// The full address.
    pub(super) endpoint: String,
    /// A file with the certificates by which a collector is trusted.
    pub(super) certificate: Option<PathBuf>,
    /// Which traces go out.
    pub sampler: Sampler,
    /// Variables that change nothing.
    pub unheeded: Vec<String>,
}

impl Settings {
    /// None where nothing is to go out. `collector` is the value of --otlp-endpoint.
    pub fn read(collector: Option<&str>, mut variables: Variables) -> Result<Option<Self>, InvalidSetting> {
        let full = variables.take(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]);
        let base = collector.filter(|base| !base.is_empty());
        let of_base = || Some(("--otlp-endpoint", format!("{}/v1/traces", base?.trim_end_matches('/'))));
        let Some((said_by, endpoint)) = full.or_else(of_base) else { return Ok(None) };
        if is_disabled(&mut variables)? {
            return Ok(None);
        }
        for (names, choice) in ONE_CHOICE {
            if let Some((name, value)) = variables.take(names).filter(|(_, value)| value != choice) {
                return Err(InvalidSetting { name, value, rule: format!("only {choice} is built in") });
            }
        }
        let sampler = sampler(&mut variables)?;
        let certificate = variables.take(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]);
        Ok(Some(Self {
            said_by,
            endpoint,
            certificate: certificate.map(|(_, path)| path.into()),
            sampler,
            unheeded: variables.0.into_keys().filter(|name| !READ_ELSEWHERE.contains(&name.as_str())).collect(),
        }))
    }
}

fn is_disabled(variables: &mut Variables) -> Result<bool, InvalidSetting> {
    let Some((name, value)) = variables.take(&["OTEL_SDK_DISABLED"]) else { return Ok(false) };
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(InvalidSetting { name, value, rule: "it takes true or false".into() }),
    }
}

fn sampler(variables: &mut Variables) -> Result<Sampler, InvalidSetting> {
    let Some((name, value)) = variables.take(&["OTEL_TRACES_SAMPLER"]) else { return Ok(Sampler::default()) };
    let kind = value.strip_prefix("parentbased_").unwrap_or(&value);
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => ratio(variables)?,
        _ => {
            let rule = "it takes always_on, always_off or traceidratio, each also after parentbased_".into();
            return Err(InvalidSetting { name, value, rule });
        }
    };
    Ok(Sampler { heeds_caller: kind != value, ratio })
}

fn ratio(variables: &mut Variables) -> Result<f64, InvalidSetting> {
    let Some((name, value)) = variables.take(&["OTEL_TRACES_SAMPLER_ARG"]) else { return Ok(1.0) };
    match value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(InvalidSetting { name, value, rule: "it takes a number from 0 to 1, such as 0.1".into() }),
    }
}
