//! The Rust side of `make bench-python`: so many commands in each of these Sandboxes, all at once.
//!
//! usage: throughput COMMANDS SANDBOX...  (the namespace is that of KUBECONFIG's context)

use std::{error::Error, time::Instant};

use arl_client::{Client, Command};
use futures::future::try_join_all;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let commands: usize = arguments.next().ok_or("say how many commands")?.parse()?;
    let names: Vec<String> = arguments.collect();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(commands, &names))
}

async fn measure(commands: usize, names: &[String]) -> Result<(), Box<dyn Error>> {
    let client = Client::from_environment().await?;
    let sandboxes = try_join_all(names.iter().map(|name| client.open(name))).await?;
    // Connections are made by the first command.
    try_join_all(sandboxes.iter().map(|sandbox| sandbox.run(Command::new(["true"])))).await?;
    let began = Instant::now();
    let all = sandboxes.iter().flat_map(|sandbox| (0..commands).map(move |_| sandbox.run(Command::new(["true"]))));
    let done = try_join_all(all).await?;
    let seconds = began.elapsed().as_secs_f64();
    let failed = done.iter().filter(|finished| finished.exit.code != 0).count();
    println!("{}", json!({ "commands": done.len(), "failed": failed, "seconds": seconds }));
    Ok(())
}
