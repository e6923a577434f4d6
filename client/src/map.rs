//! The same work for many items, each in a Sandbox of its own.

use std::{future::Future, iter::repeat, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep_until};

use crate::{
    client::Client,
    error::{Error, Fault},
    sandbox::Sandbox,
};

/// Before the first retry.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How often the pause is doubled.
const RETRY_PAUSE_DOUBLED_MAX: u32 = 6;

impl Client {
    /// Calls `work` for each item with a Sandbox of its own, so many at a time. Where it fails by the infrastructure's fault it is called
    /// again in another Sandbox, so many times, after a pause that doubles. Results come in the order of the items.
    pub async fn map<I, T, F, W>(
        &self,
        pool: &str,
        items: impl IntoIterator<Item = I>,
        concurrency: usize,
        retries: usize,
        work: F,
    ) -> Vec<Result<T, Error>>
    where
        I: Clone,
        F: Fn(Sandbox, I) -> W,
        W: Future<Output = Result<T, Error>>,
    {
        let work = &work;
        let one = |(index, item): (usize, I)| async move {
            let mut pauses = (0..RETRY_PAUSE_DOUBLED_MAX).chain(repeat(RETRY_PAUSE_DOUBLED_MAX)).take(retries);
            loop {
                let result = self.once(pool, item.clone(), work).await;
                match (&result, pauses.next()) {
                    (Err(error), Some(doubled)) if error.fault() == Fault::Infrastructure => {
                        sleep_until(Instant::now() + RETRY_PAUSE * (1 << doubled)).await;
                    }
                    _ => return (index, result),
                }
            }
        };
        let work = stream::iter(items).enumerate().map(one).buffer_unordered(concurrency.max(1));
        let mut results: Vec<_> = work.collect().await;
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    async fn once<I, T, F, W>(&self, pool: &str, item: I, work: &F) -> Result<T, Error>
    where
        F: Fn(Sandbox, I) -> W,
        W: Future<Output = Result<T, Error>>,
    {
        let (sandbox, provisional) = self.claim(pool).provisionally().await?;
        let result = work(sandbox.clone(), item).await;
        // What it has done counts, whatever becomes of the Sandbox.
        if let Err(error) = sandbox.release().await {
            tracing::warn!(sandbox = sandbox.name(), %error, "a Sandbox that was used is left to its idle time");
        }
        provisional.keep();
        result
    }
}
