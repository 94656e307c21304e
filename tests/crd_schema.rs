//! What `kubectl apply` of a mapping accepts and refuses: the definition on a real API server, held against our own
//! parser, over the rows of `crd_schema/rows.rs` and over specs made at random.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

#[path = "crd_schema/rows.rs"]
mod rows;
#[path = "crd_schema/upgrade.rs"]
mod upgrade;

use std::time::Duration;

use iam_authenticator::crd::{IAMIdentityMapping, StoredMapping, reduce, yaml};
use iam_authenticator::mapping::{MAX_GROUPS, Mapping, MappingError};
use iam_authenticator::partition::Partition;
use kit::builders::iam_identity_mapping;
use kit::{ControlPlane, Options, Reply, Web, eventually, require_parts};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rows::{ARN, Refused, Told};
use serde_json::{Value, json};

const MAPPINGS: &str = "/apis/iamauthenticator.k8s.aws/v1alpha1/iamidentitymappings";

/// One control plane serves all of it: it takes longer to start than everything here takes to run.
#[tokio::test]
async fn the_definition_on_a_real_api_server() {
    let Some(parts) = require_parts() else { return };
    let plane = ControlPlane::started(parts, Options::default()).await;
    let api = Api { web: plane.admin_web() };
    upgrade::stored_objects_outlive_the_new_definition(&plane, &api).await;
    valid_specs_are_accepted(&api).await;
    mistakes_are_refused(&api).await;
    schema_and_parser_agree_on_anything(&api).await;
    a_person_applies_explains_and_finds_mappings(&plane).await;
    field_managers_do_not_fight(&plane, &api).await;
}

/// The API server, spoken to as kubectl does, without the time that kubectl takes.
pub(crate) struct Api {
    web: Web,
}

impl Api {
    pub(crate) async fn create(&self, object: &Value) -> Reply {
        self.send("POST", "?fieldValidation=Strict", "application/json", object)
            .await
    }

    /// Creates it to see what is said; nothing is stored.
    pub(crate) async fn try_create(&self, spec: &Value) -> Reply {
        let object = object("tried", spec);
        self.send(
            "POST",
            "?fieldValidation=Strict&dryRun=All",
            "application/json",
            &object,
        )
        .await
    }

    /// `kubectl patch --type=merge`.
    pub(crate) async fn merge(&self, below: &str, patch: &Value) -> Reply {
        self.send("PATCH", &format!("/{below}"), "application/merge-patch+json", patch)
            .await
    }

    pub(crate) async fn send(&self, method: &str, below: &str, kind: &str, body: &Value) -> Reply {
        let path = format!("{MAPPINGS}{below}");
        let body = body.to_string();
        let reply = self
            .web
            .send(method, &path, &[("content-type", kind)], body.as_bytes())
            .await;
        reply.expect("the API server answers")
    }
}

pub(crate) fn object(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1", "kind": "IAMIdentityMapping",
        "metadata": { "name": name }, "spec": spec,
    })
}

/// What a refusal says, field by field. The note that other rules were not looked at is no complaint.
pub(crate) fn complaints(reply: &Reply) -> Vec<(String, String)> {
    assert_eq!(reply.status, 422, "{}", reply.text);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = reply.body["details"]["causes"].as_array().cloned().unwrap_or_default();
    causes
        .iter()
        .map(|cause| (text(&cause["field"]), text(&cause["message"])))
        .filter(|(_, message)| !message.contains("some validation rules were not checked"))
        .collect()
}

fn parse(spec: &Value) -> Result<Mapping, MappingError> {
    let whole = object("tried", spec);
    let stored: StoredMapping = serde_json::from_value(whole.clone()).expect("every object can be read");
    if let Ok(derived) = serde_json::from_value::<IAMIdentityMapping>(whole) {
        assert_eq!(reduce(&derived).mapping, stored.object.mapping, "{spec}");
    }
    stored.object.mapping
}

async fn valid_specs_are_accepted(api: &Api) {
    for spec in rows::accepted() {
        let reply = api.try_create(&spec).await;
        assert_eq!(reply.status, 201, "{}\n{:.300}", reply.text, spec.to_string());
        assert!(parse(&spec).is_ok(), "{:.300} {:?}", spec.to_string(), parse(&spec));
    }
}

