//! A directory of a Sandbox copied: to this machine as a snapshot, and into new Sandboxes as forks.

use std::time::Instant;

use anyhow::{Result, bail};
use arl_client::{Command, Sandbox};
use futures::future::try_join_all;

use crate::{
    bench::Bench,
    contestant::Who,
    results::Results,
    stats::{Block, Sample},
};

/// The directory as an archive that nobody keeps.
pub const SNAPSHOT: &str = "snapshot of a directory";
/// It in one Sandbox more.
pub const ONE: &str = "fork, 1 copy";
/// It in many more at once.
pub const MANY: &str = "fork, 8 copies";
const COPIES: usize = 8;
const DIRECTORY: &str = "/tmp/arl-bench-fork";

/// Snapshots and forks, as often as asked for. A fork's claims find ready pods.
pub async fn copies(bench: &Bench, results: &mut Results) -> Result<()> {
    eprintln!("forks");
    let (place, client) = (&bench.real, bench.real.client());
    bench.scale(Who::Operator, COPIES).await?;
    place.has_pods(COPIES).await?;
    let source = client.claim(Who::Operator.name()).await?;
    fill(&source, bench.flags.fork_files).await?;
    // The first round only opens connections.
    for round in 0..=bench.flags.forks {
        let sent = Instant::now();
        source.files().snapshot([DIRECTORY], &mut tokio::io::sink()).await?;
        let mut taken = vec![(SNAPSHOT, Sample { sent, seen: Instant::now() })];
        for (workload, count) in [(ONE, 1), (MANY, COPIES)] {
            place.has_pods(COPIES + 1).await?;
            taken.push((workload, fork(bench, &source, count).await?));
        }
        if round > 0 {
            for (workload, sample) in taken {
                results.series(workload, Who::Live).add(&Block::one_by_one(vec![sample]), None, None);
            }
        }
    }
    bench.scale(Who::Operator, 0).await?;
    source.release().await?;
    place.has_pods(0).await
}

/// Forks, and lets the copies go once the pods they took are replaced: until then it cannot be told whether the pool is full.
async fn fork(bench: &Bench, source: &Sandbox, count: usize) -> Result<Sample> {
    let sent = Instant::now();
    let copies = source.fork(count, DIRECTORY).await;
    let seen = Instant::now();
    let copies: Vec<Sandbox> = copies.into_iter().collect::<Result<_, _>>()?;
    bench.real.has_pods(COPIES + 1 + count).await?;
    try_join_all(copies.iter().map(Sandbox::release)).await?;
    Ok(Sample { sent, seen })
}

/// So many files of 64 KiB.
async fn fill(sandbox: &Sandbox, files: usize) -> Result<()> {
    let script = format!(
        "mkdir -p {DIRECTORY} && cd {DIRECTORY} && for n in $(seq {files}); do head -c 65536 /dev/urandom > $n; done"
    );
    let done = sandbox.run(Command::shell(script)).await?;
    if done.exit.code != 0 {
        bail!("the files of a fork cannot be made: {}", done.stderr_text());
    }
    Ok(())
}
