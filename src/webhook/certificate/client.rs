//! The certificate by which the API server shows that it may ask for reviews (`--client-ca-file`), made where it is ours to make.
//!
//! It stands in the webhook kubeconfig, which the API server reads only when it starts. So it lasts as long as its authority, ten
//! years, and is never renewed behind the API server's back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use tracing::info;

use super::super::tls::{provider, roots};
use super::files::{self, PUBLIC, SECRET};
use super::pair::{is_key_of, text, unusable};
use super::{CertificateError, file_error, mint};

const CA_KEY: &str = "client-ca-key.pem";
const CERT: &str = "client.pem";
const KEY: &str = "client-key.pem";

/// Where the client's certificate and its authority are.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The directory of `client.pem`, `client-key.pem`, `client-ca-key.pem`.
    pub state_dir: PathBuf,
    /// `--client-ca-file`. In the state directory it is made when absent; elsewhere it is somebody else's.
    pub ca_file: PathBuf,
}

/// What the API server needs to show.
#[derive(Clone)]
pub struct ClientPair {
    /// The certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: String,
}

impl std::fmt::Debug for ClientPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientPair").finish_non_exhaustive()
    }
}

/// Reads the pair, and makes it, and its authority, when they are absent and ours to make.
///
/// # Errors
/// When there is no pair that the authority vouches for, and none can be made.
pub fn load_or_make_client(settings: &ClientSettings, now: Timestamp) -> Result<ClientPair, CertificateError> {
    let directory = &settings.state_dir;
    let ca = match read(&settings.ca_file)? {
        Some(ca) => ca,
        None if settings.ca_file.parent() == Some(directory.as_path()) => make_authority(settings, now)?,
        None => return Err(file_error(&settings.ca_file, io::ErrorKind::NotFound.into())),
    };
    let ca = text(Some(&ca), "the file of --client-ca-file")?;
    let ca_key = read(&directory.join(CA_KEY))?;
    let ours = is_key_of(ca_key.as_deref(), ca);
    let found = match (read(&directory.join(CERT))?, read(&directory.join(KEY))?) {
        (Some(cert), Some(key)) => check(ca, &cert, &key, now),
        _ => Err(CertificateError::NoClientPair {
            directory: directory.clone(),
            ca_file: settings.ca_file.clone(),
        }),
    };
    match found {
        Err(_) if ours => {
            info!(directory = %directory.display(), "making a client certificate for the API server");
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let cert = mint::issue_client(ca, text(ca_key.as_deref(), CA_KEY)?, &key, now)?;
            let key = key.serialize_pem();
            let pair = check(ca, cert.as_bytes(), key.as_bytes(), now)?;
            files::write(directory, KEY, key.as_bytes(), SECRET)?;
            files::write(directory, CERT, cert.as_bytes(), PUBLIC)?;
            Ok(pair)
        }
        found => found,
    }
}

fn make_authority(settings: &ClientSettings, now: Timestamp) -> Result<Vec<u8>, CertificateError> {
    info!(file = %settings.ca_file.display(), "making an authority for clients");
    let (cert, key) = mint::make_authority("aws-iam-authenticator client CA", now)?;
    // The key first: an authority without its key could never be mended.
    files::write(&settings.state_dir, CA_KEY, key.as_bytes(), SECRET)?;
    files::write_whole(&settings.ca_file, cert.as_bytes(), PUBLIC)
        .map_err(|error| file_error(&settings.ca_file, error))?;
    Ok(cert.into())
}

/// The pair, if the key fits and the authority vouches for it now.
fn check(ca: &str, cert: &[u8], key: &[u8], now: Timestamp) -> Result<ClientPair, CertificateError> {
    let (cert_pem, key_pem) = (text(Some(cert), CERT)?, text(Some(key), KEY)?);
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| unusable(CERT, error))?;
    let (own, between) = chain
        .split_first()
        .ok_or_else(|| unusable(CERT, "holds no certificate"))?;
    // The error of the parser could quote the file: it holds a key.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| unusable(KEY, "holds no private key"))?;
    CertifiedKey::from_der(chain.clone(), key, &provider())
        .map_err(|error| unusable("client.pem and client-key.pem", error))?;
    let roots = roots(ca.as_bytes()).ok_or_else(|| unusable("the file of --client-ca-file", "holds no certificate"))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).build();
    let verifier = verifier.map_err(|error| unusable("the file of --client-ca-file", error))?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()));
    verifier
        .verify_client_cert(own, between, now)
        .map_err(|error| unusable("client.pem, by the authority of --client-ca-file", error))?;
    Ok(ClientPair {
        cert_pem: cert_pem.to_owned(),
        key_pem: key_pem.to_owned(),
    })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CertificateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, error)),
    }
}
