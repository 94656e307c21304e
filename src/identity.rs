//! Who STS says a caller is: the reply of `GetCallerIdentity`, checked and brought into the form mappings use.
//! Reply shape: AWS STS API reference, `GetCallerIdentity`, JSON protocol.

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

use crate::arn::{AccountId, Arn, ArnError, CanonicalArn, PrincipalKind};

/// A caller whom STS has vouched for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    arn: Box<str>,
    canonical: CanonicalArn,
    permission_set: Option<Box<str>>,
    account: AccountId,
    user_id: Box<str>,
    session_name: Box<str>,
    access_key_id: Box<str>,
}

/// Why a reply of STS is not an identity.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum IdentityError {
    /// The body is not a `GetCallerIdentityResponse` in JSON.
    #[error("STS did not answer with a GetCallerIdentityResponse")]
    Malformed,
    /// The principal is of a kind that cannot be mapped.
    #[error("STS named a principal that cannot be mapped: {0}")]
    Principal(#[from] ArnError),
    /// The account beside the ARN is another one than in it.
    #[error("STS named two different accounts")]
    Account,
    /// The user id of an assumed role is not `ID:session`.
    #[error("the UserId of an assumed role must be ID:session")]
    UserId,
}

impl IdentityError {
    /// A label for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "sts_malformed_reply",
            Self::Principal(_) => "identity_unsupported",
            Self::Account => "identity_account_mismatch",
            Self::UserId => "identity_user_id",
        }
    }
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(rename = "GetCallerIdentityResponse", borrow)]
    response: Response<'a>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(rename = "GetCallerIdentityResult", borrow)]
    result: CallerIdentity<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity<'a> {
    #[serde(borrow)]
    account: Cow<'a, str>,
    #[serde(borrow)]
    arn: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Cow<'a, str>,
}

impl Identity {
    /// Reads the JSON body of a `GetCallerIdentity` reply; `access_key_id` is the key that signed the request.
    ///
    /// # Errors
    /// When the body has another shape, or names a principal that cannot be mapped.
    pub fn from_reply(body: &[u8], access_key_id: &str) -> Result<Self, IdentityError> {
        let reply: Reply<'_> = serde_json::from_slice(body).map_err(|_| IdentityError::Malformed)?;
        let CallerIdentity { account, arn, user_id } = reply.response.result;
        Self::new(&account, &arn, &user_id, access_key_id)
    }

    /// Checks the three facts that STS gives and the key that signed the request.
    ///
    /// # Errors
    /// When they do not fit together or name a principal that cannot be mapped.
    pub fn new(account: &str, arn: &str, user_id: &str, access_key_id: &str) -> Result<Self, IdentityError> {
        let parsed = Arn::parse(arn)?;
        if account != parsed.account.as_str() {
            return Err(IdentityError::Account);
        }
        if user_id.is_empty() || !user_id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(IdentityError::UserId);
        }
        let (user_id, session_name) = match parsed.kind {
            PrincipalKind::AssumedRole => split_once_only(user_id).ok_or(IdentityError::UserId)?,
            _ => (user_id, ""),
        };
        let canonical = parsed.canonical();
        Ok(Self {
            permission_set: permission_set_key(&canonical).map(Into::into),
            arn: arn.into(),
            canonical,
            account: parsed.account,
            user_id: user_id.into(),
            session_name: session_name.into(),
            access_key_id: access_key_id.into(),
        })
    }

    /// The ARN as STS gave it.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The name under which the principal is mapped.
    pub fn canonical(&self) -> &CanonicalArn {
        &self.canonical
    }

    /// The subject of the IAM Identity Center permission set that this role was made for, if it was.
    pub fn permission_set(&self) -> Option<&str> {
        self.permission_set.as_deref()
    }

    /// The account of the principal.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The unique id of IAM (`AROA…`, `AIDA…`), or what stands in its place for root and federated users.
    pub fn user_id(&self) -> &str {
        &self.user_id
    }

    /// The role session's name; empty for users, root and federated users.
    pub fn session_name(&self) -> &str {
        &self.session_name
    }

    #[cfg(test)]
    pub(crate) fn with_session_name(mut self, name: &str) -> Self {
        self.session_name = name.into();
        self
    }

    /// The access key that signed the request.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }
}

