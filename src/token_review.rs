//! The wire shapes of the webhook: `TokenReview` in `authentication.k8s.io/v1` and `v1beta1`, and `meta/v1` `Status`.
//!
//! Own shapes, not those of `k8s-openapi`: the request is borrowed from its bytes, the reply is written straight from the decision.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::Identity;

/// The longest `error` or `message` of a reply.
/// Long enough for every sentence of ours; whoever may create reviews reads it, and the API server logs it.
pub const MAX_MESSAGE_BYTES: usize = 256;

/// The version a review is asked and answered in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApiVersion {
    /// `authentication.k8s.io/v1`
    V1,
    /// `authentication.k8s.io/v1beta1`
    V1Beta1,
}

impl ApiVersion {
    /// The text of the field `apiVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "authentication.k8s.io/v1",
            Self::V1Beta1 => "authentication.k8s.io/v1beta1",
        }
    }
}

/// The most audiences that are read. An API server has one or two; empty ones by the thousand would cost us ten times
/// the memory of their text.
const MAX_AUDIENCES: usize = 64;

/// A request for a review.
pub struct TokenReview<'a> {
    /// The version to answer in.
    pub version: ApiVersion,
    /// The bearer token, never empty.
    pub token: Cow<'a, str>,
    /// The audiences asked for.
    pub audiences: Vec<Cow<'a, str>>,
}

impl fmt::Debug for TokenReview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, audiences, .. } = self;
        f.debug_struct("TokenReview")
            .field("version", version)
            .field("audiences", audiences)
            .finish_non_exhaustive()
    }
}

/// Why a body is not a request for a review. No message repeats any of it: it holds a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ReviewError {
    /// No body.
    #[error("expected a request body")]
    Empty,
    /// Not JSON of this shape.
    #[error("expected a request body to be a TokenReview")]
    Shape,
    /// Another kind of object.
    #[error("expected kind TokenReview of authentication.k8s.io/v1 or authentication.k8s.io/v1beta1")]
    Kind,
    /// There is no token in it.
    #[error("expected a token in spec.token")]
    NoToken,
}

impl ReviewError {
    /// A label for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "body_empty",
            Self::Shape => "body_not_a_review",
            Self::Kind => "body_other_kind",
            Self::NoToken => "body_without_token",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow, default)]
    token: Cow<'a, str>,
    #[serde(borrow, default)]
    audiences: Option<Vec<Cow<'a, str>>>,
}

impl<'a> TokenReview<'a> {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// When it is not a review of a token.
    pub fn parse(body: &'a [u8]) -> Result<Self, ReviewError> {
        if body.is_empty() {
            return Err(ReviewError::Empty);
        }
        let request: Request<'a> = serde_json::from_slice(body).map_err(|_| ReviewError::Shape)?;
        let version = [ApiVersion::V1, ApiVersion::V1Beta1]
            .into_iter()
            .find(|version| request.kind == "TokenReview" && request.api_version == version.as_str())
            .ok_or(ReviewError::Kind)?;
        if request
            .spec
            .audiences
            .as_ref()
            .is_some_and(|audiences| audiences.len() > MAX_AUDIENCES)
        {
            return Err(ReviewError::Shape);
        }
        if request.spec.token.is_empty() {
            return Err(ReviewError::NoToken);
        }
        Ok(Self {
            version,
            token: request.spec.token,
            audiences: request.spec.audiences.unwrap_or_default(),
        })
    }
}

/// The answer to a review.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct TokenReviewReply<'a> {
    kind: &'static str,
    api_version: &'static str,
    status: TokenReviewStatus<'a>,
}

#[derive(Serialize, Debug)]
struct TokenReviewStatus<'a> {
    authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    audiences: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// A Kubernetes user.
#[derive(Serialize, Debug)]
pub struct User<'a> {
    /// The name.
    pub username: &'a str,
    /// The unique id.
    pub uid: &'a str,
    /// The groups; an empty list when there are none, never null.
    pub groups: &'a [String],
    /// What else is known; `None` for scrubbed accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<Extra<'a>>,
}

