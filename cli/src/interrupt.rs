//! Signals that ask us to end: the first one lets a verb clean up, the second one leaves at once.

use std::io;

use futures::future;
use tokio::{
    signal::unix::{SignalKind, signal},
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

/// Tells of the first signal.
#[derive(Clone, Debug)]
pub struct Interrupts(watch::Receiver<Option<Interrupt>>);

impl Interrupts {
    /// From now on Ctrl-C, SIGTERM and the end of the terminal are for us to handle.
    pub fn watch() -> io::Result<Self> {
        let ignored = Ignored::at_start();
        let mut kinds = Vec::new();
        for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 1)] {
            if !ignored.contains(number) {
                kinds.push((signal(kind)?, Interrupt(number)));
            }
        }
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let arrivals = kinds.iter_mut().map(|(signal, interrupt)| {
                    let interrupt = *interrupt;
                    Box::pin(async move { signal.recv().await.map(|()| interrupt) })
                });
                let (Some(interrupt), ..) = future::select_all(arrivals).await else { return };
                if sender.borrow().is_some() {
                    terminal::restore();
                    std::process::exit(interrupt.code().into());
                }
                sender.send_replace(Some(interrupt));
            }
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_at_the_start_is_read_from_the_mask() {
        let ignored = Ignored::of("Name:\tx\nSigIgn:\t0000000000001001\n").unwrap();
        assert!(ignored.contains(1) && ignored.contains(13) && !ignored.contains(2) && !ignored.contains(15));
    }
}
