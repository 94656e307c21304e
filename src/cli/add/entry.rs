//! The mapping that is to be added, as its flags say.

use clap::Args;

use super::super::output::Failure;
use crate::arn::{Arn, PrincipalKind};
use crate::mapping::MappingError;
use crate::mapping::aws_auth::List;
use crate::mapping::aws_auth::edit::{NewEntry, SubjectText};

#[derive(Debug, Args)]
#[expect(clippy::doc_markdown, reason = "the help texts are for terminals")]
struct UserFlags {
    /// The Kubernetes username; it may hold placeholders such as {{SessionName}}
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// The Kubernetes groups; repeat the flag or separate them by commas
    #[arg(long, value_name = "GROUP,...", value_delimiter = ',')]
    groups: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    /// The ARN of the user
    #[arg(long, value_name = "ARN")]
    userarn: Option<String>,
    #[command(flatten)]
    user: UserFlags,
}

#[derive(Debug, Args)]
pub(super) struct RoleArgs {
    /// The ARN of the role
    #[arg(long, value_name = "ARN")]
    rolearn: Option<String>,
    /// A permission set of IAM Identity Center instead: permissionSetName=NAME,accountID=ACCOUNT[,partition=PARTITION]
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',')]
    sso: Vec<String>,
    #[command(flatten)]
    user: UserFlags,
}

/// A mapping to add.
#[derive(Debug)]
pub(super) struct Entry {
    list: List,
    pub(super) subject: OwnedSubject,
    pub(super) username: String,
    pub(super) groups: Vec<String>,
}

#[derive(Debug)]
pub(super) enum OwnedSubject {
    Arn(String),
    PermissionSet {
        name: String,
        account: String,
        partition: String,
    },
}

impl Entry {
    /// The same, for the editor of texts.
    pub(super) fn text(&self) -> NewEntry<'_> {
        NewEntry {
            list: self.list,
            subject: self.subject.text(),
            username: &self.username,
            groups: &self.groups,
        }
    }
}

impl OwnedSubject {
    fn text(&self) -> SubjectText<'_> {
        match self {
            Self::Arn(arn) => SubjectText::Arn(arn),
            Self::PermissionSet {
                name,
                account,
                partition,
            } => SubjectText::PermissionSet {
                name,
                account,
                partition,
            },
        }
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Arn(arn) => arn.clone(),
            Self::PermissionSet { name, account, .. } => format!("the permission set {name} in {account}"),
        }
    }
}

/// Says why the server would refuse a mapping, and what to do.
pub(super) fn refused(error: &MappingError) -> String {
    let advice = match error {
        MappingError::ReservedPrefix(_) => {
            "choose another username, or give --allow-system-usernames if your servers have it"
        }
        _ => "correct it and run the command again",
    };
    format!("the server would refuse this mapping: {error}; {advice}")
}

impl UserArgs {
    pub(super) fn entry(self) -> Result<Entry, Failure> {
        let arn = required(self.userarn, "--userarn")?;
        if matches!(kind(&arn), Some(PrincipalKind::Role | PrincipalKind::AssumedRole)) {
            return Err(Failure::usage(format!(
                "--userarn: {arn} is the ARN of a role; use `add role --rolearn`"
            )));
        }
        self.user.entry(List::MapUsers, OwnedSubject::Arn(arn))
    }
}

impl RoleArgs {
    pub(super) fn entry(self) -> Result<Entry, Failure> {
        let subject = match (self.rolearn.filter(|arn| !arn.is_empty()), self.sso.as_slice()) {
            (Some(_), [_, ..]) => {
                return Err(Failure::usage(
                    "--rolearn and --sso contradict each other; give one of them",
                ));
            }
            (Some(arn), []) => OwnedSubject::Arn(arn),
            (None, []) => return Err(Failure::usage("it is not said whom to map; give --rolearn or --sso")),
            (None, pairs) => permission_set(pairs)?,
        };
        if let OwnedSubject::Arn(arn) = &subject
            && matches!(
                kind(arn),
                Some(PrincipalKind::User | PrincipalKind::Root | PrincipalKind::FederatedUser)
            )
        {
            return Err(Failure::usage(format!(
                "--rolearn: {arn} is not the ARN of a role; use `add user --userarn`"
            )));
        }
        self.user.entry(List::MapRoles, subject)
    }
}

impl UserFlags {
    fn entry(self, list: List, subject: OwnedSubject) -> Result<Entry, Failure> {
        let username = required(self.username, "--username")?;
        let groups: Vec<_> = self.groups.iter().map(|group| group.trim().to_owned()).collect();
        if groups.iter().any(String::is_empty) {
            return Err(Failure::usage(
                "--groups: a group is empty; write names separated by single commas",
            ));
        }
        Ok(Entry {
            list,
            subject,
            username,
            groups,
        })
    }
}

fn required(value: Option<String>, flag: &str) -> Result<String, Failure> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| {
        Failure::usage(format!(
            "{flag} is missing; without it there is nothing to add: give it a value"
        ))
    })
}

/// The kind of principal; what is no ARN is told by the mapping parser.
fn kind(arn: &str) -> Option<PrincipalKind> {
    Arn::parse(arn).ok().map(|arn| arn.kind)
}

fn permission_set(pairs: &[String]) -> Result<OwnedSubject, Failure> {
    let (mut name, mut account, mut partition) = (None, None, None);
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match key.trim().to_ascii_lowercase().as_str() {
            "permissionsetname" => &mut name,
            "accountid" => &mut account,
            "partition" => &mut partition,
            _ => {
                return Err(Failure::usage(format!(
                    "--sso: {key:?} is not a key of a permission set; the keys are permissionSetName, accountID and partition"
                )));
            }
        };
        *slot = Some(value.trim().to_owned());
    }
    let missing = |key| {
        Failure::usage(format!(
            "--sso: {key} is missing; write permissionSetName=NAME,accountID=ACCOUNT"
        ))
    };
    Ok(OwnedSubject::PermissionSet {
        name: name.ok_or_else(|| missing("permissionSetName"))?,
        account: account.ok_or_else(|| missing("accountID"))?,
        partition: partition.unwrap_or_else(|| "aws".to_owned()),
    })
}
