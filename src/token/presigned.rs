//! A presigned `GetCallerIdentity` request, taken apart and put together again.
//!
//! What is checked is what is sent: the URL of the token is parsed into typed fields, and the request is built from the fields alone.
//! Headers that the client signed besides `host` and `x-k8s-aws-id` are named in the rebuilt request as the client named them, but not
//! sent, so that STS refuses the signature: we never let a client choose headers of our requests.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::query::{Parameter, Query, append};
use super::{BearerToken, CLUSTER_ID_HEADER, TokenError, TokenPolicy, amz_date};
use crate::partition::StsEndpoint;

/// How long STS accepts a presigned request, whatever its `X-Amz-Expires` says.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(15);

/// How far ahead of our clock a signature may be: STS itself allows five minutes of skew.
const MAX_AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// The largest `X-Amz-Expires`, in seconds.
const MAX_EXPIRES: u16 = 900;

/// The longest list of signed headers that is passed on; ours has 17 bytes.
const MAX_SIGNED_HEADERS_BYTES: usize = 256;

/// The longest access key id. Source: IAM API reference, type `accessKeyIdType`.
const MAX_ACCESS_KEY_ID_BYTES: usize = 128;

pub(super) const ACTION: &str = "GetCallerIdentity";
pub(super) const VERSION: &str = "2011-06-15";
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A request that may be sent to STS. It cannot exist unchecked.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedRequest {
    endpoint: StsEndpoint,
    cluster_id: Box<str>,
    has_version: bool,
    credential: Box<str>,
    access_key_id_bytes: usize,
    signed_at: Timestamp,
    expires: u16,
    security_token: Option<Box<str>>,
    signature: Box<str>,
    signed_headers: Box<str>,
    digest: [u8; 32],
}

impl PresignedRequest {
    /// Checks a token against every rule that needs no network.
    ///
    /// # Errors
    /// When it is anything but a presigned `GetCallerIdentity` request of now, for a host that the policy allows.
    pub fn parse(token: BearerToken<'_>, policy: &TokenPolicy, now: Timestamp) -> Result<Self, TokenError> {
        let url = token.url()?;
        let (host, query) = split(&url)?;
        let endpoint = policy.endpoints().check(host)?;
        let query = Query::parse(query)?;
        expect(&query, Parameter::Action, ACTION)?;
        let has_version = query.get(Parameter::Version).is_some();
        if has_version {
            expect(&query, Parameter::Version, VERSION)?;
        }
        expect(&query, Parameter::Algorithm, ALGORITHM)?;
        let signed_headers = signed_headers(&query)?;
        let expires = expires(&query)?;
        let (signed_at, day) = signed_at(&query)?;
        let (credential, access_key_id_bytes) = credential(&query, day)?;
        let signature = signature(&query)?;
        let security_token = security_token(&query)?;
        check_time(signed_at, now)?;
        Ok(Self {
            endpoint,
            cluster_id: policy.cluster_id().into(),
            has_version,
            credential: credential.into(),
            access_key_id_bytes,
            signed_at,
            expires,
            security_token: security_token.map(Into::into),
            signature: signature.into(),
            signed_headers: signed_headers.into(),
            digest: token.digest(),
        })
    }

    /// The endpoint to ask.
    pub fn endpoint(&self) -> &StsEndpoint {
        &self.endpoint
    }

    /// The value of [`CLUSTER_ID_HEADER`]: our own cluster id, never the client's.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The access key that signed.
    pub fn access_key_id(&self) -> &str {
        self.credential.get(..self.access_key_id_bytes).unwrap_or_default()
    }

    /// When it was signed.
    pub fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// The instant from which STS refuses it.
    pub fn ends(&self) -> Timestamp {
        self.signed_at.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX)
    }

    /// SHA-256 of the whole token.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The target of the request, built from the fields: parameters in canonical order and escaped as `SigV4` wants it.
    pub fn path_and_query(&self) -> String {
        let variable = self
            .security_token
            .as_ref()
            .map_or(0, |token| token.len() + token.len() / 4)
            + self.credential.len();
        let mut target = String::with_capacity(384 + variable);
        target.push_str("/?");
        append(&mut target, Parameter::Action, ACTION);
        if self.has_version {
            append(&mut target, Parameter::Version, VERSION);
        }
        append(&mut target, Parameter::Algorithm, ALGORITHM);
        append(&mut target, Parameter::Credential, &self.credential);
        append(&mut target, Parameter::Date, &amz_date::format(self.signed_at));
        append(&mut target, Parameter::Expires, &self.expires.to_string());
        if let Some(token) = &self.security_token {
            append(&mut target, Parameter::SecurityToken, token);
        }
        append(&mut target, Parameter::Signature, &self.signature);
        append(&mut target, Parameter::SignedHeaders, &self.signed_headers);
        target
    }
}

