//! The threads that all calls of this process share. None of them ever waits for Python's lock.

use std::{process, sync::OnceLock};

use pyo3::{PyResult, exceptions::PyRuntimeError};
use tokio::runtime::{Builder, Handle, Runtime};

/// As many workers do for thousands of calls: they only pass messages on.
const WORKERS_MAX: usize = 4;

struct Started {
    runtime: Runtime,
    process: u32,
}

static STARTED: OnceLock<Result<Started, String>> = OnceLock::new();

/// The runtime, which is started by the first call of a process.
///
/// # Errors
/// In a process that was forked after that: its threads are in the parent.
pub(crate) fn runtime() -> PyResult<&'static Handle> {
    let process = process::id();
    match STARTED.get_or_init(|| start(process)) {
        Ok(started) if started.process == process => Ok(started.runtime.handle()),
        Ok(started) => Err(PyRuntimeError::new_err(format!(
            "arl_sandbox was used in process {} before this one, {process}, was forked from it, and its connections did not come \
             along; start processes by spawn: multiprocessing.get_context(\"spawn\")",
            started.process
        ))),
        Err(message) => Err(PyRuntimeError::new_err(format!("no threads can be started: {message}"))),
    }
}

fn start(process: u32) -> Result<Started, String> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let runtime = Builder::new_multi_thread().worker_threads(workers).thread_name("arl-sandbox").enable_all().build();
    runtime.map(|runtime| Started { runtime, process }).map_err(|error| error.to_string())
}
