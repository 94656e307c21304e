//! `aws-auth` and `aws-iam-authenticator`: what CEL can see without reading YAML, held against what the program says of the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use iam_authenticator::mapping::aws_auth::{Content, read_aws_auth, read_config_map};
use serde_json::{Value, json};

use super::{Answer, People};

const PATH: &str = "/api/v1/namespaces/kube-system/configmaps";
const MERGE: &str = "application/merge-patch+json";

pub(super) async fn create(people: &People, who: &str, name: &str, data: &Value) -> Answer {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    people.create(who, PATH, &object).await
}

/// What the program makes of it.
fn content(name: &str, data: &Value) -> Content {
    let data: BTreeMap<String, String> = serde_json::from_value(data.clone()).expect("texts");
    if name == "aws-auth" {
        read_aws_auth(&data)
    } else {
        read_config_map(&data)
    }
}

/// Whether the program finds fault with it, too.
fn is_faulty(content: &Content) -> bool {
    !content.has_known_key
        || !content.unknown_keys.is_empty()
        || content.documents.iter().any(|document| match &document.entries {
            Ok(entries) => !entries.problems.is_empty() || !entries.warnings.is_empty(),
            Err(_) => true,
        })
}

const ROLE: &str =
    "- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: dev:{{SessionName}}\n  groups:\n    - developers\n";

fn roles(text: &str) -> Value {
    json!({ "mapRoles": text })
}

fn config(text: &str) -> Value {
    json!({ "config.yaml": text })
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) async fn broken_ones_are_refused(people: &People) {
    let edited = |from: &str, to: &str| roles(&ROLE.replace(from, to));
    let cases = [
        ("aws-auth", json!({}), "none of the keys that are read"),
        ("aws-auth", json!({"mapRole": ROLE}), "none of the keys"),
        ("aws-auth", json!({"mapRole": ROLE, "mapUsers": "[]"}), "misspelled key"),
        (
            "aws-auth",
            json!({"maproles": ROLE, "mapUsers": "[]"}),
            "misspelled key",
        ),
        ("aws-auth", edited("  username", "\tusername"), "tab"),
        ("aws-auth", edited("- rolearn", "rolearn"), "not a list"),
        (
            "aws-auth",
            roles("mapRoles:\n- rolearn: arn:aws:iam::111122223333:role/Dev\n  username: x\n"),
            "not a list",
        ),
        ("aws-auth", edited("rolearn:", "rolarn:"), "unknown key"),
        ("aws-auth", edited("groups:", "group:"), "unknown key"),
        (
            "aws-auth",
            edited("iam::111122223333", "iam::11112222333"),
            "an ARN is not one",
        ),
        (
            "aws-auth",
            edited("iam::111122223333", "iam::${ACCOUNT}"),
            "an ARN is not one",
        ),
        ("aws-auth", edited("arn:aws:iam", "arn:asw:iam"), "an ARN is not one"),
        ("aws-auth", edited("iam::", "iam:"), "an ARN is not one"),
        ("aws-auth", edited(":role/", ":rolle/"), "an ARN is not one"),
        ("aws-auth", edited("{{SessionName}}", "{{Session}}"), "placeholder"),
        ("aws-auth", edited("{{SessionName}}", "{{SessionName"), "placeholder"),
        ("aws-auth", json!({"mapAccounts": "- 12345678901\n"}), "12 digits"),
        (
            "aws-iam-authenticator",
            json!({"config.yml": "clusterID: c\n"}),
            "none of the keys",
        ),
        (
            "aws-iam-authenticator",
            config("server:\n  mapRole: []\n"),
            "misspelled key",
        ),
        ("aws-iam-authenticator", config("server:\n\tmapRoles: []\n"), "tab"),
        (
            "aws-iam-authenticator",
            config("server:\n  mapUsers:\n  - userarn: arn:aws:iam::1:user/a\n    username: a\n"),
            "an ARN is not one",
        ),
        (
            "aws-iam-authenticator",
            config("server:\n  mapRoles:\n  - roleARN: arn:aws:iam::111122223333:role/a\n    username: '{{x}}'\n"),
            "placeholder",
        ),
    ];
    for (name, data, why) in cases {
        assert!(
            is_faulty(&content(name, &data)),
            "the program takes {data}: the rule is too strict"
        );
        // Even of those who may do anything.
        for who in ["root", "alice"] {
            create(people, who, name, &data)
                .await
                .refused(&format!("{who}: {data}"), why);
        }
    }
    let late = many().replace("Developers-999\n  username", "Developers-999\n  usrname");
    create(people, "root", "aws-auth", &roles(&late))
        .await
        .refused("the last of a thousand", "unknown key");
    let binary = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-auth"}, "data": {"mapRoles": ROLE},
        "binaryData": {"mapUsers": "W10="},
    });
    people
        .create("root", PATH, &binary)
        .await
        .refused("binaryData", "binaryData is not read");
}

/// A ConfigMap of a large company.
fn many() -> String {
    let mut many = String::new();
    for number in 0..1000 {
        let entry = ROLE.replace("role/Dev", &format!("role/team-{number}/Developers-{number}"));
        writeln!(many, "# Team {number}\n{entry}").expect("writing to a string");
    }
    many
}

