//! Calls that take long: what one keeps waiting can say so before it has ended, however long a webhook may take.

use std::{future::Future, pin::pin, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::timeout,
};

use super::Failure;

/// A call without an answer for so long is told of.
pub(super) const PENDING_AFTER: Duration = Duration::from_secs(5);

tokio::task_local! {
    static PENDING: UnboundedSender<Failure>;
}

/// The answer of a call. Where it takes long, [`while_watched`] is told in these words.
pub(super) async fn watched<T>(call: impl Future<Output = T>, in_words: impl FnOnce() -> Failure) -> T {
    let mut call = pin!(call);
    if let Ok(answer) = timeout(PENDING_AFTER, &mut call).await {
        return answer;
    }
    // Nobody is told where nobody watches.
    let _ = PENDING.try_with(|pending| pending.send(in_words()));
    call.await
}

/// Does `work` and, beside it, `tell` of each of its calls to the API server that takes long.
pub async fn while_watched<T, F: Future<Output = ()>>(
    work: impl Future<Output = T>,
    mut tell: impl FnMut(Failure) -> F,
) -> T {
    let (pending, mut calls) = unbounded_channel();
    let mut work = pin!(PENDING.scope(pending, work));
    loop {
        let call = tokio::select! {
            biased;
            done = &mut work => return done,
            // The sender is there as long as the work is.
            Some(call) = calls.recv() => call,
        };
        let mut told = pin!(tell(call));
        tokio::select! {
            () = &mut told => {}
            done = &mut work => {
                told.await;
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::{Instant, sleep_until};

    use super::*;
    use crate::object::Key;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_told_of_once_it_takes_long_and_its_answer_counts_all_the_same() {
        let begun = Instant::now();
        let ends = |seconds| sleep_until(begun + Duration::from_secs(seconds));
        let call = |name: &'static str, until| {
            watched(ends(until), move || Failure::pending("create", "Pod", &Key::new("ns", name)))
        };
        let told = RefCell::new(Vec::new());
        let work = async {
            call("quick", 4).await;
            call("slow", 20).await;
            call("last", 26).await;
            "done"
        };
        let told_of = while_watched(work, |call| {
            told.borrow_mut().push((begun.elapsed().as_secs(), call.to_string()));
            // To tell may take long as well, and the work goes on meanwhile.
            ends(30)
        });
        assert_eq!(told_of.await, "done");
        assert_eq!(told.into_inner(), [(9, "create Pod ns/slow: the API server has not answered for 5 s".to_owned())]);
        assert_eq!(begun.elapsed().as_secs(), 30);
        watched(ends(40), || unreachable!("nobody watches, and nothing is put in words")).await;
    }
}
