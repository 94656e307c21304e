//! Objects that upstream's definition let pass live on under ours: who wrote them can label and change them, and we can
//! write their status.

use std::time::Duration;

use kit::{ControlPlane, eventually};
use serde_json::{Value, json};

use super::rows::{ARN, of_arn, of_group, of_username};
use super::{Api, complaints, install, object};

/// The definition of aws-iam-authenticator v0.7.18, `deploy/iamidentitymapping.yaml`; kops's has the same schema.
const UPSTREAM: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: iamidentitymappings.iamauthenticator.k8s.aws
spec:
  group: iamauthenticator.k8s.aws
  scope: Cluster
  names:
    plural: iamidentitymappings
    singular: iamidentitymapping
    kind: IAMIdentityMapping
    categories:
    - all
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required:
              - arn
              - username
              properties:
                arn:
                  type: string
                username:
                  type: string
                groups:
                  type: array
                  items:
                    type: string
            status:
              type: object
              properties:
                canonicalARN:
                  type: string
                userID:
                  type: string
      subresources:
        status: {}
";

/// An object of old: its name, its spec, the part of it that ours would refuse, and that part mended.
struct Old {
    name: &'static str,
    spec: Value,
    refused: Option<&'static str>,
    mended: Value,
}

fn old(name: &'static str, spec: Value, refused: Option<&'static str>, mended: Value) -> Old {
    Old {
        name,
        spec,
        refused,
        mended,
    }
}

fn objects() -> Vec<Old> {
    let arn = json!({ "arn": ARN });
    let username = json!({ "username": "u" });
    let groups = json!({ "groups": ["mended"] });
    vec![
        old(
            "path",
            of_arn("arn:aws:iam::123456789012:role/a/b/Admin"),
            None,
            arn.clone(),
        ),
        old(
            "upper",
            of_arn("arn:aws:iam::123456789012:role/ADMIN"),
            None,
            arn.clone(),
        ),
        old("user", of_arn("arn:aws:iam::123456789012:user/Bob"), None, arn.clone()),
        old(
            "session",
            of_arn("arn:aws:sts::123456789012:assumed-role/Admin/s"),
            None,
            arn.clone(),
        ),
        old(
            "shouted",
            of_arn("ARN:AWS:IAM::123456789012:ROLE/ADMIN"),
            None,
            arn.clone(),
        ),
        old("no-arn", of_arn(""), Some("spec.arn"), arn.clone()),
        old(
            "wildcard",
            of_arn("arn:aws:iam::123456789012:role/*"),
            Some("spec.arn"),
            arn.clone(),
        ),
        old("long-arn", of_arn(&"a".repeat(5000)), Some("spec.arn"), arn),
        old("nameless", of_username(""), Some("spec.username"), username.clone()),
        old(
            "unknown",
            of_username("{{Nobody}}"),
            Some("spec.username"),
            username.clone(),
        ),
        old("long", of_username(&"u".repeat(5000)), Some("spec.username"), username),
        old(
            "bad-group",
            of_group("system:{{SessionName}}"),
            Some("spec.groups[1]"),
            groups.clone(),
        ),
        old(
            "long-group",
            of_group(&"g".repeat(5000)),
            Some("spec.groups[1]"),
            groups.clone(),
        ),
        old(
            "crowd",
            json!({ "arn": ARN, "username": "u", "groups": vec!["g"; 200] }),
            Some("spec.groups"),
            groups,
        ),
    ]
}

