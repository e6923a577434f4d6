//! Copies of a Sandbox's files in new Sandboxes.

use futures::future::join_all;
use tokio::sync::oneshot;

use crate::{
    branches::{HELD_UP_MAX, Reader, branches},
    error::Error,
    provisional::Provisional,
    sandbox::Sandbox,
};

/// What is on its way from the archive to the branches.
const PIPE: usize = 256 * 1024;

impl Sandbox {
    /// Claims so many Sandboxes of the same pool, with the same variables, and copies `directory` into all of them at once, from one pass over it and without keeping
    /// it. Each succeeds or fails alone; one that fails is released, and all are where this is dropped. The copying begins when all claims
    /// have succeeded or failed; one that then lets the others wait for 30 s is given up. Processes are not copied.
    pub async fn fork(&self, count: usize, directory: &str) -> Vec<Result<Self, Error>> {
        let claim = || {
            let claim = self.client().claim(self.pool());
            self.session().env().iter().fold(claim, |claim, (name, value)| claim.env(name, value)).provisionally()
        };
        let claims = join_all((0..count).map(|_| claim())).await;
        let (mut to, mut readers) = branches(claims.iter().filter(|claim| claim.is_ok()).count());
        let copies = join_all(claims.into_iter().map(|claim| {
            let reader = claim.is_ok().then(|| readers.pop()).flatten();
            async {
                let copy = claim?;
                if let Some((reader, is_late)) = reader {
                    fill(&copy.0, directory, reader, is_late).await?;
                }
                Ok(copy)
            }
        }));
        let (mut near, mut far) = tokio::io::duplex(PIPE);
        let packing = async move { self.files().pack(directory, &mut near).await };
        let copying = async move {
            // Where no reader is left, the end of the pipe ends the packing.
            let sharing = async {
                let shared = to.copy(&mut far).await;
                drop(far);
                shared
            };
            let (packed, shared) = tokio::join!(packing, sharing);
            if to.has_no_reader() {
                return Ok(());
            }
            let packed = packed.map(drop);
            if packed.is_ok() && shared.is_ok() {
                to.complete().await;
            }
            packed
        };
        let (packed, copies) = tokio::join!(copying, copies);
        // What is wrong with the directory is no fault of the copies.
        let why = |error: Error| packed.as_ref().err().and_then(Error::again).unwrap_or(error);
        let kept = |(sandbox, provisional): (Self, Provisional)| {
            provisional.keep();
            sandbox
        };
        copies.into_iter().map(|copy| copy.map(kept).map_err(why)).collect()
    }
}

async fn fill(
    sandbox: &Sandbox,
    directory: &str,
    mut archive: Reader,
    is_late: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let files = sandbox.files();
    tokio::select! {
        filled = files.unpack(directory, &mut archive) => filled.map(drop),
        Ok(()) = is_late => Err(Error::Deadline(format!("the copy into Sandbox {}", sandbox.name()), HELD_UP_MAX)),
    }
}
