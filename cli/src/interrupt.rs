//! Signals that ask us to end: the first one lets a verb clean up, the second one leaves at once.

use std::{
    io,
    sync::{Mutex, PoisonError},
    thread,
};

use futures::future;
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{failure::Failure, terminal};

/// A signal that asked us to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt(u8);

impl Interrupt {
    /// As a shell reports a process that it ended.
    pub fn code(self) -> u8 {
        128 + self.0
    }
}

impl From<Interrupt> for Failure {
    fn from(interrupt: Interrupt) -> Self {
        Self::quiet(interrupt.code())
    }
}

/// The signals that were ignored when we were started, as `nohup` does: they stay so. Where there is no `/proc`, none is known.
struct Ignored(u64);

impl Ignored {
    fn at_start() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::of(&status).unwrap_or(Self(0))
    }

    /// See proc_pid_status(5).
    fn of(status: &str) -> Option<Self> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok().map(Self)
    }

    fn contains(&self, signal: u8) -> bool {
        self.0 & 1 << (signal - 1) != 0
    }
}

/// The first signal, and whom to tell of it who cannot await it.
struct First {
    interrupt: Option<Interrupt>,
    blocked: Option<Box<dyn FnOnce(Interrupt) + Send>>,
}

static FIRST: Mutex<First> = Mutex::new(First { interrupt: None, blocked: None });

/// For a thread that is about to block: `tell` is called at the first signal, or now where there was one. Replaces the call before.
pub fn at_first(tell: impl FnOnce(Interrupt) + Send + 'static) {
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    match first.interrupt {
        Some(interrupt) => tell(interrupt),
        None => first.blocked = Some(Box::new(tell)),
    }
}

fn tell_blocked(interrupt: Interrupt) {
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    first.interrupt = Some(interrupt);
    if let Some(tell) = first.blocked.take() {
        tell(interrupt);
    }
}

/// Tells of the first signal.
#[derive(Clone, Debug)]
pub struct Interrupts(watch::Receiver<Option<Interrupt>>);

impl Interrupts {
    /// From now on Ctrl-C, SIGTERM and the end of the terminal are for us to handle, on a thread of its own: all else may be blocked by a
    /// reader who does not read.
    pub fn watch() -> io::Result<Self> {
        let ignored = Ignored::at_start();
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let mut kinds = Vec::new();
        {
            let _entered = runtime.enter();
            for (kind, number) in
                [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 1)]
            {
                if !ignored.contains(number) {
                    kinds.push((signal(kind)?, Interrupt(number)));
                }
            }
        }
        let (sender, receiver) = watch::channel(None);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Some(interrupt) = next(&mut kinds).await {
                    tell_blocked(interrupt);
                    sender.send_replace(Some(interrupt));
                }
                if let Some(interrupt) = next(&mut kinds).await {
                    terminal::restore();
                    std::process::exit(interrupt.code().into());
                }
            });
        })?;
        Ok(Self(receiver))
    }

    /// The first signal, once it has come; again and again.
    pub async fn first(&self) -> Interrupt {
        let mut receiver = self.0.clone();
        let first = receiver.wait_for(Option::is_some).await.ok().and_then(|interrupt| *interrupt);
        match first {
            Some(interrupt) => interrupt,
            None => future::pending().await,
        }
    }

    /// The result of `work`, unless a signal comes first: then it is dropped.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            interrupt = self.first() => Err(interrupt.into()),
            result = work => result,
        }
    }
}

/// The next one; none where there will be none.
async fn next(kinds: &mut [(Signal, Interrupt)]) -> Option<Interrupt> {
    if kinds.is_empty() {
        return None;
    }
    let arrivals = kinds.iter_mut().map(|(signal, interrupt)| {
        let interrupt = *interrupt;
        Box::pin(async move { signal.recv().await.map(|()| interrupt) })
    });
    future::select_all(arrivals).await.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_at_the_start_is_read_from_the_mask() {
        let ignored = Ignored::of("Name:\tx\nSigIgn:\t0000000000001001\n").unwrap();
        assert!(ignored.contains(1) && ignored.contains(13) && !ignored.contains(2) && !ignored.contains(15));
    }
}
