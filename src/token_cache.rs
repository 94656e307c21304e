//! `token --cache`: what one invocation found, kept for the next ones in files that are the user's alone.
//!
//! Two things are kept: finished tokens, each in a file of its own, and the caller's temporary credentials, in the file and the form
//! of the Go program. A cache only saves work. Whatever is wrong with it is said once, and the token is made without it.

mod credentials;
mod files;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use credentials::{CredentialsFile, Entry};

/// A token that ends within this time is not given out again.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// STS accepts no token for longer.
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// Token files that nobody has written to for this long are of no use to anybody.
const STALE: SignedDuration = SignedDuration::from_hours(1);

/// How long another invocation may take to make the token that we wait for: an MFA code has to be typed.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why the cache is not used. None of this hinders the making of a token.
#[derive(Debug, Error)]
pub enum CacheError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("there is no place for it; set HOME or XDG_CACHE_HOME")]
    NoHome,
    /// The operating system refuses.
    #[error(
        "{path}: {reason}; correct that, or name another place with XDG_CACHE_HOME (AWS_IAM_AUTHENTICATOR_CACHE_FILE for credentials)"
    )]
    Io {
        /// The file or folder.
        path: String,
        /// What it says.
        reason: String,
    },
    /// Others may read it, or wrote it.
    #[error("{path} {reason}; remove it")]
    NotOurs {
        /// The file or folder.
        path: String,
        /// Whose it is, or who may read it.
        reason: String,
    },
    /// Somebody else holds it.
    #[error("{path} is locked by another process; end that process")]
    Locked {
        /// The file.
        path: String,
    },
    /// Nonsense.
    #[error("{path} cannot be understood ({reason}); {then}")]
    Corrupt {
        /// The file.
        path: String,
        /// Why.
        reason: String,
        /// What happens, or what to do.
        then: &'static str,
    },
}

/// Where the files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheFolder(PathBuf);

/// Everything that a token depends on: cluster, profile, role, region and the like, in any order that is always the same.
#[derive(Debug, Default)]
pub struct TokenKey(Sha256);

/// The place of one token, held against other processes until it is dropped.
#[derive(Debug)]
pub struct TokenSlot {
    file: File,
    path: PathBuf,
}

/// A finished token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedToken {
    /// The token.
    pub token: String,
    /// When its user has to ask for another.
    pub expiration: Timestamp,
}

impl std::fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedToken")
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

impl TokenKey {
    /// Adds what the token depends on.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        let value = value.unwrap_or_default();
        for part in [name, value] {
            self.0.update(part.len().to_be_bytes());
            self.0.update(part);
        }
        self
    }

    /// The digest of it all, in hexadecimal: a name that tells nobody anything.
    pub fn digest(self) -> String {
        use std::fmt::Write as _;
        self.0.finalize().iter().fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

impl CacheFolder {
    /// `aws-iam-authenticator` in `$XDG_CACHE_HOME`, or in `~/.cache` (XDG Base Directory Specification).
    ///
    /// # Errors
    /// When neither is known.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, CacheError> {
        // A relative path is to be ignored, says the specification.
        let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        let caches = caches.ok_or(CacheError::NoHome)?;
        Ok(Self(caches.join("aws-iam-authenticator")))
    }

    /// Where credentials are kept unless `AWS_IAM_AUTHENTICATOR_CACHE_FILE` names another file.
    pub fn credentials_path(&self) -> PathBuf {
        self.0.join("credentials.yaml")
    }

    /// Takes hold of the place of one token. Whoever asks for the same token meanwhile waits, and then finds it there.
    ///
    /// # Errors
    /// When the file cannot be made, is not ours, or stays locked.
    pub fn slot(&self, key: TokenKey) -> Result<TokenSlot, CacheError> {
        let folder = self.0.join("tokens");
        files::own_folder(&folder)?;
        let path = folder.join(format!("{}.json", key.digest()));
        let file = files::open(&path)?;
        files::lock(&file, &path, PATIENCE)?;
        Ok(TokenSlot { file, path })
    }
}

impl TokenSlot {
    /// The token that is kept here, if it is good for another while.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn token(&mut self, now: Timestamp) -> Result<Option<CachedToken>, CacheError> {
        let text = files::read(&mut self.file, &self.path)?;
        if text.is_empty() {
            return Ok(None);
        }
        let kept: CachedToken = serde_json::from_slice(&text).map_err(|error| CacheError::Corrupt {
            path: self.path.display().to_string(),
            reason: error.to_string(),
            then: "it is written anew",
        })?;
        // What ends later than any token can was made by a clock that was wrong.
        let possible = now.saturating_add(LONGEST).unwrap_or(now);
        Ok(Some(kept).filter(|kept| now < kept.expiration && kept.expiration <= possible))
    }

    /// Keeps a token, and clears away old ones. `expiry` is when the credentials end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&mut self, token: &CachedToken, expiry: Option<Timestamp>, now: Timestamp) -> Result<(), CacheError> {
        let last = expiry.and_then(|expiry| expiry.checked_sub(MARGIN).ok());
        let kept = CachedToken {
            token: token.token.clone(),
            expiration: last.map_or(token.expiration, |last| last.min(token.expiration)),
        };
        // Strings and a time always serialise.
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        files::write(&mut self.file, &self.path, &text)?;
        if let Some(folder) = self.path.parent() {
            clear_away(folder, now);
        }
        Ok(())
    }
}

/// Removes the tokens of clusters that nobody asks for any more. That one stays is no harm.
fn clear_away(folder: &Path, now: Timestamp) {
    const AT_MOST: usize = 256;
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten().take(AT_MOST) {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let written = written.ok().and_then(|time| Timestamp::try_from(time).ok());
        if written.is_some_and(|written| now.duration_since(written) > STALE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
