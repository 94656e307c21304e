//! A plain client for one address: a new connection for each request, so that nothing is hidden by a pool.

mod pinned;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longer than any answer of ours may take (the API server gives up after as long).
const DEADLINE: Duration = Duration::from_secs(30);

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body as JSON; null when it is none.
    pub body: serde_json::Value,
}

impl Reply {
    /// A `TokenReview`'s `status.authenticated`.
    pub fn authenticated(&self) -> bool {
        self.body["status"]["authenticated"].as_bool().unwrap_or(false)
    }

    /// A `TokenReview`'s user name.
    pub fn username(&self) -> Option<&str> {
        self.body["status"]["user"]["username"].as_str()
    }

    /// A `TokenReview`'s groups.
    pub fn groups(&self) -> Vec<&str> {
        let groups = self.body["status"]["user"]["groups"].as_array();
        groups
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str)
            .collect()
    }

    /// The reason of a refusal: a `TokenReview`'s `status.error`, or a `Status` object's `message`.
    pub fn reason(&self) -> Option<&str> {
        self.body["status"]["error"]
            .as_str()
            .or_else(|| self.body["message"].as_str())
    }
}

/// A client for one address.
#[derive(Clone)]
pub struct Web {
    address: SocketAddr,
    name: String,
    tls: Option<Arc<ClientConfig>>,
    tunnel: bool,
    http2: bool,
}

impl Web {
    /// Plain HTTP.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            name: address.to_string(),
            tls: None,
            tunnel: false,
            http2: false,
        }
    }

    /// HTTPS that trusts `ca_pem` alone.
    pub fn tls(address: SocketAddr, ca_pem: &str) -> Self {
        let tls = builder(ca_pem).with_no_client_auth();
        Self {
            name: address.ip().to_string(),
            tls: Some(Arc::new(tls)),
            ..Self::plain(address)
        }
    }

    /// HTTPS that trusts exactly the first certificate of `cert_pem`, whatever it says of itself.
    pub fn pinned(address: SocketAddr, cert_pem: &str) -> Self {
        let cert = CertificateDer::from_pem_slice(cert_pem.as_bytes()).expect("a certificate");
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has these versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned::Pinned::new(cert)))
            .with_no_client_auth();
        Self {
            name: address.ip().to_string(),
            tls: Some(Arc::new(tls)),
            ..Self::plain(address)
        }
    }

    /// HTTPS with a client certificate.
    pub fn mutual_tls(address: SocketAddr, ca_pem: &str, cert_pem: &str, key_pem: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).map(|cert| cert.expect("a certificate"));
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a private key");
        let tls = builder(ca_pem)
            .with_client_auth_cert(chain.collect(), key)
            .expect("a key that fits");
        Self {
            name: address.ip().to_string(),
            tls: Some(Arc::new(tls)),
            ..Self::plain(address)
        }
    }

    /// HTTPS to `host`, port 443, through the CONNECT proxy at `proxy`.
    pub fn through_proxy(proxy: SocketAddr, host: &str, ca_pem: &str) -> Self {
        Self {
            name: host.to_owned(),
            tunnel: true,
            ..Self::tls(proxy, ca_pem)
        }
    }

    /// The same over HTTP/2.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        if let Some(tls) = &mut self.tls {
            Arc::make_mut(tls).alpn_protocols = vec![b"h2".to_vec()];
        }
        self
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> io::Result<Reply> {
        self.send("GET", path, &[], b"").await
    }

    /// `POST path`; JSON unless the headers say otherwise.
    pub async fn post(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> io::Result<Reply> {
        let mut all = headers.to_vec();
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            all.push(("content-type", "application/json"));
        }
        self.send("POST", path, &all, body).await
    }

    /// Sends a request and reads the whole answer, within 30 s.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let reply = tokio::time::timeout(DEADLINE, self.exchange(method, path, headers, body)).await;
        reply.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s")))
    }

    async fn exchange(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Reply> {
        let mut tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        if self.tunnel {
            open_tunnel(&mut tcp, &self.name).await?;
        }
        let Some(tls) = &self.tls else {
            return self.over(tcp, method, path, headers, body).await;
        };
        let name = ServerName::try_from(self.name.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?;
        self.over(stream, method, path, headers, body).await
    }

    async fn over<S>(
        &self,
        stream: S,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Reply>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut request = http::Request::builder().method(method);
        request = if self.http2 {
            request.uri(format!("{scheme}://{}{path}", self.name))
        } else {
            request.uri(path).header("host", &self.name)
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(io::Error::other)?;
        let response = if self.http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        let (head, body) = response.map_err(io::Error::other)?.into_parts();
        let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            text,
            body,
        })
    }
}

/// The provider is named, so that a test's process-wide default does not matter here.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn builder(ca_pem: &str) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(cert.expect("a certificate")).expect("a usable certificate");
    }
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has these versions")
        .with_root_certificates(roots)
}

async fn open_tunnel(tcp: &mut TcpStream, host: &str) -> io::Result<()> {
    tcp.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n").as_bytes())
        .await?;
    let head = read_head(tcp).await?;
    if head.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(refused(head.lines().next().unwrap_or_default()))
}

fn refused(line: impl Display) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, format!("the proxy answered: {line}"))
}

/// Reads an HTTP/1 head byte by byte: what follows it belongs to TLS.
pub(crate) async fn read_head(tcp: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= 16 * 1024 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a head of more than 16 KiB"));
        }
        head.push(tcp.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