async fn mistakes_are_refused(api: &Api) {
    let mut faults = Vec::new();
    for Refused { spec, told, parser } in rows::refused_by_both() {
        check_told(api, &spec, &told, &mut faults).await;
        match parse(&spec) {
            Err(error) if error.to_string().contains(parser) => {}
            other => faults.push(format!("{spec:.200}: the parser says {other:?}, expected {parser}")),
        }
    }
    for (spec, told) in rows::refused_by_the_schema_alone() {
        check_told(api, &spec, &[told], &mut faults).await;
        if let Err(error) = parse(&spec) {
            faults.push(format!("{spec:.200}: the parser refuses it too: {error}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    let no_spec = json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1", "kind": "IAMIdentityMapping", "metadata": { "name": "m" },
    });
    let reply = api.create(&no_spec).await;
    assert_eq!(
        complaints(&reply),
        [("spec".to_owned(), "Required value: must be given".to_owned())]
    );
    // What is neither read nor refused by the parser is a typing error to kubectl.
    let unknown = json!({ "arn": ARN, "username": "u", "group": ["g"], "sso": null });
    let reply = api.try_create(&unknown).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains(r#"unknown field \"spec.group\""#), "{}", reply.text);
}

async fn check_told(api: &Api, spec: &Value, wanted: &[Told], faults: &mut Vec<String>) {
    let reply = api.try_create(spec).await;
    if reply.status != 422 {
        faults.push(format!("{spec:.200}: {} {:.500}", reply.status, reply.text));
        return;
    }
    let told = complaints(&reply);
    let same = told.len() == wanted.len()
        && told
            .iter()
            .zip(wanted)
            .all(|((field, message), (at, end))| field == at && message.ends_with(end));
    if !same {
        faults.push(format!("{spec:.200}: told {told:?}, expected {wanted:?}"));
    }
}

/// Each object carries an ARN, a username and some groups that were put together at random; what the API server says
/// of each field is what the parser says of it.
async fn schema_and_parser_agree_on_anything(api: &Api) {
    let mut runner = TestRunner::deterministic();
    let mut accepted = 0;
    let mut refused = 0;
    for _ in 0..600 {
        let arn = arns().new_tree(&mut runner).expect("an ARN").current();
        let username = templates().new_tree(&mut runner).expect("a username").current();
        let groups: Vec<_> = (0..6)
            .map(|_| templates().new_tree(&mut runner).expect("a group").current())
            .collect();
        let spec = json!({ "arn": arn, "username": username, "groups": groups });
        let reply = api.try_create(&spec).await;
        let told = if reply.status == 201 {
            Vec::new()
        } else {
            complaints(&reply)
        };
        let fields = [
            ("spec.arn".to_owned(), rows::of_arn(&arn)),
            ("spec.username".to_owned(), rows::of_username(&username)),
        ];
        let of_groups = groups
            .iter()
            .enumerate()
            .map(|(i, group)| (format!("spec.groups[{i}]"), rows::of_group(group)));
        for (field, alone) in fields.into_iter().chain(of_groups) {
            let by_schema = !told.iter().any(|(at, _)| *at == field);
            let by_parser = parse(&alone);
            // The one thing in which the schema is the stricter.
            let wildcard = alone["arn"].as_str().is_some_and(|arn| arn.contains(['*', '?']));
            let agree = by_schema == by_parser.is_ok() || wildcard && !by_schema;
            assert!(agree, "{alone}: the parser says {by_parser:?}, the API server {told:?}");
            *(if by_schema { &mut accepted } else { &mut refused }) += 1;
        }
    }
    assert!(
        accepted > 1000 && refused > 1000,
        "{accepted} accepted, {refused} refused"
    );
}

/// Mostly right, so that each part is tried with the others right.
fn arns() -> impl Strategy<Value = String> {
    let part = |right: &'static [&'static str], wrong: &'static [&'static str]| prop_oneof![6 => prop::sample::select(right), 1 => prop::sample::select(wrong)];
    (
        part(&["arn"], &["", "ARN", "urn", " arn"]),
        part(
            &["aws", "aws-cn", "aws-us-gov", "aws-eusc"],
            &["", "aws-", "xaws", "aws-moon", "aws|"],
        ),
        part(&["iam", "sts"], &["", "IAM", "iam2", "s3", "eks"]),
        part(&[""], &["us-east-1", " ", ":"]),
        part(
            &["123456789012", "000000000000"],
            &["", "1", "1234567890123", "12345678901a", "123456789012:"],
        ),
        resources(),
    )
        .prop_map(|(a, b, c, d, e, resource)| format!("{a}:{b}:{c}:{d}:{e}:{resource}"))
}

fn resources() -> impl Strategy<Value = String> {
    let kinds = [
        "role",
        "user",
        "root",
        "assumed-role",
        "federated-user",
        "group",
        "Role",
        "",
    ];
    let segments = [
        "Admin",
        "a.b@c",
        "",
        ":",
        "é",
        " ",
        "*",
        "a?",
        "AWSReservedSSO_A_*",
        "AWSReservedSSO_A b_*",
        "AWSReservedSSO__*",
        "awsreservedsso_a_*",
        "AWSReservedSSO_A_B_*",
    ];
    let weighed =
        prop_oneof![2 => prop::sample::select(&["Admin", "a.b@c"][..]), 1 => prop::sample::select(segments.to_vec())];
    (
        prop::sample::select(kinds.to_vec()),
        prop::collection::vec(weighed, 0..4),
    )
        .prop_map(|(kind, segments)| [&[kind], &segments[..]].concat().join("/"))
}

fn templates() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "{{",
        "}}",
        "AccountID",
        "{{AccountID}}",
        "{{SessionName}}",
        "{{SessionNameRaw}}",
        "{{AccessKeyID}}",
        "{{EC2PrivateDNSName}}",
        "{{accountID}}",
        "system:",
        "system",
        ":",
        "x",
        " ",
        "\u{a0}",
        "\u{3000}",
        "\u{200b}",
        "é",
        "\u{1d4b3}",
        "\t",
        "\u{7f}",
        "\u{85}",
        "\u{ad}",
        "\u{2028}",
    ];
    let plain = prop::sample::select(vec!["a", "b-", "{{SessionName}}", "system:", "{"]);
    let piece = prop_oneof![2 => plain, 1 => prop::sample::select(pieces.to_vec())];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

