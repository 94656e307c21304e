//! The accept loop of both listeners: TLS or plain, every phase bounded, drained at the end.
//!
//! Surfaces hand in a service for each peer; who listens where is decided in `cli`.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::Metrics;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait in the kernel's backlog. An API server has one or two. Each takes about 30 KiB.
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

/// Listens on an address, or on all of them: IPv6 and IPv4, or IPv4 alone where there is no IPv6.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match address {
        Some(address) => TcpListener::bind((address, port)).await,
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
            }
            bound => bound,
        },
    }
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

/// A bound socket and how it is served.
pub struct Listener {
    /// The bound socket.
    pub tcp: TcpListener,
    /// HTTPS with HTTP/1.1 or HTTP/2, as ALPN has it; without, plain HTTP/1.1.
    pub tls: Option<Arc<ServerConfig>>,
    /// The bounds.
    pub limits: Limits,
    /// Who counts.
    pub metrics: Arc<Metrics>,
}

impl Listener {
    /// Serves until `shutdown` is cancelled; returns when the last request is answered, or cut off after the drain time.
    pub async fn serve<A: Answer>(self, service_for: impl Fn(SocketAddr) -> A, shutdown: CancellationToken) {
        let Self {
            tcp,
            tls,
            limits,
            metrics,
        } = self;
        let server = Arc::new(Server {
            tls: tls.map(TlsAcceptor::from),
            limits,
            shutdown,
        });
        let places = Arc::new(Semaphore::new(limits.connections));
        let tasks = TaskTracker::new();
        let mut pause = FIRST_PAUSE;
        while let Some(place) = server
            .unless_shut_down(Arc::clone(&places).acquire_owned())
            .await
            .and_then(Result::ok)
        {
            let Some(accepted) = server.unless_shut_down(tcp.accept()).await else {
                break;
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    let connection = Connection::open(place, Arc::clone(&metrics));
                    // Not a stray task: the tracker waits for it and the token ends it.
                    tasks.spawn(Arc::clone(&server).run(stream, service_for(peer), connection));
                }
                Err(error) if is_of_one_connection(&error) => {
                    debug!(%error, "a connection broke before it was accepted");
                }
                Err(error) => {
                    warn!(%error, "no connection can be accepted");
                    metrics.accept_failed();
                    server.unless_shut_down(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
        // The port is free from here on: a successor can bind it.
        drop(tcp);
        tasks.close();
        tasks.wait().await;
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

/// Holds the place of a connection as long as it lasts.
struct Connection {
    #[expect(dead_code, reason = "held, not read: dropping it lets the next connection in")]
    place: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Connection {
    fn open(place: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Self {
        metrics.connection_opened();
        Self { place, metrics }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

struct Server {
    tls: Option<TlsAcceptor>,
    limits: Limits,
    shutdown: CancellationToken,
}

impl Server {
    async fn unless_shut_down<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            output = future => Some(output),
        }
    }

    async fn run(self: Arc<Self>, stream: TcpStream, service: impl Answer, connection: Connection) {
        // Replies are one small write each: waiting to fill a packet costs 40 ms. Without it we are slow, not wrong.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.http1(stream, service).await;
        };
        let handshake = tokio::time::timeout(self.limits.handshake, tls.accept(stream));
        match self.unless_shut_down(handshake).await {
            // HTTP/2 only where ALPN says so: nothing is guessed from the first bytes, which a slow peer could withhold.
            Some(Ok(Ok(stream))) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, service).await;
            }
            Some(Ok(Ok(stream))) => self.http1(stream, service).await,
            Some(Ok(Err(error))) => {
                debug!(%error, "TLS handshake failed");
                connection.metrics.handshake_failed();
            }
            Some(Err(_)) => connection.metrics.handshake_failed(),
            None => {}
        }
    }

    async fn http1<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: I, service: impl Answer) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read)
            .max_header_size(self.limits.header_bytes)
            // Not less than a head, and enough for a body of the usual size in one read.
            .max_buf_size(2 * self.limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        self.drive(connection).await;
    }

    async fn http2<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: I, service: impl Answer) {
        // Floods of reset streams end the connection: hyper's own bounds (20 pending, 1024 of our own making) are kept.
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(u32::try_from(self.limits.header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(self.limits.ping_every)
            .keep_alive_timeout(self.limits.ping_timeout)
            // A body fits a stream's window, so that it comes without a round trip; all of them together do not.
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(1024 * 1024)
            // The largest reply is /metrics, some 50 KiB.
            .max_send_buf_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        self.drive(connection).await;
    }

    /// Runs a connection to its end: when we shut down, or it is too old, it finishes what it has (HTTP/2 says GOAWAY) in the drain
    /// time.
    async fn drive<C: GracefulConnection<Error = hyper::Error>>(&self, connection: C) {
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.told_to_end() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(self.limits.drain, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection broke");
        }
    }

    async fn told_to_end(&self) {
        self.unless_shut_down(tokio::time::sleep(self.limits.age)).await;
    }
}

/// A router as what answers.
pub fn answer(router: Router) -> impl Answer {
    TowerToHyperService::new(router.into_service())
}
