//! Copies of a Sandbox's files in new Sandboxes.

use futures::future::join_all;
use tokio::sync::oneshot;

use crate::{
    branches::{HELD_UP_MAX, Reader, branches},
    error::Error,
    sandbox::Sandbox,
};

/// What is on its way from the archive to the branches.
const PIPE: usize = 256 * 1024;

impl Sandbox {
    /// Claims so many Sandboxes of the same pool and copies `directory` into all of them at once, from one pass over it and without keeping
    /// it. Each succeeds or fails alone; one that fails is released. The copying begins when all claims have succeeded or failed; one that
    /// then lets the others wait for 30 s is given up. Processes are not copied.
    pub async fn fork(&self, count: usize, directory: &str) -> Vec<Result<Self, Error>> {
        let claims = join_all((0..count).map(|_| self.client().claim(self.pool()).into_future())).await;
        let (mut to, mut readers) = branches(claims.iter().filter(|claim| claim.is_ok()).count());
        let copies = join_all(claims.into_iter().map(|claim| {
            let reader = claim.is_ok().then(|| readers.pop()).flatten();
            async {
                match (claim, reader) {
                    (Ok(sandbox), Some((reader, is_late))) => fill(sandbox, directory, reader, is_late).await,
                    (claim, _) => claim,
                }
            }
        }));
        let (mut near, mut far) = tokio::io::duplex(PIPE);
        let packing = async move { self.files().pack(directory, &mut near).await };
        let copying = async move {
            let (packed, shared) = tokio::join!(packing, to.copy(&mut far));
            let packed = packed.map(drop);
            if packed.is_ok() && shared.is_ok() {
                to.complete().await;
            }
            packed
        };
        let (packed, copies) = tokio::join!(copying, copies);
        // What is wrong with the directory is no fault of the copies.
        let why = |error: Error| packed.as_ref().err().and_then(Error::again).unwrap_or(error);
        copies.into_iter().map(|copy| copy.map_err(why)).collect()
    }
}

async fn fill(
    sandbox: Sandbox,
    directory: &str,
    mut archive: Reader,
    is_late: oneshot::Receiver<()>,
) -> Result<Sandbox, Error> {
    let files = sandbox.files();
    let filled = tokio::select! {
        filled = files.unpack(directory, &mut archive) => filled.map(drop),
        Ok(()) = is_late => Err(Error::Deadline(format!("the copy into Sandbox {}", sandbox.name()), HELD_UP_MAX)),
    };
    if let Err(error) = filled {
        if let Err(error) = sandbox.release().await {
            tracing::warn!(sandbox = sandbox.name(), %error, "a Sandbox that could not be filled is left");
        }
        return Err(error);
    }
    Ok(sandbox)
}
