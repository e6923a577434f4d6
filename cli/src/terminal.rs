//! The terminal that we run in.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    execute, queue,
    style::Print,
    terminal::{
        Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
        is_raw_mode_enabled, size,
    },
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a terminal has where it does not say.
const USUAL: (u16, u16) = (80, 24);

/// Whether standard output is one, or was when we were started: one that was closed does not say what it was.
pub fn is_output() -> bool {
    *IS_OUTPUT
}

static IS_OUTPUT: LazyLock<bool> = LazyLock::new(|| io::stdout().is_terminal());

/// Whether standard error is one: only then there is progress to see.
pub fn is_error() -> bool {
    io::stderr().is_terminal()
}

/// Whether standard input is one.
pub fn is_input() -> bool {
    io::stdin().is_terminal()
}

/// Columns and lines.
pub fn columns_and_rows() -> (u16, u16) {
    size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or(USUAL)
}

/// Tells when there are more columns or lines, or fewer.
pub fn resized() -> io::Result<Signal> {
    signal(SignalKind::window_change())
}

/// Whether a line break alone leaves the cursor in its column.
pub fn is_raw() -> bool {
    is_raw_mode_enabled().unwrap_or_default()
}

/// Each key goes to the process in the pod, Ctrl-C too, as long as this is there.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Begins.
    pub fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether [`FullScreen`] has it.
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// All of the terminal, until this is dropped: then what was there before is there again.
#[derive(Debug)]
pub struct FullScreen(RawMode);

impl FullScreen {
    /// Begins.
    pub fn enter() -> io::Result<Self> {
        let raw = RawMode::enter()?;
        IS_FULL.store(true, Ordering::SeqCst);
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(Self(raw))
    }
}

/// Shows this on all of it; lines that there is no room for are left out.
pub fn draw(text: &str) -> io::Result<()> {
    let (mut out, (_, rows)) = (io::stdout().lock(), columns_and_rows());
    for (row, line) in (0..rows).zip(text.lines()) {
        queue!(out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    out.flush()
}

/// Gives the terminal back as it was.
pub fn restore() {
    // Nothing can be done about one that is gone.
    if IS_FULL.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    }
    if is_raw() {
        let _ = disable_raw_mode();
    }
}
