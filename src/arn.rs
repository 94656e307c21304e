//! Amazon Resource Names of the principals that can call AWS, and their canonical form.
//!
//! Two names denote the same principal when their canonical forms are equal, whatever the letter case: an assumed-role
//! session is its role, and a role has no path (role names are unique in an account, and STS never returns the path).

use std::fmt;

use thiserror::Error;

use crate::partition::Partition;

/// The longest ARN that AWS itself issues, in bytes.
/// Source: IAM API reference, type `arnType`.
pub const MAX_ARN_BYTES: usize = 2048;

/// A twelve-digit AWS account number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId([u8; 12]);

impl AccountId {
    /// Reads exactly twelve ASCII digits; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 12] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What sort of principal an ARN names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PrincipalKind {
    /// `arn:P:iam::A:role/[path/]N`
    Role,
    /// `arn:P:iam::A:user/[path/]N`
    User,
    /// `arn:P:iam::A:root`
    Root,
    /// `arn:P:sts::A:assumed-role/N/session`
    AssumedRole,
    /// `arn:P:sts::A:federated-user/N`
    FederatedUser,
}

/// Why a text is not the ARN of a principal.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ArnError {
    /// The text does not have the six colon-separated parts of an ARN.
    #[error("not an ARN: expected arn:PARTITION:iam::ACCOUNT:role/NAME or arn:PARTITION:iam::ACCOUNT:user/NAME")]
    NotAnArn,
    /// Longer than any ARN that AWS issues.
    #[error("longer than {MAX_ARN_BYTES} bytes, the longest ARN of AWS")]
    TooLong,
    /// A space, a control character or a character outside ASCII.
    #[error("an ARN has printable ASCII characters only, without spaces")]
    Character,
    /// The second part is not an AWS partition.
    #[error(
        "unknown partition: expected one of aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f, aws-eusc"
    )]
    Partition,
    /// The third part is neither `iam` nor `sts`.
    #[error("only services iam and sts have principals")]
    Service,
    /// The region part is not empty.
    #[error("the ARN of a principal has no region: expected two colons between the service and the account")]
    Region,
    /// The fifth part is not twelve digits.
    #[error("the account must be 12 digits, leading zeros included")]
    Account,
    /// The resource is not one of the principal kinds of its service.
    #[error(
        "the resource must be role/NAME, user/NAME or root for iam, assumed-role/NAME/SESSION or federated-user/NAME for sts"
    )]
    Resource,
}

/// The parsed ARN of a principal, in the letter case in which it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arn<'a> {
    /// The partition of the account.
    pub partition: Partition,
    /// The account.
    pub account: AccountId,
    /// The sort of principal.
    pub kind: PrincipalKind,
    /// For a user the path and name, for every other kind the bare name; empty for root.
    pub name: &'a str,
    /// The session of an assumed role, else empty.
    pub session: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses the ARN of a role, user, account root, assumed role or federated user.
    ///
    /// # Errors
    /// Says which part is wrong; see [`ArnError`].
    pub fn parse(text: &'a str) -> Result<Self, ArnError> {
        if text.len() > MAX_ARN_BYTES {
            return Err(ArnError::TooLong);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ArnError::Character);
        }
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().ok_or(ArnError::NotAnArn);
        if !part()?.eq_ignore_ascii_case("arn") {
            return Err(ArnError::NotAnArn);
        }
        let (partition, service, region, account, resource) = (part()?, part()?, part()?, part()?, part()?);
        let partition = Partition::from_id(&partition.to_ascii_lowercase()).ok_or(ArnError::Partition)?;
        let service = ["iam", "sts"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(service));
        let service = service.ok_or(ArnError::Service)?;
        if !region.is_empty() {
            return Err(ArnError::Region);
        }
        let account = AccountId::parse(account).ok_or(ArnError::Account)?;
        let (kind, name, session) = principal(service, resource).ok_or(ArnError::Resource)?;
        Ok(Self {
            partition,
            account,
            kind,
            name,
            session,
        })
    }

    /// The name under which this principal is mapped.
    pub fn canonical(&self) -> CanonicalArn {
        let Self {
            partition,
            account,
            name,
            ..
        } = self;
        let partition = partition.id();
        let text = match self.kind {
            PrincipalKind::Role | PrincipalKind::AssumedRole => format!("arn:{partition}:iam::{account}:role/{name}"),
            PrincipalKind::User => format!("arn:{partition}:iam::{account}:user/{name}"),
            PrincipalKind::Root => format!("arn:{partition}:iam::{account}:root"),
            PrincipalKind::FederatedUser => format!("arn:{partition}:sts::{account}:federated-user/{name}"),
        };
        CanonicalArn {
            key: text.to_ascii_lowercase().into(),
            text: text.into(),
        }
    }
}

