//! The documentation: what is made from the code is up to date, and what is written by hand names things that exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autoscalers;
mod diagram;
mod diagrams;
mod first_contact;
mod generated;
mod links;
mod markdown;
mod names;
mod objects;
mod rights;

use std::{path::Path, sync::LazyLock};

use serde_json::Value;

/// The CustomResourceDefinitions, WarmPool first. Making them takes a while.
static DEFINITIONS: LazyLock<Vec<Value>> =
    LazyLock::new(|| arl_crds::definitions().into_iter().map(|(_, crd)| serde_json::to_value(crd).unwrap()).collect());

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn kind(crd: &Value) -> &str {
    crd["spec"]["names"]["kind"].as_str().unwrap()
}

fn schema(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}
