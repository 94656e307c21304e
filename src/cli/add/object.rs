//! The same mapping as an object of its own: an `IAMIdentityMapping`.

use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Error};

use super::super::cluster::{FIELD_MANAGER, api_failure};
use super::super::diff;
use super::super::output::{Colours, Failure, print};
use super::entry::{Entry, OwnedSubject, refused};
use super::{How, confirmed};
use crate::arn::{Arn, PrincipalKind};
use crate::crd::{IAMIdentityMapping, IAMIdentityMappingSpec, SsoSpec, reduce};
use crate::mapping::Mapping;
use crate::mapping::aws_auth::edit::grants;

/// The longest name of an object. Source: RFC 1123 subdomains, as Kubernetes has them.
const MAX_NAME: usize = 253;

/// So many objects come in one answer of the API server.
const PAGE: u32 = 500;

pub(super) async fn add(client: Client, entry: &Entry, name: Option<String>, how: &How) -> Result<(), Failure> {
    let name = name.unwrap_or_else(|| default_name(&entry.subject));
    let object = IAMIdentityMapping::new(&name, spec(entry));
    let mapping = reduce(&object).mapping.and_then(|mapping| {
        how.policy.check_mapping(&mapping)?;
        Ok(mapping)
    });
    let mapping = mapping.map_err(|error| Failure::usage(refused(&error)))?;
    let api: Api<IAMIdentityMapping> = Api::all(client);
    if let Some(other) = same_subject(&api, &mapping).await? {
        return present(&other, &mapping);
    }
    let manifest = serde_saphyr::to_string(&manifest(&object)).map_err(Failure::failed)?;
    let change = diff::unified(
        &format!("IAMIdentityMapping {name}"),
        "",
        &manifest,
        Colours::of_stdout(),
    );
    let question = format!(
        "Ready to add {} as IAMIdentityMapping {name}, should we continue?",
        entry.subject.name()
    );
    if !confirmed(&change, &question, how)? {
        return Ok(());
    }
    let params = PostParams {
        dry_run: how.dry_run,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    };
    match api.create(&params, &object).await {
        Ok(_) if how.dry_run => print(&format!(
            "dry run: the API server would accept IAMIdentityMapping {name}; nothing was changed"
        )),
        Ok(_) => print(&format!("added IAMIdentityMapping {name}")),
        Err(Error::Api(status)) if status.is_already_exists() => Err(Failure::failed(format!(
            "the IAMIdentityMapping {name} exists and maps somebody else; nothing was changed: give another --name"
        ))),
        Err(error) => Err(cannot("create", &error)),
    }
}

fn spec(entry: &Entry) -> IAMIdentityMappingSpec {
    let (arn, sso) = match &entry.subject {
        OwnedSubject::Arn(arn) => (Some(arn.clone()), None),
        OwnedSubject::PermissionSet {
            name,
            account,
            partition,
        } => {
            let sso = SsoSpec {
                permission_set_name: name.clone(),
                account_id: account.clone(),
                partition: Some(partition.clone()),
            };
            (None, Some(sso))
        }
    };
    IAMIdentityMappingSpec {
        arn,
        sso,
        username: entry.username.clone(),
        groups: (!entry.groups.is_empty()).then(|| entry.groups.clone()),
        user_id: None,
    }
}

/// What one would write by hand: without the fields that only the API server fills in.
fn manifest(object: &IAMIdentityMapping) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1",
        "kind": "IAMIdentityMapping",
        "metadata": { "name": object.metadata.name },
        "spec": object.spec,
    })
}

/// An object that maps the same principal: the older of two would hold, and the new one say `Conflict`.
async fn same_subject(api: &Api<IAMIdentityMapping>, mapping: &Mapping) -> Result<Option<(String, Mapping)>, Failure> {
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await.map_err(|error| cannot("list", &error))?;
        for object in &page.items {
            let reduced = reduce(object);
            if let Ok(other) = reduced.mapping
                && other.subject_key() == mapping.subject_key()
            {
                return Ok(Some((reduced.name.to_string(), other)));
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(None),
        }
    }
}

fn present((name, other): &(String, Mapping), mapping: &Mapping) -> Result<(), Failure> {
    if other.grants_the_same(mapping) {
        return print(&format!(
            "nothing to do: IAMIdentityMapping {name} is this very mapping"
        ));
    }
    Err(Failure::failed(format!(
        "IAMIdentityMapping {name} maps this principal already, to {}; a second one would only say Conflict, so nothing was \
         changed: edit that one (kubectl edit iamidentitymapping {name})",
        grants(other)
    )))
}

/// `role-admin-123456789012`: what it is, its name and its account, as far as names of objects allow.
fn default_name(subject: &OwnedSubject) -> String {
    let name = match subject {
        OwnedSubject::PermissionSet { name, account, .. } => format!("sso-{name}-{account}"),
        OwnedSubject::Arn(text) => match Arn::parse(text) {
            Ok(arn) => {
                let kind = match arn.kind {
                    PrincipalKind::Role | PrincipalKind::AssumedRole => "role",
                    PrincipalKind::User => "user",
                    PrincipalKind::FederatedUser => "federated-user",
                    PrincipalKind::Root => return format!("root-{}", arn.account),
                };
                format!("{kind}-{}-{}", arn.name, arn.account)
            }
            Err(_) => text.clone(),
        },
    };
    let lower = name.to_ascii_lowercase();
    let parts = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty());
    let mut name = parts.collect::<Vec<_>>().join("-");
    name.truncate(MAX_NAME);
    name
}

fn cannot(verb: &str, error: &Error) -> Failure {
    if let Error::Api(status) = error
        && status.code == 404
    {
        return Failure::failed(
            "the cluster does not know IAMIdentityMapping objects; nothing was changed: install the definition with \
             `aws-iam-authenticator crd | kubectl apply -f -`",
        );
    }
    api_failure(
        &format!("{verb} IAMIdentityMapping objects"),
        "list and create iamidentitymappings.iamauthenticator.k8s.aws",
        error,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_takes() {
        let name = |arn: &str| default_name(&OwnedSubject::Arn(arn.to_owned()));
        assert_eq!(
            name("arn:aws:iam::123456789012:role/team/Kube_Admin+1"),
            "role-kube-admin-1-123456789012"
        );
        assert_eq!(
            name("arn:aws:iam::123456789012:user/a@b.example"),
            "user-a-b-example-123456789012"
        );
        assert_eq!(name("arn:aws:iam::123456789012:root"), "root-123456789012");
        assert_eq!(
            name("arn:aws:iam::123456789012:role/AWSReservedSSO_Admin_*"),
            "role-awsreservedsso-admin-123456789012"
        );
        let sso = OwnedSubject::PermissionSet {
            name: "View".to_owned(),
            account: "012345678901".to_owned(),
            partition: "aws".to_owned(),
        };
        assert_eq!(default_name(&sso), "sso-view-012345678901");
    }
}
