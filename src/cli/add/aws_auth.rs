//! The entry of the ConfigMap: read, edited as text, written back only if nobody else wrote meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use serde_json::json;

use super::super::cluster::{FIELD_MANAGER, api_failure};
use super::super::diff;
use super::super::output::{Colours, Failure, print, warn};
use super::entry::{Entry, refused};
use super::{How, confirmed};
use crate::mapping::aws_auth::edit::{AddError, Addition, NewEntry, add as add_to_text};
use crate::mapping::aws_auth::{Content, read_aws_auth};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "aws-auth";

/// How often somebody else may be faster before we give up, and how long we wait for them.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(150);

/// The ConfigMap as it is.
struct Current {
    /// `None` when there is no ConfigMap.
    version: Option<String>,
    data: BTreeMap<String, String>,
}

pub(super) async fn add(client: Client, entry: &Entry, how: &How) -> Result<(), Failure> {
    let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    let mut asked = false;
    for attempt in 1..=ATTEMPTS {
        let current = read(&api).await?;
        let new = entry.text();
        let key = new.list.as_str();
        let old = current.data.get(key).map_or("", String::as_str);
        if attempt == 1 {
            warn_of(&read_aws_auth(&current.data));
        }
        let text = match add_to_text(old, &new, &how.policy) {
            Ok(Addition::Text(text)) => text,
            Ok(Addition::Present { line }) => {
                return print(&format!(
                    "nothing to do: {key}, line {line}, of {NAMESPACE}/{NAME} is this very mapping"
                ));
            }
            Err(error) => return Err(not_added(&error, &new)),
        };
        if !asked {
            let change = diff::unified(&format!("{NAMESPACE}/{NAME} {key}"), old, &text, Colours::of_stdout());
            let question = format!(
                "Ready to add {} to {NAMESPACE}/{NAME}, should we continue?",
                entry.subject.name()
            );
            if !confirmed(&change, &question, how)? {
                return Ok(());
            }
            asked = true;
        }
        match write(&api, &current, key, text, how.dry_run).await {
            Ok(()) => return done(entry, &current, how),
            Err(Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                warn(format!(
                    "{NAMESPACE}/{NAME} was changed by somebody else meanwhile; it is read again"
                ));
                tokio::time::sleep(PAUSE * attempt).await;
            }
            Err(error) => return Err(cannot("write", &error)),
        }
    }
    Err(Failure::failed(format!(
        "cannot write {NAMESPACE}/{NAME}: somebody else changed it {ATTEMPTS} times while we tried; run the command again later"
    )))
}

async fn read(api: &Api<ConfigMap>) -> Result<Current, Failure> {
    let found = api.get_opt(NAME).await.map_err(|error| cannot("read", &error))?;
    Ok(Current {
        version: found.as_ref().and_then(|map| map.metadata.resource_version.clone()),
        data: found.and_then(|map| map.data).unwrap_or_default(),
    })
}

/// Writes one key, on condition that the ConfigMap is still as it was read.
async fn write(api: &Api<ConfigMap>, current: &Current, key: &str, text: String, dry_run: bool) -> Result<(), Error> {
    if let Some(version) = &current.version {
        let patch = json!({ "metadata": { "resourceVersion": version }, "data": { key: text } });
        let params = PatchParams {
            dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(NAME, &params, &Patch::Merge(patch)).await?;
    } else {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(NAME.to_owned());
        map.metadata.namespace = Some(NAMESPACE.to_owned());
        map.data = Some(BTreeMap::from([(key.to_owned(), text)]));
        let params = PostParams {
            dry_run,
            field_manager: Some(FIELD_MANAGER.to_owned()),
        };
        api.create(&params, &map).await?;
    }
    Ok(())
}

fn done(entry: &Entry, current: &Current, how: &How) -> Result<(), Failure> {
    let whom = entry.subject.name();
    let created = if current.version.is_none() {
        ", which is new"
    } else {
        ""
    };
    if how.dry_run {
        print(&format!(
            "dry run: the API server would accept {whom} in {NAMESPACE}/{NAME}{created}; nothing was changed"
        ))
    } else {
        print(&format!("added {whom} to {NAMESPACE}/{NAME}{created}"))
    }
}

/// What else is wrong with the ConfigMap is not ours to mend, but worth a word while somebody looks at it.
fn warn_of(content: &Content) {
    for key in &content.unknown_keys {
        warn(format!(
            "{NAMESPACE}/{NAME} has the key {key:?}, which no server reads; is it misspelled?"
        ));
    }
    for document in &content.documents {
        match &document.entries {
            Ok(entries) => {
                for problem in &entries.problems {
                    warn(format!(
                        "{NAMESPACE}/{NAME}, {problem}; servers leave this entry out until it is corrected"
                    ));
                }
            }
            Err(error) => warn(format!(
                "{NAMESPACE}/{NAME}, {}, {error}; servers keep what they read before until it is corrected",
                document.name
            )),
        }
    }
}

fn not_added(error: &AddError, new: &NewEntry<'_>) -> Failure {
    let edit = format!("kubectl -n {NAMESPACE} edit configmap {NAME}");
    match error {
        AddError::Entry(error) => Failure::usage(refused(error)),
        AddError::Document { .. } => Failure::failed(format!(
            "{error}; servers would ignore an addition, so nothing was changed: correct that line first ({edit})"
        )),
        AddError::Taken { .. } => Failure::failed(format!(
            "{error}; a second entry would silently replace it, so nothing was changed: edit that one ({edit})"
        )),
        AddError::Style { .. } => Failure::failed(format!(
            "{error}; nothing was changed: put this entry there by hand ({edit}):\n{}",
            new.snippet()
        )),
    }
}

fn cannot(verb: &str, error: &Error) -> Failure {
    api_failure(
        &format!("{verb} the ConfigMap {NAMESPACE}/{NAME}"),
        &format!("get, create and patch configmaps in {NAMESPACE}"),
        error,
    )
}
