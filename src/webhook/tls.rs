//! The TLS side of the webhook: a certificate that can be swapped under open connections, and client certificates when asked for.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;

use super::clients::AnyCertificate;

/// The certificate served to new connections. Swapping it touches no open one.
#[derive(Debug)]
pub struct LiveCertificate(ArcSwap<CertifiedKey>);

impl LiveCertificate {
    /// Begins with this one: there is no listener before there is a certificate.
    pub fn new(first: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(first)))
    }

    /// The one served now.
    pub fn load(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }

    pub(super) fn swap(&self, next: Arc<CertifiedKey>) {
        self.0.store(next);
    }
}

impl ResolvesServerCert for LiveCertificate {
    // One pair for every name: the API server dials an address, without SNI.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.load())
    }
}

/// Why there is no TLS configuration.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The client CA is not a list of certificates.
    #[error("it holds no certificate of an authority, or one that cannot be used")]
    ClientCa,
    /// TLS itself refuses.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// The client CA cannot be verified against.
    #[error(transparent)]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

impl TlsError {
    /// A label for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClientCa | Self::Verifier(_) => "client_ca",
            Self::Rustls(_) => "tls",
        }
    }
}

/// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1; with `ask_clients` every client is asked for a certificate, which [`super::clients`]
/// looks at later.
///
/// # Errors
/// When the provider lacks something.
pub fn server_config(certificate: Arc<LiveCertificate>, ask_clients: bool) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = if ask_clients {
        builder.with_client_cert_verifier(Arc::new(AnyCertificate(provider.signature_verification_algorithms)))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The authorities in a text; `None` when there is none, or one that cannot be used.
pub(super) fn roots(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(roots)
}

/// The one provider of this program, named here so that nothing depends on a process-wide default.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
