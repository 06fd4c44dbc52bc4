//! A gate in front of a server. While it is shut, nobody gets through, and connections that were open are cut.

use crate::inbox::Inbox;
use crate::runtime;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards connections to a server while it is open.
pub struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    /// Makes an open gate in front of `host:port`.
    pub fn before(server: &str) -> Self {
        let (open, watch) = watch::channel(true);
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("the loopback interface has a free port");
        let address = listener.local_addr().expect("it is bound");
        runtime().spawn(stand(listener, server.to_owned(), watch));
        Self { address, open }
    }

    /// Returns the `host:port` of the gate.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Shuts the gate: ends all connections, and each new one at once. Returns when all that were open are cut.
    pub fn shut(&self) {
        self.open.send_replace(false);
        let deadline = Instant::now() + Inbox::PATIENCE;
        // One receiver is that of the listener; each connection has another.
        while self.open.receiver_count() > 1 {
            assert!(Instant::now() < deadline, "{} connections are not cut", self.open.receiver_count() - 1);
            crate::pause();
        }
    }

    /// Opens the gate: lets connections through again.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn stand(listener: TcpListener, server: String, open: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        if *open.borrow() {
            tokio::spawn(forward(client, server.clone(), open.clone()));
        }
    }
}

async fn forward(mut client: TcpStream, server: String, mut open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
