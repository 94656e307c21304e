//! An object as the API server has it, reduced while it is read.
//!
//! Two things that the derived type cannot do: what is not needed (managed fields, annotations) is never kept,
//! so that a list of 100 000 objects stays small; and an object that was stored under an older, looser definition is
//! one invalid object, where the derived type would fail the whole list.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{IAMIdentityMapping, IAMIdentityMappingSpec, SsoSpec, mapping, status};
use crate::mapping::MappingError;
use crate::mapping::index::{Object, Stored};

/// An `IAMIdentityMapping` of which only the mapping, or the reason why there is none, is left.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub struct StoredMapping {
    metadata: ObjectMeta,
    /// The reduced object.
    pub object: Object,
}

#[derive(Deserialize)]
struct Wire {
    metadata: WireMeta,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    #[serde(default)]
    name: String,
    resource_version: Option<String>,
    #[serde(default)]
    generation: i64,
    creation_timestamp: Option<Time>,
}

impl From<Wire> for StoredMapping {
    fn from(wire: Wire) -> Self {
        let name: Arc<str> = wire.metadata.name.into();
        let created = wire.metadata.creation_timestamp.map_or(0, |time| time.0.as_second());
        let mapping = read_spec(&wire.spec).and_then(|spec| mapping(Arc::clone(&name), created, &spec));
        let version = wire.metadata.resource_version.as_deref();
        let stored = Stored {
            generation: wire.metadata.generation,
            resource_version: version.and_then(|version| version.parse().ok()).unwrap_or_default(),
            status: status::view(&wire.status).digest(),
        };
        // A watch is resumed from the version of the last object that it brought.
        let metadata = ObjectMeta {
            resource_version: wire.metadata.resource_version,
            ..ObjectMeta::default()
        };
        Self {
            metadata,
            object: Object { name, mapping, stored },
        }
    }
}

impl Resource for StoredMapping {
    type DynamicType = ();
    type Scope = <IAMIdentityMapping as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        IAMIdentityMapping::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        IAMIdentityMapping::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        IAMIdentityMapping::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        IAMIdentityMapping::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn read_spec(spec: &Value) -> Result<IAMIdentityMappingSpec, MappingError> {
    let spec = Fields::of("spec", spec)?;
    Ok(IAMIdentityMappingSpec {
        arn: spec.text("arn")?,
        sso: spec.get("sso").map(read_sso).transpose()?,
        username: spec.required_text("username")?,
        groups: spec.texts("groups")?,
        user_id: spec.text("userID")?,
    })
}

fn read_sso(sso: &Value) -> Result<SsoSpec, MappingError> {
    let sso = Fields::of("spec.sso", sso)?;
    Ok(SsoSpec {
        permission_set_name: sso.required_text("permissionSetName")?,
        account_id: sso.required_text("accountID")?,
        partition: sso.text("partition")?,
    })
}

/// The fields of one level, and the name of that level for messages.
struct Fields<'a> {
    path: &'static str,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(path: &'static str, value: &'a Value) -> Result<Self, MappingError> {
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            Value::Null => Err(field(format!("{path}: must be given"))),
            other => Err(field(format!("{path}: must have fields, not be {}", kind(other)))),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, MappingError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(field(format!(
                "{}.{name}: must be a string, not {}",
                self.path,
                kind(other)
            ))),
        }
    }

    fn required_text(&self, name: &str) -> Result<String, MappingError> {
        self.text(name)?
            .ok_or_else(|| field(format!("{}.{name}: must be given", self.path)))
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<String>>, MappingError> {
        let not_texts = |what| field(format!("{}.{name}: must be a list of strings, not {what}", self.path));
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| {
                    item.as_str()
                        .map(Into::into)
                        .ok_or_else(|| not_texts("one with other values in it"))
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(other) => Err(not_texts(kind(other))),
        }
    }
}

fn field(message: String) -> MappingError {
    MappingError::Field(message.into())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping of keys",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::reduce;
    use super::*;

    fn stored(spec: &Value) -> StoredMapping {
        let metadata = json!({
            "name": "m",
            "resourceVersion": "7",
            "generation": 2,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{ "manager": "kubectl" }],
            "annotations": { "a": "b" },
        });
        serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": 5 })).expect("an object")
    }

    #[test]
    fn reads_what_the_derived_type_reads() {
        let arn = "arn:aws:iam::123456789012:role/Admin";
        let sso = json!({ "permissionSetName": "Admin", "accountID": "123456789012", "partition": "aws-cn" });
        for spec in [
            json!({ "arn": arn, "username": "u" }),
            json!({ "arn": arn, "username": "u", "groups": null, "sso": null, "userID": null }),
            json!({ "arn": arn, "username": "u-{{SessionName}}", "groups": ["a", "b"], "userID": "AROAX" }),
            json!({ "sso": sso, "username": "u" }),
            json!({ "sso": sso, "arn": arn, "username": "u" }),
            json!({ "username": "u" }),
            json!({ "arn": arn, "username": "{{Nobody}}" }),
        ] {
            let lenient = stored(&spec);
            let metadata = json!({ "name": "m", "creationTimestamp": "2026-01-02T03:04:05Z" });
            let whole = json!({
                "apiVersion": "iamauthenticator.k8s.aws/v1alpha1",
                "kind": "IAMIdentityMapping",
                "metadata": metadata,
                "spec": spec,
            });
            let derived = reduce(&serde_json::from_value(whole).expect("an object"));
            assert_eq!(lenient.object.name, derived.name);
            assert_eq!(lenient.object.mapping, derived.mapping, "{spec}");
            assert_eq!(lenient.meta().resource_version.as_deref(), Some("7"));
            let Stored {
                generation,
                resource_version,
                status,
            } = lenient.object.stored;
            assert_eq!((generation, resource_version), (2, 7));
            assert_eq!(status, status::view(&Value::Null).digest());
            assert_eq!(lenient.meta().managed_fields, None);
        }
    }

    #[test]
    fn a_spec_of_another_shape_is_an_invalid_object() {
        let arn = "arn:aws:iam::123456789012:role/Admin";
        for (spec, message) in [
            (json!(null), "spec: must be given"),
            (json!("x"), "spec: must have fields, not be a string"),
            (json!({ "arn": arn }), "spec.username: must be given"),
            (
                json!({ "arn": 5, "username": "u" }),
                "spec.arn: must be a string, not a number",
            ),
            (
                json!({ "arn": arn, "username": ["u"] }),
                "spec.username: must be a string, not a list",
            ),
            (
                json!({ "arn": arn, "username": "u", "groups": "g" }),
                "spec.groups: must be a list of strings, not a string",
            ),
            (
                json!({ "arn": arn, "username": "u", "groups": ["g", 1] }),
                "spec.groups: must be a list of strings, not one with other values in it",
            ),
            (
                json!({ "username": "u", "sso": true }),
                "spec.sso: must have fields, not be a boolean",
            ),
            (
                json!({ "username": "u", "sso": { "accountID": "1" } }),
                "spec.sso.permissionSetName: must be given",
            ),
            (
                json!({ "username": "u", "sso": { "permissionSetName": "A", "accountID": 1 } }),
                "spec.sso.accountID: must be a string, not a number",
            ),
        ] {
            let error = stored(&spec).object.mapping.expect_err("invalid");
            assert_eq!(error.to_string(), message);
        }
    }
}