async fn a_person_applies_explains_and_finds_mappings(plane: &ControlPlane) {
    let kubectl = plane.kubectl();
    let mistake = object(
        "mistake",
        &json!({ "arn": ARN, "username": "{{User}}", "groups": ["ops", "system:{{SessionName}}"] }),
    );
    let told = kubectl.apply(&mistake.to_string()).await.err();
    // Up to Kubernetes 1.33 the value is named by its type.
    let told = told
        .replace("\"{{User}}\"", "\"string\"")
        .replace("\"system:{{SessionName}}\"", "\"string\"");
    let mut lines: Vec<&str> = told.trim_end().lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "The IAMIdentityMapping \"mistake\" is invalid: ",
            "* spec.groups[1]: Invalid value: \"string\": a group with a placeholder must not begin with system:",
            "* spec.username: Invalid value: \"string\": has an unknown or unclosed placeholder; known are \
             {{AccountID}}, {{SessionName}}, {{SessionNameRaw}}, {{AccessKeyID}} and {{EC2PrivateDNSName}}",
        ],
    );

    kubectl
        .apply(&iam_identity_mapping("admin", ARN, "admin", &["ops"]))
        .await
        .ok();
    let bob = "arn:aws:iam::123456789012:user/Bob";
    kubectl.apply(&iam_identity_mapping("bob", bob, "bob", &[])).await.ok();
    let columns = kubectl.run(&["get", "iamim", "admin"]).await.ok();
    let header: Vec<&str> = columns.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["NAME", "ARN", "USERNAME", "READY", "REASON", "AGE"]);
    let all = kubectl.run(&["get", "all", "--output=name"]).await.ok();
    assert!(
        all.contains("iamidentitymapping.iamauthenticator.k8s.aws/admin"),
        "{all}"
    );
    for (selector, name) in [
        (format!("spec.arn={bob}"), "bob"),
        ("spec.username=admin".to_owned(), "admin"),
    ] {
        let args = ["get", "iamim", "--output=name", "--field-selector", &selector];
        let found = kubectl.run(&args).await.ok();
        assert_eq!(
            found.trim(),
            format!("iamidentitymapping.iamauthenticator.k8s.aws/{name}")
        );
    }

    let spec = kubectl.run(&["explain", "iamidentitymapping.spec"]).await.ok();
    for wanted in [
        "arn\t<string>",
        "groups\t<[]string>",
        "sso\t<Object>",
        "userID\t<string>",
        "-required-",
        "{{SessionName}}",
    ] {
        assert!(spec.contains(wanted), "{wanted} is missing:\n{spec}");
    }
    let sso = kubectl.run(&["explain", "iamidentitymapping.spec.sso"]).await.ok();
    for partition in Partition::ALL {
        assert!(sso.contains(partition.id()), "{sso}");
    }
    let limit = format!("at most {MAX_GROUPS}");
    assert!(spec.contains(&limit), "{spec}");
    for path in [
        "iamidentitymapping",
        "iamidentitymapping.spec",
        "iamidentitymapping.spec.sso",
        "iamidentitymapping.status",
    ] {
        let explained = kubectl.run(&["explain", path]).await.ok();
        assert!(!explained.contains("<no description>"), "{explained}");
    }
}

