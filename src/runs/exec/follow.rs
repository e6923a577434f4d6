//! One exec, followed to its end.

use std::time::Duration;

use kube::api::AttachedProcess;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{
    super::{exec_status, report::Report, run::StepEnd},
    broken::Broken,
};

/// After a command's end its streams are drained this long at most: readers can hang after a disconnect.
const DRAIN: Duration = Duration::from_secs(5);

/// Drains both streams while waiting for the status frame; its absence is never success.
pub(super) async fn follow(
    mut process: AttachedProcess,
    shell: Option<&str>,
    input: Option<&[u8]>,
    report: &Report,
) -> Result<StepEnd, Broken> {
    let (stdout, stderr, stdin) = (process.stdout(), process.stderr(), process.stdin());
    let status = process.take_status();
    let drained = futures::future::join(
        drain(stdout, |bytes| report.append(|step| &mut step.stdout, bytes)),
        drain(stderr, |bytes| report.append(|step| &mut step.stderr, bytes)),
    );
    let fed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A command that ends early closes its end; its exit code says more than this error.
            let _ = stdin.write_all(input).await;
            let _ = stdin.flush().await;
            // Kept open: closing it ends the whole stream where the server speaks an older protocol.
            std::future::pending::<()>().await;
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let (mut drained, mut ended) = (std::pin::pin!(drained), std::pin::pin!(ended));
    let mut fed = std::pin::pin!(fed);
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = &mut ended => break status,
            _ = &mut drained, if open => open = false,
            () = &mut fed => {}
        }
    };
    if open {
        let _ = tokio::time::timeout(DRAIN, drained).await;
    }
    let status = status.ok_or_else(|| Broken::Lost("the stream ended without a status".into()))?;
    exec_status::command_end(&status, shell).ok_or_else(|| Broken::new(status.message.clone().unwrap_or_default()))
}

async fn drain(stream: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        take(&buffer[..read]);
    }
}
