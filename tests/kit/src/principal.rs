//! Somebody in AWS: credentials, and what STS says of who they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The size of a session token as STS makes them for an assumed role.
const SESSION_TOKEN_BYTES: usize = 510;

/// A principal with its credentials, as STS knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// `AKIA…` for a user, `ASIA…` for temporary credentials.
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: String,
    /// Goes with temporary credentials.
    pub session_token: Option<String>,
    /// Twelve digits.
    pub account: String,
    /// As `GetCallerIdentity` gives it.
    pub arn: String,
    /// As `GetCallerIdentity` gives it: the unique id, `id:session` for an assumed role.
    pub user_id: String,
}

impl Principal {
    /// An IAM user; `name` may begin with a path.
    pub fn user(account: &str, name: &str) -> Self {
        Self::long_lived(
            account,
            &format!("arn:aws:iam::{account}:user/{name}"),
            unique_id("AIDA"),
        )
    }

    /// The account's root user.
    pub fn root(account: &str) -> Self {
        Self::long_lived(account, &format!("arn:aws:iam::{account}:root"), account.to_owned())
    }

    /// A role's session. STS never tells the role's path, so `role` is the bare name.
    pub fn assumed_role(account: &str, role: &str, session: &str) -> Self {
        let user_id = format!("{}:{session}", unique_id("AROA"));
        Self::temporary(
            account,
            &format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            user_id,
        )
    }

    /// A federated user.
    pub fn federated(account: &str, name: &str) -> Self {
        let user_id = format!("{account}:{name}");
        Self::temporary(
            account,
            &format!("arn:aws:sts::{account}:federated-user/{name}"),
            user_id,
        )
    }

    /// The same in another partition (`aws-cn`, `aws-us-gov` …).
    #[must_use]
    pub fn partition(mut self, partition: &str) -> Self {
        let rest = self.arn.splitn(3, ':').nth(2).unwrap_or_default();
        self.arn = format!("arn:{partition}:{rest}");
        self
    }

    /// The same with another ARN.
    #[must_use]
    pub fn arn(mut self, arn: &str) -> Self {
        arn.clone_into(&mut self.arn);
        self
    }

    /// The same with another unique id.
    #[must_use]
    pub fn user_id(mut self, user_id: &str) -> Self {
        user_id.clone_into(&mut self.user_id);
        self
    }

    /// The same with another session token.
    #[must_use]
    pub fn session_token(mut self, token: &str) -> Self {
        self.session_token = Some(token.to_owned());
        self
    }

    /// The same credentials with a secret that is not theirs: the double refuses its signatures.
    #[must_use]
    pub fn wrong_secret(mut self) -> Self {
        self.secret_access_key = secret();
        self
    }

    /// The variables that give a process these credentials.
    pub fn env(&self) -> Vec<(String, String)> {
        let mut env = vec![
            ("AWS_ACCESS_KEY_ID".to_owned(), self.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), self.secret_access_key.clone()),
        ];
        env.extend(
            self.session_token
                .clone()
                .map(|token| ("AWS_SESSION_TOKEN".to_owned(), token)),
        );
        env
    }

    fn long_lived(account: &str, arn: &str, user_id: String) -> Self {
        Self {
            access_key_id: unique_id("AKIA"),
            secret_access_key: secret(),
            session_token: None,
            account: account.to_owned(),
            arn: arn.to_owned(),
            user_id,
        }
    }

    fn temporary(account: &str, arn: &str, user_id: String) -> Self {
        Self {
            access_key_id: unique_id("ASIA"),
            session_token: Some(STANDARD.encode(random(SESSION_TOKEN_BYTES))),
            ..Self::long_lived(account, arn, user_id)
        }
    }
}

/// Twenty characters, as AWS's ids have.
fn unique_id(prefix: &str) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let tail: String = random(16)
        .iter()
        .map(|byte| char::from(letters[usize::from(byte % 32)]))
        .collect();
    format!("{prefix}{tail}")
}

/// Forty characters, with `+` and `/` among them: what a sloppy encoding would break.
fn secret() -> String {
    STANDARD.encode(random(30))
}

/// Bytes that differ in each call and each process; no secret depends on them.
pub(crate) fn random(count: usize) -> Vec<u8> {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static CALLS: AtomicU64 = AtomicU64::new(0);
    (0..count.div_ceil(8))
        .flat_map(|_| {
            let mut hasher = SEED.build_hasher();
            hasher.write_u64(CALLS.fetch_add(1, Ordering::Relaxed));
            hasher.finish().to_le_bytes()
        })
        .take(count)
        .collect()
}