async fn field_managers_do_not_fight(plane: &ControlPlane, api: &Api) {
    let kubectl = plane.kubectl();
    let args = ["apply", "--server-side", "--field-manager=gitops", "-f", "-"];
    let first = iam_identity_mapping("gitops", ARN, "first", &["a", "b"]);
    kubectl.run_with_input(&args, &first).await.ok();
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Serving", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z",
    });
    let status = json!({ "status": { "canonicalARN": ARN.to_lowercase(), "conditions": [condition] } });
    let written = api.merge("gitops/status?fieldManager=ours", &status).await;
    assert_eq!(written.status, 200, "{}", written.text);

    // No drift from what we wrote, and no conflict with it.
    kubectl.run_with_input(&["diff", "-f", "-"], &first).await.ok();
    kubectl
        .run_with_input(&["diff", "--server-side", "--field-manager=gitops", "-f", "-"], &first)
        .await
        .ok();
    let second = iam_identity_mapping("gitops", ARN, "second", &["c"]);
    let drift = kubectl.run_with_input(&["diff", "-f", "-"], &second).await;
    assert_eq!(drift.status.code(), Some(1), "{}", drift.stderr);
    assert!(
        drift.stdout.contains("+  username: second") && drift.stdout.contains("-  - b"),
        "{}",
        drift.stdout
    );
    kubectl.run_with_input(&args, &second).await.ok();
    let stored = kubectl.run(&["get", "iamim", "gitops", "--output=json"]).await.ok();
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    assert_eq!(
        stored["spec"],
        json!({ "arn": ARN, "username": "second", "groups": ["c"] })
    );
    assert_eq!(stored["status"]["conditions"][0]["reason"], "Serving");
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let conflict = kubectl.run_with_input(&other, &first).await.err();
    assert!(conflict.contains(".spec.username"), "{conflict}");

    // From an ARN to a permission set and back: no field of the first is left to contradict the second.
    let sso = json!({ "sso": { "permissionSetName": "Admin", "accountID": "123456789012" }, "username": "u" });
    for spec in [sso, json!({ "arn": ARN, "username": "u" })] {
        let manifest = object("gitops", &spec).to_string();
        kubectl.run_with_input(&args, &manifest).await.ok();
        kubectl.run_with_input(&["replace", "-f", "-"], &manifest).await.ok();
        kubectl.run_with_input(&["diff", "-f", "-"], &manifest).await.ok();
    }
    kubectl.delete(&first).await.ok();
    kubectl.run_with_input(&["create", "-f", "-"], &first).await.ok();
}

/// Replaces the definition, and waits until the API server goes by it.
pub(crate) async fn install(plane: &ControlPlane, api: &Api) {
    plane.kubectl().apply(&yaml()).await.ok();
    eventually(
        "the new definition is in force",
        Duration::from_secs(30),
        async || match api.try_create(&rows::of_username("")).await {
            reply if reply.status == 422 => Ok(()),
            reply => Err(format!("{} {}", reply.status, reply.text)),
        },
    )
    .await;
}
