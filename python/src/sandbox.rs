//! A Sandbox that was claimed.

use std::time::Duration;

use arl_client::{Error, Finished, Step};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};
use tokio::sync::Semaphore;

use crate::{
    call::Call,
    command::Command,
    failure::Failure,
    files::Files,
    process::{Process, Running, exit_to_python, gap_to_python},
    runtime::runtime,
};

/// So many are given up at once, however many a client held.
pub(crate) static RELEASES: Semaphore = Semaphore::const_new(32);

/// A Sandbox that is given up again unless somebody takes it.
pub(crate) struct Claimed(Option<arl_client::Sandbox>);

impl Claimed {
    pub(crate) fn new(sandbox: arl_client::Sandbox) -> Self {
        Self(Some(sandbox))
    }

    pub(crate) fn into_python(mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.take().map_or_else(|| Ok(py.None()), |sandbox| Ok(Py::new(py, Sandbox { sandbox })?.into_any()))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(sandbox) = self.0.take()
            && let Ok(runtime) = runtime()
        {
            runtime.spawn(async move {
                if let Err(error) = sandbox.release().await {
                    tracing::warn!(sandbox = sandbox.name(), %error, "a Sandbox that nobody waited for is left");
                }
            });
        }
    }
}

#[pyclass(frozen, weakref)]
pub(crate) struct Sandbox {
    sandbox: arl_client::Sandbox,
}

impl From<arl_client::Sandbox> for Sandbox {
    fn from(sandbox: arl_client::Sandbox) -> Self {
        Self { sandbox }
    }
}

#[pymethods]
impl Sandbox {
    #[getter]
    fn name(&self) -> &str {
        self.sandbox.name()
    }

    #[getter]
    fn uid(&self) -> Option<&str> {
        self.sandbox.uid()
    }

    #[getter]
    fn pool(&self) -> &str {
        self.sandbox.pool()
    }

    #[getter]
    fn pod(&self) -> &str {
        self.sandbox.pod()
    }

    #[getter]
    fn container(&self) -> Option<&str> {
        self.sandbox.session().place().container.as_deref()
    }

    /// Runs a command to its end. Where the call is given up, the command is ended.
    fn run(&self, command: Command) -> Call {
        let sandbox = self.sandbox.clone();
        let keep = command.keep();
        let work = async move {
            let (process, running) = Running::start(sandbox, command.into_client()).await?.take();
            let finished = process.wait(keep).await?;
            running.leave();
            Ok(finished)
        };
        Call::new(work, finished_to_python)
    }

    /// Starts a process. Where the call is given up, the process is ended.
    fn start(&self, command: Command) -> Call {
        let sandbox = self.sandbox.clone();
        Call::new(Running::start(sandbox, command.into_client()), Process::started)
    }

    /// Follows a process that was started before.
    fn attach(&self, id: u64) -> Call {
        let sandbox = self.sandbox.clone();
        let work = async move { sandbox.session().attach(id).await };
        Call::new(work, Process::attached)
    }

    /// Ends a process, whoever follows it.
    #[pyo3(signature = (id, grace))]
    fn kill(&self, id: u64, grace: Option<Duration>) -> PyResult<()> {
        runtime()?;
        self.sandbox.session().kill(id, grace.unwrap_or(arl_client::GRACE));
        Ok(())
    }

    /// The processes in the pod: (id, pid, command, background, tty, seconds since the start, ended).
    fn processes(&self) -> Call {
        let sandbox = self.sandbox.clone();
        let work = async move { sandbox.session().list().await };
        Call::new(work, |py, processes| {
            let rows = processes.into_iter().map(|process| {
                let ago = Duration::from_micros(process.started_ago_us).as_secs_f64();
                (process.id.0, process.pid, process.command, process.background, process.tty, ago, process.ended)
            });
            Ok(PyList::new(py, rows.collect::<Vec<_>>())?.into_any().unbind())
        })
    }

    /// Its files, with the rights of this user.
    #[pyo3(signature = (user))]
    fn files(&self, user: Option<String>) -> Files {
        let files = self.sandbox.files();
        Files::new(user.map_or_else(|| files.clone(), |user| files.clone().as_user(user)))
    }

    /// So many more of the same pool with a copy of a directory: a list of Sandboxes and failures.
    fn fork(&self, count: usize, directory: String) -> Call {
        let sandbox = self.sandbox.clone();
        let work = async move {
            let forks = sandbox.fork(count, &directory).await.into_iter();
            Ok(forks.map(|fork| fork.map(Claimed::new)).collect::<Vec<_>>())
        };
        Call::new(work, |py, forks| {
            let list = PyList::empty(py);
            for fork in forks {
                list.append(match fork {
                    Ok(claimed) => claimed.into_python(py)?,
                    Err(error) => Failure::from(error).into_python(py)?,
                })?;
            }
            Ok(list.into_any().unbind())
        })
    }

    /// Runs a Task: its steps as JSON; its status as JSON.
    #[pyo3(signature = (steps, timeout))]
    fn task(&self, steps: String, timeout: Option<Duration>) -> Call {
        let sandbox = self.sandbox.clone();
        let unusable = |error: serde_json::Error| Error::Usage(error.to_string());
        let work = async move {
            let steps: Vec<Step> = serde_json::from_str(&steps).map_err(unusable)?;
            serde_json::to_string(&sandbox.task(steps, timeout).await?).map_err(unusable)
        };
        Call::new(work, |py, status| Ok(status.into_pyobject(py)?.into_any().unbind()))
    }

    fn set_idle_ttl(&self, ttl: Duration) -> Call {
        let sandbox = self.sandbox.clone();
        Call::unit(async move { sandbox.set_idle_ttl(ttl).await })
    }

    fn release(&self) -> Call {
        let sandbox = self.sandbox.clone();
        Call::unit(async move {
            let _permit = RELEASES.acquire().await;
            sandbox.release().await
        })
    }
}

fn finished_to_python(py: Python<'_>, finished: Finished) -> PyResult<Py<PyAny>> {
    let Finished { exit, stdout, stderr, printed, gaps } = finished;
    let gaps: Vec<_> = gaps.iter().map(gap_to_python).collect();
    let fields = (exit_to_python(exit), PyBytes::new(py, &stdout), PyBytes::new(py, &stderr), printed, gaps);
    Ok(fields.into_pyobject(py)?.into_any().unbind())
}
