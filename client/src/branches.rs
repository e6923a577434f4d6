//! One stream of bytes to many readers at once, none of which may hold up the others for ever.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use futures::future::join_all;
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

const PIECE: usize = 64 * 1024;
/// How many pieces a reader may be behind. All readers share them, so that these are all the memory that is used.
const BEHIND_MAX: usize = 64;
/// How long, in all, a reader may let others wait for it.
pub(crate) const HELD_UP_MAX: Duration = Duration::from_secs(30);

/// The end of the stream that one reader has.
struct Branch {
    pieces: mpsc::Sender<Bytes>,
    late: oneshot::Sender<()>,
    held_up: Duration,
}

/// Where a stream goes to.
pub(crate) struct Branches(Vec<Branch>);

/// What comes out of one branch. A stream that is not complete ends with an error.
pub(crate) struct Reader {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
    is_complete: bool,
}

/// So many readers, each with what resolves where it was left behind.
pub(crate) fn branches(count: usize) -> (Branches, Vec<(Reader, oneshot::Receiver<()>)>) {
    let one = || {
        let ((pieces, received), (late, is_late)) = (mpsc::channel(BEHIND_MAX), oneshot::channel());
        let reader = Reader { pieces: received, current: Bytes::new(), is_complete: false };
        (Branch { pieces, late, held_up: Duration::ZERO }, (reader, is_late))
    };
    let (branches, readers) = (0..count).map(|_| one()).unzip();
    (Branches(branches), readers)
}

impl Branches {
    /// Copies all that there is to read; ends early where no reader is left.
    pub(crate) async fn copy(&mut self, source: &mut (dyn AsyncRead + Unpin + Send)) -> io::Result<()> {
        while !self.0.is_empty() {
            let mut piece = BytesMut::with_capacity(PIECE);
            if source.read_buf(&mut piece).await? == 0 {
                break;
            }
            self.share(&piece.freeze()).await;
        }
        Ok(())
    }

    /// Whether nobody reads any more.
    pub(crate) fn has_no_reader(&self) -> bool {
        self.0.is_empty()
    }

    /// What was copied is all. Without this, readers end with an error.
    pub(crate) async fn complete(mut self) {
        self.share(&Bytes::new()).await;
    }

    async fn share(&mut self, piece: &Bytes) {
        let since = Instant::now();
        let sent = join_all(self.0.drain(..).map(|branch| async move {
            let is_behind = branch.pieces.capacity() == 0;
            match timeout(HELD_UP_MAX.saturating_sub(branch.held_up), branch.pieces.send(piece.clone())).await {
                Ok(Ok(())) => Some((branch, is_behind)),
                // Its reader has failed, and says why.
                Ok(Err(_)) => None,
                Err(_) => {
                    let _ = branch.late.send(());
                    None
                }
            }
        }));
        let sent: Vec<_> = sent.await.into_iter().flatten().collect();
        // Where all are as slow, nobody is to blame.
        let starves = sent.iter().any(|(branch, _)| branch.pieces.capacity() + 1 >= BEHIND_MAX);
        self.0.extend(sent.into_iter().map(|(mut branch, is_behind)| {
            if is_behind && starves {
                branch.held_up = (branch.held_up + since.elapsed()).min(HELD_UP_MAX);
            }
            branch
        }));
    }
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.current.is_empty() && !this.is_complete {
            let Some(piece) = ready!(this.pieces.poll_recv(cx)) else {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the rest of it never came")));
            };
            this.is_complete = piece.is_empty();
            this.current = piece;
        }
        let length = this.current.len().min(buf.remaining());
        buf.put_slice(&this.current[..length]);
        this.current.advance(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    /// Reads so fast; returns what came.
    async fn read(mut reader: Reader, piece: usize, pause: Duration) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut buffer = vec![0; piece];
            match reader.read(&mut buffer).await? {
                0 => return Ok(all),
                count => all.extend(&buffer[..count]),
            }
            if !pause.is_zero() {
                tokio::time::sleep_until(Instant::now() + pause).await;
            }
        }
    }

    const LENGTH: usize = 3 * PIECE * BEHIND_MAX + 17;

    #[tokio::test(start_paused = true)]
    async fn one_that_stops_and_one_that_fails_hold_up_nobody_for_ever() {
        let (mut to, mut readers) = branches(4);
        let content = content(LENGTH);
        let (_stopped, is_late) = readers.pop().unwrap();
        drop(readers.pop().unwrap());
        let (second, first) = (readers.pop().unwrap().0, readers.pop().unwrap().0);
        let since = Instant::now();
        let copy = async {
            to.copy(&mut content.as_slice()).await.unwrap();
            to.complete().await;
        };
        let (_, one, two) =
            tokio::join!(copy, read(first, PIECE, Duration::ZERO), read(second, 1000, Duration::from_millis(1)));
        assert!(one.unwrap() == content && two.unwrap() == content);
        assert!(is_late.await.is_ok(), "it is told that it was left behind");
        assert!(since.elapsed() < 2 * HELD_UP_MAX, "{:?}", since.elapsed());
    }

    /// A trickle is no stop: it is the sum that counts.
    #[tokio::test(start_paused = true)]
    async fn one_that_takes_a_little_now_and_then_is_left_behind_too() {
        let (mut to, mut readers) = branches(2);
        let content = content(LENGTH);
        let (slow, is_late) = readers.pop().unwrap();
        let slow = tokio::spawn(read(slow, PIECE, Duration::from_secs(10)));
        let fast = tokio::spawn(read(readers.pop().unwrap().0, PIECE, Duration::ZERO));
        let since = Instant::now();
        to.copy(&mut content.as_slice()).await.unwrap();
        to.complete().await;
        assert!(fast.await.unwrap().unwrap() == content);
        assert!(since.elapsed() < 2 * HELD_UP_MAX, "{:?}", since.elapsed());
        assert!(is_late.await.is_ok());
        assert!(slow.await.unwrap().is_err(), "what is not complete is never taken for all");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_slow_none_is_left_behind() {
        let (mut to, readers) = branches(3);
        let content = content(LENGTH);
        let all = readers.into_iter().map(|(reader, _)| read(reader, PIECE, Duration::from_secs(5)));
        let copy = async {
            to.copy(&mut content.as_slice()).await.unwrap();
            to.complete().await;
        };
        let (_, all) = tokio::join!(copy, join_all(all));
        assert!(all.into_iter().all(|one| one.unwrap() == content));
    }

    #[tokio::test]
    async fn a_source_that_fails_is_not_taken_for_one_that_ends() {
        let (mut to, mut readers) = branches(1);
        to.copy(&mut &b"half"[..]).await.unwrap();
        drop(to);
        assert!(read(readers.pop().unwrap().0, 10, Duration::ZERO).await.is_err());
    }
}