pub(super) async fn good_ones_are_accepted(people: &People) {
    let many = many();
    let mut largest = many.clone();
    while largest.len() < 900_000 {
        largest.push_str(&many);
    }
    largest.truncate(largest.rfind("# Team").expect("a whole entry"));
    let cases = [
        ("aws-auth", roles(ROLE)),
        ("aws-auth", roles(&ROLE.replace("developers", "team:a"))),
        ("aws-auth", roles("")),
        ("aws-auth", roles("``")),
        ("aws-auth", roles("[]\n")),
        (
            "aws-auth",
            json!({"mapRoles": ROLE, "mapUsers": "\"\"", "mapAccounts": "''"}),
        ),
        ("aws-auth", roles(&format!("# Who\n\n  # may\n---\n{ROLE}"))),
        (
            "aws-auth",
            roles(&format!("{ROLE}# - rolearn: arn:aws:iam::GONE:role/Old\n")),
        ),
        (
            "aws-auth",
            roles(r#"[{"rolearn": "arn:aws:iam::111122223333:role/Dev", "username": "dev", "groups": ["a"]}]"#),
        ),
        (
            "aws-auth",
            roles("- RoleARN: 'arn:aws-us-gov:iam::111122223333:role/x/Dev'\n  userName: \"dev\"\n  groups: [a, b]\n"),
        ),
        (
            "aws-auth",
            roles("- sso:\n    permissionSetName: Dev\n    accountID: \"111122223333\"\n  username: dev\n"),
        ),
        (
            "aws-auth",
            json!({"mapUsers": "- userarn: arn:aws:iam::111122223333:user/Bob\n  username: bob\n  userID: AIDAX\n"}),
        ),
        ("aws-auth", roles(&many)),
        ("aws-auth", roles(&largest)),
        (
            "aws-iam-authenticator",
            config(
                "clusterID: c\nserver:\n  mapRoles:\n  - roleARN: arn:aws:iam::111122223333:role/Dev\n    username: dev\n",
            ),
        ),
        ("aws-iam-authenticator", config("clusterID: c\n")),
        (
            "aws-iam-authenticator",
            json!({"config.yaml": "server: {mapRoles: []}\n", "other": "\tfile"}),
        ),
    ];
    for (name, data) in cases {
        let shown: String = data.to_string().chars().take(300).collect();
        let content = content(name, &data);
        assert!(
            !is_faulty(&content) || shown.contains("Team"),
            "the program finds fault with {shown}: {content:?}"
        );
        create(people, "alice", name, &data).await.allowed(&shown);
    }
    // Another namespace, another name: other people's.
    for (path, name) in [(PATH, "other"), ("/api/v1/namespaces/default/configmaps", "aws-auth")] {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"mapRole": "\t"}});
        people.create("alice", path, &object).await.allowed(name);
    }
}

pub(super) async fn rights_are_given_by_few(people: &People) {
    let masters = ROLE.replace("developers", "system:masters");
    let nodes = "- rolearn: arn:aws:iam::111122223333:role/Nodes\n  username: system:node:{{EC2PrivateDNSName}}\n  groups: [system:nodes]\n";
    let accounts = "- \"111122223333\"\n";
    for (name, data, why) in [
        ("aws-auth", roles(&masters), "grants system:masters"),
        ("aws-auth", roles(nodes), "maps nodes"),
        ("aws-auth", json!({"mapAccounts": accounts}), "maps whole accounts"),
        (
            "aws-iam-authenticator",
            config(&format!("server:\n  mapRoles:\n  {}", masters.replace('\n', "\n  "))),
            "grants system:masters",
        ),
        (
            "aws-iam-authenticator",
            config("server:\n  mapAccounts:\n  - \"111122223333\"\n"),
            "maps whole accounts",
        ),
        (
            "aws-iam-authenticator",
            config("server:\n  mapAccounts: [\"111122223333\"]\n"),
            "maps whole accounts",
        ),
        (
            "aws-iam-authenticator",
            config("server: {mapAccounts: [\"111122223333\"]}\n"),
            "maps whole accounts",
        ),
        (
            "aws-auth",
            roles(&ROLE.replace("- developers", r#"- "system:m\x61sters""#)),
            "can hide what the text grants",
        ),
        (
            "aws-auth",
            roles(&ROLE.replace("- developers", "- !!binary c3lzdGVtOm1hc3RlcnM=")),
            "can hide what the text grants",
        ),
    ] {
        create(people, "impersonator", name, &data)
            .await
            .refused(&data.to_string(), why);
        for who in ["platform-engineer", "root"] {
            create(people, who, name, &data)
                .await
                .allowed(&format!("{who}: {data}"));
        }
    }

    edits_may_take_rights_away(people, &masters, accounts).await;
}

/// Whoever may not give rights can still edit a document that has some, as long as it gives no more than before.
async fn edits_may_take_rights_away(people: &People, masters: &str, accounts: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "aws-auth"},
        "data": {"mapRoles": masters, "mapAccounts": accounts},
    });
    people
        .send("root", "POST", PATH, "application/json", &object)
        .await
        .allowed("to begin with");
    let one = format!("{PATH}/aws-auth");
    let patch = async |who: &str, patch: Value| people.send(who, "PATCH", &one, MERGE, &patch).await;
    patch("alice", json!({"metadata": {"labels": {"team": "a"}}}))
        .await
        .allowed("a label");
    let users = "- userarn: arn:aws:iam::111122223333:user/Bob\n  username: bob\n";
    patch("alice", json!({"data": {"mapUsers": users}}))
        .await
        .allowed("a key of its own");
    let mine = masters.replace("role/Dev", "role/Mine");
    patch("alice", json!({"data": {"mapRoles": mine}}))
        .await
        .refused("another ARN", "grants system:masters");
    patch("alice", json!({"data": {"mapAccounts": "- \"999999999999\"\n"}}))
        .await
        .refused("another account", "maps whole accounts");
    patch("alice", json!({"data": {"mapAccounts": ""}}))
        .await
        .allowed("fewer accounts");
    patch("alice", json!({"data": {"mapRoles": ROLE}}))
        .await
        .allowed("fewer rights");
    patch("alice", json!({"data": {"mapRoles": null, "mapRole": ROLE}}))
        .await
        .refused("a misspelling", "misspelled");
}
