//! The HTTPS client: one bounded GET at a time, over pooled connections.

use std::error::Error;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, DATE, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{HeaderMap, Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::time::Instant;

use super::connector::Connector;
use crate::authn::StsOutage;
use crate::token::CLUSTER_ID_HEADER;
use crate::token::presigned::PresignedRequest;

/// The longest reply that is read; those of STS have less than 2 KiB.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Hosts that get [`MANY_IDLE`]: a cluster's clients use one region, rarely more. Only a host that vouched for somebody can be one, so
/// strangers cannot fill the memory with connections to hosts that nobody needs.
const MAX_TRUSTED_HOSTS: usize = 4;

/// Idle connections kept for a trusted host: as many as are in use in a rush, for a handshake costs ten times a request.
const MANY_IDLE: usize = 32;

/// Idle connections kept for every other host.
const FEW_IDLE: usize = 2;

/// How long an idle connection is kept. STS closes its own end sooner or later; a request that meets a closed one is sent again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How often a broken connection is logged: an outage has thousands.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The longest cause that is logged.
const MAX_CAUSE_CHARS: usize = 200;

const AGENT: HeaderValue = HeaderValue::from_static(concat!(
    "aws-iam-authenticator/",
    env!("CARGO_PKG_VERSION"),
    " (iam-authenticator-rs)"
));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLUSTER_ID: HeaderName = HeaderName::from_static(CLUSTER_ID_HEADER);

type Pool = legacy::Client<Connector, Empty<Bytes>>;

/// Sends requests to STS.
pub(super) struct Client {
    trusted: Pool,
    others: Pool,
    trusted_hosts: RwLock<Vec<Box<str>>>,
    last_log: Mutex<Option<Instant>>,
}

/// A whole reply.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) date: Option<Timestamp>,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            trusted: pool(connector.clone(), MANY_IDLE),
            others: pool(connector, FEW_IDLE),
            trusted_hosts: RwLock::default(),
            last_log: Mutex::default(),
        }
    }

    /// Keeps more connections to this host from now on: it vouched for somebody who is mapped.
    pub(super) fn trust(&self, host: &str) {
        if !self.is_trusted(host) {
            let mut hosts = self.trusted_hosts.write().unwrap_or_else(PoisonError::into_inner);
            if hosts.len() < MAX_TRUSTED_HOSTS && !hosts.iter().any(|known| **known == *host) {
                hosts.push(host.into());
            }
        }
    }

    fn is_trusted(&self, host: &str) -> bool {
        let hosts = self.trusted_hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().any(|known| **known == *host)
    }

    /// Sends one request and reads the whole reply. The caller sets the deadline.
    ///
    /// A connection that breaks is tried once more: the request changes nothing, and STS closes idle connections as it likes.
    pub(super) async fn get(&self, request: &PresignedRequest) -> Result<Reply, StsOutage> {
        let host = request.endpoint().host();
        let pool = if self.is_trusted(host) {
            &self.trusted
        } else {
            &self.others
        };
        let head = Head::new(request).ok_or(StsOutage::Malformed)?;
        let response = match pool.request(head.to_request()).await {
            Err(error) if !error.is_connect() => pool.request(head.to_request()).await,
            outcome => outcome,
        };
        match response {
            Ok(response) => read(response).await,
            Err(error) => {
                self.log(request.endpoint().region_label(), &error);
                Err(StsOutage::Connect)
            }
        }
    }

    /// Logs the innermost cause only: the outer ones of an HTTP library may quote the request.
    fn log(&self, region: &'static str, error: &dyn Error) {
        let now = Instant::now();
        let mut last = self.last_log.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL) {
            *last = Some(now);
            tracing::warn!(region, cause = %innermost(error), "no connection to STS");
        }
    }
}

fn pool(connector: Connector, max_idle: usize) -> Pool {
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(max_idle)
        .build(connector)
}

/// What a request consists of; `hyper` takes requests by value, and one may be sent twice.
struct Head {
    uri: Uri,
    cluster_id: HeaderValue,
}

impl Head {
    /// `None` cannot happen with fields that were checked when the token was parsed.
    fn new(request: &PresignedRequest) -> Option<Self> {
        let target = PathAndQuery::from_maybe_shared(Bytes::from(request.path_and_query())).ok()?;
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(request.endpoint().host().parse::<Authority>().ok()?)
            .path_and_query(target)
            .build()
            .ok()?;
        let cluster_id = HeaderValue::from_str(request.cluster_id()).ok()?;
        Some(Self { uri, cluster_id })
    }

    fn to_request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, JSON);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CLUSTER_ID, self.cluster_id.clone());
        request
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply, StsOutage> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            StsOutage::Oversize
        } else {
            StsOutage::Connect
        }
    })?;
    Ok(Reply {
        status: head.status.as_u16(),
        date: date(&head.headers),
        body: body.to_bytes(),
    })
}

/// HTTP dates are RFC 2822 dates (RFC 9110, section 5.6.7).
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let printable = |c: &char| c.is_ascii_graphic() || *c == ' ';
    cause
        .to_string()
        .chars()
        .filter(printable)
        .take(MAX_CAUSE_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_a_reply_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(DATE, HeaderValue::from_static("Tue, 24 Nov 2026 01:52:00 GMT"));
        assert_eq!(date(&headers).unwrap().to_string(), "2026-11-24T01:52:00Z");
        headers.insert(DATE, HeaderValue::from_static("yesterday"));
        assert_eq!(date(&headers), None);
    }

    #[test]
    fn only_the_innermost_cause_is_told() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request for https://sts.amazonaws.com/?X-Amz-Signature=secret")]
        struct Outer(#[source] std::io::Error);
        let told = innermost(&Outer(std::io::Error::other(format!(
            "refused\r\n{}",
            "x".repeat(1000)
        ))));
        assert!(
            told.starts_with("refusedxxx") && told.len() == MAX_CAUSE_CHARS,
            "{told}"
        );
    }
}
