//! Making an authority and serving certificates.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};

use super::files::{self, Files};
use super::pair::{self, text};
use super::{CertificateError, CertificateSettings, file_error};

const DAY: i64 = 24 * 60 * 60;

/// The authority stands in kubeconfigs that are read when an API server starts: it must outlive nodes.
const AUTHORITY_SECONDS: i64 = 3652 * DAY;

/// A serving certificate that is renewed in place may end soon.
const SERVING_SECONDS: i64 = 365 * DAY;

/// Clocks of clients may be behind ours.
const BACKDATED_SECONDS: i64 = 60 * 60;

/// Makes what is missing: the authority, if there is none, and a pair issued by it.
pub(super) fn make_pair(
    settings: &CertificateSettings,
    mut files: Files,
    now: Timestamp,
) -> Result<Files, CertificateError> {
    let directory = &settings.state_dir;
    fs::create_dir_all(directory).map_err(|error| file_error(directory, error))?;
    match (&files.ca, &files.ca_key) {
        (Some(_), Some(_)) => {}
        (Some(_), None) => return Err(CertificateError::AuthorityWithoutKey),
        // A key alone is what a crash leaves behind: nobody trusts it yet.
        (None, _) => {
            let (cert, key) = make_authority("aws-iam-authenticator CA", now)?;
            // The key first: an authority without its key could never be mended.
            files::write(directory, files::CA_KEY, key.as_bytes(), files::SECRET)?;
            files::write(directory, files::CA, cert.as_bytes(), files::PUBLIC)?;
            (files.ca, files.ca_key) = (Some(cert.into()), Some(key.into()));
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let cert = issue(settings, &files, &key, now)?;
    let key = key.serialize_pem();
    files::write(directory, files::KEY, key.as_bytes(), files::SECRET)?;
    files::write(directory, files::CERT, &cert, files::PUBLIC)?;
    (files.cert, files.key) = (Some(cert), Some(key.into()));
    Ok(files)
}

/// A new certificate for the key that is there: one file changes, so there is no moment in which the two do not belong together.
pub(super) fn renew(
    settings: &CertificateSettings,
    files: &Files,
    now: Timestamp,
) -> Result<Vec<u8>, CertificateError> {
    let key = KeyPair::from_pem(text(files.key.as_deref(), files::KEY)?)?;
    let cert = issue(settings, files, &key, now)?;
    files::write(&settings.state_dir, files::CERT, &cert, files::PUBLIC)?;
    Ok(cert)
}

/// An authority and its key.
pub(super) fn make_authority(called: &str, now: Timestamp) -> Result<(String, String), CertificateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&format!("{called} {}", now.as_second()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(now.as_second() - BACKDATED_SECONDS);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(now.as_second() + AUTHORITY_SECONDS);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn issue(
    settings: &CertificateSettings,
    files: &Files,
    key: &KeyPair,
    now: Timestamp,
) -> Result<Vec<u8>, CertificateError> {
    let ca = text(files.ca.as_deref(), files::CA)?;
    let ca_key = KeyPair::from_pem(text(files.ca_key.as_deref(), files::CA_KEY)?)?;
    let authority_ends = pair::ends(ca, files::CA)?.as_second();
    let issuer = Issuer::from_ca_cert_pem(ca, ca_key)?;
    let seconds = if settings.renew {
        SERVING_SECONDS
    } else {
        AUTHORITY_SECONDS
    };
    let mut params = CertificateParams::new(settings.names())?;
    params.distinguished_name = name("aws-iam-authenticator");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(now.as_second() - BACKDATED_SECONDS);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch((now.as_second() + seconds).min(authority_ends));
    Ok(params.signed_by(key, &issuer)?.pem().into_bytes())
}

/// A certificate for the API server as a client, for as long as its authority lasts.
pub(super) fn issue_client(ca: &str, ca_key: &str, key: &KeyPair, now: Timestamp) -> Result<String, CertificateError> {
    let authority_ends = pair::ends(ca, files::CA)?.as_second();
    let issuer = Issuer::from_ca_cert_pem(ca, KeyPair::from_pem(ca_key)?)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("kube-apiserver");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(now.as_second() - BACKDATED_SECONDS);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(authority_ends);
    Ok(params.signed_by(key, &issuer)?.pem())
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Since 1970; the dates of the library can only be added to.
fn since_epoch(second: i64) -> Duration {
    Duration::from_secs(u64::try_from(second).unwrap_or_default())
}
