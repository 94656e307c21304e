//! The bearer token: a presigned STS `GetCallerIdentity` URL in base64, checked before anybody is asked about it.
//!
//! A token is a URL chosen by a stranger that we are asked to fetch. So nothing of its bytes is ever sent on: [`presigned`] parses it
//! into fields, refuses whatever is not exactly such a request, and rebuilds the request from the fields. [`mint`] makes tokens.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::partition::{HostError, StsEndpointPolicy};

mod amz_date;
pub mod inspect;
pub mod mint;
pub mod presigned;
mod query;

/// What every token of ours begins with.
pub const TOKEN_PREFIX: &str = "k8s-aws-v1.";

/// The longest token that is read. Session tokens of 4096 bytes occur; escaped and in base64 they take 6 to 11 KiB.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The header that ties a token to one cluster; it must be signed.
pub const CLUSTER_ID_HEADER: &str = "x-k8s-aws-id";

/// The longest cluster id: generous, but a request to STS must fit into the header limits of any proxy.
const MAX_CLUSTER_ID_BYTES: usize = 1024;

/// A bearer token that claims to be ours: it has the prefix and a bearable size.
#[derive(Clone, Copy)]
pub struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// Takes a token by its prefix.
    ///
    /// # Errors
    /// [`TokenError::NotOurs`] without the prefix, [`TokenError::TooLarge`] beyond [`MAX_TOKEN_BYTES`].
    pub fn parse(raw: &'a str) -> Result<Self, TokenError> {
        if !raw.starts_with(TOKEN_PREFIX) {
            return Err(TokenError::NotOurs);
        }
        if raw.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge);
        }
        Ok(Self(raw))
    }

    /// SHA-256 of the whole token: what verified identities are remembered by.
    fn digest(self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The URL inside.
    fn url(self) -> Result<String, TokenError> {
        let encoded = self.0.strip_prefix(TOKEN_PREFIX).ok_or(TokenError::NotOurs)?;
        begins_with_scheme(encoded)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Encoding)?;
        String::from_utf8(bytes).map_err(|_| TokenError::Encoding)
    }
}

/// Looks at the first bytes alone: most of what strangers send is told by them, and the rest need not be decoded.
fn begins_with_scheme(encoded: &str) -> Result<(), TokenError> {
    const SCHEME: &[u8] = b"https://";
    const ENCODED: usize = 12;
    let mut head = [0; ENCODED / 4 * 3];
    let Some(encoded) = encoded.as_bytes().get(..ENCODED) else {
        return Ok(());
    };
    URL_SAFE_NO_PAD
        .decode_slice(encoded, &mut head)
        .map_err(|_| TokenError::Encoding)?;
    match head.get(..SCHEME.len()) {
        Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => Ok(()),
        _ if head.is_ascii() => Err(TokenError::Scheme),
        _ => Err(TokenError::Encoding),
    }
}

impl fmt::Debug for BearerToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(redacted)")
    }
}

/// What a token must look like to be accepted here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenPolicy {
    endpoints: StsEndpointPolicy,
    cluster_id: Box<str>,
}

impl TokenPolicy {
    /// A policy for the STS hosts that may be asked and the cluster that tokens must be signed for.
    ///
    /// # Errors
    /// When the cluster id cannot be the value of a header.
    pub fn new(endpoints: StsEndpointPolicy, cluster_id: &str) -> Result<Self, ClusterIdError> {
        check_cluster_id(cluster_id)?;
        Ok(Self {
            endpoints,
            cluster_id: cluster_id.into(),
        })
    }

    /// The hosts that may be asked.
    pub fn endpoints(&self) -> &StsEndpointPolicy {
        &self.endpoints
    }

    /// The cluster that tokens must be signed for.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }
}

/// Why a text is not a cluster id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ClusterIdError {
    /// There is none.
    #[error("the cluster ID is empty")]
    Empty,
    /// Longer than any header should be.
    #[error("the cluster ID is longer than {MAX_CLUSTER_ID_BYTES} bytes")]
    TooLong,
    /// It holds what a header's value cannot hold.
    #[error("the cluster ID may hold printable ASCII characters only")]
    Character,
}

impl ClusterIdError {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "cluster_id_empty",
            Self::TooLong => "cluster_id_too_long",
            Self::Character => "cluster_id_character",
        }
    }
}

/// Whether a text can be a cluster id, that is, the value of [`CLUSTER_ID_HEADER`].
///
/// # Errors
/// When it is empty, too long, or holds anything but printable ASCII.
pub fn check_cluster_id(cluster_id: &str) -> Result<(), ClusterIdError> {
    if cluster_id.trim().is_empty() {
        Err(ClusterIdError::Empty)
    } else if cluster_id.len() > MAX_CLUSTER_ID_BYTES {
        Err(ClusterIdError::TooLong)
    } else if cluster_id.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(())
    } else {
        Err(ClusterIdError::Character)
    }
}

