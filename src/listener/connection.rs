//! One connection, from the handshake to its end.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::places::{Known, Place};
use super::{Answer, Handover, Limits, Peer};
use crate::metrics::Metrics;

/// Holds the place of a connection as long as it lasts.
pub(super) struct Connection {
    place: Arc<Place>,
    metrics: Arc<Metrics>,
}

impl Connection {
    pub(super) fn open(place: Place, metrics: Arc<Metrics>) -> Self {
        metrics.connection_opened();
        Self {
            place: Arc::new(place),
            metrics,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

/// What all connections of a listener share.
pub(super) struct Server<F> {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) limits: Limits,
    pub(super) handover: Option<Handover>,
    pub(super) service_for: F,
    /// Cancelled when the listening socket is closed and connections are to end.
    pub(super) ending: CancellationToken,
}

impl<F: Fn(Peer) -> A, A: Answer> Server<F> {
    pub(super) async fn run(self: Arc<Self>, stream: TcpStream, peer: Peer, connection: Connection) {
        let place = &connection.place;
        let needed_of_a_stranger = async {
            place.is_needed().await;
            // Whoever is known is told, and finishes what he has.
            if place.is_known() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.serve(stream, peer, &connection) => {}
            () = needed_of_a_stranger => debug!("an idle connection gave its place to another"),
        }
    }

    async fn serve(&self, stream: TcpStream, mut peer: Peer, connection: &Connection) {
        // Replies are one small write each: waiting to fill a packet costs 40 ms. Without it we are slow, not wrong.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            let service = (self.service_for)(peer);
            return self.http1(stream, service, &connection.place).await;
        };
        let handshake = tokio::time::timeout(self.limits.handshake, tls.accept(stream));
        let handshake = tokio::select! {
            biased;
            done = handshake => done,
            () = self.handshakes_end() => return,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                peer.certificates = session.peer_certificates().unwrap_or_default().to_vec();
                // HTTP/2 only where ALPN says so: nothing is guessed from the first bytes, which a slow peer could withhold.
                let is_http2 = session.alpn_protocol() == Some(b"h2");
                let service = (self.service_for)(peer);
                if is_http2 {
                    self.http2(stream, service, &connection.place).await;
                } else {
                    self.http1(stream, service, &connection.place).await;
                }
            }
            Ok(Err(error)) => {
                debug!(%error, "TLS handshake failed");
                connection.metrics.handshake_failed();
            }
            Err(_) => connection.metrics.handshake_failed(),
        }
    }

    /// Whoever is in the middle of a handshake when we end is let go, unless he was promised an answer.
    async fn handshakes_end(&self) {
        self.ending.cancelled().await;
        tokio::time::sleep(self.handover.map_or(Duration::ZERO, |handover| handover.handshake)).await;
    }

    async fn http1<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: I,
        service: impl Answer,
        place: &Arc<Place>,
    ) {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_read)
            .max_header_size(self.limits.header_bytes)
            // Not less than a head, and enough for a body of the usual size in one read.
            .max_buf_size(2 * self.limits.header_bytes)
            .serve_connection(TokioIo::new(stream), watched(service, place, Some(self.ending.clone())));
        // A client cannot tell an idle connection that is closed from a request that was lost, and must not send a review twice:
        // so he is told in an answer, if he asks soon.
        let idle = self.handover.map_or(Duration::ZERO, |handover| handover.idle);
        self.drive(connection, idle, place).await;
    }

    async fn http2<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: I,
        service: impl Answer,
        place: &Arc<Place>,
    ) {
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
            .serve_connection(TokioIo::new(stream), watched(service, place, None));
        // GOAWAY says which requests were not looked at: clients ask them again elsewhere.
        self.drive(connection, Duration::ZERO, place).await;
    }

    /// Runs a connection to its end: when we end, or it is too old, it finishes what it has (HTTP/2 says GOAWAY) in the drain time.
    /// One that is idle may stay a little when we end.
    async fn drive<C: GracefulConnection<Error = hyper::Error>>(&self, connection: C, idle: Duration, place: &Place) {
        let mut connection = std::pin::pin!(connection);
        let told = async {
            tokio::select! {
                () = tokio::time::sleep(self.limits.age) => {}
                () = place.is_needed() => {}
                () = self.ending.cancelled() => tokio::time::sleep(idle).await,
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = told => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(self.limits.drain, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection broke");
        }
    }
}

/// Notes when requests come and go. Says `Connection: close` in every HTTP/1.1 answer once we end.
fn watched(service: impl Answer, place: &Arc<Place>, ending: Option<CancellationToken>) -> impl Answer {
    let place = Arc::clone(place);
    service_fn(move |request| {
        let (answer, visit) = (service.call(request), place.visit());
        let (place, ending) = (Arc::clone(&place), ending.clone());
        async move {
            let mut response = answer.await?;
            if response.extensions().get::<Known>().is_some() {
                place.know();
            }
            drop(visit);
            if ending.is_some_and(|ending| ending.is_cancelled()) {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    })
}
