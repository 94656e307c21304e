//! Mappings: nobody gives what they could not take.

use serde_json::{Value, json};

use super::{Answer, People};

const PATH: &str = "/apis/iamauthenticator.k8s.aws/v1alpha1/iamidentitymappings";
const ARN: &str = "arn:aws:iam::111122223333:role/Somebody";

pub(super) fn mapping(username: &str, groups: &[&str]) -> Value {
    mapping_of(ARN, username, groups)
}

fn mapping_of(arn: &str, username: &str, groups: &[&str]) -> Value {
    json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1", "kind": "IAMIdentityMapping",
        "metadata": {"name": "guarded"}, "spec": {"arn": arn, "username": username, "groups": groups},
    })
}

pub(super) async fn create(people: &People, who: &str, mapping: &Value) -> Answer {
    people.create(who, PATH, mapping).await
}

const SIXTEEN: [&str; 16] = [
    "g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7", "g8", "g9", "g10", "g11", "g12", "g13", "g14", "g15",
];

#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) async fn nobody_gives_what_they_have_not(people: &People) {
    let seventeen = [&SIXTEEN[..], &["g16"]].concat();
    let other_last = [&SIXTEEN[..15], &["administrators"]].concat();
    let null = {
        let mut null = mapping("bob", &[]);
        null["spec"]["groups"] = Value::Null;
        null
    };
    let cases: Vec<(&str, Value, Option<&str>)> = vec![
        ("alice", mapping("bob", &[]), None),
        ("alice", mapping("bob", &["developers"]), None),
        ("alice", null, None),
        ("alice", mapping("dev:{{SessionName}}", &["team:{{SessionName}}"]), None),
        ("alice", mapping("bob", &SIXTEEN), None),
        ("alice", mapping("carol", &[]), Some("you may not impersonate carol")),
        (
            "alice",
            mapping("dev:{{SessionNameRaw}}", &[]),
            Some("you may not impersonate dev:"),
        ),
        (
            "alice",
            mapping("bob", &["administrators"]),
            Some("you may not impersonate the group administrators"),
        ),
        ("alice", mapping("bob", &other_last), Some("spec.groups[15]")),
        ("alice", mapping("bob", &seventeen), Some("at most 16 groups")),
        (
            "alice",
            mapping("bob", &["system:masters"]),
            Some("may not impersonate the group system:masters"),
        ),
        // RBAC asks for another kind of object when a service account is impersonated.
        ("alice", mapping("system:serviceaccount:kube-system:robot", &[]), None),
        (
            "alice",
            mapping("system:serviceaccount:kube-system:other", &[]),
            Some("you may not impersonate"),
        ),
        (
            "alice",
            mapping("system:serviceaccount:robot", &[]),
            Some("you may not impersonate"),
        ),
        ("mallory", mapping("bob", &[]), Some("you may not impersonate bob")),
        (
            "mallory",
            mapping("mallory", &[]),
            Some("you may not impersonate mallory"),
        ),
        ("impersonator", mapping("anybody", &["anything"]), None),
        ("impersonator", mapping("anybody", &SIXTEEN), None),
        (
            "impersonator",
            mapping("anybody", &["system:masters"]),
            Some("only those in guardRails.privileged"),
        ),
        (
            "impersonator",
            mapping("system:node:{{SessionName}}", &[]),
            Some("mappings of nodes"),
        ),
        (
            "impersonator",
            mapping("anybody", &["system:nodes"]),
            Some("mappings of nodes"),
        ),
        (
            "impersonator",
            mapping_of("arn:aws:iam::111122223333:root", "anybody", &[]),
            Some("the root user is its whole account"),
        ),
        (
            "impersonator",
            mapping_of("ARN:aws:IAM::111122223333:ROOT", "anybody", &[]),
            Some("the root user is its whole account"),
        ),
        (
            "platform-engineer",
            mapping("system:node:{{SessionName}}", &["system:bootstrappers", "system:nodes"]),
            None,
        ),
        (
            "platform-engineer",
            mapping_of("arn:aws:iam::111122223333:root", "anybody", &[]),
            None,
        ),
        (
            "platform-engineer",
            mapping("anybody", &["system:masters"]),
            Some("guardRails.privileged.arns"),
        ),
        (
            "platform-engineer",
            mapping_of(
                "arn:aws:iam::111122223333:role/break-glass",
                "anybody",
                &["system:masters"],
            ),
            None,
        ),
        ("root", mapping("anybody", &["anything"]), None),
        (
            "root",
            mapping_of(
                "arn:aws:iam::111122223333:role/Break-Glass",
                "anybody",
                &["system:masters"],
            ),
            None,
        ),
        (
            "root",
            mapping("anybody", &["system:masters"]),
            Some("guardRails.privileged.arns"),
        ),
    ];
    for (who, mapping, refused) in cases {
        let answer = create(people, who, &mapping).await;
        let what = format!("{who}: {}", mapping["spec"]);
        match refused {
            None => answer.allowed(&what),
            Some(why) => answer.refused(&what, why),
        }
    }
}

pub(super) async fn edits_are_looked_at_when_they_change_the_spec(people: &People) {
    let object = mapping("admin", &["administrators"]);
    people
        .send("root", "POST", PATH, "application/json", &object)
        .await
        .allowed("to begin with");
    let one = format!("{PATH}/guarded");
    let merge = "application/merge-patch+json";
    let label = json!({"metadata": {"labels": {"team": "a"}, "finalizers": ["example.com/x"]}});
    people
        .send("mallory", "PATCH", &one, merge, &label)
        .await
        .allowed("a label");
    let unfinalize = json!({"metadata": {"finalizers": null}});
    people
        .send("mallory", "PATCH", &one, merge, &unfinalize)
        .await
        .allowed("a finalizer");
    let status = json!({"status": {"canonicalARN": "arn:aws:iam::111122223333:role/somebody"}});
    let answer = people
        .send("mallory", "PATCH", &format!("{one}/status"), merge, &status)
        .await;
    answer.allowed("status is not what gives rights");
    let mine = json!({"spec": {"arn": "arn:aws:iam::111122223333:role/Mallory"}});
    let answer = people.send("mallory", "PATCH", &one, merge, &mine).await;
    answer.refused("to give it to oneself", "you may not impersonate admin");
    let answer = people.send("alice", "PATCH", &one, merge, &mine).await;
    answer.refused("to give it to somebody", "you may not impersonate");
    let less = json!({"spec": {"username": "bob", "groups": ["developers"]}});
    people
        .send("alice", "PATCH", &one, merge, &less)
        .await
        .allowed("what alice may");
    let apply = json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1", "kind": "IAMIdentityMapping",
        "metadata": {"name": "guarded"}, "spec": {"groups": ["administrators"]},
    });
    let path = format!("{one}?fieldManager=mallory&force=true");
    let answer = people
        .send("mallory", "PATCH", &path, "application/apply-patch+yaml", &apply)
        .await;
    answer.refused("by server-side apply", "you may not impersonate");
}