pub(super) async fn stored_objects_outlive_the_new_definition(plane: &ControlPlane, api: &Api) {
    let kubectl = plane.kubectl();
    kubectl.apply(UPSTREAM).await.ok();
    eventually(
        "upstream's definition is in force",
        Duration::from_secs(30),
        async || match api.try_create(&of_username("u")).await {
            reply if reply.status == 201 => Ok(()),
            reply => Err(format!("{} {}", reply.status, reply.text)),
        },
    )
    .await;
    let mut empty = object("empty", &Value::Null);
    empty.as_object_mut().expect("an object").remove("spec");
    let stored = api.create(&empty).await;
    assert_eq!(stored.status, 201, "{}", stored.text);
    for Old { name, spec, .. } in objects() {
        let stored = api.create(&object(name, &spec)).await;
        assert_eq!(stored.status, 201, "{}", stored.text);
        let status = json!({ "status": { "canonicalARN": "arn:of:go", "userID": "" } });
        let written = api.merge(&format!("{name}/status"), &status).await;
        assert_eq!(written.status, 200, "{}", written.text);
    }

    install(plane, api).await;
    kubectl.run(&["label", "iamim", "--all", "kept=yes"]).await.ok();
    kubectl.run(&["annotate", "iamim", "--all", "note=kept"]).await.ok();
    for old in objects() {
        lives_on(api, &old).await;
    }
    // Without a spec it was and is: it can be labelled (above), given a status, and mended.
    let written = api.merge("empty/status", &our_status()).await;
    assert_eq!(written.status, 200, "{}", written.text);
    let mended = api.merge("empty", &json!({ "spec": of_arn(ARN) })).await;
    assert_eq!(mended.status, 200, "{}", mended.text);
    let emptied = api.merge("empty", &json!({ "spec": null })).await;
    assert_eq!(
        complaints(&emptied),
        [("spec".to_owned(), "Required value: must be given".to_owned())]
    );
    kubectl.run(&["delete", "iamim", "--all"]).await.ok();
}

fn our_status() -> Value {
    let condition = json!({
        "type": "Ready", "status": "False", "reason": "Invalid", "message": "m", "lastTransitionTime": "2026-01-02T03:04:05Z",
    });
    json!({ "status": { "observedGeneration": 1, "conditions": [condition] } })
}

async fn lives_on(
    api: &Api,
    Old {
        name,
        spec,
        refused,
        mended,
    }: &Old,
) {
    // A new one like it is refused, so that what follows is the doing of the API server's ratcheting.
    let fresh = api.try_create(spec).await;
    let fields: Vec<_> = match refused {
        None => Vec::new(),
        Some(_) => complaints(&fresh).into_iter().map(|(field, _)| field).collect(),
    };
    assert!(
        fields.iter().all(|field| Some(field.as_str()) == *refused),
        "{name}: {fields:?}"
    );
    assert_eq!(
        fresh.status,
        if refused.is_some() { 422 } else { 201 },
        "{name}: {}",
        fresh.text
    );

    let written = api.merge(&format!("{name}/status"), &our_status()).await;
    assert_eq!(written.status, 200, "{name}: {}", written.text);
    let other = match refused {
        Some("spec.username") => json!({ "spec": { "groups": ["another"] } }),
        _ => json!({ "spec": { "username": "another" } }),
    };
    let changed = api.merge(name, &other).await;
    assert_eq!(changed.status, 200, "{name}: {}", changed.text);
    // The whole object, as `kubectl replace` and the Go program's client send it.
    let replaced = api
        .send("PUT", &format!("/{name}"), "application/json", &changed.body)
        .await;
    assert_eq!(replaced.status, 200, "{name}: {}", replaced.text);
    // `kubectl apply --server-side` of the very manifest.
    let apply = format!("/{name}?fieldManager=test&force=true");
    let applied = api
        .send("PATCH", &apply, "application/apply-patch+yaml", &object(name, spec))
        .await;
    assert_eq!(applied.status, 200, "{name}: {}", applied.text);

    if let Some(field) = refused {
        let worse = match *field {
            "spec.arn" => json!({ "arn": "worse" }),
            "spec.username" => json!({ "username": "{{worse" }),
            _ => json!({ "groups": ["{{worse"] }),
        };
        let refused = api.merge(name, &json!({ "spec": worse })).await;
        assert_eq!(refused.status, 422, "{name}: {}", refused.text);
    }
    let mended = api.merge(name, &json!({ "spec": mended })).await;
    assert_eq!(mended.status, 200, "{name}: {}", mended.text);
}
