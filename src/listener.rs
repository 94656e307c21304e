//! The accept loop of every port: TLS or plain, every phase bounded, drained at the end.
//!
//! Surfaces hand in a service for each peer; who listens where is decided in `cli`.
//!
//! With a socket that is shared with a successor (`--reuse-port`) the end has an order: first nobody new may begin a connection
//! here, then whoever had begun one is let in, then the socket is closed, and only then connections are told to end. So whoever is
//! told finds the successor alone. What the kernel leaves open: a TCP handshake that takes longer than [`Handover::settle`] is reset.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::Metrics;
use connection::{Connection, Server};
pub use places::Known;
use places::Places;
pub use socket::{Bound, Listening, bind, is_taken};

mod connection;
mod places;
mod socket;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. One more takes the place of the one that is idle the longest; where none is idle, it waits. An API
    /// server has one or two. Each takes about 30 KiB.
    pub connections: usize,
    /// From the accepted connection to the end of the TLS handshake: several round trips, even across an ocean.
    pub handshake: Duration,
    /// How long the head of an HTTP/1 request may take, from when the connection falls idle: it also ends idle connections.
    pub header_read: Duration,
    /// The largest head of a request. A review's has 500 bytes.
    pub header_bytes: usize,
    /// Requests at a time on one HTTP/2 connection: the API server sends all on one. The number of Go's own server.
    pub streams: u32,
    /// An HTTP/2 peer is asked whether it is there after so long a silence...
    pub ping_every: Duration,
    /// ... and has this long to answer.
    pub ping_timeout: Duration,
    /// The longest a connection may last. Whatever a peer does (never read, never ask), it gives its place back in the end; Go's
    /// client opens another connection on GOAWAY without losing a request.
    pub age: Duration,
    /// How long requests may go on after their connection was told to end: as long as a review may wait for STS.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(30),
            header_bytes: 32 * 1024,
            streams: 250,
            ping_every: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
            age: Duration::from_hours(1),
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// For the health port, which the whole network reaches: a probe is one small request, and whoever holds a connection without
    /// asking must not keep kubelet's probes out for long.
    pub fn probes() -> Self {
        Self {
            connections: 64,
            header_read: Duration::from_secs(5),
            header_bytes: 8 * 1024,
            age: Duration::from_mins(5),
            drain: Duration::from_secs(1),
            ..Self::default()
        }
    }
}

/// Out of file descriptors or memory: the first pause, doubled up to the last. Accepting at once would only fail again, at full speed.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// How a socket that is shared with a successor is given up.
#[derive(Clone, Copy, Debug)]
pub struct Handover {
    /// From the moment nobody new may begin a connection until the socket is closed: the round trip of the farthest API server.
    pub settle: Duration,
    /// How long a TLS handshake may go on after that.
    pub handshake: Duration,
    /// How long an idle HTTP/1.1 connection is kept, so that its next answer can say `Connection: close`.
    pub idle: Duration,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(300),
            handshake: Duration::from_secs(2),
            idle: Duration::from_secs(5),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// His address.
    pub address: SocketAddr,
    /// The address of ours that he connected to, if the system told.
    pub local: Option<SocketAddr>,
    /// The certificates that he has the key of, his own first, as far as TLS asked for any. Nobody has vouched for them yet.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// What answers the requests of one connection, and always has an answer.
pub trait Answer:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static> + Send + 'static
{
}

impl<S> Answer for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static> + Send + 'static
{
}

/// A listening socket and how it is served.
pub struct Listener {
    /// The socket.
    pub socket: Listening,
    /// HTTPS with HTTP/1.1 or HTTP/2, as ALPN has it; without, plain HTTP/1.1.
    pub tls: Option<Arc<ServerConfig>>,
    /// The bounds.
    pub limits: Limits,
    /// Who counts.
    pub metrics: Arc<Metrics>,
}

impl Listener {
    /// Serves until `shutdown` is cancelled; returns when the last request is answered, or cut off after the drain time.
    pub async fn serve<A: Answer>(
        self,
        service_for: impl Fn(Peer) -> A + Send + Sync + 'static,
        shutdown: CancellationToken,
    ) {
        let Listening { tcp, shared } = self.socket;
        let server = Arc::new(Server {
            tls: self.tls.map(TlsAcceptor::from),
            limits: self.limits,
            handover: shared.then(Handover::default),
            service_for,
            ending: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        let mut door = Door {
            places: Places::new(self.limits.connections),
            metrics: self.metrics,
            pause: FIRST_PAUSE,
        };
        // Not a stray task: the tracker waits for it and the token ends it.
        let let_in = |(stream, peer, connection)| {
            tasks.spawn(Arc::clone(&server).run(stream, peer, connection));
        };
        let while_open = async {
            loop {
                let_in(door.next(&tcp).await);
            }
        };
        shutdown.run_until_cancelled(while_open).await;
        if let Some(handover) = &server.handover {
            if let Err(error) = socket::let_nobody_begin(&tcp) {
                warn!(%error, "connections that begin in this moment may be lost: the port cannot be given up gently");
            }
            let until_settled = async {
                loop {
                    let_in(door.next(&tcp).await);
                }
            };
            // Its end is the end of the time.
            let _ = tokio::time::timeout(handover.settle, until_settled).await;
        }
        // The port is free from here on: a successor can bind it, or has it alone.
        drop(tcp);
        server.ending.cancel();
        tasks.close();
        tasks.wait().await;
    }
}

/// Lets connections in, one after the other.
struct Door {
    places: Arc<Places>,
    metrics: Arc<Metrics>,
    pause: Duration,
}

impl Door {
    async fn next(&mut self, tcp: &TcpListener) -> (TcpStream, Peer, Connection) {
        loop {
            match tcp.accept().await {
                Ok((stream, address)) => {
                    self.pause = FIRST_PAUSE;
                    let peer = Peer {
                        address,
                        local: stream.local_addr().ok(),
                        certificates: Vec::new(),
                    };
                    // Whoever waits here when we end is lost: every place is taken by a request that is under way.
                    let place = self.places.take().await;
                    return (stream, peer, Connection::open(place, Arc::clone(&self.metrics)));
                }
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, "a connection broke before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "no connection can be accepted");
                    self.metrics.accept_failed();
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }
}

/// The peer went away between its SYN and our accept: nothing is wrong here.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// A router as what answers.
pub fn answer(router: Router) -> impl Answer {
    TowerToHyperService::new(router.into_service())
}
