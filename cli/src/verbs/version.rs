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
    installed::{self, Definitions, Operator, UNSEEN},
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

/// What is known of the operators.
fn said(found: &Result<Vec<Operator>, Failure>, definitions: &Definitions) -> Vec<String> {
    match (found, definitions) {
        (Ok(found), Definitions::Absent(_)) if found.is_empty() => vec![UNSEEN.to_owned()],
        (Ok(found), _) if found.is_empty() => vec![format!(
            "{UNSEEN}; its definitions are, so one may run elsewhere: `kubectl arl doctor` tries a Sandbox"
        )],
        (Ok(found), _) => found.iter().map(ToString::to_string).collect(),
        (Err(failure), _) => vec![format!("not known, its pods cannot be seen: {}", failure.message)],
    }
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
        lines.extend(said(&operators, &definitions).iter().map(|said| format!("operator     {said}")));
        // Unlike none, it is not known where nobody may look.
        value["operators"] = json!(operators.ok().map(|found| found.iter().map(Operator::value).collect::<Vec<_>>()));
    }
    match flags.output {
        Some(format) => print::data(&listing::one(format, &value)?),
        None => print::data(&lines.iter().map(|line| printable(line, LINE_MAX) + "\n").collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_that_is_not_seen_is_not_said_to_be_missing() {
        let outside = said(&Ok(Vec::new()), &Definitions::UpToDate);
        assert!(outside[0].contains("one may run elsewhere"), "{outside:?}");
        assert_eq!(said(&Ok(Vec::new()), &Definitions::Absent("Task".into())), ["no pod of it is in this cluster"]);
        let unseen = said(&Err(Failure::ours("cannot list pods")), &Definitions::UpToDate);
        assert_eq!(unseen, ["not known, its pods cannot be seen: cannot list pods"]);
    }
}
