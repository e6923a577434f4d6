//! The native half of the Python package `arl_sandbox`: the client library, called from threads and event loops of Python.
//!
//! Everything that takes time is a [`Call`](call::Call), which Python starts and is told the result of. What users see is written in Python,
//! in `python/arl_sandbox`.
#![forbid(unsafe_code)]

mod call;
mod client;
mod command;
mod failure;
mod files;
mod follow;
mod logs;
mod process;
mod runtime;
mod sandbox;
mod transfer;

use pyo3::prelude::*;

/// See `_native.pyi`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    logs::keep_logs();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("KEEP_MAX", arl_client::KEEP_MAX)?;
    module.add_class::<call::Call>()?;
    module.add_class::<call::Completions>()?;
    module.add_class::<client::Client>()?;
    module.add_class::<sandbox::Sandbox>()?;
    module.add_class::<process::Process>()?;
    module.add_class::<files::Files>()?;
    module.add_class::<transfer::Upload>()?;
    module.add_class::<transfer::Download>()?;
    module.add_function(wrap_pyfunction!(client::is_run_id, module)?)?;
    module.add_function(wrap_pyfunction!(logs::take_logs, module)?)?;
    Ok(())
}
