//! The same work for many items, each in a Sandbox of its own.

use std::future::Future;

use futures::{StreamExt, stream};

use crate::{
    client::Client,
    error::{Error, Fault},
    sandbox::Sandbox,
};

impl Client {
    /// Calls `work` for each item with a Sandbox of its own, so many at a time. Where it fails by the infrastructure's fault it is called
    /// again in another Sandbox, so many times. Results come in the order of the items.
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
        let one = |item: I| async move {
            let mut attempt = 0;
            loop {
                let result = self.once(pool, item.clone(), work).await;
                match &result {
                    Err(error) if error.fault() == Fault::Infrastructure && attempt < retries => attempt += 1,
                    _ => return result,
                }
            }
        };
        stream::iter(items).map(one).buffered(concurrency.max(1)).collect().await
    }

    async fn once<I, T, F, W>(&self, pool: &str, item: I, work: &F) -> Result<T, Error>
    where
        F: Fn(Sandbox, I) -> W,
        W: Future<Output = Result<T, Error>>,
    {
        let sandbox = self.claim(pool).await?;
        let result = work(sandbox.clone(), item).await;
        sandbox.release().await?;
        result
    }
}
