//! A connection whose client must take what it is sent. A client that asks and does not read would otherwise keep its answer in our memory
//! for as long as it likes: a page of a history has up to 2 MiB, and there may be thousands of connections.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may take to read an answer. The time begins when a part of the answer can't be sent at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that fails when its client is too slow a reader.
pub struct Paced<S> {
    stream: S,
    patience: Duration,
    /// When the present answer must have been taken. `None` unless something of it could not be sent at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Paced<S> {
    /// Paces the client of a connection.
    pub fn new(stream: S) -> Self {
        Self { stream, patience: PATIENCE, deadline: None }
    }

    /// Returns `sent`, or a time-out error if `sent` is pending and the client's time is over.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            return sent;
        }
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        deadline.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its answer")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            // The next request begins, whose answer has its own time.
            self.deadline = None;
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, sent)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.bounded(cx, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bounded(cx, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    #[tokio::test]
    async fn a_client_that_takes_its_answers_is_left_alone_and_one_that_does_not_is_given_up() {
        let (mut client, ours) = duplex(1024);
        let mut ours = Paced { patience: Duration::from_secs(3600), ..Paced::new(ours) };
        let sending = tokio::spawn(async move {
            for _ in 0..2 {
                ours.write_all(&[7; 4096]).await.unwrap();
                ours.read_exact(&mut [0]).await.unwrap();
            }
            ours.patience = Duration::from_millis(1);
            ours.write_all(&[7; 4096]).await
        });
        for _ in 0..2 {
            client.read_exact(&mut [0; 4096]).await.unwrap();
            client.write_all(b"x").await.unwrap();
        }
        // The client has stopped reading, so the third answer can't be sent.
        assert_eq!(sending.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
