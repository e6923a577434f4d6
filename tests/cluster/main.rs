//! The operator against a real cluster, a file a topic. Every test has a namespace and an operator process of its own,
//! waits for what it expects by watching, and leaves its operator's log in `target/cluster-tests/`.
//!
//! `make test-cluster` runs them; one alone: `cargo test --test cluster -- tasks::exit_codes`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on ends by panicking"
)]
#![allow(clippy::needless_pass_by_value, reason = "json!(..) reads best in the place of the argument")]

mod admission;
#[path = "../sim/api.rs"]
mod api;
mod applied;
#[path = "../files/mod.rs"]
mod cases;
mod causes;
mod claims;
mod cli;
mod cli_browser;
mod cli_failures;
mod cli_odd;
mod cli_operation;
mod cli_streams;
mod cli_ui;
mod connect;
mod crashes;
mod elastic;
mod endings;
mod examples;
mod fair;
mod files;
mod finalizers;
mod generations;
mod ha;
mod harness;
mod hostile;
mod hostile_live;
mod injected;
mod lifetimes;
mod live;
mod live_copies;
mod live_soak;
mod neighbours;
mod no_room;
mod nodes;
mod observe;
mod output;
mod plain_exec;
mod pools;
mod prometheus;
mod quickstart;
mod quiet;
mod refusals;
mod remains;
mod rights;
mod setups;
mod simulated;
mod soak;
mod tampered;
mod tasks;
mod templates;
mod tenant;
mod terminating;
mod traces;
mod variables;
