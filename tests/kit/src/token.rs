//! Tokens as clients make them: a presigned STS URL in base64.

use crate::principal::Principal;
use crate::sigv4::{self, ToSign};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// What RFC 3986 leaves unreserved stays as it is.
pub(crate) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Makes tokens for a principal; every part of the request can be set.
#[derive(Debug, Clone)]
pub struct TokenBuilder {
    principal: Principal,
    cluster_id: String,
    region: String,
    host: Option<String>,
    expires: u64,
    at: SystemTime,
    extra_query: String,
    extra_headers: Vec<(String, String)>,
}

impl TokenBuilder {
    /// A token of `principal` for the cluster `kit.example`, signed now, for the regional endpoint of us-east-1.
    pub fn new(principal: &Principal) -> Self {
        Self {
            principal: principal.clone(),
            cluster_id: "kit.example".to_owned(),
            region: "us-east-1".to_owned(),
            host: None,
            expires: 60,
            at: SystemTime::now(),
            extra_query: String::new(),
            extra_headers: Vec::new(),
        }
    }

    /// The cluster the token is for.
    #[must_use]
    pub fn cluster_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.cluster_id);
        self
    }

    /// The region of the signature, and of the host unless one is set.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        region.clone_into(&mut self.region);
        self
    }

    /// The host that is asked, instead of `sts.<region>.amazonaws.com`.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// The global endpoint, `sts.amazonaws.com`.
    #[must_use]
    pub fn global(self) -> Self {
        self.host("sts.amazonaws.com")
    }

    /// `X-Amz-Expires`, in seconds.
    #[must_use]
    pub fn expires(mut self, seconds: u64) -> Self {
        self.expires = seconds;
        self
    }

    /// When it was signed.
    #[must_use]
    pub fn at(mut self, time: jiff::Timestamp) -> Self {
        self.at = time.into();
        self
    }

    /// More query parameters, already encoded (`A=1&B=2`); they are signed with the rest.
    #[must_use]
    pub fn extra_query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.extra_query);
        self
    }

    /// One more signed header; the server does not send it, so STS will refuse the signature.
    #[must_use]
    pub fn extra_header(mut self, name: &str, value: &str) -> Self {
        self.extra_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The presigned URL, for tests that spoil it before [`token_of_url`].
    pub fn url(&self) -> String {
        let host = self
            .host
            .clone()
            .unwrap_or_else(|| format!("sts.{}.amazonaws.com", self.region));
        let mut url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
        if !self.extra_query.is_empty() {
            url = format!("{url}&{}", self.extra_query);
        }
        let mut headers = vec![("x-k8s-aws-id", self.cluster_id.as_str())];
        headers.extend(
            self.extra_headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let what = ToSign {
            method: "GET",
            url: &url,
            headers: &headers,
            body: b"",
            region: &self.region,
            at: self.at,
        };
        let signed =
            sigv4::presign(&self.principal, &what, Duration::from_secs(self.expires)).expect("it can be signed");
        for (key, value) in signed.params {
            write!(url, "&{key}={}", utf8_percent_encode(&value, ENCODED)).expect("writing to a string");
        }
        url
    }

    /// The token.
    pub fn build(&self) -> String {
        token_of_url(&self.url())
    }
}

/// The token that carries this URL, whatever it is.
pub fn token_of_url(url: &str) -> String {
    format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url))
}
