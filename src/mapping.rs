//! A mapping says which Kubernetes user an AWS principal becomes: a subject, a username template, group templates.
//!
//! Every source (custom resources, ConfigMaps, files) is reduced to this one value at its door; the table, `status`,
//! `lint` and `explain` all work on it.

pub mod aws_auth;
pub mod index;
mod packed;
pub mod policy;
pub mod table;
pub mod template;
pub(crate) mod yaml;

use std::sync::Arc;

pub use packed::Mapping;
use thiserror::Error;

use crate::arn::{AccountId, Arn, ArnError, PrincipalKind};
use crate::partition::Partition;
use template::TemplateError;

/// The most groups a mapping may have.
/// Bound on what one reply of the webhook can grow to; upstream has none.
pub const MAX_GROUPS: usize = 64;

/// Where mappings come from; the names are those of `--backend-mode`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum SourceId {
    /// The `--config` file.
    MountedFile,
    /// `config.yaml` of a ConfigMap, watched through the API.
    AuthenticatorConfigMap,
    /// The `aws-auth` ConfigMap.
    EksConfigMap,
    /// `IAMIdentityMapping` objects.
    Crd,
    /// The JSON file of `--dynamicfilepath`.
    DynamicFile,
}

impl SourceId {
    /// Every source, in no particular order.
    pub const ALL: [Self; 5] = [
        Self::MountedFile,
        Self::AuthenticatorConfigMap,
        Self::EksConfigMap,
        Self::Crd,
        Self::DynamicFile,
    ];

    /// The name in `--backend-mode`, logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MountedFile => "MountedFile",
            Self::AuthenticatorConfigMap => "AuthenticatorConfigMap",
            Self::EksConfigMap => "EKSConfigMap",
            Self::Crd => "CRD",
            Self::DynamicFile => "DynamicFile",
        }
    }

    /// Reads a name of `--backend-mode`, the old names `File` and `ConfigMap` included.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "File" => Some(Self::MountedFile),
            "ConfigMap" => Some(Self::EksConfigMap),
            _ => Self::ALL.into_iter().find(|source| source.as_str() == name),
        }
    }

    /// Whether only root on the node can write it: such a source is trusted before the API server has spoken.
    pub fn is_local_file(self) -> bool {
        matches!(self, Self::MountedFile | Self::DynamicFile)
    }
}

/// How specific a subject is. Between matches of one source the more specific wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SubjectKind {
    /// One role, user, root or federated user.
    Principal,
    /// All roles that IAM Identity Center made for one permission set in one account.
    PermissionSet,
    /// Everybody in one account.
    Account,
}

/// Whom a mapping is for. Two subjects are the same when their keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    kind: SubjectKind,
    key: Box<str>,
}

impl Subject {
    /// Reads an ARN, or the open-ended `…:role/[path/]AWSReservedSSO_<permission set>_*`.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn from_arn(text: &str) -> Result<Self, MappingError> {
        let arn = Arn::parse(text)?;
        let sso = (arn.kind == PrincipalKind::Role)
            .then(|| permission_set_name(arn.name))
            .flatten();
        if let Some(name) = sso {
            return Self::permission_set(name, arn.account.as_str(), arn.partition.id());
        }
        if arn.name.contains(['*', '?']) {
            return Err(MappingError::Wildcard);
        }
        Ok(Self {
            kind: SubjectKind::Principal,
            key: arn.canonical().into_key(),
        })
    }

    /// The permission set `name` in one account.
    ///
    /// # Errors
    /// When the name, the account or the partition is not one.
    pub fn permission_set(name: &str, account: &str, partition: &str) -> Result<Self, MappingError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b);
        if !(1..=32).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(MappingError::PermissionSetName);
        }
        let account = AccountId::parse(account).ok_or(MappingError::Arn(ArnError::Account))?;
        let partition = Partition::from_id(partition).ok_or(MappingError::Arn(ArnError::Partition))?;
        let key = format!("arn:{}:iam::{account}:role/awsreservedsso_{name}_*", partition.id()).to_ascii_lowercase();
        Ok(Self {
            kind: SubjectKind::PermissionSet,
            key: key.into(),
        })
    }

    /// Everybody in one account.
    pub fn account(account: AccountId) -> Self {
        Self {
            kind: SubjectKind::Account,
            key: account.as_str().into(),
        }
    }

    /// How specific it is.
    pub fn kind(&self) -> SubjectKind {
        self.kind
    }

    /// The canonical ARN in lower case, its permission-set form, or the account number.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// `Admin` out of `AWSReservedSSO_Admin_*`, the prefix in any letter case.
fn permission_set_name(role: &str) -> Option<&str> {
    const PREFIX: &str = "AWSReservedSSO_";
    let (prefix, rest) = role.split_at_checked(PREFIX.len())?;
    rest.strip_suffix("_*").filter(|_| prefix.eq_ignore_ascii_case(PREFIX))
}

/// Where in its source a mapping stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A custom resource.
    Object {
        /// `metadata.name`.
        name: Arc<str>,
        /// `metadata.creationTimestamp`, seconds since 1970.
        created: i64,
    },
    /// An entry of a document.
    Entry {
        /// The list it stands in.
        list: aws_auth::List,
        /// The line in its document, from 1.
        line: u32,
    },
}

/// A mapping as it is written, before any check.
#[derive(Clone, Copy, Debug)]
pub struct MappingText<'a> {
    /// The username template.
    pub username: &'a str,
    /// The group templates.
    pub groups: &'a [String],
    /// The pin on the IAM unique id.
    pub user_id: Option<&'a str>,
}

