//! Who signed a request, as far as the request itself says: in its query or in its `Authorization` header.

use super::Seen;
use super::verify::Query;

/// The parts of `X-Amz-Credential` and their like.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) access_key_id: String,
    pub(super) scope_date: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: String,
    /// Signed in the query, as tokens are.
    pub(super) presigned: bool,
}

impl Caller {
    /// `None` when the request is not signed, or not in a form that can be read.
    pub(super) fn of(seen: &Seen, query: &Query) -> Option<Self> {
        let authorization = seen.headers.get("authorization").and_then(|value| value.to_str().ok());
        let Some(authorization) = authorization else {
            let part = |name: &str| query.get(name).map(str::to_owned);
            return Self::from_parts(
                &part("X-Amz-Credential")?,
                &part("X-Amz-SignedHeaders")?,
                part("X-Amz-Signature")?,
                true,
            );
        };
        let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| {
            rest.split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        Self::from_parts(&part("Credential")?, &part("SignedHeaders")?, part("Signature")?, false)
    }

    fn from_parts(credential: &str, signed_headers: &str, signature: String, presigned: bool) -> Option<Self> {
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key_id, scope_date, region, service, "aws4_request"] = scope[..] else {
            return None;
        };
        Some(Self {
            access_key_id: access_key_id.to_owned(),
            scope_date: scope_date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
            signature,
            presigned,
        })
    }
}
