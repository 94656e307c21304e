//! `--cache`: which file a token has, and what happens when the cache cannot be used (a warning, and a token without it).

use std::fmt::Display;
use std::path::PathBuf;

use jiff::Timestamp;

use super::TokenConfig;
use crate::cli::output::{environment, now, warn};
use crate::credentials::{Found, Memory};
use crate::token::mint::SigningCredentials;
use crate::token_cache::{CacheError, CacheFolder, CachedToken, CredentialsFile, Entry, TokenKey, TokenSlot};

/// Variables that decide whose credentials are found. They are kept as a digest only.
const IDENTITY: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_DISABLED",
];

/// Variables that decide where a token is checked.
const ENDPOINT: [&str; 5] = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_STS_REGIONAL_ENDPOINTS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
];

/// The cache, as far as it can be used.
#[derive(Debug)]
pub(super) struct Cache {
    slot: Option<TokenSlot>,
    credentials: Option<KeptCredentials>,
}

/// The caller's credentials in their file.
#[derive(Debug)]
pub(super) struct KeptCredentials(CredentialsFile);

impl Cache {
    pub(super) fn open(config: &TokenConfig) -> Self {
        let folder = warned(CacheFolder::of(&environment));
        let slot = folder.as_ref().and_then(|folder| warned(folder.slot(key(config))));
        let path = environment("AWS_IAM_AUTHENTICATOR_CACHE_FILE").filter(|path| !path.is_empty());
        let path = path.map(PathBuf::from).or_else(|| Some(folder?.credentials_path()));
        let profile = profile();
        let role = config.signer.role.as_ref().map_or("", |role| &role.arn);
        let credentials = path
            .map(|path| CredentialsFile::new(path, &config.cluster_id, &profile, role, &identity().digest()))
            .map(KeptCredentials);
        Self { slot, credentials }
    }

    /// The token that is kept, if it is still good.
    pub(super) fn token(&mut self, now: Timestamp) -> Option<CachedToken> {
        warned(self.slot.as_mut()?.token(now)).flatten()
    }

    /// Where credentials are kept.
    pub(super) fn memory(&self) -> Option<&KeptCredentials> {
        self.credentials.as_ref()
    }

    /// Keeps a token made of credentials that end at `expiry`.
    pub(super) fn keep(&mut self, token: &CachedToken, expiry: Option<Timestamp>, now: Timestamp) {
        if let Some(slot) = &mut self.slot {
            warned(slot.keep(token, expiry, now));
        }
    }
}

impl Memory for KeptCredentials {
    fn recall(&self) -> Option<Found> {
        let entry = warned(self.0.read(now())).flatten()?;
        Some(Found {
            credentials: SigningCredentials {
                access_key_id: entry.access_key_id,
                secret_access_key: entry.secret_access_key,
                session_token: Some(entry.session_token).filter(|token| !token.is_empty()),
            },
            expiry: Some(entry.expires),
        })
    }

    fn remember(&self, found: &Found) {
        let Some(expires) = found.expiry else { return };
        let keys = &found.credentials;
        let token = keys.session_token.as_deref().unwrap_or_default();
        let entry = Entry::new(&keys.access_key_id, &keys.secret_access_key, token, expires);
        warned(self.0.write(entry, now()));
    }
}

fn profile() -> String {
    let first = |names: [&str; 2]| {
        names
            .into_iter()
            .find_map(|name| environment(name).filter(|value| !value.is_empty()))
    };
    first(["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]).unwrap_or_else(|| "default".to_owned())
}

/// What leads to the credentials: variables, and the state of the files with profiles.
fn identity() -> TokenKey {
    let mut key = TokenKey::default();
    for name in IDENTITY {
        key = key.with(name, environment(name).as_deref());
    }
    for (variable, file) in [
        ("AWS_CONFIG_FILE", "config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
    ] {
        key = key.with(file, profiles_state(variable, file).as_deref());
    }
    key
}

/// The key of a token: the same, and what it is asked for with.
fn key(config: &TokenConfig) -> TokenKey {
    let mut key = identity()
        .with("cluster", Some(&config.cluster_id))
        .with("region", config.signer.region.as_deref());
    if let Some(role) = &config.signer.role {
        let forwards = role.forward_session_name.then_some("true");
        key = key
            .with("role", Some(&role.arn))
            .with("external-id", role.external_id.as_deref())
            .with("session-name", role.session_name.as_deref())
            .with("forward-session-name", forwards);
    }
    for name in ENDPOINT {
        key = key.with(name, environment(name).as_deref());
    }
    key
}

/// When a file with profiles was last written: an edit of it asks for another token.
fn profiles_state(variable: &str, name: &str) -> Option<String> {
    let in_home = || environment("HOME").map(|home| PathBuf::from(home).join(".aws").join(name));
    let path = environment(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(in_home)?;
    let metadata = std::fs::metadata(path).ok()?;
    let written = Timestamp::try_from(metadata.modified().ok()?).ok()?;
    Some(format!("{} {}", written.as_nanosecond(), metadata.len()))
}

/// The cache only saves work: a warning, and on without it.
fn warned<T>(result: Result<T, CacheError>) -> Option<T> {
    fn say(error: &dyn Display) {
        warn(format!("--cache: {error}"));
    }
    result.inspect_err(|error| say(error)).ok()
}
