//! Who may ask for reviews, when that is asked (`--client-ca-file`).
//!
//! TLS asks every client for a certificate and takes any, or none: it only proves that the client has the key. Who vouches for the
//! certificate is looked at on each route that needs it, so that probes need none, and whoever is refused reads why. What was found
//! out about a connection holds as long as the authority does: a new one applies to open and to resumed connections too.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tracing::{info, warn};

use super::certificate::RELOAD_EVERY;
use super::certificate::pair::earliest_end;
use super::tls::{TlsError, provider, roots};
use crate::listener::Answer;
use crate::metrics::Metrics;

/// Why a client may not ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ClientError {
    /// It gave no certificate.
    #[error(
        "a client certificate is needed (--client-ca-file): add client-certificate-data and client-key-data to the webhook kubeconfig"
    )]
    Missing,
    /// Its time is over.
    #[error("the client certificate has expired: make another one and start the API server again")]
    Expired,
    /// Its time has not come.
    #[error("the client certificate is not valid yet: compare the clocks")]
    NotYet,
    /// Somebody else made it.
    #[error("the client certificate was not issued by an authority of --client-ca-file")]
    Foreign,
    /// It is not for clients, or broken.
    #[error("the client certificate cannot be used: it is not one for TLS clients, or not well-formed")]
    Unusable,
}

impl ClientError {
    /// A label for metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "client_certificate_missing",
            Self::Expired => "client_certificate_expired",
            Self::NotYet => "client_certificate_not_yet_valid",
            Self::Foreign => "client_certificate_foreign",
            Self::Unusable => "client_certificate_unusable",
        }
    }

    fn of(error: &Error) -> Self {
        let Error::InvalidCertificate(error) = error else {
            return Self::Unusable;
        };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Foreign,
            _ => Self::Unusable,
        }
    }
}

/// The authorities that vouch for clients. They can be swapped.
#[derive(Debug)]
pub struct ClientAuthority(ArcSwap<Roots>);

#[derive(Debug)]
struct Roots(Arc<dyn ClientCertVerifier>);

impl Roots {
    fn of(pem: &[u8]) -> Result<Arc<Self>, TlsError> {
        let roots = Arc::new(roots(pem).ok_or(TlsError::ClientCa)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
        Ok(Arc::new(Self(verifier)))
    }
}

impl ClientAuthority {
    /// Begins with these.
    ///
    /// # Errors
    /// When there is no certificate in the text.
    pub fn new(pem: &[u8]) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::new(Roots::of(pem)?))))
    }

    /// The client at the other end of a connection, by the certificates that it has the key of.
    pub fn client(self: &Arc<Self>, certificates: Vec<CertificateDer<'static>>) -> Client {
        Client {
            authority: Arc::clone(self),
            certificates,
            checked: Mutex::new(None),
        }
    }
}

/// What was found, and by whose authority.
#[derive(Debug)]
struct Verdict {
    by: Arc<Roots>,
    verdict: Result<(), ClientError>,
}

/// The client at the other end of a connection.
#[derive(Debug)]
pub struct Client {
    authority: Arc<ClientAuthority>,
    certificates: Vec<CertificateDer<'static>>,
    checked: Mutex<Option<Verdict>>,
}

impl Client {
    /// Whether it may ask for reviews.
    ///
    /// # Errors
    /// When it may not.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), ClientError> {
        let roots = self.authority.0.load_full();
        // Nothing in the section can panic.
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Verdict { by, verdict }) = &*checked
            && Arc::ptr_eq(by, &roots)
        {
            return *verdict;
        }
        let verdict = self.verify(&roots, now);
        *checked = Some(Verdict { by: roots, verdict });
        verdict
    }

    fn verify(&self, roots: &Roots, now: Timestamp) -> Result<(), ClientError> {
        let (own, between) = self.certificates.split_first().ok_or(ClientError::Missing)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()));
        let verified = roots.0.verify_client_cert(own, between, now);
        verified.map(|_| ()).map_err(|error| ClientError::of(&error))
    }
}

/// The service as one client sees it; `None` when nobody is asked for a certificate.
pub fn for_client(service: impl Answer, client: Option<Client>) -> impl Answer {
    let client = client.map(Arc::new);
    service_fn(move |mut request: Request<Incoming>| {
        if let Some(client) = &client {
            request.extensions_mut().insert(Arc::clone(client));
        }
        service.call(request)
    })
}

/// Asks for a certificate and takes any whose key the client has.
#[derive(Debug)]
pub(super) struct AnyCertificate(pub(super) WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // None: a client that has one shows it, and is told what is wrong with it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Why the file of authorities cannot be used.
#[derive(Debug, Error)]
pub enum ClientCaError {
    /// It cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds no authority.
    #[error("{path}: {error}", path = .path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        error: TlsError,
    },
}

/// Keeps the authorities up to date with their file.
#[derive(Debug)]
pub struct ClientCaReloader {
    path: PathBuf,
    live: Arc<ClientAuthority>,
    metrics: Arc<Metrics>,
    seen: [u8; 32],
    complaint: Option<String>,
}

impl ClientCaReloader {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be used: nothing is served then.
    pub fn new(path: PathBuf, metrics: Arc<Metrics>) -> Result<Self, ClientCaError> {
        let pem = std::fs::read(&path).map_err(|error| ClientCaError::File {
            path: path.clone(),
            error,
        })?;
        let live = ClientAuthority::new(&pem).map_err(|error| ClientCaError::Tls {
            path: path.clone(),
            error,
        })?;
        metrics.client_authority_faulty(false);
        let reloader = Self {
            path,
            live,
            metrics,
            seen: Sha256::digest(&pem).into(),
            complaint: None,
        };
        reloader.tell_end(&pem);
        Ok(reloader)
    }

    /// What connections are held against.
    pub fn authority(&self) -> Arc<ClientAuthority> {
        Arc::clone(&self.live)
    }

    /// Looks at the file forever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(RELOAD_EVERY).await;
            self.look();
        }
    }

    /// Looks at the file once: what cannot be used leaves everything as it is.
    pub fn look(&mut self) {
        let read = std::fs::read(&self.path).map_err(|error| error.to_string());
        let roots = read.and_then(|pem| {
            let digest: [u8; 32] = Sha256::digest(&pem).into();
            if digest == self.seen {
                return Ok(None);
            }
            let roots = Roots::of(&pem).map_err(|error| error.to_string())?;
            Ok(Some((pem, digest, roots)))
        });
        match roots {
            Ok(changed) => {
                if let Some((pem, digest, roots)) = changed {
                    info!(file = %self.path.display(), "other authorities vouch for clients now");
                    self.live.0.store(roots);
                    self.seen = digest;
                    self.tell_end(&pem);
                }
                if self.complaint.take().is_some() {
                    info!(file = %self.path.display(), "the client authorities can be used again");
                    self.metrics.client_authority_faulty(false);
                }
            }
            Err(complaint) => self.complain(complaint),
        }
    }

    /// Once for each complaint: the file is looked at every few seconds.
    fn complain(&mut self, complaint: String) {
        if self.complaint.as_ref() != Some(&complaint) {
            warn!(
                file = %self.path.display(),
                "the client authorities cannot be used, those before them still are: {complaint}"
            );
            self.metrics.client_authority_faulty(true);
            self.complaint = Some(complaint);
        }
    }

    fn tell_end(&self, pem: &[u8]) {
        if let Some(ends) = earliest_end(pem) {
            self.metrics.client_authority_ends(ends);
        }
    }
}
