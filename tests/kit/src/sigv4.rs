//! Signature Version 4 by AWS's own library: the independent opinion on what the product signs.

use crate::principal::Principal;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// What is signed, apart from whose key signs it.
#[derive(Debug)]
pub(crate) struct ToSign<'a> {
    pub(crate) method: &'a str,
    /// Without the parameters that signing adds.
    pub(crate) url: &'a str,
    /// The signed headers besides the host and those that signing adds.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    pub(crate) region: &'a str,
    pub(crate) at: SystemTime,
}

/// The query parameters that presigning adds, and the signature among them.
pub(crate) struct Presigned {
    pub(crate) params: Vec<(&'static str, Cow<'static, str>)>,
    pub(crate) signature: String,
}

/// Signs in the query, as tokens are.
pub(crate) fn presign(who: &Principal, what: &ToSign<'_>, expires: Duration) -> Result<Presigned, String> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(expires);
    let (params, signature) = run(who, what, settings)?;
    Ok(Presigned { params, signature })
}

/// The signature of a request signed in its `Authorization` header.
pub(crate) fn header_signature(who: &Principal, what: &ToSign<'_>, hashes_body: bool) -> Result<String, String> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::Headers;
    // The caller chose the headers: nothing is to be left out again.
    settings.excluded_headers = None;
    if hashes_body {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    Ok(run(who, what, settings)?.1)
}

type Signed = (Vec<(&'static str, Cow<'static, str>)>, String);

fn run(who: &Principal, what: &ToSign<'_>, settings: SigningSettings) -> Result<Signed, String> {
    let identity = Credentials::new(
        &who.access_key_id,
        &who.secret_access_key,
        who.session_token.clone(),
        None,
        "kit",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(what.region)
        .name("sts")
        .time(what.at)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let request = SignableRequest::new(
        what.method,
        what.url,
        what.headers.iter().copied(),
        SignableBody::Bytes(what.body),
    );
    let output = sign(request.map_err(|error| error.to_string())?, &params).map_err(|error| error.to_string())?;
    let (instructions, signature) = output.into_parts();
    Ok((instructions.into_parts().1, signature))
}
