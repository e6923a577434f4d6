//! Processes that were started.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use arl_client::{
    Error, Exit, GRACE, Gap, ProcessEvent, Session, Stdin,
    live::{Cause, Output},
};
use pyo3::{prelude::*, types::PyBytes};
use tokio::sync::Mutex;

use crate::{
    call::Call,
    failure::{Failure, kind_name},
    follow::{Follower, Request},
    runtime::runtime,
};

/// Ends a process that nobody waits for any more.
pub(crate) struct Running {
    session: Session,
    id: Option<u64>,
}

impl Running {
    /// Starts a process. It is ended where nobody takes it.
    pub(crate) async fn start(sandbox: arl_client::Sandbox, command: arl_client::Command) -> Result<Started, Error> {
        let process = sandbox.start(command).await?;
        let running = Self { session: sandbox.session().clone(), id: Some(process.id()) };
        Ok(Started { process, running })
    }

    /// It has ended, or is somebody's.
    pub(crate) fn leave(mut self) {
        self.id = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let session = self.session.clone();
        let Ok(runtime) = runtime() else { return };
        runtime.spawn(async move {
            let Ok(process) = session.attach(id).await else { return };
            process.kill(GRACE);
            // Once its end was taken, the pod forgets it.
            let _ = process.wait(0).await;
        });
    }
}

/// A process that was started, and what ends it.
pub(crate) struct Started {
    process: arl_client::Process,
    running: Running,
}

impl Started {
    pub(crate) fn take(self) -> (arl_client::Process, Running) {
        (self.process, self.running)
    }
}

#[pyclass(frozen)]
pub(crate) struct Process {
    id: u64,
    pid: i32,
    follower: Follower,
    stdin: Arc<Mutex<Option<Stdin>>>,
}

impl Process {
    pub(crate) fn started(py: Python<'_>, started: Started) -> PyResult<Py<PyAny>> {
        let (process, running) = started.take();
        running.leave();
        Self::attached(py, process)
    }

    pub(crate) fn attached(py: Python<'_>, mut process: arl_client::Process) -> PyResult<Py<PyAny>> {
        let stdin = Arc::new(Mutex::new(process.take_stdin()));
        let (id, pid) = (process.id(), process.pid());
        let follower = Follower::start(runtime()?, process);
        Ok(Py::new(py, Self { id, pid, follower, stdin })?.into_any())
    }

    /// In a process that was forked nobody is there to do it.
    fn ask(&self, request: Request) -> PyResult<()> {
        runtime()?;
        self.follower.send(request);
        Ok(())
    }
}

#[pymethods]
impl Process {
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    #[getter]
    fn pid(&self) -> i32 {
        self.pid
    }

    /// What it does next: ("stdout" | "stderr", bytes), ("gap", gap), ("rejected", kind, message) or ("ended", exit).
    fn next(&self) -> Call {
        let answer = self.follower.next();
        Call::new(answer, |py, event| {
            Ok(match event {
                ProcessEvent::Output(output, data) => {
                    (output_name(output), PyBytes::new(py, &data)).into_pyobject(py)?.into_any().unbind()
                }
                ProcessEvent::Gap(gap) => ("gap", gap_to_python(&gap)).into_pyobject(py)?.into_any().unbind(),
                ProcessEvent::Rejected(error) => {
                    ("rejected", kind_name(error.kind), error.message).into_pyobject(py)?.into_any().unbind()
                }
                ProcessEvent::Ended(exit) => ("ended", exit_to_python(exit)).into_pyobject(py)?.into_any().unbind(),
            })
        })
    }

    fn write_stdin(&self, data: Vec<u8>) -> Call {
        let stdin = Arc::clone(&self.stdin);
        let work = async move {
            match &mut *stdin.lock().await {
                Some(stdin) => stdin.write_all(&data).await.map_err(|_| Failure::NotRead),
                None => Err(Failure::Misuse("standard input is closed")),
            }
        };
        Call::failing(work, |py, ()| Ok(py.None()))
    }

    fn close_stdin(&self) -> Call {
        let stdin = Arc::clone(&self.stdin);
        Call::unit(async move {
            if let Some(stdin) = stdin.lock().await.take() {
                stdin.close();
            }
            Ok(())
        })
    }

    fn signal(&self, signal: i32) -> PyResult<()> {
        self.ask(Request::Signal(signal))
    }

    fn resize(&self, columns: u16, rows: u16) -> PyResult<()> {
        self.ask(Request::Resize(columns, rows))
    }

    #[pyo3(signature = (grace))]
    fn kill(&self, grace: Option<Duration>) -> PyResult<()> {
        self.ask(Request::Kill(grace.unwrap_or(GRACE)))
    }
}

pub(crate) fn output_name(output: Output) -> &'static str {
    match output {
        Output::Stdout => "stdout",
        Output::Stderr => "stderr",
    }
}

/// Output, first byte, byte after the last.
pub(crate) fn gap_to_python(gap: &Gap) -> (&'static str, u64, u64) {
    (output_name(gap.output), gap.from, gap.until)
}

/// Code, signal, cause, survivors, start and end in seconds since 1970.
pub(crate) type PythonExit = (i32, Option<i32>, Option<&'static str>, Vec<String>, f64, f64);

pub(crate) fn exit_to_python(exit: Exit) -> PythonExit {
    let Exit { code, signal, cause, survivors, started_at, ended_at } = exit;
    let cause = cause.map(|cause| match cause {
        Cause::TimedOut => "timed_out",
        Cause::OutOfMemory => "out_of_memory",
        Cause::Killed => "killed",
        Cause::Abandoned => "abandoned",
    });
    let seconds = |time: std::time::SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    (code, signal, cause, survivors, seconds(started_at), seconds(ended_at))
}