/// Why a token is refused before anybody is asked. No message holds bytes of the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TokenError {
    /// Without our prefix: another authenticator may know it.
    #[error("not a token of the AWS IAM authenticator")]
    NotOurs,
    /// Larger than [`MAX_TOKEN_BYTES`].
    #[error("the token is larger than 16 KiB")]
    TooLarge,
    /// Not unpadded base64url of a text.
    #[error("the token is not unpadded base64url of a URL")]
    Encoding,
    /// Not `https`.
    #[error("the presigned URL is not an https URL")]
    Scheme,
    /// The host is not an STS endpoint that may be asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The path is not `/`.
    #[error("the path of the presigned URL is not /")]
    Path,
    /// There is a fragment.
    #[error("the presigned URL has a fragment")]
    Fragment,
    /// A `%` without two hexadecimal digits, or a character that must be escaped and is not.
    #[error("the query of the presigned URL is not properly escaped")]
    Escape,
    /// A query parameter outside the allow-list.
    #[error("the presigned URL has a query parameter that is not allowed")]
    UnknownParameter,
    /// A query parameter given twice, in whatever spelling.
    #[error("the presigned URL has the parameter {0} more than once")]
    DuplicateParameter(&'static str),
    /// A query parameter that every presigned URL has is missing.
    #[error("the presigned URL lacks the parameter {0}")]
    MissingParameter(&'static str),
    /// A query parameter has a value that it cannot have.
    #[error("the presigned URL has a malformed or unexpected {0}")]
    InvalidParameter(&'static str),
    /// The signature does not cover the cluster id.
    #[error("the client did not sign the header x-k8s-aws-id")]
    ClusterIdNotSigned,
    /// Signed more than 15 minutes ago.
    #[error("the token has expired: it was signed {seconds} seconds ago, and STS accepts 900")]
    Expired {
        /// The age of the signature.
        seconds: i64,
    },
    /// Signed more than 5 minutes ahead of our clock.
    #[error("the token was signed {seconds} seconds in the future: check the clocks")]
    Future {
        /// How far ahead of our clock the signature is.
        seconds: i64,
    },
}

impl TokenError {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::TooLarge => "too_large",
            Self::Encoding => "encoding",
            Self::Scheme => "scheme",
            Self::Host(error) => error.reason(),
            Self::Path => "path",
            Self::Fragment => "fragment",
            Self::Escape => "escape",
            Self::UnknownParameter => "unknown_parameter",
            Self::DuplicateParameter(_) => "duplicate_parameter",
            Self::MissingParameter(_) => "missing_parameter",
            Self::InvalidParameter(_) => "invalid_parameter",
            Self::ClusterIdNotSigned => "cluster_id_not_signed",
            Self::Expired { .. } => "expired",
            Self::Future { .. } => "future",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_foreign_tokens_from_oversize_ones() {
        assert_eq!(BearerToken::parse("eyJhbGciOi").err(), Some(TokenError::NotOurs));
        assert_eq!(BearerToken::parse("").err(), Some(TokenError::NotOurs));
        assert_eq!(BearerToken::parse("K8S-AWS-V1.x").err(), Some(TokenError::NotOurs));
        assert_eq!(
            BearerToken::parse(&"x".repeat(MAX_TOKEN_BYTES + 1)).err(),
            Some(TokenError::NotOurs)
        );
        let full = format!("{TOKEN_PREFIX}{}", "x".repeat(MAX_TOKEN_BYTES - TOKEN_PREFIX.len()));
        assert!(BearerToken::parse(&full).is_ok());
        assert_eq!(
            BearerToken::parse(&format!("{full}x")).err(),
            Some(TokenError::TooLarge)
        );
    }

    #[test]
    fn debug_tells_nothing() {
        let token = BearerToken::parse("k8s-aws-v1.c2VjcmV0").unwrap();
        assert_eq!(format!("{token:?}"), "BearerToken(redacted)");
    }

    #[test]
    fn a_cluster_id_is_the_value_of_a_header() {
        assert_eq!(check_cluster_id("my-cluster.example.com"), Ok(()));
        assert_eq!(check_cluster_id("my cluster"), Ok(()));
        assert_eq!(check_cluster_id(" "), Err(ClusterIdError::Empty));
        assert_eq!(check_cluster_id("a\r\nHost: evil"), Err(ClusterIdError::Character));
        assert_eq!(check_cluster_id("clüster"), Err(ClusterIdError::Character));
        assert_eq!(check_cluster_id(&"a".repeat(1025)), Err(ClusterIdError::TooLong));
    }
}
