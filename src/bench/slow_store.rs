//! A relay in front of the database that hands on each of its answers only after a while. `--store-delay` puts the relay between the
//! database and the processes that are measured, so that these have a store that is slow or far away.

use anyhow::Context as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How many pieces of answers one connection can have on their way. When there are more, the database waits.
const ON_THEIR_WAY: usize = 32_768;
/// How many bytes are read at once.
const PIECE: usize = 16 * 1024;

/// A relay in front of the database. It works until it is dropped.
pub struct SlowStore {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl SlowStore {
    /// Starts a relay to `database` (`host:port`).
    ///
    /// # Errors
    /// Returns an error if no server listens at the address.
    pub async fn before(database: &str, delay: Duration) -> anyhow::Result<Self> {
        TcpStream::connect(database).await.with_context(|| format!("store.contact_points: {database} can't be reached"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port for --store-delay")?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, database.to_owned(), delay));
        Ok(Self { address, _accepting: accepting })
    }

    /// Returns the `host:port` of the relay.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

async fn accept(listener: TcpListener, database: String, delay: Duration) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let database = database.clone();
        // Either side notices when the other one is gone.
        connections.spawn(async move { drop(relay(client, &database, delay).await) });
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(client: TcpStream, database: &str, delay: Duration) -> io::Result<()> {
    let database = TcpStream::connect(database).await?;
    client.set_nodelay(true)?;
    database.set_nodelay(true)?;
    let ((mut requests, to_client), (answers, mut to_database)) = (client.into_split(), database.into_split());
    let (sender, on_their_way) = mpsc::channel(ON_THEIR_WAY);
    tokio::select! {
        copied = copy(&mut requests, &mut to_database) => copied.map(drop),
        taken = take(answers, sender, delay) => taken,
        delivered = deliver(on_their_way, to_client) => delivered,
    }
}

async fn take(mut answers: OwnedReadHalf, to: mpsc::Sender<(Instant, Vec<u8>)>, delay: Duration) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if answers.read_buf(&mut piece).await? == 0 || to.send((Instant::now() + delay, piece)).await.is_err() {
            return Ok(());
        }
    }
}

async fn deliver(mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) -> io::Result<()> {
    while let Some((due, piece)) = pieces.recv().await {
        sleep_until(due).await;
        to.write_all(&piece).await?;
    }
    Ok(())
}
