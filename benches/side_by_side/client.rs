//! A client that keeps its connection: the kit's own opens one for each request, which would be most of what is timed.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kit::ControlPlane;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

/// A certificate and its key, in PEM.
type Pair = (Vec<u8>, Vec<u8>);

impl Client {
    /// To a webhook.
    pub(crate) async fn webhook(address: SocketAddr) -> Self {
        Self::connect(address, None).await
    }

    /// To the API server, as its administrator.
    pub(crate) async fn admin(plane: &ControlPlane) -> Self {
        Self::connect(plane.address(), Some(admin_pair(plane))).await
    }

    async fn connect(address: SocketAddr, pair: Option<Pair>) -> Self {
        let tcp = TcpStream::connect(address).await.expect("it listens");
        tcp.set_nodelay(true).expect("a socket");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has these versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OurOwnChild(provider)));
        let config = match pair {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = CertificateDer::pem_slice_iter(&cert)
                    .map(|cert| cert.expect("a certificate"))
                    .collect();
                let key = PrivateKeyDer::from_pem_slice(&key).expect("a key");
                config.with_client_auth_cert(chain, key).expect("a key that fits")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .expect("TLS");
        let (sender, connection) = handshake(TokioIo::new(tls)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends JSON or YAML and reads the whole answer.
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
        let body = body.into();
        let kind = if body.starts_with(b"apiVersion:") {
            "application/yaml"
        } else {
            "application/json"
        };
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        let request = request.header("content-type", kind).body(Full::new(body));
        self.sender.ready().await.expect("an open connection");
        let response = self
            .sender
            .send_request(request.expect("a request"))
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Whether a review is granted.
    pub(crate) async fn is_granted(&mut self, review: &Bytes) -> bool {
        let (_, body) = self.send("POST", "/authenticate", review.clone()).await;
        body["status"]["authenticated"] == true
    }
}

fn admin_pair(plane: &ControlPlane) -> Pair {
    use base64::Engine as _;
    let text = std::fs::read(plane.kubeconfig()).expect("the kubeconfig");
    let config: Value = serde_json::from_slice(&text).expect("JSON, as the kit writes it");
    let user = &config["users"][0]["user"];
    let data = |name: &str| {
        let data = user[name].as_str().expect("client certificate data");
        base64::engine::general_purpose::STANDARD.decode(data).expect("base64")
    };
    (data("client-certificate-data"), data("client-key-data"))
}

/// Whoever listens on the port that we gave to a child on the loopback is that child. (The Go program's certificate
/// is one that rustls would refuse.)
#[derive(Debug)]
struct OurOwnChild(Arc<CryptoProvider>);

impl ServerCertVerifier for OurOwnChild {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