/// Why an entry or object is not a mapping.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MappingError {
    /// The ARN is not one of a principal.
    #[error("ARN: {0}")]
    Arn(#[from] ArnError),
    /// A wildcard other than the permission-set form.
    #[error("ARN: wildcards match nothing; only role/AWSReservedSSO_<permission set>_* may end in one")]
    Wildcard,
    /// Not a name of a permission set.
    #[error("permissionSetName: must be 1 to 32 letters, digits or _+=,.@-")]
    PermissionSetName,
    /// Neither an ARN nor a permission set, or both.
    #[error("exactly one of {0} must be given")]
    OneSubject(&'static str),
    /// The username is not a template.
    #[error("username {0}")]
    Username(TemplateError),
    /// A group is not a template.
    #[error("group {0}: {1}")]
    Group(usize, TemplateError),
    /// Too many groups.
    #[error("has {0} groups; at most {MAX_GROUPS} are allowed")]
    TooManyGroups(usize),
    /// The pin is empty or not an IAM unique id.
    #[error("userID: must be an IAM unique id such as AROAEXAMPLE (letters, digits and, for federated users, a colon)")]
    UserId,
    /// A username that begins with a prefix reserved in this source.
    #[error("username begins with the prefix {0:?}, which is reserved in this source")]
    ReservedPrefix(Box<str>),
    /// A group template that could render to a group of Kubernetes itself.
    #[error("group {0}: a template with a placeholder must not begin with system:")]
    SystemGroupTemplate(usize),
    /// `system:masters` in a source that may not grant it.
    #[error("group system:masters may not be granted by this source (--privileged-groups-from)")]
    PrivilegedGroup,
    /// A field of the entry is missing, unknown or of another type.
    #[error("{0}")]
    Field(Box<str>),
}

impl MappingError {
    /// A label for metrics and Event reasons.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ReservedPrefix(_) => "ReservedPrefix",
            _ => "Invalid",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "123456789012";

    #[test]
    fn subjects_of_arns() {
        for (given, kind, key) in [
            (
                "arn:aws:iam::123456789012:role/p/Admin",
                SubjectKind::Principal,
                "arn:aws:iam::123456789012:role/admin",
            ),
            (
                "arn:aws:sts::123456789012:assumed-role/Admin/s",
                SubjectKind::Principal,
                "arn:aws:iam::123456789012:role/admin",
            ),
            (
                "arn:aws-us-gov:iam::123456789012:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_View_Only_*",
                SubjectKind::PermissionSet,
                "arn:aws-us-gov:iam::123456789012:role/awsreservedsso_view_only_*",
            ),
        ] {
            let subject = Subject::from_arn(given).expect(given);
            assert_eq!((subject.kind(), subject.key()), (kind, key));
        }
        for wildcard in [
            "arn:aws:iam::123456789012:user/AWSReservedSSO_Admin_*",
            "arn:aws:iam::123456789012:role/A*",
        ] {
            assert_eq!(Subject::from_arn(wildcard), Err(MappingError::Wildcard));
        }
        assert_eq!(
            Subject::from_arn("arn:aws:iam::123456789012:role/*"),
            Err(MappingError::Wildcard)
        );
        assert_eq!(
            Subject::permission_set("", A, "aws"),
            Err(MappingError::PermissionSetName)
        );
        assert_eq!(
            Subject::permission_set(&"x".repeat(33), A, "aws"),
            Err(MappingError::PermissionSetName)
        );
        assert_eq!(
            Subject::permission_set("a b", A, "aws"),
            Err(MappingError::PermissionSetName)
        );
        assert_eq!(
            Subject::permission_set("a", "1", "aws"),
            Err(MappingError::Arn(ArnError::Account))
        );
        assert_eq!(
            Subject::permission_set("a", A, "mars"),
            Err(MappingError::Arn(ArnError::Partition))
        );
    }

    #[test]
    fn checks_name_the_field() {
        let new = |username: &str, groups: &[&str], user_id: Option<&str>| {
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            let text = MappingText {
                username,
                groups: &groups,
                user_id,
            };
            let subject = Subject::account(AccountId::parse(A).expect("valid"));
            Mapping::new(
                &subject,
                text,
                SourceId::Crd,
                Origin::Entry {
                    list: aws_auth::List::MapRoles,
                    line: 1,
                },
            )
        };
        assert!(new("u", &["system:masters", "g-{{AccountID}}"], Some("AROAX")).is_ok());
        assert_eq!(new("", &[], None), Err(MappingError::Username(TemplateError::Empty)));
        assert_eq!(
            new("u", &["a", ""], None),
            Err(MappingError::Group(2, TemplateError::Empty))
        );
        assert_eq!(
            new("u", &["system:{{SessionName}}"], None),
            Err(MappingError::SystemGroupTemplate(1))
        );
        assert_eq!(new("u", &["g"; 65], None), Err(MappingError::TooManyGroups(65)));
        assert_eq!(new("u", &[], Some("")), Err(MappingError::UserId));
    }

    #[test]
    fn names_of_sources() {
        for source in SourceId::ALL {
            assert_eq!(SourceId::parse(source.as_str()), Some(source));
        }
        assert_eq!(SourceId::parse("File"), Some(SourceId::MountedFile));
        assert_eq!(SourceId::parse("ConfigMap"), Some(SourceId::EksConfigMap));
        assert_eq!(SourceId::parse("mountedfile"), None);
    }
}
