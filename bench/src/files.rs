//! A large file into a Sandbox and out of it: by the client library, by `kubectl cp`, and as the bare stream of an exec.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use arl_client::Sandbox;

use crate::{
    bench::Bench,
    claims::Kept,
    contestant::{Who, in_turns},
    kubectl::Kubectl,
    results::Results,
    stats::{Block, Sample},
};

/// The file into the Sandbox.
pub const UP: &str = "file, up";
/// The file out of it.
pub const DOWN: &str = "file, down";
/// What is compared.
const ALL: [Who; 3] = [Who::Bare, Who::Live, Who::Kubectl];
const MIB: usize = 1024 * 1024;
/// Where the file is in the Sandbox.
const REMOTE: &str = "/tmp/arl-bench";

/// The file up and down, as often as asked for.
pub async fn up_and_down(bench: &Bench, results: &mut Results, kept: &Kept) -> Result<()> {
    eprintln!("files");
    let sandbox = bench.real.client().open(&kept.of(Who::Operator)[0]).await?;
    let folder = Folder::new(&bench.real.ns)?;
    let (from, to) = (folder.0.join("up"), folder.0.join("down"));
    fill(&from, bench.flags.file_mib)?;
    let ways = Ways { kubectl: bench.kubectl.clone(), sandbox };
    for round in 0..=bench.flags.files {
        for who in in_turns(ALL, round) {
            let taken = [(UP, ways.up(who, &from).await?), (DOWN, ways.down(who, &to).await?)];
            let sizes = [fs::metadata(&from)?.len(), fs::metadata(&to)?.len()];
            ensure!(sizes[0] == sizes[1], "{}: {} bytes went up and {} came back", who.name(), sizes[0], sizes[1]);
            // The first round only opens connections.
            if round > 0 {
                for (workload, sample) in taken {
                    results.series(workload, who).add(&Block::one_by_one(vec![sample]), None, None);
                }
            }
        }
    }
    results.file_bytes = Some(bench.flags.file_mib * MIB);
    Ok(())
}

/// Removed at the end, with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new(ns: &str) -> Result<Self> {
        let path = Path::new("target/bench").join(format!("{ns}.files"));
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} is not removed: {error}", self.0.display());
        }
    }
}

/// Bytes that do not repeat soon.
fn fill(path: &Path, mib: usize) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
    let mut state = 1_u64;
    let mut piece = Vec::with_capacity(MIB);
    for _ in 0..mib {
        piece.clear();
        while piece.len() < MIB {
            // Knuth's generator.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            piece.extend_from_slice(&state.to_be_bytes());
        }
        file.write_all(&piece)?;
    }
    Ok(())
}

/// The ways in and out.
struct Ways {
    kubectl: Kubectl,
    sandbox: Sandbox,
}

impl Ways {
    async fn up(&self, who: Who, from: &Path) -> Result<Sample> {
        let pod = self.sandbox.pod();
        match who {
            Who::Live => {
                let sent = Instant::now();
                let mut file = tokio::fs::File::open(from).await?;
                self.sandbox.files().write_from(REMOTE, None, &mut file).await?;
                Ok(Sample { sent, seen: Instant::now() })
            }
            Who::Kubectl => self.kubectl.copy(&from.to_string_lossy(), &format!("{pod}:{REMOTE}")).await,
            _ => {
                // A command that closes its standard output is taken for one that has ended; the shell keeps it open.
                let script = format!("cat > {REMOTE} && echo");
                self.kubectl.pipe(pod, &["sh", "-c", &script], Some(from), None).await
            }
        }
    }

    async fn down(&self, who: Who, to: &Path) -> Result<Sample> {
        let pod = self.sandbox.pod();
        match who {
            Who::Live => {
                let sent = Instant::now();
                let mut file = tokio::fs::File::create(to).await?;
                self.sandbox.files().read_to(REMOTE, 0, None, &mut file).await?;
                tokio::io::AsyncWriteExt::flush(&mut file).await?;
                Ok(Sample { sent, seen: Instant::now() })
            }
            Who::Kubectl => self.kubectl.copy(&format!("{pod}:{REMOTE}"), &to.to_string_lossy()).await,
            _ => self.kubectl.pipe(pod, &["cat", REMOTE], None, Some(to)).await,
        }
    }
}
