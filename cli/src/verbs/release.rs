//! `release`: gives Sandboxes back.

use arl_crds::Sandbox;
use clap::Args;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};

use crate::{connect::Connection, failure::Failure, failures::Failures, kind, listing, options::chosen, print};

/// Give Sandboxes back: they and their pods are deleted.
#[derive(Args, Debug)]
pub struct Flags {
    /// The Sandboxes.
    #[arg(required_unless_present_any = ["selector", "all"], value_parser = kind::sandbox)]
    sandbox: Vec<String>,
    /// Those with these labels.
    #[arg(short = 'l', long, conflicts_with = "sandbox", value_parser = chosen)]
    selector: Option<String>,
    /// All of the namespace.
    #[arg(long, conflicts_with_all = ["sandbox", "selector"])]
    all: bool,
}

/// Gives them back. One that cannot be does not keep the others.
pub async fn release(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let names = if flags.sandbox.is_empty() {
        let selected = ListParams { label_selector: flags.selector.clone(), ..ListParams::default() };
        let sandboxes = listing::all(&connection.api::<Sandbox>(), &selected, "Sandboxes").await?;
        if sandboxes.is_empty() {
            connection.check_namespace().await?;
            let labels = flags.selector.map_or_else(String::new, |selector| format!(" with the labels {selector}"));
            print::note(format!("there are no Sandboxes{labels} in namespace {}", connection.namespace));
        }
        sandboxes.iter().map(ResourceExt::name_any).collect()
    } else {
        flags.sandbox
    };
    let mut failures = Failures::default();
    for name in names {
        let deleted = connection.api::<Sandbox>().delete(&name, &DeleteParams::default()).await;
        let deleted = deleted.map_err(|error| connection.failed::<Sandbox>("delete", &name, &error));
        if failures.take(deleted).is_some() {
            print::line(format!("sandbox/{name} released"))?;
        }
    }
    failures.result()
}