fn principal<'a>(service: &str, resource: &'a str) -> Option<(PrincipalKind, &'a str, &'a str)> {
    if service == "iam" && resource.eq_ignore_ascii_case("root") {
        return Some((PrincipalKind::Root, "", ""));
    }
    let (kind, rest) = resource.split_once('/')?;
    // A colon never occurs in the name of a principal; with one, the text has more parts than an ARN.
    if rest.contains(':') || rest.split('/').any(str::is_empty) {
        return None;
    }
    match (service, &*kind.to_ascii_lowercase()) {
        ("iam", "role") => Some((PrincipalKind::Role, last_segment(rest), "")),
        ("iam", "user") => Some((PrincipalKind::User, rest, "")),
        ("sts", "assumed-role") => {
            let (role, session) = rest.rsplit_once('/')?;
            Some((PrincipalKind::AssumedRole, last_segment(role), session))
        }
        ("sts", "federated-user") if !rest.contains('/') => Some((PrincipalKind::FederatedUser, rest, "")),
        _ => None,
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The name under which a principal is mapped: `arn:P:iam::A:role/N` for a role and all its sessions.
///
/// Equality and hashing go by [`CanonicalArn::key`] and so ignore letter case; the text keeps it for display.
#[derive(Clone, Debug)]
pub struct CanonicalArn {
    text: Box<str>,
    key: Box<str>,
}

impl CanonicalArn {
    /// As AWS writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In lower case: what mappings are looked up by, and what `status.canonicalARN` holds.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Gives up the display form and keeps the key.
    pub fn into_key(self) -> Box<str> {
        self.key
    }
}

impl PartialEq for CanonicalArn {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for CanonicalArn {}

impl std::hash::Hash for CanonicalArn {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for CanonicalArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Arn::parse(text).expect(text).canonical().to_string()
    }

    #[test]
    fn canonical_forms() {
        for (given, wanted) in [
            (
                "arn:aws:iam::123456789012:role/Admin",
                "arn:aws:iam::123456789012:role/Admin",
            ),
            (
                "arn:aws:iam::123456789012:role/a/b/Admin",
                "arn:aws:iam::123456789012:role/Admin",
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/Admin/x@y.z",
                "arn:aws:iam::123456789012:role/Admin",
            ),
            (
                "arn:aws-cn:iam::123456789012:user/div/Bob",
                "arn:aws-cn:iam::123456789012:user/div/Bob",
            ),
            (
                "arn:aws:iam::123456789012:user/assumed-role/Admin/x",
                "arn:aws:iam::123456789012:user/assumed-role/Admin/x",
            ),
            (
                "arn:aws-iso-f:iam::012345678901:root",
                "arn:aws-iso-f:iam::012345678901:root",
            ),
            (
                "arn:aws:sts::123456789012:federated-user/Bob",
                "arn:aws:sts::123456789012:federated-user/Bob",
            ),
        ] {
            assert_eq!(canonical(given), wanted);
        }
    }

    #[test]
    fn fixed_parts_may_be_in_any_letter_case() {
        assert_eq!(
            canonical("ARN:AWS:IAM::123456789012:ROLE/Admin"),
            "arn:aws:iam::123456789012:role/Admin"
        );
        assert_eq!(
            canonical("arn:AWS-CN:iam::123456789012:Root"),
            "arn:aws-cn:iam::123456789012:root"
        );
    }

    #[test]
    fn comparison_ignores_letter_case() {
        let parse = |text| Arn::parse(text).expect("valid").canonical();
        assert_eq!(
            parse("arn:aws:iam::123456789012:role/ADMIN"),
            parse("arn:aws:iam::123456789012:role/x/admin")
        );
        assert_ne!(
            parse("arn:aws:iam::123456789012:role/Admin"),
            parse("arn:aws:iam::123456789013:role/Admin")
        );
    }

    #[test]
    fn refusals_name_the_part() {
        for (given, wanted) in [
            ("", ArnError::NotAnArn),
            ("arn:aws:iam", ArnError::NotAnArn),
            ("urn:aws:iam::123456789012:role/A", ArnError::NotAnArn),
            ("arn:aws-moon:iam::123456789012:role/A", ArnError::Partition),
            ("arn:aws:s3::123456789012:role/A", ArnError::Service),
            ("arn:aws:iam:us-east-1:123456789012:role/A", ArnError::Region),
            ("arn:aws:iam::12345678901:role/A", ArnError::Account),
            ("arn:aws:iam::1234567890123:role/A", ArnError::Account),
            ("arn:aws:iam::12345678901x:role/A", ArnError::Account),
            ("arn:aws:iam::123456789012:role/", ArnError::Resource),
            ("arn:aws:iam::123456789012:role//A", ArnError::Resource),
            ("arn:aws:iam::123456789012:role/A:B", ArnError::Resource),
            ("arn:aws:iam::123456789012:group/A", ArnError::Resource),
            ("arn:aws:iam::123456789012:assumed-role/A/s", ArnError::Resource),
            ("arn:aws:sts::123456789012:assumed-role/A", ArnError::Resource),
            ("arn:aws:sts::123456789012:role/A", ArnError::Resource),
            ("arn:aws:sts::123456789012:federated-user/a/b", ArnError::Resource),
            ("arn:aws:iam::123456789012:role/A b", ArnError::Character),
            ("arn:aws:iam::123456789012:role/Ä", ArnError::Character),
        ] {
            assert_eq!(Arn::parse(given), Err(wanted), "{given}");
        }
        assert_eq!(Arn::parse(&"a".repeat(MAX_ARN_BYTES + 1)), Err(ArnError::TooLong));
    }
}