/// The extra fields of a user, under the names that the Go authenticator uses.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Extra<'a> {
    arn: [&'a str; 1],
    canonical_arn: [&'a str; 1],
    session_name: [&'a str; 1],
    access_key_id: [&'a str; 1],
    principal_id: [&'a str; 1],
    #[serde(rename = "sigs.k8s.io/aws-iam-authenticator/principalId")]
    qualified_principal_id: [&'a str; 1],
}

impl<'a> Extra<'a> {
    /// What is known about a caller.
    pub fn new(identity: &'a Identity) -> Self {
        Self {
            arn: [identity.arn()],
            canonical_arn: [identity.canonical().as_str()],
            session_name: [identity.session_name()],
            access_key_id: [identity.access_key_id()],
            principal_id: [identity.user_id()],
            qualified_principal_id: [identity.user_id()],
        }
    }
}

impl<'a> TokenReviewReply<'a> {
    /// The token is this user's. Without `audiences` the API server applies its own.
    pub fn authenticated(version: ApiVersion, user: User<'a>, audiences: &'a [&'a str]) -> Self {
        Self::new(
            version,
            TokenReviewStatus {
                authenticated: true,
                user: Some(user),
                audiences,
                error: None,
            },
        )
    }

    /// The token is nobody's. Without `error` the API server remembers that.
    pub fn refused(version: ApiVersion, error: Option<&'a str>) -> Self {
        Self::new(
            version,
            TokenReviewStatus {
                authenticated: false,
                user: None,
                audiences: &[],
                error,
            },
        )
    }

    fn new(version: ApiVersion, status: TokenReviewStatus<'a>) -> Self {
        Self {
            kind: "TokenReview",
            api_version: version.as_str(),
            status,
        }
    }
}

/// A failure of the webhook itself: client-go logs the message of a `Status`, and of nothing else.
#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the fields are those of meta/v1 Status")]
pub struct Status<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    code: u16,
}

#[derive(Serialize, Debug)]
struct Empty {}

#[derive(Serialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u32,
}

impl<'a> Status<'a> {
    /// The caller may come back: 429.
    pub fn too_many_requests(message: &'a str) -> Self {
        Self::failure(message, "TooManyRequests", 429, None)
    }

    /// The client is not one of ours: 403.
    pub fn forbidden(message: &'a str) -> Self {
        Self::failure(message, "Forbidden", 403, None)
    }

    /// No decision is possible now: 503. `retry_after_seconds` makes the API server ask again while its client waits.
    pub fn unavailable(message: &'a str, retry_after_seconds: Option<u32>) -> Self {
        let details = retry_after_seconds.map(|retry_after_seconds| Details { retry_after_seconds });
        Self::failure(message, "ServiceUnavailable", 503, details)
    }

    fn failure(message: &'a str, reason: &'static str, code: u16, details: Option<Details>) -> Self {
        let metadata = Empty {};
        Self {
            kind: "Status",
            api_version: "v1",
            metadata,
            status: "Failure",
            message,
            reason,
            details,
            code,
        }
    }
}

/// A message fit for a reply: printable ASCII, at most [`MAX_MESSAGE_BYTES`], and nothing that looks like a URL or a token.
///
/// No message of ours holds either; this is the second lock on that door, because some quote what another system said.
pub fn message(text: impl fmt::Display) -> String {
    let mut cut = Cut(String::with_capacity(64));
    // The only error is our own, which says that the message is full.
    let _ = fmt::write(&mut cut, format_args!("{text}"));
    let text = cut.0;
    if !is_secret(&text) {
        return text;
    }
    let words = text
        .split(' ')
        .map(|word| if is_secret(word) { "(redacted)" } else { word });
    let mut clean = words.collect::<Vec<_>>().join(" ");
    clean.truncate(MAX_MESSAGE_BYTES);
    clean
}

fn is_secret(text: &str) -> bool {
    ["://", "k8s-aws-v1.", "X-Amz-Signature=", "X-Amz-Security-Token="]
        .iter()
        .any(|secret| text.contains(secret))
}

struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            if self.0.len() >= MAX_MESSAGE_BYTES {
                return Err(fmt::Error);
            }
            self.0.push(if matches!(char, ' '..='~') { char } else { '?' });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(body: &str) -> Option<ReviewError> {
        TokenReview::parse(body.as_bytes()).err()
    }

    #[test]
    fn audiences_are_few() {
        let review = |count: usize| {
            let audiences = vec!["a"; count];
            json!({
                "kind": "TokenReview",
                "apiVersion": "authentication.k8s.io/v1",
                "spec": { "token": "t", "audiences": audiences },
            })
            .to_string()
        };
        assert_eq!(error(&review(MAX_AUDIENCES)), None);
        assert_eq!(error(&review(MAX_AUDIENCES + 1)), Some(ReviewError::Shape));
    }

    #[test]
    fn reads_what_the_api_server_sends() {
        let body = br#"{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1beta1","metadata":{"creationTimestamp":null},
            "spec":{"token":"k8s-aws-v1.x","audiences":["a","b"]},"status":{"user":{}}}"#;
        let review = TokenReview::parse(body).expect("a review");
        assert_eq!((review.version, &*review.token), (ApiVersion::V1Beta1, "k8s-aws-v1.x"));
        assert!(matches!(review.token, Cow::Borrowed(_)));
        assert_eq!(review.audiences, ["a", "b"]);
        assert!(!format!("{review:?}").contains("k8s-aws"));
    }

    #[test]
    fn refuses_everything_else() {
        let v1 =
            |spec: &str| format!(r#"{{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","spec":{spec}}}"#);
        assert!(TokenReview::parse(v1(r#"{"token":"t","audiences":null}"#).as_bytes()).is_ok());
        assert_eq!(error(""), Some(ReviewError::Empty));
        for body in [
            " ",
            "null",
            "[]",
            "{}",
            "{",
            &v1("{}{}"),
            &v1("null"),
            &v1(r#"{"token":1}"#),
        ] {
            assert_eq!(error(body), Some(ReviewError::Shape), "{body}");
        }
        assert_eq!(error(&v1(r#"{"token":"a","token":"b"}"#)), Some(ReviewError::Shape));
        assert_eq!(error(&v1(r#"{"token":""}"#)), Some(ReviewError::NoToken));
        assert_eq!(error(&v1("{}")), Some(ReviewError::NoToken));
        for head in [
            r#""kind":"TokenReview""#,
            r#""kind":"Pod","apiVersion":"authentication.k8s.io/v1""#,
        ] {
            assert_eq!(
                error(&format!(r#"{{{head},"spec":{{"token":"t"}}}}"#)),
                Some(ReviewError::Kind),
                "{head}"
            );
        }
    }

    #[test]
    fn a_status_is_what_client_go_reads() {
        let status = serde_json::to_value(Status::unavailable("why", Some(1))).expect("JSON");
        let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "why",
            "reason": "ServiceUnavailable", "details": {"retryAfterSeconds": 1}, "code": 503});
        assert_eq!(status, expected);
        let busy = serde_json::to_value(Status::too_many_requests("why")).expect("JSON");
        assert_eq!(
            (&busy["code"], &busy["reason"], busy.get("details")),
            (&json!(429), &json!("TooManyRequests"), None)
        );
    }

    #[test]
    fn messages_are_short_printable_and_hold_no_secret() {
        assert_eq!(message("no\nmapping für"), "no?mapping f?r");
        assert_eq!(message("x".repeat(1000)).len(), MAX_MESSAGE_BYTES);
        assert_eq!(
            message("GET https://sts/?X=1 failed for k8s-aws-v1.abc now"),
            "GET (redacted) failed for (redacted) now"
        );
        assert!(message(format!("{} https://a b", "a ".repeat(120))).len() <= MAX_MESSAGE_BYTES);
    }
}
