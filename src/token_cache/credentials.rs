//! The credentials of the caller, in the file that the Go program keeps: clusters, in them profiles, in them roles.
//!
//! As there, an entry under a role holds the credentials that assume it, not the role's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CacheError, MARGIN, files};

/// The Go program waits as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// One entry of the file.
#[derive(Clone, Debug)]
pub struct CredentialsFile {
    path: PathBuf,
    cluster: String,
    profile: String,
    role: String,
    source: String,
}

/// The credentials of an entry, with the Go program's names.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// `AKIA…` or `ASIA…`.
    #[serde(rename = "accesskeyid")]
    pub access_key_id: String,
    /// The secret.
    #[serde(rename = "secretaccesskey")]
    pub secret_access_key: String,
    /// Goes with temporary credentials.
    #[serde(rename = "sessiontoken")]
    pub session_token: String,
    source: String,
    #[serde(rename = "canexpire")]
    can_expire: bool,
    /// When they end.
    pub expires: Timestamp,
    #[serde(rename = "accountid")]
    account_id: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Document {
    clusters: BTreeMap<String, BTreeMap<String, BTreeMap<String, Entry>>>,
}

impl Entry {
    /// Credentials that end.
    pub fn new(access_key_id: &str, secret_access_key: &str, session_token: &str, expires: Timestamp) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            session_token: session_token.to_owned(),
            source: String::new(),
            can_expire: true,
            expires,
            account_id: String::new(),
        }
    }

    fn is_good(&self, now: Timestamp) -> bool {
        self.can_expire && now < self.expires.checked_sub(MARGIN).unwrap_or(self.expires)
    }
}

impl CredentialsFile {
    /// The entry of a cluster, a profile and a role in the file at `path`; the role is empty when none is assumed. `identity` stands
    /// for all else that leads to the credentials: an entry that was made with another is somebody else's, and not read.
    pub fn new(path: PathBuf, cluster: &str, profile: &str, role: &str, identity: &str) -> Self {
        Self {
            source: format!("aws-iam-authenticator/{identity}"),
            path,
            cluster: cluster.to_owned(),
            profile: profile.to_owned(),
            role: role.to_owned(),
        }
    }

    /// The entry, if it is good for another while.
    ///
    /// # Errors
    /// When the file is not ours, stays locked, or cannot be understood.
    pub fn read(&self, now: Timestamp) -> Result<Option<Entry>, CacheError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let (_, document) = self.open()?;
        let entry = document?
            .clusters
            .get(&self.cluster)
            .and_then(|profiles| profiles.get(&self.profile))
            .and_then(|roles| roles.get(&self.role))
            .cloned();
        Ok(entry.filter(|entry| entry.is_good(now) && entry.source == self.source))
    }

    /// Writes the entry, keeps the others, and drops those that have ended.
    ///
    /// # Errors
    /// When the file is not ours, stays locked, or cannot be written.
    pub fn write(&self, entry: Entry, now: Timestamp) -> Result<(), CacheError> {
        if let Some(folder) = self.path.parent() {
            files::make_folder(folder)?;
        }
        let (mut file, document) = self.open()?;
        // As in Go, what cannot be understood is left alone: the path may name a file of another kind by mistake.
        let mut document = document?;
        for profiles in document.clusters.values_mut() {
            for roles in profiles.values_mut() {
                roles.retain(|_, entry| entry.is_good(now));
            }
            profiles.retain(|_, roles| !roles.is_empty());
        }
        document.clusters.retain(|_, profiles| !profiles.is_empty());
        let profiles = document.clusters.entry(self.cluster.clone()).or_default();
        let roles = profiles.entry(self.profile.clone()).or_default();
        let source = self.source.clone();
        roles.insert(self.role.clone(), Entry { source, ..entry });
        let text = serde_saphyr::to_string(&document).map_err(|error| self.corrupt(&error))?;
        files::write(&mut file, &self.path, text.as_bytes())
    }

    fn open(&self) -> Result<(std::fs::File, Result<Document, CacheError>), CacheError> {
        let mut file = files::open(&self.path)?;
        files::lock(&file, &self.path, PATIENCE)?;
        let bytes = files::read(&mut file, &self.path)?;
        let text = String::from_utf8_lossy(&bytes);
        let document = if text.trim().is_empty() {
            Ok(Document::default())
        } else {
            serde_saphyr::from_str(&text).map_err(|error| self.corrupt(&error))
        };
        Ok((file, document))
    }

    /// Says nothing of the parser's: it quotes the text, which is secret.
    fn corrupt(&self, _: &dyn std::error::Error) -> CacheError {
        CacheError::Corrupt {
            path: self.path.display().to_string(),
            reason: "it is not YAML with credentials of clusters".to_owned(),
            then: "remove it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the Go program 0.7.18 writes it.
    const GO: &str = "clusters:\n  c:\n    default:\n      arn:aws:iam::1:role/r:\n        accesskeyid: ASIA\n        secretaccesskey: s\n        \
                      sessiontoken: t\n        source: AssumeRoleProvider\n        canexpire: true\n        expires: 2026-11-24T15:00:00.5Z\n        \
                      accountid: \"123456789012\"\n";

    fn file(name: &str, text: &str) -> PathBuf {
        let path = tempfile::tempdir().unwrap().keep().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-11-24T{time}Z").parse().unwrap()
    }

    const ROLE: &str = "arn:aws:iam::1:role/r";

    fn entry(expires: &str) -> Entry {
        Entry::new("A", "s", "t", at(expires))
    }

    #[test]
    fn an_entry_is_good_until_a_minute_before_it_ends_and_for_who_made_it() {
        let path = file("ours", "");
        let ours = CredentialsFile::new(path.clone(), "c", "p", "", "me");
        ours.write(entry("15:00:00"), at("14:00:00")).unwrap();
        assert!(ours.read(at("14:58:59")).unwrap().is_some());
        assert!(ours.read(at("14:59:01")).unwrap().is_none());
        let other = CredentialsFile::new(path, "c", "p", "", "another");
        assert!(other.read(at("14:00:00")).unwrap().is_none());
    }

    #[test]
    fn keeps_the_entries_of_go_and_drops_ended_ones() {
        let path = file("go", GO);
        let go = || std::fs::read_to_string(&path).unwrap().contains("accesskeyid: ASIA");
        let ours = CredentialsFile::new(path.clone(), "other", "p", "", "me");
        ours.write(entry("16:00:00"), at("14:00:00")).unwrap();
        assert!(go());
        // Who made it is not told: it may have been another person's profile.
        let same = CredentialsFile::new(path.clone(), "c", "default", ROLE, "me");
        assert!(same.read(at("14:00:00")).unwrap().is_none());
        ours.write(entry("17:00:00"), at("15:30:00")).unwrap();
        assert!(!go());
        assert!(ours.read(at("15:30:00")).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_understood_is_told_without_its_text_and_left_alone() {
        let path = file("bad", "clusters: [secret");
        let ours = CredentialsFile::new(path.clone(), "c", "p", "", "me");
        let told = ours.read(at("14:00:00")).unwrap_err().to_string();
        assert!(told.contains("remove it") && !told.contains("secret"), "{told}");
        assert!(ours.write(entry("16:00:00"), at("14:00:00")).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "clusters: [secret");
    }

    #[test]
    fn files_that_others_may_read_are_refused() {
        let path = file("loose", GO);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let told = CredentialsFile::new(path, "c", "p", "", "me")
            .read(at("14:00:00"))
            .unwrap_err();
        assert!(matches!(told, CacheError::NotOurs { .. }), "{told}");
    }
}
