//! The custom resource `IAMIdentityMapping`: its types, the definition that is installed for it, and the one
//! conversion that reduces an object to a [`Mapping`].
//!
//! The comments on fields are what `kubectl explain` shows, so they speak to whoever writes a manifest.
#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each struct inside a function, where `pub` reaches nobody"
)]
#![allow(clippy::duplicated_attributes, reason = "printer columns have types in common")]
#![allow(clippy::doc_markdown, reason = "`kubectl explain` would show the backticks")]

mod definition;
mod rules;
pub mod status;
mod stored;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::arn::MAX_ARN_BYTES;
use crate::mapping::index::{Object, Stored};
use crate::mapping::{Mapping, MappingError, MappingText, Origin, SourceId, Subject};
pub use definition::{definition, yaml};
pub use stored::StoredMapping;

/// The partition of a permission set that names none.
const DEFAULT_PARTITION: &str = "aws";

/// Who is mapped, and to which Kubernetes user.
#[derive(CustomResource, KubeSchema, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[kube(
    group = "iamauthenticator.k8s.aws",
    version = "v1alpha1",
    kind = "IAMIdentityMapping",
    plural = "iamidentitymappings",
    singular = "iamidentitymapping",
    shortname = "iamim",
    category = "all",
    status = "IAMIdentityMappingStatus",
    derive = "PartialEq",
    doc = "An IAMIdentityMapping says which Kubernetes user, with which groups, an AWS IAM principal becomes when it \
           logs in to this cluster. It takes effect as soon as it is applied and ends when it is deleted.",
    validation = rules::has_spec(),
    selectable = ".spec.arn",
    selectable = ".spec.username",
    printcolumn(name = "ARN", type_ = "string", json_path = ".spec.arn"),
    printcolumn(name = "Username", type_ = "string", json_path = ".spec.username"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::one_subject())]
pub struct IAMIdentityMappingSpec {
    /// The ARN of the IAM role, IAM user, root user or federated user that is mapped, for example
    /// arn:aws:iam::123456789012:role/Admin. Give either arn or sso.
    ///
    /// Upper and lower case are the same in names. The path of a role may be given and is ignored; the ARN of an
    /// assumed role stands for its role. There are no wildcards, except that
    /// arn:aws:iam::123456789012:role/AWSReservedSSO_Admin_* maps everybody who has the permission set Admin of IAM
    /// Identity Center in that account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ARN_BYTES), transform = rules::arn)]
    pub arn: Option<String>,

    /// The permission set of IAM Identity Center that is mapped: everybody to whom it was assigned in the account. Give
    /// either arn or sso.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sso: Option<SsoSpec>,

    /// The Kubernetes username, for example admin or admin:{{SessionName}}.
    ///
    /// It may contain placeholders: {{AccountID}} is the AWS account, {{SessionName}} the name of the role session with
    /// a hyphen for every @, {{SessionNameRaw}} the same with every @, {{AccessKeyID}} the access key that signed the
    /// token, and {{EC2PrivateDNSName}} the private DNS name of the EC2 instance that logs in.
    #[schemars(length(max = rules::MAX_TEMPLATE_CHARS), transform = rules::template)]
    pub username: String,

    /// The Kubernetes groups, at most 64.
    ///
    /// They may contain the same placeholders as the username. A group with a placeholder must not begin with system:,
    /// so that nobody becomes an administrator by the name of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = rules::groups)]
    pub groups: Option<Vec<String>>,

    /// The unique id of the IAM principal, for example AROAEXAMPLEID, as `aws iam get-role` shows it. When it is given,
    /// a principal that was deleted and created anew under the same name is no longer mapped.
    #[serde(rename = "userID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = rules::MAX_USER_ID_CHARS), transform = rules::user_id)]
    pub user_id: Option<String>,
}

/// A permission set of IAM Identity Center in one account.
#[derive(KubeSchema, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SsoSpec {
    /// The name of the permission set, for example Admin. Only this set matches: Admin does not match Admin_ReadOnly.
    #[schemars(length(max = rules::MAX_SSO_CHARS), transform = rules::permission_set_name)]
    pub permission_set_name: String,

    /// The AWS account in which the permission set was assigned: twelve digits, in quotes.
    #[serde(rename = "accountID")]
    #[schemars(length(max = rules::MAX_SSO_CHARS), transform = rules::account_id)]
    pub account_id: String,

    /// The AWS partition of the account: aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f or aws-eusc.
    /// It is aws when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = rules::MAX_SSO_CHARS), transform = rules::partition)]
    pub partition: Option<String>,
}

