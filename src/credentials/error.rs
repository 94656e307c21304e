//! Why there is nothing to sign with. Each message says what is wrong, why, and what to do; none holds a secret.

use std::error::Error;
use std::fmt::Write as _;

use jiff::Timestamp;
use thiserror::Error;

/// The longest reason of somebody else's that is repeated.
const MAX_REASON: usize = 400;

/// Why there is nothing to sign with.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CredentialsError {
    /// `~/.aws/config` or `~/.aws/credentials` cannot be read.
    #[error(
        "cannot read the AWS profiles: {0}; correct the file, or name another with AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE"
    )]
    Profiles(String),
    /// `AWS_PROFILE` names none.
    #[error("there is no AWS profile {name:?}; {known}; set AWS_PROFILE to one of them, or unset it")]
    UnknownProfile {
        /// The name.
        name: String,
        /// Those that there are, in a sentence.
        known: String,
    },
    /// A profile that cannot be used.
    #[error("cannot use the AWS profile {profile:?}: {reason}")]
    Profile {
        /// Its name.
        profile: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A setting with a value that it cannot have.
    #[error("{place} is {value:?}; set it to {expected}, or unset it")]
    Setting {
        /// Where it was given.
        place: &'static str,
        /// What it is.
        value: String,
        /// What it can be.
        expected: &'static str,
    },
    /// No STS host fits what is asked for.
    #[error("cannot sign for the region {region:?}: {reason}")]
    Endpoint {
        /// The region.
        region: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Everything was tried and nothing answered.
    #[error(
        "there are no AWS credentials (tried: {tried}); set AWS_PROFILE, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with `aws sso login`"
    )]
    NoneFound {
        /// What was tried, each with its outcome.
        tried: String,
    },
    /// What was to give credentials failed.
    #[error("cannot get AWS credentials from {provider}: {reason}; {advice}")]
    Provider {
        /// What failed.
        provider: String,
        /// Why.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// STS did not let us assume a role.
    #[error("cannot assume the role {arn}: {reason}; {advice}")]
    AssumeRole {
        /// The role.
        arn: String,
        /// Why.
        reason: String,
        /// What to check.
        advice: String,
    },
    /// STS did not tell who we are.
    #[error(
        "cannot find out the current session name for --forward-session-name: {reason}; {advice}, or give --session-name instead"
    )]
    Identity {
        /// Why.
        reason: String,
        /// What to check.
        advice: String,
    },
    /// The code of an MFA device is needed and nobody gave it.
    #[error(
        "cannot ask for the code of the MFA device {serial}: {reason}; run `aws-iam-authenticator token --cache` with the same flags in a terminal first, or use a profile without mfa_serial"
    )]
    Mfa {
        /// The device.
        serial: String,
        /// Why.
        reason: String,
    },
    /// `AWS_CREDENTIAL_EXPIRATION` is over.
    #[error(
        "the AWS credentials in the environment have ended (AWS_CREDENTIAL_EXPIRATION is {0}); log in again, or unset the variable"
    )]
    Ended(Timestamp),
    /// `HTTPS_PROXY` is no URL.
    #[error("HTTPS_PROXY is not the URL of an HTTP proxy; write http://host:port, or unset it")]
    Proxy,
    /// `AWS_CA_BUNDLE` cannot be read.
    #[error(
        "cannot read the certificate authorities of AWS_CA_BUNDLE (or ca_bundle in the AWS profile), {path}: {reason}; correct the path, or unset it"
    )]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The operating system refuses.
    #[error("cannot start: {0}")]
    Runtime(String),
}

/// An error with all that caused it, in one line. Only the first line of each: STS answers a wrong signature with the whole
/// request, session token included, from the second line on.
pub(super) fn reasons(error: &dyn Error) -> String {
    let mut text = first_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = first_line(&error.to_string());
        if !text.contains(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = error.source();
    }
    shorten(&text)
}

/// The first line of a text from outside, at a length that fits one.
pub(super) fn first_line(text: &str) -> String {
    shorten(text.trim().lines().next().unwrap_or_default())
}

fn shorten(text: &str) -> String {
    let end = text.char_indices().nth(MAX_REASON).map(|(at, _)| at);
    let kept = end.and_then(|end| text.get(..end)).unwrap_or(text);
    kept.trim_end_matches(['.', ' '])
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_short_line() {
        let error = std::io::Error::other("The signature does not match.\n\nThe Canonical String is 'secret'");
        assert_eq!(reasons(&error), "The signature does not match");
        assert_eq!(first_line(&"x".repeat(1000)).len(), MAX_REASON);
        assert_eq!(first_line("a\u{1b}[31mb"), "a[31mb");
    }
}
