//! Calls on their way, and the queue through which their results come back.
//!
//! ```text
//!   Python thread or event loop                     worker
//!     call.start(completions, key)  ──────────────>   the call's future
//!     a byte arrives at completions.fileno()  <────   push(key, result)
//!     completions.drain(pending, arrived)
//! ```
//!
//! A worker never takes Python's lock: results become Python objects in `drain`, in the thread that waits for them.

use std::{
    io::{Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use arl_client::Error;
use futures::{FutureExt, future::BoxFuture};
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    types::{PyDict, PyList},
};
use tokio::task::AbortHandle;

use crate::{failure::Failure, runtime::runtime};

/// A result that becomes a Python object where it is waited for. Dropped before that, nobody has it.
pub(crate) type Value = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Outcome = Result<Value, Failure>;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something to be done, once it is started.
#[pyclass(frozen)]
pub(crate) struct Call {
    future: Mutex<Option<BoxFuture<'static, Outcome>>>,
    running: OnceLock<AbortHandle>,
}

impl Call {
    /// One whose result is made into a Python object by `convert`.
    pub(crate) fn new<T, C>(work: impl Future<Output = Result<T, Error>> + Send + 'static, convert: C) -> Self
    where
        T: Send + 'static,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        Self::failing(async move { work.await.map_err(Failure::from) }, convert)
    }

    /// The same for what can fail outside of the client too.
    pub(crate) fn failing<T, C>(work: impl Future<Output = Result<T, Failure>> + Send + 'static, convert: C) -> Self
    where
        T: Send + 'static,
        C: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    {
        let future = async move {
            let result = work.await?;
            Ok(Box::new(move |py: Python<'_>| convert(py, result)) as Value)
        };
        Self { future: Mutex::new(Some(future.boxed())), running: OnceLock::new() }
    }

    /// One without a result.
    pub(crate) fn unit(work: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        Self::new(work, |py, ()| Ok(py.None()))
    }

    /// One whose result is a number.
    pub(crate) fn count(work: impl Future<Output = Result<u64, Error>> + Send + 'static) -> Self {
        Self::new(work, |py, count| Ok(count.into_pyobject(py)?.into_any().unbind()))
    }

    fn take(&self) -> PyResult<BoxFuture<'static, Outcome>> {
        lock(&self.future).take().ok_or_else(|| PyRuntimeError::new_err("this call was started before"))
    }
}

#[pymethods]
impl Call {
    fn start(&self, completions: &Completions, key: u64) -> PyResult<()> {
        let future = self.take()?;
        let queue = Arc::clone(&completions.queue);
        let waiter = Arc::clone(&queue);
        let work = runtime()?.spawn(async move { queue.push(key, WAITER.scope(waiter, future).await) });
        // It is set once: only the first start comes here.
        let _ = self.running.set(work.abort_handle());
        Ok(())
    }

    /// Starts it for nobody: what comes of it is dropped.
    fn forget(&self) -> PyResult<()> {
        let future = self.take()?;
        runtime()?.spawn(async move { drop(future.await) });
        Ok(())
    }

    /// Gives it up. What it had begun in a pod is ended.
    fn cancel(&self) {
        if let Some(running) = self.running.get() {
            running.abort();
        }
    }
}

tokio::task_local! {
    /// Where the result of the call is waited for.
    static WAITER: Arc<Queue>;
}

/// Wakes who waits for the call that this is called in, without a result.
pub(crate) fn wake_waiter() {
    // In what no call waits for there is none.
    let _ = WAITER.try_with(|queue| queue.wake());
}

struct Queue {
    done: Mutex<Vec<(u64, Outcome)>>,
    wake: UnixStream,
}

impl Queue {
    fn push(&self, key: u64, outcome: Outcome) {
        let was_empty = {
            let mut done = lock(&self.done);
            done.push((key, outcome));
            done.len() == 1
        };
        if was_empty {
            self.wake();
        }
    }

    fn wake(&self) {
        // It only fails where so many bytes are unread that one more wakes nobody, or where nobody reads any more.
        let _ = (&self.wake).write(&[0]);
    }
}

/// Results for one event loop or one thread.
#[pyclass(frozen)]
pub(crate) struct Completions {
    queue: Arc<Queue>,
    woken: UnixStream,
}

#[pymethods]
impl Completions {
    /// `blocking`: whether reading from its descriptor waits.
    #[new]
    fn new(blocking: bool) -> PyResult<Self> {
        let (woken, wake) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(!blocking)?;
        Ok(Self { queue: Arc::new(Queue { done: Mutex::default(), wake }), woken })
    }

    fn fileno(&self) -> i32 {
        self.woken.as_raw_fd()
    }

    /// Takes the bytes that say that there are results; only where its descriptor does not block.
    fn clear(&self) {
        let mut bytes = [0; 64];
        while (&self.woken).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }

    /// Wakes whoever waits, without a result.
    fn wake(&self) {
        self.queue.wake();
    }

    /// Adds to `arrived` what has come for the keys of `pending`, which are taken out of it: (what was there for the key, value, failure).
    /// A result whose key is not there is dropped. A signal handler runs before or after this and never within it: returned, and not
    /// added to a list that the caller has, results would be lost where the handler raises.
    fn drain(&self, py: Python<'_>, pending: &Bound<'_, PyDict>, arrived: &Bound<'_, PyList>) -> PyResult<()> {
        let done = std::mem::take(&mut *lock(&self.queue.done));
        for (key, outcome) in done {
            let Some(target) = pending.get_item(key)? else { continue };
            pending.del_item(key)?;
            let (value, failure) = match outcome.map(|convert| convert(py)) {
                Ok(Ok(value)) => (value, py.None()),
                Ok(Err(error)) => (py.None(), error.into_value(py).into_any()),
                Err(failure) => (py.None(), failure.into_python(py)?),
            };
            arrived.append((target, value, failure))?;
        }
        Ok(())
    }
}
