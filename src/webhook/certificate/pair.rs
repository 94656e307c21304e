//! What a certificate and its key say about themselves.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::super::tls::provider;
use super::CertificateError;
use super::files::{CA, CA_KEY, CERT, Files, KEY};

/// A pair that can be served.
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) trust_pem: String,
    pub(super) ours: bool,
    pub(super) ends: Timestamp,
    pub(super) authority_ends: Option<Timestamp>,
    begins: Timestamp,
    names: Vec<String>,
}

impl Pair {
    /// Reads the files.
    pub(super) fn of(files: &Files) -> Result<Self, CertificateError> {
        let cert_pem = text(files.cert.as_deref(), CERT)?;
        let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| unusable(CERT, error))?;
        let (leaf, between) = chain
            .split_first()
            .ok_or_else(|| unusable(CERT, "holds no certificate"))?;
        let (leaf, between) = (leaf.clone(), between.to_vec());
        // The error of the parser could quote the file: it holds a key.
        let key = PrivateKeyDer::from_pem_slice(text(files.key.as_deref(), KEY)?.as_bytes())
            .map_err(|_| unusable(KEY, "holds no private key"))?;
        let key =
            CertifiedKey::from_der(chain, key, &provider()).map_err(|error| unusable("cert.pem and key.pem", error))?;
        let parsed = parse(&leaf, CERT)?;
        let authority = authority_of(files, &leaf, &between, parsed.validity().not_before.timestamp());
        let ours = authority.is_some_and(|ca| is_key_of(files.ca_key.as_deref(), ca));
        Ok(Self {
            trust_pem: authority.map_or_else(|| pem_of(&leaf), str::to_owned),
            ours,
            ends: timestamp(parsed.validity().not_after.timestamp()),
            authority_ends: authority.filter(|_| ours).and_then(|ca| ends(ca, CA).ok()),
            begins: timestamp(parsed.validity().not_before.timestamp()),
            names: names(&parsed),
            key: Arc::new(key),
        })
    }

    /// Whether it is time for another: two thirds of the lifetime are over, or a name is missing.
    pub(super) fn is_due(&self, now: Timestamp, names: &[String]) -> bool {
        let (begins, ends) = (self.begins.as_second(), self.ends.as_second());
        let late = now.as_second() >= begins + (ends - begins) / 3 * 2;
        // Nothing is won when the authority itself ends with it.
        let can_last_longer = self.authority_ends.is_none_or(|authority| authority > self.ends);
        (late && can_last_longer) || !names.iter().all(|name| self.names.contains(name))
    }
}

/// The authority in `ca.pem`, when it issued this certificate.
fn authority_of<'a>(
    files: &'a Files,
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    at: i64,
) -> Option<&'a str> {
    let ca = text(files.ca.as_deref(), CA).ok()?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(root.ok()?).ok()?;
    }
    let leaf = ParsedCertificate::try_from(leaf).ok()?;
    // At the time of its issue: one that has ended is still ours, and to be renewed.
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).ok()?.saturating_add(1)));
    let algorithms = provider().signature_verification_algorithms.all;
    rustls::client::verify_server_cert_signed_by_trust_anchor(&leaf, &roots, between, at, algorithms).ok()?;
    Some(ca)
}

/// Whether this is the key of this authority.
pub(super) fn is_key_of(key: Option<&[u8]>, ca: &str) -> bool {
    let matches = || {
        let key = KeyPair::from_pem(text(key, CA_KEY).ok()?).ok()?;
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).ok()?;
        Some(parse(&ca, CA).ok()?.public_key().subject_public_key.data == key.der_bytes())
    };
    matches().unwrap_or_default()
}

/// When the first certificate in a file ends.
pub(super) fn ends(pem: &str, file: &'static str) -> Result<Timestamp, CertificateError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(file, error))?;
    Ok(timestamp(parse(&der, file)?.validity().not_after.timestamp()))
}

/// When the first of the certificates in a file ends.
pub(in crate::webhook) fn earliest_end(pem: &[u8]) -> Option<Timestamp> {
    let ends = |der: CertificateDer<'_>| Some(timestamp(parse(&der, CA).ok()?.validity().not_after.timestamp()));
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|der| ends(der.ok()?))
        .min()
}

fn parse<'a>(der: &'a CertificateDer<'_>, file: &'static str) -> Result<X509Certificate<'a>, CertificateError> {
    X509Certificate::from_der(der)
        .map(|(_, parsed)| parsed)
        .map_err(|error| unusable(file, error))
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(|address| address.to_string()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// A date beyond our calendar (Go's pairs last 100 years, others "forever") is as good as its end.
fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

pub(super) fn text<'a>(bytes: Option<&'a [u8]>, file: &'static str) -> Result<&'a str, CertificateError> {
    let bytes = bytes.ok_or_else(|| unusable(file, "is missing"))?;
    std::str::from_utf8(bytes).map_err(|_| unusable(file, "is not PEM"))
}

pub(super) fn unusable(what: &'static str, detail: impl std::fmt::Display) -> CertificateError {
    CertificateError::Unusable {
        what,
        detail: detail.to_string(),
    }
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!(
        "-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n",
        lines.collect::<String>()
    )
}