impl fmt::Debug for PresignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresignedRequest")
            .field("endpoint", &self.endpoint)
            .field("cluster_id", &self.cluster_id)
            .field("access_key_id", &self.access_key_id())
            .field("signed_at", &self.signed_at)
            .finish_non_exhaustive()
    }
}

/// Splits `https://host/?query`; every other form is refused. The host is checked by the endpoint policy, which knows no port, user
/// info or escapes.
fn split(url: &str) -> Result<(&str, &str), TokenError> {
    let (scheme, rest) = url.split_once("://").ok_or(TokenError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("https") {
        return Err(TokenError::Scheme);
    }
    if rest.contains('#') {
        return Err(TokenError::Fragment);
    }
    let authority_end = rest.find(['/', '?']).ok_or(TokenError::Path)?;
    let (host, target) = rest.split_at(authority_end);
    let query = target.strip_prefix("/?").ok_or(TokenError::Path)?;
    Ok((host, query))
}

fn invalid(parameter: Parameter) -> TokenError {
    TokenError::InvalidParameter(parameter.name())
}

fn expect(query: &Query<'_>, parameter: Parameter, value: &str) -> Result<(), TokenError> {
    if query.require(parameter)? == value {
        Ok(())
    } else {
        Err(invalid(parameter))
    }
}

fn signed_headers<'a>(query: &'a Query<'_>) -> Result<&'a str, TokenError> {
    let headers = query.require(Parameter::SignedHeaders)?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b';');
    if headers.len() > MAX_SIGNED_HEADERS_BYTES || !headers.bytes().all(is_part) {
        return Err(invalid(Parameter::SignedHeaders));
    }
    if !headers
        .split(';')
        .any(|name| name.eq_ignore_ascii_case(CLUSTER_ID_HEADER))
    {
        return Err(TokenError::ClusterIdNotSigned);
    }
    Ok(headers)
}

/// A decimal number without leading zeros or sign, so that it is sent in the form in which it was signed.
fn expires(query: &Query<'_>) -> Result<u16, TokenError> {
    let text = query.require(Parameter::Expires)?;
    let is_canonical = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse()
        .ok()
        .filter(|seconds| is_canonical && *seconds <= MAX_EXPIRES)
        .ok_or(invalid(Parameter::Expires))
}

/// The instant, and the day as the credential scope must have it.
fn signed_at<'a>(query: &'a Query<'_>) -> Result<(Timestamp, &'a str), TokenError> {
    let text = query.require(Parameter::Date)?;
    let time = amz_date::parse(text).ok_or(invalid(Parameter::Date))?;
    let day = text.get(..8).ok_or(invalid(Parameter::Date))?;
    Ok((time, day))
}

/// `<access key id>/<day>/<region>/sts/aws4_request`, and how long the access key id is.
fn credential<'a>(query: &'a Query<'_>, signed_on: &str) -> Result<(&'a str, usize), TokenError> {
    let text = query.require(Parameter::Credential)?;
    let error = invalid(Parameter::Credential);
    let mut parts = text.split('/');
    let mut next = || parts.next().ok_or(error);
    let (key, day, region, service, terminator) = (next()?, next()?, next()?, next()?, next()?);
    let is_key = (1..=MAX_ACCESS_KEY_ID_BYTES).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_region = (1..=63).contains(&region.len())
        && region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let is_scope = day == signed_on && is_region && service == "sts" && terminator == "aws4_request";
    if is_key && is_scope && parts.next().is_none() {
        Ok((text, key.len()))
    } else {
        Err(error)
    }
}

/// An HMAC-SHA256 in hexadecimal.
fn signature<'a>(query: &'a Query<'_>) -> Result<&'a str, TokenError> {
    let text = query.require(Parameter::Signature)?;
    let is_hmac = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hmac {
        Ok(text)
    } else {
        Err(invalid(Parameter::Signature))
    }
}

/// Opaque to us; an empty one would be sent as none, so it is refused.
fn security_token<'a>(query: &'a Query<'_>) -> Result<Option<&'a str>, TokenError> {
    match query.get(Parameter::SecurityToken) {
        Some("") => Err(invalid(Parameter::SecurityToken)),
        token => Ok(token),
    }
}

fn check_time(signed_at: Timestamp, now: Timestamp) -> Result<(), TokenError> {
    let age = now.duration_since(signed_at);
    if age > LIFETIME {
        Err(TokenError::Expired { seconds: age.as_secs() })
    } else if -age > MAX_AHEAD {
        Err(TokenError::Future {
            seconds: -age.as_secs(),
        })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
