//! The serving certificate: read from the state directory, made there when absent, renewed when it is ours.
//!
//! A pair is ours when `ca.pem` issued it and `ca-key.pem` is the key of that authority. Any other pair (the Go authenticator's, kops's,
//! cert-manager's) is served as it is and never written. The API server reads its kubeconfig, and the authority in it, only when it
//! starts: so the authority is never replaced, and renewing changes one file, `cert.pem`, by one rename.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use super::tls::LiveCertificate;
use crate::metrics::Metrics;
use files::Files;
use pair::Pair;

pub mod client;
pub mod files;
pub mod kubeconfig;
mod mint;
pub(super) mod pair;

/// How often the files are looked at: they are 3 KiB, and a pair that was replaced should serve within the minute.
pub const RELOAD_EVERY: Duration = Duration::from_secs(10);

/// Where the certificate is and whom it is for.
#[derive(Clone, Debug)]
pub struct CertificateSettings {
    /// The directory of `cert.pem`, `key.pem`, `ca.pem`, `ca-key.pem`.
    pub state_dir: PathBuf,
    /// `--hostname`: a name or an address.
    pub hostname: String,
    /// `--address`, when it is one address.
    pub address: Option<IpAddr>,
    /// Whether we may renew what we made. Not with `--kubeconfig-pregenerated`: then what we make lasts as long as its authority.
    pub renew: bool,
}

impl CertificateSettings {
    /// The names the certificate must hold.
    fn names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        // In the one spelling that a certificate gives back.
        let hostname = self
            .hostname
            .parse::<IpAddr>()
            .map_or_else(|_| self.hostname.clone(), |address| address.to_string());
        let address = self
            .address
            .filter(|address| !address.is_unspecified())
            .map(|address| address.to_string());
        for name in [Some(hostname), address].into_iter().flatten() {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// Why there is no certificate to serve.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// One of the two files is missing, and we did not make the other.
    #[error("{missing} is missing: add it, or remove {present} and let a new pair be made")]
    HalfAPair {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// There is an authority without its key, so it cannot sign a pair.
    #[error(
        "ca.pem has no ca-key.pem beside it, so no serving pair can be made: add cert.pem and key.pem, or remove ca.pem"
    )]
    AuthorityWithoutKey,
    /// Somebody else's authority vouches for clients, and there is none that it vouches for.
    #[error(
        "the API server could not ask for reviews: {directory} holds no client.pem and client-key.pem for the kubeconfig, and \
         the key of the authority {ca_file} is not there to make them; put them there, or make the kubeconfig yourself and set \
         --kubeconfig-pregenerated",
        directory = .directory.display(), ca_file = .ca_file.display()
    )]
    NoClientPair {
        /// The state directory.
        directory: PathBuf,
        /// The authority.
        ca_file: PathBuf,
    },
    /// The files do not hold a certificate, a key, or do not belong together.
    #[error("{what}: {detail}")]
    Unusable {
        /// Which file or files.
        what: &'static str,
        /// In which way. Never holds key material.
        detail: String,
    },
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Mint(#[from] rcgen::Error),
}

impl CertificateError {
    /// A label for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } => "certificate_file",
            Self::HalfAPair { .. } => "certificate_half_a_pair",
            Self::AuthorityWithoutKey => "certificate_authority_without_key",
            Self::NoClientPair { .. } => "certificate_no_client_pair",
            Self::Unusable { .. } => "certificate_unusable",
            Self::Mint(_) => "certificate_mint",
        }
    }
}

/// What is served, and what the kubeconfig needs.
#[derive(Debug)]
pub struct Loaded {
    /// The pair, for [`LiveCertificate::new`].
    pub key: Arc<CertifiedKey>,
    /// What clients must trust: our authority, or one beside a foreign pair that issued it, else the certificate itself.
    pub trust_pem: String,
    /// Whether the pair is ours.
    pub ours: bool,
    /// When the certificate ends.
    pub ends: Timestamp,
    /// When our authority ends.
    pub authority_ends: Option<Timestamp>,
    /// Why the certificate was not renewed, although it is time.
    pub overdue: Option<String>,
    digest: [u8; 32],
}

/// Reads the pair, makes it when it is absent, renews it when it is ours and due. Called before anything listens.
///
/// # Errors
/// When there is no pair that can be served.
pub fn load_or_make(settings: &CertificateSettings, now: Timestamp) -> Result<Loaded, CertificateError> {
    let files = files::read(&settings.state_dir)?;
    let files = match (&files.cert, &files.key) {
        (Some(_), Some(_)) => {
            let (files, overdue) = renew_if_due(settings, files, now)?;
            return Ok(Loaded {
                overdue,
                ..loaded(&files)?
            });
        }
        (Some(_), None) if !files.holds_authority() => return Err(half(settings, files::CERT, files::KEY)),
        (None, Some(_)) if !files.holds_authority() => return Err(half(settings, files::KEY, files::CERT)),
        _ => {
            info!(directory = %settings.state_dir.display(), "making a serving certificate");
            mint::make_pair(settings, files, now)?
        }
    };
    loaded(&files)
}

fn half(settings: &CertificateSettings, present: &str, missing: &str) -> CertificateError {
    CertificateError::HalfAPair {
        present: settings.state_dir.join(present),
        missing: settings.state_dir.join(missing),
    }
}