/// What the cluster made of the mapping. Nobody's access depends on it: logins look only at the spec.
#[derive(KubeSchema, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IAMIdentityMappingStatus {
    /// The ARN as principals are compared with it: in lower case, without session and without path.
    #[serde(rename = "canonicalARN", default, skip_serializing_if = "Option::is_none")]
    pub canonical_arn: Option<String>,

    /// The unique id of the IAM principal, when the spec pins it.
    #[serde(rename = "userID", default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,

    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The condition Ready is True while the mapping is served. Otherwise its reason is Invalid, Conflict or
    /// ReservedPrefix and its message says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Option<Vec<Condition>>,
}

/// Reduces an object to what is needed of it.
pub fn reduce(object: &IAMIdentityMapping) -> Object {
    let name: Arc<str> = object.metadata.name.as_deref().unwrap_or_default().into();
    let created = object
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |time| time.0.as_second());
    let mapping = mapping(Arc::clone(&name), created, &object.spec);
    Object {
        name,
        mapping,
        stored: Stored::default(),
    }
}

fn mapping(name: Arc<str>, created: i64, spec: &IAMIdentityMappingSpec) -> Result<Mapping, MappingError> {
    let subject = match (&spec.arn, &spec.sso) {
        (Some(arn), None) => Subject::from_arn(arn)?,
        (None, Some(sso)) => {
            let partition = sso.partition.as_deref().unwrap_or(DEFAULT_PARTITION);
            Subject::permission_set(&sso.permission_set_name, &sso.account_id, partition)?
        }
        _ => return Err(MappingError::OneSubject("spec.arn and spec.sso")),
    };
    let text = MappingText {
        username: &spec.username,
        groups: spec.groups.as_deref().unwrap_or_default(),
        user_id: spec.user_id.as_deref(),
    };
    Mapping::new(&subject, text, SourceId::Crd, Origin::Object { name, created })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "`json!` makes a value")]
    fn object(spec: serde_json::Value) -> IAMIdentityMapping {
        serde_json::from_value(json!({
            "apiVersion": "iamauthenticator.k8s.aws/v1alpha1",
            "kind": "IAMIdentityMapping",
            "metadata": { "name": "m", "creationTimestamp": "2026-01-02T03:04:05Z" },
            "spec": spec,
        }))
        .expect("an object")
    }

    #[test]
    fn an_object_becomes_a_mapping() {
        let reduced = reduce(&object(json!({
            "arn": "arn:aws:iam::123456789012:role/p/Admin",
            "username": "admin:{{SessionName}}",
            "groups": ["g"],
            "userID": "AROAX",
        })));
        let mapping = reduced.mapping.expect("a mapping");
        assert_eq!(&*reduced.name, "m");
        assert_eq!(mapping.subject_key(), "arn:aws:iam::123456789012:role/admin");
        assert_eq!(mapping.user_id(), Some("AROAX"));
        assert_eq!(mapping.source(), SourceId::Crd);
        assert_eq!(
            mapping.origin(),
            &Origin::Object {
                name: "m".into(),
                created: 1_767_323_045
            }
        );
    }

    #[test]
    fn a_permission_set_is_in_the_partition_aws_unless_it_says_otherwise() {
        for (partition, key) in [
            (None, "arn:aws:iam::123456789012:role/awsreservedsso_admin_*"),
            (
                Some("aws-cn"),
                "arn:aws-cn:iam::123456789012:role/awsreservedsso_admin_*",
            ),
        ] {
            let sso = json!({ "permissionSetName": "Admin", "accountID": "123456789012", "partition": partition });
            let reduced = reduce(&object(json!({ "sso": sso, "username": "u" })));
            assert_eq!(reduced.mapping.expect("a mapping").subject_key(), key);
        }
    }

    #[test]
    fn exactly_one_subject() {
        let sso = json!({ "permissionSetName": "Admin", "accountID": "123456789012" });
        for spec in [
            json!({ "username": "u" }),
            json!({ "username": "u", "arn": "arn:aws:iam::123456789012:role/A", "sso": sso }),
        ] {
            let error = reduce(&object(spec)).mapping.expect_err("not one subject");
            assert_eq!(error, MappingError::OneSubject("spec.arn and spec.sso"));
        }
    }
}
