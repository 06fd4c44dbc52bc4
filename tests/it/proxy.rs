//! A proxy between the driver and the database. It knows where a frame of the CQL protocol (version 4) begins and ends, so that
//! it can lose a single request, lose its answer, or deliver the request long after the driver gave it up, while the connection
//! stays.

use crate::runtime;
use crm_processor::store::simulated::Random;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How many answers of one connection may be on their way: as many as a driver may have requests without an answer.
const DELAYED: usize = 32_768;

/// What the proxy does to the statements that pass. By default it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Mischief {
    /// The number of statements in a thousand that never reach the database.
    pub lost_requests: u64,
    /// The number of statements in a thousand that are executed and never answered.
    pub lost_answers: u64,
    /// The number of statements in a thousand that reach the database only after a while, and whose answer nobody gets.
    pub late: u64,
    /// How long the late statements take to reach the database.
    pub lateness: Duration,
    /// Statements with these bytes among their values are executed and never answered.
    pub muted: Option<Vec<u8>>,
    /// The time by which each answer is delayed.
    pub delay: Duration,
}

/// How often the proxy did each of these.
#[derive(Debug, Default)]
pub struct Done {
    pub lost_requests: AtomicU64,
    pub lost_answers: AtomicU64,
    pub late: AtomicU64,
}

/// See the module.
pub struct CqlProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    mischief: Mutex<Mischief>,
    random: Mutex<Random>,
    done: Done,
}

/// What the proxy does to one statement.
enum Fate {
    Passes,
    Lost,
    Unanswered,
    Late(Duration),
}

impl CqlProxy {
    /// Starts a proxy in front of `host:port`. `seed` determines which statements it picks.
    pub fn before(server: &str, seed: u64) -> Self {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("it is bound");
        let random = Mutex::new(Random::new(seed));
        let shared = Arc::new(Shared { mischief: Mutex::default(), random, done: Done::default() });
        runtime().spawn(accept(listener, server.to_owned(), shared.clone()));
        Self { address, shared }
    }

    /// Returns the `host:port` of the proxy.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes what the proxy does from now on.
    pub fn set(&self, mischief: Mischief) {
        *lock(&self.shared.mischief) = mischief;
    }

    /// Returns how often the proxy did each thing so far.
    pub fn done(&self) -> &Done {
        &self.shared.done
    }
}

impl Shared {
    fn fate(&self, frame: &Frame) -> Fate {
        if !frame.is_statement() {
            return Fate::Passes;
        }
        let mischief = lock(&self.mischief).clone();
        let chance = |per_mille| lock(&self.random).chance(per_mille);
        let muted = mischief.muted.is_some_and(|marker| frame.contains(&marker));
        if muted || chance(mischief.lost_answers) {
            self.done.lost_answers.fetch_add(1, Ordering::Relaxed);
            Fate::Unanswered
        } else if chance(mischief.lost_requests) {
            self.done.lost_requests.fetch_add(1, Ordering::Relaxed);
            Fate::Lost
        } else if chance(mischief.late) {
            self.done.late.fetch_add(1, Ordering::Relaxed);
            Fate::Late(mischief.lateness)
        } else {
            Fate::Passes
        }
    }
}

async fn accept(listener: TcpListener, server: String, shared: Arc<Shared>) {
    while let Ok((driver, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&server).await else { continue };
        let _ = (driver.set_nodelay(true), server.set_nodelay(true));
        let ((from_driver, to_driver), (from_server, to_server)) = (driver.into_split(), server.into_split());
        let connection = Arc::new(Connection {
            to_server: tokio::sync::Mutex::new(to_server),
            unanswered: Mutex::default(),
            shared: shared.clone(),
        });
        tokio::spawn(async move {
            tokio::select! {
                () = requests(&connection, from_driver) => {}
                () = answers(&connection, from_server, to_driver) => {}
            }
        });
    }
}

struct Connection {
    to_server: tokio::sync::Mutex<OwnedWriteHalf>,
    /// The numbers of the statements whose answers are to be lost.
    unanswered: Mutex<HashSet<[u8; 2]>>,
    shared: Arc<Shared>,
}

async fn requests(connection: &Arc<Connection>, mut from: OwnedReadHalf) {
    while let Some(frame) = Frame::read(&mut from).await {
        let fate = connection.shared.fate(&frame);
        match fate {
            Fate::Passes => {}
            Fate::Lost => continue,
            Fate::Unanswered => _ = lock(&connection.unanswered).insert(frame.stream()),
            Fate::Late(lateness) => {
                lock(&connection.unanswered).insert(frame.stream());
                let connection = connection.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(lateness).await;
                    let _ = connection.to_server.lock().await.write_all(&frame.0).await;
                });
                continue;
            }
        }
        if connection.to_server.lock().await.write_all(&frame.0).await.is_err() {
            return;
        }
    }
}

async fn answers(connection: &Connection, from: OwnedReadHalf, to: OwnedWriteHalf) {
    let (sender, delayed) = mpsc::channel(DELAYED);
    tokio::join!(take_answers(connection, from, sender), deliver(delayed, to));
}

async fn take_answers(connection: &Connection, mut from: OwnedReadHalf, to: mpsc::Sender<(Instant, Frame)>) {
    while let Some(frame) = Frame::read(&mut from).await {
        let lost = lock(&connection.unanswered).remove(&frame.stream());
        let due = Instant::now() + lock(&connection.shared.mischief).delay;
        if !lost && to.send((due, frame)).await.is_err() {
            return;
        }
    }
}

async fn deliver(mut delayed: mpsc::Receiver<(Instant, Frame)>, mut to: OwnedWriteHalf) {
    while let Some((due, frame)) = delayed.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&frame.0).await.is_err() {
            return;
        }
    }
}

/// A frame with its header: version, flags, stream (2 bytes), opcode, length of the body (4 bytes).
struct Frame(Vec<u8>);

impl Frame {
    const HEAD: usize = 9;

    /// Reads a frame. Returns `None` if the connection has ended.
    async fn read(from: &mut OwnedReadHalf) -> Option<Self> {
        let mut frame = vec![0; Self::HEAD];
        from.read_exact(&mut frame).await.ok()?;
        let length = u32::from_be_bytes(frame[5..].try_into().expect("four bytes"));
        let mut body = from.take(length.into());
        let read = copy(&mut body, &mut frame).await.ok()?;
        (read == u64::from(length)).then_some(Self(frame))
    }

    fn stream(&self) -> [u8; 2] {
        [self.0[2], self.0[3]]
    }

    /// Returns whether the frame is an EXECUTE or a BATCH, with which the processor reads and writes.
    fn is_statement(&self) -> bool {
        matches!(self.0[4], 0x0A | 0x0D)
    }

    fn contains(&self, marker: &[u8]) -> bool {
        self.0.windows(marker.len()).any(|window| window == marker)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
