//! The clients of a gateway that is measured. Each has a connection of its own, keeps it, and sends one command after another.

use super::load::wait_until;
use anyhow::{Context as _, ensure};
use axum::body::{Body, Bytes, to_bytes};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::{JoinHandle, JoinSet};

/// The longest answer, in bytes. That of a command about a name has one or two KiB.
const LONGEST_ANSWER: usize = 64 << 10;
/// How long until the first command at a rate is due, so that the thread that waits for it is there by then.
const LEAD: Duration = Duration::from_millis(100);

/// The clients, with their connections.
pub struct Clients {
    connections: Vec<SendRequest<Body>>,
    address: SocketAddr,
    path: String,
    /// The value of `Prefer`.
    prefer: &'static str,
}

/// The result of sending a number of commands: how long it took, and how they were answered.
pub struct SentCommands {
    /// The time from the first command's beginning to the last answer.
    pub seconds: f64,
    /// How long each command took, from when it was due, or else from its own beginning.
    pub taken: Vec<Duration>,
}

/// A command that a client is to send.
struct Asked {
    /// When the command is due; `None` if that is as soon as the client has the answer to the one before.
    due: Option<Instant>,
    body: Bytes,
}

impl Clients {
    /// Connects so many clients, which send commands to `path`.
    pub async fn connect(address: SocketAddr, count: usize, path: String, prefer: &'static str) -> anyhow::Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = TcpStream::connect(address).await.context("the gateway can't be reached")?;
            stream.set_nodelay(true)?;
            let (connection, driver) = handshake(TokioIo::new(stream)).await?;
            // The error is that of the request which is under way.
            tokio::spawn(async { drop(driver.await) });
            connections.push(connection);
        }
        Ok(Self { connections, address, path, prefer })
    }

    /// Sends the commands, with `per_second` at that rate, otherwise as fast as answers come. All must be answered 200.
    pub async fn send(&mut self, commands: Vec<String>, per_second: Option<f64>) -> anyhow::Result<SentCommands> {
        let (clients, count) = (self.connections.len(), commands.len());
        let each = count.div_ceil(clients).max(1);
        let (mut senders, mut working) = (Vec::new(), JoinSet::new());
        for connection in self.connections.drain(..) {
            let (sender, receiver) = channel(each);
            senders.push(sender);
            working.spawn(work(connection, receiver, self.address, self.path.clone(), self.prefer));
        }
        // The queues take all commands, so nobody who sends into them waits.
        let (_running, stopped) = sync_channel(0);
        let start = Instant::now() + if per_second.is_some() { LEAD } else { Duration::ZERO };
        let feeding: JoinHandle<()> = tokio::task::spawn_blocking(move || {
            let mut due = start;
            for (number, body) in commands.into_iter().enumerate() {
                if per_second.is_some() {
                    wait_until(due, &stopped);
                }
                let asked = Asked { due: per_second.map(|_| due), body: body.into() };
                // An error means that the client has failed, and says so itself.
                let _ = senders[number % clients].blocking_send(asked);
                due += per_second.map_or(Duration::ZERO, |per_second| Duration::from_secs_f64(1.0 / per_second));
            }
        });
        let (mut taken, mut last) = (Vec::with_capacity(count), start);
        while let Some(worked) = working.join_next().await {
            let worked = worked??;
            taken.extend(worked.taken);
            last = last.max(worked.last);
            self.connections.push(worked.connection);
        }
        feeding.await?;
        ensure!(taken.len() == count, "{} of {count} commands were answered", taken.len());
        Ok(SentCommands { seconds: (last - start).as_secs_f64(), taken })
    }
}

/// A client that has sent its share of the commands: its connection, and the answers that it got.
struct Worked {
    connection: SendRequest<Body>,
    taken: Vec<Duration>,
    last: Instant,
}

async fn work(
    mut connection: SendRequest<Body>,
    mut asked: Receiver<Asked>,
    address: SocketAddr,
    path: String,
    prefer: &str,
) -> anyhow::Result<Worked> {
    let (mut taken, mut last) = (Vec::new(), Instant::now());
    while let Some(Asked { due, body }) = asked.recv().await {
        let from = due.unwrap_or_else(Instant::now);
        let request = Request::builder()
            .method(Method::POST)
            .uri(&path)
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header("prefer", prefer)
            .body(Body::from(body))?;
        connection.ready().await.context("a connection to the gateway ended")?;
        let answer = connection.send_request(request).await.context("the gateway does not answer")?;
        let status = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), LONGEST_ANSWER).await.context("an answer ended early")?;
        last = Instant::now();
        ensure!(status.is_success(), "the gateway answers {status}: {}", String::from_utf8_lossy(&body));
        taken.push(last.saturating_duration_since(from));
    }
    Ok(Worked { connection, taken, last })
}
