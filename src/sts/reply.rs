//! What a reply of STS means: an identity, a definite no, throttling, or no reply of STS at all.
//!
//! STS throttles with HTTP 400 too, and proxies on the way answer 403: so only a JSON error with a code that is not about load counts
//! as a definite no. Error shapes: AWS STS API reference, "Common Error Types", JSON protocol.

use serde::Deserialize;

use super::Refusal;
use crate::authn::{StsError, StsOutage};
use crate::identity::{Identity, IdentityError};

/// The longest error code that is passed on; those of AWS have up to 40 characters.
const MAX_CODE_BYTES: usize = 64;

/// Reads a whole reply.
pub(super) fn read(status: u16, body: &[u8], access_key_id: &str) -> Result<Identity, Refusal> {
    match status {
        200 => Identity::from_reply(body, access_key_id).map_err(|error| match error {
            IdentityError::Malformed => StsOutage::Malformed.into(),
            error => StsError::Identity(error).into(),
        }),
        429 => Err(Refusal::Throttled),
        300..=399 => Err(StsOutage::Redirect.into()),
        400..=599 => Err(read_error(status, body)),
        _ => Err(StsOutage::Malformed.into()),
    }
}

fn read_error(status: u16, body: &[u8]) -> Refusal {
    let code = error_code(body);
    match code.as_deref() {
        Some(code) if is_about_load(code) => Refusal::Throttled,
        // An error page that is not JSON still says so in its own way.
        None if body.windows(10).any(|window| window == b"Throttling") => Refusal::Throttled,
        _ if status >= 500 => StsOutage::Server(status).into(),
        Some("InternalFailure" | "InternalError" | "ServiceUnavailable" | "RequestTimeout") => {
            StsOutage::Server(status).into()
        }
        Some(code) if matches!(status, 400 | 401 | 403) => StsError::Refused {
            code: code.into(),
            status,
        }
        .into(),
        _ => StsOutage::Malformed.into(),
    }
}

fn is_about_load(code: &str) -> bool {
    code.contains("Throttl") || code.contains("TooManyRequests") || matches!(code, "RequestLimitExceeded" | "SlowDown")
}

/// The code of `{"Error": {"Code": …}}`, bare or in an `ErrorResponse`, or of `{"__type": …}`; letters, digits and dots only.
fn error_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "Error")]
        error: Option<Error>,
        #[serde(rename = "ErrorResponse")]
        response: Option<Inner>,
        #[serde(rename = "__type")]
        kind: Option<String>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "Error")]
        error: Error,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "Code")]
        code: String,
    }
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let inner = envelope.response.map(|inner| inner.error);
    let code = envelope.error.or(inner).map(|error| error.code).or(envelope.kind)?;
    // `__type` may carry a namespace before a hash.
    let code = code.rsplit('#').next().unwrap_or_default();
    let code: String = code
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .take(MAX_CODE_BYTES)
        .collect();
    (!code.is_empty()).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"111122223333",
        "Arn":"arn:aws:iam::111122223333:user/alice","UserId":"AIDAEXAMPLE"},"ResponseMetadata":{"RequestId":"1"}}}"#;

    fn refused(code: &str, status: u16) -> Refusal {
        StsError::Refused {
            code: code.into(),
            status,
        }
        .into()
    }

    #[test]
    fn a_good_reply_is_an_identity() {
        let identity = read(200, GOOD.as_bytes(), "AKIAEXAMPLE").unwrap();
        assert_eq!(
            (identity.user_id(), identity.access_key_id()),
            ("AIDAEXAMPLE", "AKIAEXAMPLE")
        );
    }

    #[test]
    fn a_principal_that_cannot_be_mapped_is_no_outage() {
        let body = GOOD.replace("user/alice", "group/staff");
        assert!(matches!(
            read(200, body.as_bytes(), "AKIAEXAMPLE"),
            Err(Refusal::Error(StsError::Identity(_)))
        ));
    }

    #[test]
    fn only_a_json_error_that_is_not_about_load_is_a_definite_no() {
        let json =
            |code: &str| format!(r#"{{"Error":{{"Code":"{code}","Message":"m","Type":"Sender"}},"RequestId":"1"}}"#);
        let malformed = Refusal::from(StsOutage::Malformed);
        let xml = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>".to_owned();
        let cases = [
            (
                403,
                json("SignatureDoesNotMatch"),
                refused("SignatureDoesNotMatch", 403),
            ),
            (403, json("InvalidClientTokenId"), refused("InvalidClientTokenId", 403)),
            (
                400,
                json("ExpiredTokenException"),
                refused("ExpiredTokenException", 400),
            ),
            (403, json("Secret <b>\\u0007x"), refused("Secretbx", 403)),
            (
                403,
                format!(r#"{{"ErrorResponse":{}}}"#, json("RegionDisabledException")),
                refused("RegionDisabledException", 403),
            ),
            (
                400,
                r#"{"__type":"com.amazon#ExpiredToken","message":"m"}"#.to_owned(),
                refused("ExpiredToken", 400),
            ),
            (400, json("Throttling"), Refusal::Throttled),
            (403, json("ThrottlingException"), Refusal::Throttled),
            (400, json("RequestLimitExceeded"), Refusal::Throttled),
            (503, json("RequestThrottled"), Refusal::Throttled),
            (503, json("SlowDown"), Refusal::Throttled),
            (429, String::new(), Refusal::Throttled),
            (
                400,
                "<Error><Code>Throttling</Code></Error>".to_owned(),
                Refusal::Throttled,
            ),
            (500, json("InternalFailure"), StsOutage::Server(500).into()),
            (400, json("InternalFailure"), StsOutage::Server(400).into()),
            (503, "<html>".to_owned(), StsOutage::Server(503).into()),
            (599, String::new(), StsOutage::Server(599).into()),
            (403, xml.clone(), malformed.clone()),
            (403, "<html>blocked by the proxy</html>".to_owned(), malformed.clone()),
            (403, String::new(), malformed.clone()),
            (403, json(""), malformed.clone()),
            (404, json("NotFound"), malformed.clone()),
            (200, xml, malformed.clone()),
            (200, "{}".to_owned(), malformed.clone()),
            (200, json("SignatureDoesNotMatch"), malformed.clone()),
            (204, String::new(), malformed.clone()),
            (700, String::new(), malformed),
            (301, String::new(), StsOutage::Redirect.into()),
            (307, GOOD.to_owned(), StsOutage::Redirect.into()),
        ];
        for (status, body, expected) in cases {
            assert_eq!(
                read(status, body.as_bytes(), "AKIAEXAMPLE"),
                Err(expected),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn a_long_code_is_cut() {
        let body = format!(r#"{{"Error":{{"Code":"{}"}}}}"#, "x".repeat(1000));
        assert_eq!(read(403, body.as_bytes(), ""), Err(refused(&"x".repeat(64), 403)));
    }
}