/// `arn:…:role/AWSReservedSSO_<name>_<16 hex digits>` to `arn:…:role/awsreservedsso_<name>_*`.
fn permission_set_key(canonical: &CanonicalArn) -> Option<String> {
    let (account, role) = canonical.key().split_once(":role/")?;
    let (name, suffix) = role.strip_prefix("awsreservedsso_")?.rsplit_once('_')?;
    let is_suffix = suffix.len() == 16 && suffix.bytes().all(|b| b.is_ascii_hexdigit());
    (is_suffix && !name.is_empty()).then(|| format!("{account}:role/awsreservedsso_{name}_*"))
}

fn split_once_only(user_id: &str) -> Option<(&str, &str)> {
    let (id, session) = user_id.split_once(':')?;
    (!id.is_empty() && !session.is_empty() && !session.contains(':')).then_some((id, session))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:sts::123456789012:assumed-role/Admin/i-0123";

    fn identity(arn: &str, user_id: &str) -> Result<Identity, IdentityError> {
        Identity::new("123456789012", arn, user_id, "AKIDEXAMPLE")
    }

    #[test]
    fn reads_a_reply() {
        let body = format!(
            r#"{{"GetCallerIdentityResponse":{{"GetCallerIdentityResult":{{"Account":"123456789012","Arn":"{ROLE}","UserId":"AROAX:i-0123"}},"ResponseMetadata":{{"RequestId":"r"}}}}}}"#
        );
        let got = Identity::from_reply(body.as_bytes(), "AKIDEXAMPLE").expect("valid");
        assert_eq!(got.canonical().as_str(), "arn:aws:iam::123456789012:role/Admin");
        assert_eq!(
            (got.user_id(), got.session_name(), got.arn()),
            ("AROAX", "i-0123", ROLE)
        );
        for body in [
            "",
            "{}",
            "<GetCallerIdentityResponse/>",
            r#"{"GetCallerIdentityResponse":{}}"#,
            "[]",
            "null",
        ] {
            assert_eq!(
                Identity::from_reply(body.as_bytes(), ""),
                Err(IdentityError::Malformed),
                "{body}"
            );
        }
    }

    #[test]
    fn user_ids_by_kind() {
        for bad in ["AROAX", "AROAX:", ":s", "AROAX:a:b", ""] {
            assert_eq!(identity(ROLE, bad), Err(IdentityError::UserId), "{bad}");
        }
        let federated = identity("arn:aws:sts::123456789012:federated-user/Bob", "123456789012:Bob").expect("valid");
        assert_eq!(
            (federated.user_id(), federated.session_name()),
            ("123456789012:Bob", "")
        );
        let user = identity("arn:aws:iam::123456789012:user/assumed-role/Admin/x", "AIDAX").expect("valid");
        assert_eq!((user.user_id(), user.session_name()), ("AIDAX", ""));
    }

    #[test]
    fn accounts_must_agree() {
        assert_eq!(
            Identity::new("123456789013", ROLE, "A:b", ""),
            Err(IdentityError::Account)
        );
    }

    #[test]
    fn permission_sets_have_sixteen_hex_digits() {
        let set = |role: &str| {
            identity(&format!("arn:aws-cn:sts::123456789012:assumed-role/{role}/s"), "A:s")
                .expect("valid")
                .permission_set()
                .map(str::to_owned)
        };
        let admin = Some("arn:aws-cn:iam::123456789012:role/awsreservedsso_admin_*".to_owned());
        assert_eq!(set("AWSReservedSSO_Admin_0123456789abcdef"), admin);
        assert_ne!(set("AWSReservedSSO_Admin_ReadOnly_0123456789abcdef"), admin);
        for role in [
            "AWSReservedSSO_Admin_0123456789abcde",
            "AWSReservedSSO_Admin_0123456789abcdeg",
            "Admin",
            "AWSReservedSSO__0123456789abcdef",
        ] {
            assert_eq!(set(role), None, "{role}");
        }
    }
}
