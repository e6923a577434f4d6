//! The terminal that we run in.

use std::io::{self, IsTerminal};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode, is_raw_mode_enabled, size};

/// What a terminal has where it does not say.
const USUAL: (u16, u16) = (80, 24);

/// Whether standard output is one.
pub fn is_output() -> bool {
    io::stdout().is_terminal()
}

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

/// Gives the terminal back as it was.
pub fn restore() {
    if is_raw_mode_enabled().unwrap_or_default() {
        // Nothing can be done about one that is gone.
        let _ = disable_raw_mode();
    }
}
