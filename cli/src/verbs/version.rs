//! `version`: ours, the operator's and the cluster's.

use arl_agent::message::VERSION;
use arl_crds::text::printable;
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde_json::json;

use crate::{
    connect::Connection,
    failure::Failure,
    installed::{self, Definitions},
    listing::{self, Format},
    print,
};

/// Far more than a line needs; labels and images are what others write.
const LINE_MAX: usize = 2048;

/// Print the versions of this program, the operator and the cluster.
#[derive(Args, Debug)]
pub struct Flags {
    /// Only this program's; asks no cluster.
    #[arg(long)]
    pub client: bool,
    /// As json or yaml.
    #[arg(short, long, value_parser = PossibleValuesParser::new(["json", "yaml"]).map(|text| format(&text)))]
    output: Option<Format>,
}

fn format(text: &str) -> Format {
    if text == "yaml" { Format::Yaml } else { Format::Json }
}

/// Prints them; without a connection only ours.
pub async fn version(connection: Option<&Connection>, flags: &Flags) -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let mut lines = vec![format!("kubectl-arl  {own}, protocol {VERSION}")];
    let mut value = json!({ "client": { "version": own, "protocol": VERSION } });
    if let Some(connection) = connection {
        let cluster = installed::cluster(connection).await?;
        lines.push(format!("Kubernetes   {cluster}"));
        value["kubernetes"] = json!(cluster);
        let definitions = installed::definitions(connection).await?;
        lines.push(format!("definitions  {definitions}"));
        value["definitions"] = json!({ "upToDate": definitions == Definitions::UpToDate });
        // Pods of another namespace are not everybody's to see.
        let operators = installed::operators(connection).await;
        let found = operators.as_deref().unwrap_or_default();
        lines.extend(found.iter().map(|operator| format!("operator     {operator}")));
        match &operators {
            Ok(found) if found.is_empty() => lines.push("operator     none is installed in this cluster".to_owned()),
            Ok(_) => {}
            Err(failure) => lines.push(format!("operator     not known: {}", failure.message)),
        }
        value["operators"] = found.iter().map(installed::Operator::value).collect();
    }
    match flags.output {
        Some(format) => print::data(&listing::one(format, &value)?),
        None => print::data(&lines.iter().map(|line| printable(line, LINE_MAX) + "\n").collect::<String>()),
    }
}
