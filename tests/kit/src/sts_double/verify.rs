//! Is the signature right? Recomputed from the principal's secret, over what came on the wire.

use super::Seen;
use super::answer::Refusal;
use super::caller::Caller;
use super::state::Shared;
use crate::principal::Principal;
use crate::sigv4::{self, ToSign};
use crate::token::ENCODED;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use std::sync::Arc;
use std::time::Duration;

/// STS takes a signature for this long, whatever `X-Amz-Expires` says.
const GOOD_FOR: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);
/// How far a client's clock may be ahead.
const AHEAD: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// Added by signing, hence not part of what is signed anew.
const ADDED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// The parameters of a request, decoded: from the query, and from the body of a form.
pub(super) struct Query {
    query: Vec<(String, String)>,
    form: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(seen: &Seen) -> Self {
        let query = seen.path_and_query.split_once('?').map_or("", |(_, query)| query);
        let form = if seen.method == "POST" {
            seen.body.replace('+', " ")
        } else {
            String::new()
        };
        Self {
            query: pairs(query),
            form: pairs(&form),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .chain(&self.form)
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    fn without_signature(&self) -> String {
        let kept = self.query.iter().filter(|(key, _)| !ADDED.contains(&key.as_str()));
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        kept.map(|(key, value)| format!("{}={}", encode(key), encode(value)))
            .collect::<Vec<_>>()
            .join("&")
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let pair = |part: &str| {
        part.split_once('=')
            .map_or_else(|| (decode(part), String::new()), |(k, v)| (decode(k), decode(v)))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

/// The principal whose signature this is, or what STS answers.
pub(super) fn verify(
    seen: &Seen,
    query: &Query,
    caller: Option<&Caller>,
    shared: &Shared,
) -> Result<Arc<Principal>, Refusal> {
    let Some(caller) = caller else {
        return Err(Refusal::new(
            403,
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        ));
    };
    let (known, expired) = {
        let state = shared.state();
        (
            state.principals.get(&caller.access_key_id).cloned(),
            state.expired.contains(&caller.access_key_id),
        )
    };
    let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
    let of = |param: &str, name: &str| {
        if caller.presigned {
            query.get(param)
        } else {
            header(name)
        }
    };
    let invalid = || {
        Refusal::new(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        )
    };
    let who = known.ok_or_else(invalid)?;
    if of("X-Amz-Security-Token", "x-amz-security-token") != who.session_token.as_deref() {
        return Err(invalid());
    }
    check_scope(seen, caller)?;
    let at = signed_at(of("X-Amz-Date", "x-amz-date"), caller, shared)?;
    let signature = if caller.presigned {
        presigned(seen, query, caller, &who, at)
    } else {
        signed(seen, query, caller, &who, at)
    };
    if signature.map_err(|error| Refusal::new(400, "IncompleteSignature", error))? != caller.signature {
        return Err(Refusal::new(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details.",
        ));
    }
    if expired {
        return Err(Refusal::new(
            403,
            "ExpiredToken",
            "The security token included in the request is expired",
        ));
    }
    Ok(who)
}

fn check_scope(seen: &Seen, caller: &Caller) -> Result<(), Refusal> {
    let mismatch = |message: &str| Err(Refusal::new(403, "SignatureDoesNotMatch", message));
    if caller.service != "sts" {
        return mismatch("Credential should be scoped to correct service: 'sts'.");
    }
    let mut labels = seen.host.split('.').skip(1);
    let region = labels
        .next()
        .filter(|&label| label != "amazonaws")
        .unwrap_or("us-east-1");
    if caller.region != region {
        return mismatch("Credential should be scoped to a valid region.");
    }
    Ok(())
}

fn signed_at(date: Option<&str>, caller: &Caller, shared: &Shared) -> Result<jiff::Timestamp, Refusal> {
    let parsed = date.and_then(|text| {
        let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
        Some((text, civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
    });
    let Some((text, at)) = parsed else {
        return Err(Refusal::new(
            400,
            "IncompleteSignature",
            "Date must be in ISO-8601 'basic format'.",
        ));
    };
    let now = shared.now();
    let mismatch = |message: String| Err(Refusal::new(403, "SignatureDoesNotMatch", message));
    let basic = |time: jiff::Timestamp| time.strftime("%Y%m%dT%H%M%SZ").to_string();
    if !text.starts_with(&caller.scope_date) {
        return mismatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP".to_owned(),
        );
    }
    if at + GOOD_FOR < now {
        let (limit, now) = (basic(now - GOOD_FOR), basic(now));
        return mismatch(format!(
            "Signature expired: {text} is now earlier than {limit} ({now} - 15 min.)"
        ));
    }
    if at > now + AHEAD {
        let (limit, now) = (basic(now + AHEAD), basic(now));
        return mismatch(format!(
            "Signature not yet current: {text} is still later than {limit} ({now} + 5 min.)"
        ));
    }
    Ok(at)
}

fn presigned(
    seen: &Seen,
    query: &Query,
    caller: &Caller,
    who: &Principal,
    at: jiff::Timestamp,
) -> Result<String, String> {
    let expires = query
        .get("X-Amz-Expires")
        .and_then(|text| text.parse().ok())
        .ok_or("X-Amz-Expires is missing")?;
    let (url, headers) = to_sign(seen, query, caller, &["host"])?;
    let what = what(seen, &url, &headers, caller, at);
    Ok(sigv4::presign(who, &what, Duration::from_secs(expires))?.signature)
}

fn signed(seen: &Seen, query: &Query, caller: &Caller, who: &Principal, at: jiff::Timestamp) -> Result<String, String> {
    let (url, headers) = to_sign(
        seen,
        query,
        caller,
        &["host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"],
    )?;
    let what = what(seen, &url, &headers, caller, at);
    let hashes_body = caller.signed_headers.iter().any(|name| name == "x-amz-content-sha256");
    sigv4::header_signature(who, &what, hashes_body)
}

fn what<'a>(
    seen: &'a Seen,
    url: &'a str,
    headers: &'a [(&'a str, &'a str)],
    caller: &'a Caller,
    at: jiff::Timestamp,
) -> ToSign<'a> {
    ToSign {
        method: &seen.method,
        url,
        headers,
        body: seen.body.as_bytes(),
        region: &caller.region,
        at: at.into(),
    }
}

type Headers<'a> = Vec<(&'a str, &'a str)>;

/// The URL and the headers as they were before signing; `added` are headers that the signer puts in by itself.
fn to_sign<'a>(
    seen: &'a Seen,
    query: &Query,
    caller: &'a Caller,
    added: &[&str],
) -> Result<(String, Headers<'a>), String> {
    let path = seen.path_and_query.split('?').next().unwrap_or("/");
    let url = format!("https://{}{path}?{}", seen.host, query.without_signature());
    let mut headers = Vec::new();
    for name in caller
        .signed_headers
        .iter()
        .filter(|name| !added.contains(&name.as_str()))
    {
        let value = seen.headers.get(name.as_str()).and_then(|value| value.to_str().ok());
        headers.push((
            name.as_str(),
            value.ok_or_else(|| format!("the signed header {name} was not sent"))?,
        ));
    }
    Ok((url, headers))
}
