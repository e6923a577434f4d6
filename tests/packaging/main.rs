//! The chart, deploy/install.yaml and deploy/kustomize. `make test-packaging` sets the programs that these tests call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod names;
mod safe;
mod same;
mod tools;
mod values;
