//! Making tokens: a presigned `GetCallerIdentity` URL (AWS Signature Version 4), and the `ExecCredential` around it.
//!
//! Signed here rather than by an SDK: it is four HMACs, `kubectl` runs it on every call, and the server's own parser checks it.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::presigned::{ACTION, ALGORITHM, VERSION};
use super::query::{Parameter, append};
use super::{CLUSTER_ID_HEADER, TOKEN_PREFIX, amz_date};

/// `X-Amz-Expires` as every version of the Go authenticator sends it. STS ignores it: a token lives 15 minutes.
const EXPIRES: &str = "60";

/// What signs a token.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningCredentials {
    /// `AKIA…` or `ASIA…`.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// Goes with temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for SigningCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Signs a `GetCallerIdentity` request for one cluster and returns it as a token.
///
/// `host` is the endpoint that will be asked, `region` the one that the signature is for: `us-east-1` for the global endpoint.
pub fn mint(credentials: &SigningCredentials, host: &str, region: &str, cluster_id: &str, now: Timestamp) -> String {
    let time = amz_date::format(now);
    let day = time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{region}/sts/aws4_request");
    let signed_headers = format!("host;{CLUSTER_ID_HEADER}");

    let mut query = String::with_capacity(1024);
    append(&mut query, Parameter::Action, ACTION);
    append(&mut query, Parameter::Version, VERSION);
    append(&mut query, Parameter::Algorithm, ALGORITHM);
    append(
        &mut query,
        Parameter::Credential,
        &format!("{}/{scope}", credentials.access_key_id),
    );
    append(&mut query, Parameter::Date, &time);
    append(&mut query, Parameter::Expires, EXPIRES);
    if let Some(token) = &credentials.session_token {
        append(&mut query, Parameter::SecurityToken, token);
    }
    append(&mut query, Parameter::SignedHeaders, &signed_headers);

    let cluster_id = cluster_id.split_whitespace().collect::<Vec<_>>().join(" ");
    let canonical = format!(
        "GET\n/\n{query}\nhost:{host}\n{CLUSTER_ID_HEADER}:{cluster_id}\n\n{signed_headers}\n{}",
        hex(&Sha256::digest(b""))
    );
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = signing_key(&credentials.secret_access_key, day, region);
    append(&mut query, Parameter::Signature, &hex(&hmac_sha256(&key, &to_sign)));

    format!(
        "{TOKEN_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(format!("https://{host}/?{query}"))
    )
}

/// The key derived for one day, region and service.
fn signing_key(secret: &str, day: &str, region: &str) -> [u8; 32] {
    let for_day = hmac_sha256(format!("AWS4{secret}").as_bytes(), day);
    let for_region = hmac_sha256(&for_day, region);
    hmac_sha256(&hmac_sha256(&for_region, "sts"), "aws4_request")
}

fn hmac_sha256(key: &[u8], message: &str) -> [u8; 32] {
    // An HMAC takes a key of any length: `new_from_slice` fails for other MACs only, and an all-zero result verifies nowhere.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(message).finalize().into_bytes().into())
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The versions of the `client.authentication.k8s.io` API, one of which kubectl asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ExecApiVersion {
    /// For clients before Kubernetes 1.24.
    V1Alpha1,
    /// What is answered when nobody asks for a version.
    #[default]
    V1Beta1,
    /// Kubernetes 1.22 and later.
    V1,
}

impl ExecApiVersion {
    /// As it stands in `apiVersion`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1Alpha1 => "client.authentication.k8s.io/v1alpha1",
            Self::V1Beta1 => "client.authentication.k8s.io/v1beta1",
            Self::V1 => "client.authentication.k8s.io/v1",
        }
    }

    /// The version of that name.
    pub fn from_api_version(name: &str) -> Option<Self> {
        [Self::V1Alpha1, Self::V1Beta1, Self::V1]
            .into_iter()
            .find(|version| version.as_str() == name)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential<'a> {
    kind: &'static str,
    api_version: &'static str,
    spec: ExecSpec,
    status: ExecStatus<'a>,
}

#[derive(Serialize)]
struct ExecSpec {
    interactive: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecStatus<'a> {
    expiration_timestamp: String,
    token: &'a str,
}

/// The `ExecCredential` that kubectl reads, byte for byte as the Go program prints it. The time has whole seconds, as in Kubernetes.
pub fn exec_credential(version: ExecApiVersion, token: &str, expiration: Timestamp) -> String {
    let seconds = Timestamp::from_second(expiration.as_second()).unwrap_or(expiration);
    let credential = ExecCredential {
        kind: "ExecCredential",
        api_version: version.as_str(),
        spec: ExecSpec { interactive: false },
        status: ExecStatus {
            expiration_timestamp: seconds.to_string(),
            token,
        },
    };
    // Strings and a bool always serialise.
    serde_json::to_string(&credential).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(session_token: Option<&str>) -> SigningCredentials {
        SigningCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: session_token.map(str::to_owned),
        }
    }

    fn url_of(token: &str) -> String {
        let bytes = URL_SAFE_NO_PAD
            .decode(token.strip_prefix(TOKEN_PREFIX).unwrap())
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_signing_key_is_derived_as_botocore_does() {
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215", "us-east-1");
        assert_eq!(
            hex(&key),
            "44c9f2e0cf0471574085b666e44d249151c047f2c60893154e850d6170a64a88"
        );
    }

    #[test]
    fn signs_as_botocore_does() {
        let now: Timestamp = "2026-11-24T01:52:00.7Z".parse().unwrap();
        let token = mint(
            &credentials(Some("se/ss+ion==")),
            "sts.us-west-2.amazonaws.com",
            "us-west-2",
            "my  cluster",
            now,
        );
        let url = url_of(&token);
        let (unsigned, signature) = url.split_once("&X-Amz-Signature=").unwrap();
        assert_eq!(
            unsigned,
            "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20261124%2Fus-west-2%2Fsts%2Faws4_request\
             &X-Amz-Date=20261124T015200Z&X-Amz-Expires=60&X-Amz-Security-Token=se%2Fss%2Bion%3D%3D\
             &X-Amz-SignedHeaders=host%3Bx-k8s-aws-id"
        );
        assert_eq!(
            signature,
            "6c1132e8ebfe7bb2283dfab525ada96a9dc47d85abbbf88ba87b112c4524574c"
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let debug = format!("{:?}", credentials(Some("session")));
        assert!(debug.contains("AKIDEXAMPLE"));
        assert!(!debug.contains("wJalr") && !debug.contains("session"), "{debug}");
    }

    #[test]
    fn the_exec_credential_is_that_of_go() {
        let expiration: Timestamp = "2026-11-24T02:06:00.123Z".parse().unwrap();
        assert_eq!(
            exec_credential(ExecApiVersion::V1Beta1, "k8s-aws-v1.abc", expiration),
            concat!(
                r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","spec":{"interactive":false},"#,
                r#""status":{"expirationTimestamp":"2026-11-24T02:06:00Z","token":"k8s-aws-v1.abc"}}"#
            )
        );
    }
}
