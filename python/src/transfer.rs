//! Contents that are handed over piece by piece, so that neither side holds all of them.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arl_client::Error;
use pyo3::{prelude::*, types::PyBytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, DuplexStream, ReadBuf, duplex},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use crate::{call::Call, failure::Failure, runtime::runtime};

/// Bytes on their way.
const WINDOW: usize = 256 * 1024;
/// Pieces on their way into the pod.
const PIECES: usize = 2;

type Work = JoinHandle<Result<u64, Error>>;

async fn result(work: &mut Option<Work>) -> Result<u64, Failure> {
    match work.take() {
        Some(work) => work.await.unwrap_or_else(|error| Err(Error::Interrupted(error.to_string()))).map_err(Into::into),
        None => Err(Failure::Misuse("this transfer is over")),
    }
}

/// Content on its way out of the pod.
#[pyclass(frozen)]
pub(crate) struct Download {
    state: Arc<Mutex<(DuplexStream, Option<Work>)>>,
}

impl Download {
    pub(crate) fn start<F>(work: impl FnOnce(DuplexStream) -> F) -> PyResult<Self>
    where
        F: Future<Output = Result<u64, Error>> + Send + 'static,
    {
        let (near, far) = duplex(WINDOW);
        let work = runtime()?.spawn(work(far));
        Ok(Self { state: Arc::new(Mutex::new((near, Some(work)))) })
    }
}

#[pymethods]
impl Download {
    /// The next bytes; none at the end.
    fn next(&self) -> Call {
        let state = Arc::clone(&self.state);
        let work = async move {
            let (near, work) = &mut *state.lock().await;
            let mut piece = Vec::with_capacity(WINDOW);
            // Where the other side has failed, its own failure says more.
            let _ = near.read_buf(&mut piece).await;
            if piece.is_empty() {
                result(work).await?;
            }
            Ok::<_, Failure>(piece)
        };
        Call::failing(work, |py, piece| Ok(PyBytes::new(py, &piece).into_any().unbind()))
    }
}

/// Content on its way into the pod. Nothing is changed there unless it is finished.
#[pyclass(frozen)]
pub(crate) struct Upload {
    state: Arc<Mutex<Sending>>,
}

/// The way in, while it is open, and what takes it.
type Sending = (Option<mpsc::Sender<Piece>>, Option<Work>);

enum Piece {
    Bytes(Vec<u8>),
    Last,
}

impl Upload {
    pub(crate) fn start<F>(work: impl FnOnce(Pieces) -> F) -> PyResult<Self>
    where
        F: Future<Output = Result<u64, Error>> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(PIECES);
        let work =
            runtime()?.spawn(work(Pieces { received: pieces, current: Vec::new(), position: 0, is_complete: false }));
        Ok(Self { state: Arc::new(Mutex::new((Some(sender), Some(work)))) })
    }
}

#[pymethods]
impl Upload {
    fn write(&self, data: Vec<u8>) -> Call {
        let state = Arc::clone(&self.state);
        let work = async move {
            let (sender, work) = &mut *state.lock().await;
            let sent = match sender {
                Some(sender) => sender.send(Piece::Bytes(data)).await,
                None => return Err(Failure::Misuse("this transfer is over")),
            };
            match sent {
                Ok(()) => Ok(()),
                Err(_) => result(work).await.map(drop),
            }
        };
        Call::failing(work, |py, ()| Ok(py.None()))
    }

    /// That was all; returns how many bytes there were.
    fn finish(&self) -> Call {
        let state = Arc::clone(&self.state);
        let work = async move {
            let (sender, work) = &mut *state.lock().await;
            if let Some(sender) = sender.take() {
                // Where nobody takes it any more the transfer has failed, and says why.
                let _ = sender.send(Piece::Last).await;
            }
            result(work).await
        };
        Call::failing(work, |py, count| Ok(count.into_pyobject(py)?.into_any().unbind()))
    }
}

/// The pieces of an upload, as the client library reads them.
pub(crate) struct Pieces {
    received: mpsc::Receiver<Piece>,
    current: Vec<u8>,
    position: usize,
    is_complete: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.position == self.current.len() && !self.is_complete {
            match ready!(self.received.poll_recv(cx)) {
                Some(Piece::Bytes(bytes)) => (self.current, self.position) = (bytes, 0),
                Some(Piece::Last) => self.is_complete = true,
                None => return Poll::Ready(Err(io::Error::other("it was given up"))),
            }
        }
        let count = buffer.remaining().min(self.current.len() - self.position);
        buffer.put_slice(&self.current[self.position..self.position + count]);
        self.position += count;
        Poll::Ready(Ok(()))
    }
}
