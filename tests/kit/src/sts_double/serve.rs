//! The wire: CONNECT, TLS under the asked name, HTTP/1.1 or HTTP/2 inside.

use super::behaviour::Connect;
use super::state::Shared;
use super::{Seen, answer};
use crate::web::{provider, read_head};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::error::Error;
use std::io;
use std::sync::{Arc, PoisonError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const BODY_MAX: usize = 256 * 1024;

/// Accepts until the runtime ends.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // Out of file descriptors, mostly: the next one may go better.
        let Ok((tcp, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let shared = Arc::clone(&shared);
        // A client that goes away in the middle is the test's own doing.
        tokio::spawn(async move {
            let mut connect = shared.connect.subscribe();
            let served = tunnel(tcp, &shared);
            tokio::select! {
                _ = served => {}
                // Refusals are played in `tunnel`; here tunnels that were open before are cut.
                _ = connect.changed() => {}
            }
        });
    }
}

async fn tunnel(mut tcp: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let head = read_head(&mut tcp).await?;
    let Some(host) = head
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split([' ', ':']).next())
    else {
        return tcp
            .write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
    };
    shared.state().connects += 1;
    let connect = *shared.connect.borrow();
    match connect {
        Connect::Open => {}
        Connect::Refuse => {
            return tcp
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
        Connect::Drop => return Ok(()),
        Connect::Hang => std::future::pending().await,
    }
    tcp.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    let tls = acceptor(shared, host).accept(tcp).await?;
    let service = service_fn(|request| respond(request, Arc::clone(shared)));
    let http = auto::Builder::new(TokioExecutor::new());
    http.serve_connection(TokioIo::new(tls), service)
        .await
        .map_err(io::Error::other)
}

/// The certificate for a name, made once.
fn acceptor(shared: &Shared, host: &str) -> TlsAcceptor {
    let mut leaves = shared.leaves.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = leaves.get(host) {
        return known.clone();
    }
    let cert = shared.authority.leaf(&[host], &shared.leaf_key).der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(shared.leaf_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has these versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .expect("a key that fits");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    leaves.insert(host.to_owned(), acceptor.clone());
    acceptor
}

type Answer = Result<http::Response<Full<Bytes>>, Box<dyn Error + Send + Sync>>;

async fn respond(request: http::Request<Incoming>, shared: Arc<Shared>) -> Answer {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX).collect().await?.to_bytes();
    let host = head
        .uri
        .host()
        .or_else(|| head.headers.get("host")?.to_str().ok())
        .unwrap_or_default();
    let seen = Seen {
        method: head.method.to_string(),
        host: host.to_owned(),
        path_and_query: head
            .uri
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string),
        http2: head.version == http::Version::HTTP_2,
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    answer::answer(seen, &shared)
        .await
        .ok_or_else(|| "the double was told to close".into())
}
