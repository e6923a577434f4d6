//! Data for standard output, and words for standard error.

use std::{
    fmt::Display,
    io::{self, Write},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use arl_client::GRACE;
use arl_crds::text::printable;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    failure::Failure,
    interrupt::{self, Interrupt},
    terminal,
};

/// Far more than words of others need.
const NOTE_MAX: usize = 8192;

/// Of what is waited for.
const PROGRESS_MAX: usize = 256;

/// Writes data.
pub fn data(text: &str) -> Result<(), Failure> {
    let text = text.to_owned();
    put(move || {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    })
}

/// So many of something.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Writes what a command printed on standard output, as it is.
pub fn bytes(data: &[u8]) -> Result<(), Failure> {
    let data = data.to_owned();
    put(move || {
        let mut out = io::stdout().lock();
        out.write_all(&data).and_then(|()| out.flush())
    })
}

/// Writes a line of data.
pub fn line(text: impl Display) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// Says something that is no data. What cannot be said is not worth a failure.
pub fn note(text: impl Display) {
    // A line of its own, beside what a process in a pod draws too.
    let (start, end) = if terminal::is_raw() { ("\r\n", "\r\n") } else { ("", "\n") };
    let line = format!("{start}{}{end}", printable(&text.to_string(), NOTE_MAX));
    let moving = MOVING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match moving {
        Some(bar) => bar.suspend(|| raw(line.as_bytes())),
        None => raw(line.as_bytes()),
    }
}

/// What a command printed on standard error.
pub fn raw(data: &[u8]) {
    let data = data.to_owned();
    let _ = put(move || io::stderr().write_all(&data));
}

/// What comes first.
enum Event {
    Written(io::Result<()>),
    Interrupted(Interrupt),
}

/// Writes on a thread of its own, since a reader may never read: a signal is heard meanwhile. After it, no write takes longer than a command
/// has to end.
fn put(write: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), Failure> {
    let (sender, events) = mpsc::channel();
    let told = sender.clone();
    interrupt::at_first(move |interrupt| drop(told.send(Event::Interrupted(interrupt))));
    let writing = move || drop(sender.send(Event::Written(write())));
    thread::Builder::new().spawn(writing).map_err(|error| Failure::output(&error))?;
    let written = match events.recv() {
        Ok(Event::Written(written)) => written,
        Ok(Event::Interrupted(interrupt)) => match events.recv_timeout(GRACE) {
            Ok(Event::Written(written)) => written,
            _ => return Err(interrupt.into()),
        },
        Err(error) => Err(io::Error::other(error)),
    };
    written.map_err(|error| Failure::output(&error))
}

/// What moves on the terminal now: words must not end up in its line.
static MOVING: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// On a terminal, something that moves while we wait, until it is dropped.
#[derive(Debug)]
pub struct Waiting(Option<ProgressBar>);

impl Waiting {
    /// For this.
    pub fn on(what: &str) -> Self {
        let bar = terminal::is_error().then(|| {
            let bar = ProgressBar::new_spinner().with_message(printable(what, PROGRESS_MAX));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self::of(bar)
    }

    /// For bytes to pass, so many if that is known.
    pub fn bytes(what: &str, total: Option<u64>) -> Self {
        let bar = terminal::is_error().then(|| {
            let template = match total {
                Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
                None => "{spinner} {msg} {bytes} {bytes_per_sec}",
            };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.with_message(printable(what, PROGRESS_MAX)).with_style(style)
        });
        Self::of(bar)
    }

    fn of(bar: Option<ProgressBar>) -> Self {
        MOVING.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&bar);
        Self(bar)
    }

    /// The bar that counts what is read or written.
    pub fn bar(&self) -> ProgressBar {
        self.0.clone().unwrap_or_else(ProgressBar::hidden)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            MOVING.lock().unwrap_or_else(PoisonError::into_inner).take();
            bar.finish_and_clear();
        }
    }
}
