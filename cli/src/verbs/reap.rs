//! `reap`: what a program left that was killed.

use clap::Args;

use crate::{connect::Connection, failure::Failure, options::run_id, print};

/// Delete the Sandboxes, Tasks and pools that a run of a program left.
#[derive(Args, Debug)]
pub struct Flags {
    /// The value of the label arl.infra.io/run-id.
    #[arg(value_parser = run_id)]
    run_id: String,
}

/// Deletes them.
pub async fn reap(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    let count = connection.client().reap(&flags.run_id).await?;
    if count == 0 {
        connection.check_namespace().await?;
        let (place, label) = (&connection.namespace, arl_client::RUN_ID);
        print::note(format!("there is no Sandbox with the label {label}={} in namespace {place}", flags.run_id));
    }
    print::line(format!("{} released", print::counted(count, "Sandbox", "Sandboxes")))
}
