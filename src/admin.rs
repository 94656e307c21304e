//! The plain-HTTP port: probes for everybody, details and metrics for the node itself.
//!
//! Liveness depends on nothing outside the process: restarting us brings back neither the API server nor STS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::watch;

use crate::metrics::{EXPOSITION_TYPE, Metrics};

/// What still keeps the server from answering every review.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readiness {
    /// What is missing, each a short sentence; empty when ready.
    pub missing: Vec<String>,
    /// What an operator should know besides; it never makes the server unready.
    pub notes: Vec<String>,
}

impl Readiness {
    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }
}

/// How much a peer is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    /// Probes only: the port is open to the whole network, as upstream's is.
    Probes,
    /// Probes with detail, and metrics.
    Everything,
}

impl View {
    /// What a peer of the health port is shown: everything on the loopback, also when it comes to an IPv6 socket by IPv4.
    pub fn of(peer: SocketAddr) -> Self {
        if peer.ip().to_canonical().is_loopback() {
            Self::Everything
        } else {
            Self::Probes
        }
    }

    /// The same where some addresses of ours are open to everybody: `local` is the one that this peer came to.
    pub fn opened(opened: Opened, peer: SocketAddr, local: Option<SocketAddr>) -> Self {
        let is_open = match opened {
            Opened::Nowhere => false,
            Opened::Everywhere => true,
            Opened::At(address) => local.is_some_and(|local| local.ip().to_canonical() == address.to_canonical()),
        };
        if is_open { Self::Everything } else { Self::of(peer) }
    }
}

/// Where everybody is shown everything (`--metrics-address`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// Only the node itself is.
    Nowhere,
    /// On every address.
    Everywhere,
    /// On this one of our addresses.
    At(IpAddr),
}

/// What the routes read.
#[derive(Clone)]
pub struct AdminState {
    /// What is missing.
    pub readiness: watch::Receiver<Readiness>,
    /// What is wrong with the certificate, if anything is; it serves all the same.
    pub certificate: watch::Receiver<Option<String>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// The routes in one view; a listener takes the view of each peer.
pub fn router(state: AdminState, view: View) -> Router {
    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/livez", get(async || "ok"));
    match view {
        View::Probes => router
            .route(
                "/readyz",
                get(async |State(state): State<AdminState>| ready(&state, false)),
            )
            .route(
                "/metrics",
                get(async || {
                    (
                        StatusCode::FORBIDDEN,
                        "metrics are for the node itself: ask over the loopback or the HTTPS port, or set --metrics-address\n",
                    )
                }),
            )
            .with_state(state),
        View::Everything => router
            .route(
                "/readyz",
                get(async |State(state): State<AdminState>, RawQuery(query): RawQuery| {
                    ready(&state, query.is_some_and(|query| is_verbose(&query)))
                }),
            )
            .route(
                "/metrics",
                get(async |State(state): State<AdminState>| metrics(&state.metrics)),
            )
            .with_state(state),
    }
}

/// `?verbose`, as the API server's own probes have it, with or without a value.
fn is_verbose(query: &str) -> bool {
    query.split('&').any(|part| part.split('=').next() == Some("verbose"))
}

fn ready(state: &AdminState, verbose: bool) -> Response {
    let readiness = state.readiness.borrow();
    let (status, word) = if readiness.is_ready() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    if !verbose {
        return (status, word).into_response();
    }
    let missing = readiness.missing.iter().map(|missing| format!("[-] {missing}\n"));
    let trouble = state.certificate.borrow();
    let notes = readiness.notes.iter().chain(trouble.as_ref());
    let lines = missing.chain(notes.map(|note| format!("[i] {note}\n")));
    (status, lines.collect::<String>() + word + "\n").into_response()
}

fn metrics(metrics: &Metrics) -> Response {
    let mut response = metrics.exposition().into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(EXPOSITION_TYPE));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn fetch(view: View, missing: &[&str], uri: &str) -> (u16, String) {
        let missing = missing.iter().map(ToString::to_string).collect();
        let notes = vec!["another replica writes".to_owned()];
        let (_sender, readiness) = watch::channel(Readiness { missing, notes });
        let (_certificate, certificate) = watch::channel(None);
        let router = router(
            AdminState {
                readiness,
                certificate,
                metrics: Arc::new(Metrics::new(Instant::now(), "1")),
            },
            view,
        );
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        let response = router.oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[test]
    fn what_is_opened_is_open_to_everybody_who_comes_to_it() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let view = |opened, local: &str| View::opened(opened, address("10.9.9.9:1"), Some(address(local)));
        let at = Opened::At("10.0.0.1".parse().expect("an address"));
        assert_eq!(view(Opened::Nowhere, "10.0.0.1:1"), View::Probes);
        assert_eq!(view(Opened::Everywhere, "10.0.0.1:1"), View::Everything);
        assert_eq!(view(at, "10.0.0.1:1"), View::Everything);
        assert_eq!(view(at, "[::ffff:10.0.0.1]:1"), View::Everything);
        assert_eq!(view(at, "10.0.0.2:1"), View::Probes);
        let local = address("127.0.0.1:1");
        assert_eq!(View::opened(Opened::Nowhere, local, Some(local)), View::Everything);
    }

    #[tokio::test]
    async fn liveness_depends_on_nothing() {
        for view in [View::Probes, View::Everything] {
            for uri in ["/healthz", "/livez"] {
                assert_eq!(fetch(view, &["all of it"], uri).await, (200, "ok".to_owned()));
            }
        }
    }

    #[tokio::test]
    async fn readiness_tells_details_to_the_node_only() {
        let missing = ["mappings of CRD have not been read"];
        assert_eq!(fetch(View::Probes, &[], "/readyz").await, (200, "ok".to_owned()));
        assert_eq!(
            fetch(View::Probes, &missing, "/readyz?verbose").await,
            (503, "not ready".to_owned())
        );
        assert_eq!(
            fetch(View::Everything, &missing, "/readyz").await,
            (503, "not ready".to_owned())
        );
        let verbose = "[-] mappings of CRD have not been read\n[i] another replica writes\nnot ready\n".to_owned();
        assert_eq!(
            fetch(View::Everything, &missing, "/readyz?verbose").await,
            (503, verbose.clone())
        );
        assert_eq!(
            fetch(View::Everything, &missing, "/readyz?verbose=true").await,
            (503, verbose)
        );
        assert_eq!(
            fetch(View::Everything, &[], "/readyz?verbose").await,
            (200, "[i] another replica writes\nok\n".to_owned())
        );
    }

    #[tokio::test]
    async fn metrics_are_for_the_node() {
        let (status, text) = fetch(View::Everything, &[], "/metrics").await;
        assert_eq!(
            (status, text.contains("aws_iam_authenticator_build_info{")),
            (200, true)
        );
        assert_eq!(fetch(View::Probes, &[], "/metrics").await.0, 403);
    }

    #[test]
    fn the_loopback_in_all_its_forms() {
        let view = |peer: &str| View::of(peer.parse().expect("an address"));
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(view(local), View::Everything, "{local}");
        }
        for remote in ["10.0.0.1:1", "[::ffff:10.0.0.1]:1", "[2001:db8::1]:1"] {
            assert_eq!(view(remote), View::Probes, "{remote}");
        }
    }
}
