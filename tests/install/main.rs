//! The operator in the cluster, from its image, as docs/install.md has it installed: `make install-check` makes the image and
//! sets the programs that these tests call.
//!
//! Each test installs an operator for all namespaces into a cluster that must have none, and takes it away again with the
//! CustomResourceDefinitions: they run one at a time and never beside others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on ends by panicking"
)]
#![allow(clippy::needless_pass_by_value, reason = "json!(..) reads best in the place of the argument")]

#[path = "../cluster/harness/mod.rs"]
#[allow(dead_code, reason = "it serves tests/cluster too")]
mod harness;
#[path = "../packaging/tools.rs"]
#[allow(dead_code, reason = "it serves tests/packaging too")]
mod tools;

mod burst;
mod installed;
mod isolation;
mod ways;