/// Renewal in place at two thirds of the lifetime, or when a name is missing (`--hostname` changed); and why it failed, if it did.
fn renew_if_due(
    settings: &CertificateSettings,
    files: Files,
    now: Timestamp,
) -> Result<(Files, Option<String>), CertificateError> {
    if !settings.renew {
        return Ok((files, None));
    }
    let pair = Pair::of(&files)?;
    if !pair.ours || !pair.is_due(now, &settings.names()) {
        return Ok((files, None));
    }
    match mint::renew(settings, &files, now) {
        Ok(cert) => {
            info!(directory = %settings.state_dir.display(), "renewed the serving certificate");
            let files = Files {
                cert: Some(cert),
                ..files
            };
            Ok((files, None))
        }
        // What we have still serves, for a third of its life: a full disk is no reason to stop.
        Err(error) => Ok((files, Some(error.to_string()))),
    }
}

fn loaded(files: &Files) -> Result<Loaded, CertificateError> {
    let pair = Pair::of(files)?;
    Ok(Loaded {
        key: pair.key,
        trust_pem: pair.trust_pem,
        ours: pair.ours,
        ends: pair.ends,
        authority_ends: pair.authority_ends,
        overdue: None,
        digest: digest(files),
    })
}

fn digest(files: &Files) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in [&files.cert, &files.key, &files.ca] {
        let bytes = file.as_deref().unwrap_or_default();
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().into()
}

/// Keeps what is served up to date with the files.
#[derive(Debug)]
pub struct Reloader {
    settings: CertificateSettings,
    live: Arc<LiveCertificate>,
    metrics: Arc<Metrics>,
    seen: [u8; 32],
    complaint: Option<String>,
    overdue: Option<String>,
    trouble: watch::Sender<Option<String>>,
}

impl Reloader {
    /// Takes over from what was loaded first.
    pub fn new(settings: CertificateSettings, first: &Loaded, metrics: Arc<Metrics>) -> Self {
        metrics.certificate_served(first.ends, first.authority_ends);
        metrics.certificate_faulty(false);
        metrics.certificate_overdue(false);
        let mut reloader = Self {
            settings,
            live: LiveCertificate::new(Arc::clone(&first.key)),
            metrics,
            seen: first.digest,
            complaint: None,
            overdue: None,
            trouble: watch::Sender::new(None),
        };
        reloader.note_overdue(first.overdue.clone());
        reloader
    }

    /// What an operator should do something about, as long as there is anything.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// What the listener serves from.
    pub fn certificate(&self) -> Arc<LiveCertificate> {
        Arc::clone(&self.live)
    }

    /// Looks at the files forever. The files are small and local: reading them holds up nobody.
    pub async fn run(mut self, now: fn() -> Timestamp) {
        loop {
            tokio::time::sleep(RELOAD_EVERY).await;
            self.look(now());
        }
    }

    /// Looks at the files once: what changed and can be served is, what cannot leaves everything as it is.
    pub fn look(&mut self, now: Timestamp) {
        // A mounted Secret is swapped as a whole, but between two of our reads: what does not fit together may do so at once.
        match self.read(now).or_else(|_| self.read(now)) {
            Ok((changed, overdue)) => {
                if let Some(loaded) = changed {
                    info!(ends = %loaded.ends, ours = loaded.ours, "serving another certificate");
                    self.live.swap(loaded.key);
                    self.seen = loaded.digest;
                    self.metrics.certificate_served(loaded.ends, loaded.authority_ends);
                }
                self.mended();
                self.note_overdue(overdue);
            }
            Err(error) => self.complain(&error),
        }
    }

    fn read(&self, now: Timestamp) -> Result<(Option<Loaded>, Option<String>), CertificateError> {
        let files = files::read(&self.settings.state_dir)?;
        for (file, name) in [(&files.cert, files::CERT), (&files.key, files::KEY)] {
            if file.is_none() {
                return Err(files::missing(&self.settings.state_dir, name));
            }
        }
        let (files, overdue) = renew_if_due(&self.settings, files, now)?;
        let is_news = digest(&files) != self.seen;
        let changed = is_news.then(|| loaded(&files)).transpose()?;
        Ok((changed, overdue))
    }

    fn mended(&mut self) {
        if self.complaint.take().is_some() {
            info!("the certificate files can be served again");
            self.metrics.certificate_faulty(false);
            self.tell();
        }
    }

    /// Once for each complaint: the files are looked at every few seconds.
    fn complain(&mut self, error: &CertificateError) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            warn!(
                reason = error.reason(),
                "the certificate files cannot be served, the one before them still is: {complaint}"
            );
            self.metrics.certificate_faulty(true);
            self.complaint = Some(complaint);
            self.tell();
        }
    }

    /// What is served still is, for a third of its life, but somebody must act before that is over.
    fn note_overdue(&mut self, overdue: Option<String>) {
        if self.overdue == overdue {
            return;
        }
        match &overdue {
            Some(error) => warn!("the serving certificate is due and cannot be renewed: {error}"),
            None => info!("the serving certificate is not overdue any more"),
        }
        self.metrics.certificate_overdue(overdue.is_some());
        self.overdue = overdue;
        self.tell();
    }

    fn tell(&self) {
        let faulty = self.complaint.as_ref().map(|complaint| {
            format!("the certificate files cannot be served, the one before them still is: {complaint}")
        });
        let overdue = self.overdue.as_ref();
        let overdue = overdue.map(|error| format!("the serving certificate is due and cannot be renewed: {error}"));
        self.trouble.send_replace(faulty.or(overdue));
    }
}

fn file_error(path: &Path, error: io::Error) -> CertificateError {
    CertificateError::File {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests;
