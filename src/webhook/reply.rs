//! From an outcome to an HTTP reply: one row of the contract's table each.
//!
//! What the API server makes of them was measured (kube-apiserver 1.36): a 200 with `error` is logged, not cached and no outage; 429 is
//! asked again five times in 4.6 s, so it is not for strangers; 503 is not asked again unless `retryAfterSeconds` is given; a
//! `Retry-After` header multiplies those tries and is never sent.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use crate::arn::AccountId;
use crate::audit::{Outcome, Uid};
use crate::authn::{Decision, Denial, Grant};
use crate::listener::Known;
use crate::token::TokenError;
use crate::token_review::{self, ApiVersion, Extra, Status, TokenReviewReply, User};

/// The seconds after which a server that has just started is worth another try: about five of them within 4 s.
const NOT_READY_RETRY_SECONDS: u32 = 1;

/// A grant with three groups takes 600 bytes.
const REPLY_BYTES: usize = 1024;

/// What the caller is told, empty for a grant and for a token that is not ours.
pub(super) fn message_of(outcome: &Outcome<'_>, clock_skew: impl FnOnce() -> Option<i64>) -> String {
    const BUSY: &str = "busy: too many requests to STS, try again in a few seconds";
    match outcome {
        Outcome::Decided(Decision::Granted(_) | Decision::NotOurs) => String::new(),
        Outcome::Decided(Decision::Denied(denial, _)) if is_about_time(denial) => {
            token_review::message(WithSkew(denial, clock_skew()))
        }
        Outcome::Decided(Decision::Denied(denial, _)) => token_review::message(denial),
        Outcome::Decided(Decision::Unavailable(outage, _)) => token_review::message(outage),
        Outcome::Decided(Decision::NotReady(missing)) => token_review::message(format_args!("not ready: {missing}")),
        Outcome::Decided(Decision::Busy { .. }) => BUSY.to_owned(),
        Outcome::Overloaded => "busy: too many reviews at a time, try again in a few seconds".to_owned(),
        Outcome::WrongAudience => "the token is not good for any of the audiences asked for (--audience)".to_owned(),
        Outcome::TimedOut => "no decision in time".to_owned(),
        Outcome::Malformed(reason) => (*reason).to_owned(),
    }
}

fn is_about_time(denial: &Denial) -> bool {
    matches!(
        denial,
        Denial::Token(TokenError::Expired { .. } | TokenError::Future { .. })
    )
}

struct WithSkew<'a>(&'a Denial, Option<i64>);

impl fmt::Display for WithSkew<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.1 {
            Some(skew @ 1..) => write!(f, " (the server's clock is {skew} s ahead of STS)"),
            Some(skew @ ..0) => write!(f, " (the server's clock is {} s behind STS)", skew.unsigned_abs()),
            // STS tells whole seconds.
            Some(0) => f.write_str(" (the server's clock agrees with STS)"),
            None => Ok(()),
        }
    }
}

/// A reason in plain text, for requests that are not reviews.
pub(super) fn plain(status: StatusCode, message: String, allow: Option<&'static str>) -> Response {
    let mut response = Response::new(Body::from(message + "\n"));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if let Some(allow) = allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// Who shows no good certificate gets the reason where client-go logs it.
pub(super) fn forbidden(message: &str) -> Response {
    json(StatusCode::FORBIDDEN, &Status::forbidden(message))
}

/// Which of the two tables of status codes applies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replies {
    /// The Go authenticator's: 403 for every refusal, 429 for every throttling.
    pub(super) legacy: bool,
}

impl Replies {
    pub(super) fn reply(
        self,
        version: ApiVersion,
        outcome: &Outcome<'_>,
        message: &str,
        audiences: &[&str],
        scrubbed: &[AccountId],
    ) -> Response {
        match outcome {
            Outcome::Decided(Decision::Granted(grant)) => granted(version, grant, audiences, scrubbed),
            _ if self.legacy => json(legacy_status(outcome), &refusal(version, message)),
            Outcome::Decided(Decision::Busy { verified_lately: true }) => {
                json(StatusCode::TOO_MANY_REQUESTS, &Status::too_many_requests(message))
            }
            Outcome::Decided(Decision::NotReady(_)) => unavailable(message, Some(NOT_READY_RETRY_SECONDS)),
            Outcome::Decided(Decision::Unavailable(..)) | Outcome::TimedOut => unavailable(message, None),
            Outcome::Decided(Decision::NotOurs | Decision::Denied(..) | Decision::Busy { verified_lately: false })
            | Outcome::WrongAudience
            | Outcome::Overloaded
            | Outcome::Malformed(_) => json(StatusCode::OK, &refusal(version, message)),
        }
    }
}

fn legacy_status(outcome: &Outcome<'_>) -> StatusCode {
    match outcome {
        Outcome::Decided(Decision::Busy { .. }) | Outcome::Overloaded => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::FORBIDDEN,
    }
}

fn refusal(version: ApiVersion, message: &str) -> TokenReviewReply<'_> {
    TokenReviewReply::refused(version, (!message.is_empty()).then_some(message))
}

fn unavailable(message: &str, retry_after_seconds: Option<u32>) -> Response {
    json(
        StatusCode::SERVICE_UNAVAILABLE,
        &Status::unavailable(message, retry_after_seconds),
    )
}

fn granted(version: ApiVersion, grant: &Grant, audiences: &[&str], scrubbed: &[AccountId]) -> Response {
    let uid = Uid::new(&grant.identity, &grant.username, scrubbed);
    let extra = matches!(uid, Uid::Principal(_)).then(|| Extra::new(&grant.identity));
    let user = User {
        username: &grant.username,
        uid: &uid.to_string(),
        groups: &grant.groups,
        extra,
    };
    let mut response = json(
        StatusCode::OK,
        &TokenReviewReply::authenticated(version, user, audiences),
    );
    // Whoever brings good tokens keeps his connection before others do.
    response.extensions_mut().insert(Known);
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut body = Vec::with_capacity(REPLY_BYTES);
    if serde_json::to_writer(&mut body, value).is_err() {
        // Only a broken Serialize could do that, and ours are derived. Still: no half a reply.
        return plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the reply cannot be written".to_owned(),
            None,
        );
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
