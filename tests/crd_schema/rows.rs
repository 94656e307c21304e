//! Specs, and what is said of them.

use serde_json::{Value, json};

pub(super) const ARN: &str = "arn:aws:iam::123456789012:role/Admin";

/// The field that is at fault, and how the API server's message about it ends.
pub(super) type Told = (&'static str, &'static str);

/// A spec that is refused at `kubectl apply`, and by the parser when it comes to it all the same.
pub(super) struct Refused {
    pub(super) spec: Value,
    /// Every complaint of the API server, in its order.
    pub(super) told: Vec<Told>,
    /// What `status` and `lint` say.
    pub(super) parser: &'static str,
}

fn refused(spec: Value, told: Told, parser: &'static str) -> Refused {
    Refused {
        spec,
        told: vec![told],
        parser,
    }
}

pub(super) fn of_arn(arn: &str) -> Value {
    json!({ "arn": arn, "username": "u" })
}

pub(super) fn of_username(username: &str) -> Value {
    json!({ "arn": ARN, "username": username })
}

pub(super) fn of_group(group: &str) -> Value {
    json!({ "arn": ARN, "username": "u", "groups": ["first", group] })
}

fn of_user_id(id: &str) -> Value {
    json!({ "arn": ARN, "username": "u", "userID": id })
}

fn of_sso(name: &str, account: &str) -> Value {
    json!({ "sso": { "permissionSetName": name, "accountID": account }, "username": "u" })
}

const NOT_AN_ARN: &str =
    "not an ARN: expected arn:PARTITION:iam::ACCOUNT:role/NAME or arn:PARTITION:iam::ACCOUNT:user/NAME";
const CHARACTER: &str = "an ARN has printable ASCII characters only, without spaces";
const PARTITION: &str = "unknown partition: expected one of aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, \
                         aws-iso-f, aws-eusc";
const SERVICE: &str = "only services iam and sts have principals";
const REGION: &str = "the ARN of a principal has no region: expected two colons between the service and the account";
const ACCOUNT: &str = "the account must be 12 digits, leading zeros included";
const RESOURCE: &str = "the resource must be role/NAME, user/NAME or root for iam, assumed-role/NAME/SESSION or \
                        federated-user/NAME for sts";
const WILDCARD: &str = "wildcards match nothing; only role/AWSReservedSSO_<permission set>_* may end in one, and a \
                        permission set has 1 to 32 letters, digits or _+=,.@-";
const EMPTY: &str = "must not be empty";
const CONTROL: &str = "must not contain control characters";
const PLACEHOLDER: &str = "has an unknown or unclosed placeholder; known are {{AccountID}}, {{SessionName}}, \
                           {{SessionNameRaw}}, {{AccessKeyID}} and {{EC2PrivateDNSName}}";
const SYSTEM: &str = "a group with a placeholder must not begin with system:";
const USER_ID: &str = "must be an IAM unique id such as AROAEXAMPLE, without spaces";
const SET_NAME: &str = "must be 1 to 32 letters, digits or _+=,.@-";
const ONE_SUBJECT: &str = "exactly one of arn and sso must be given";
const MISSING: &str = "Required value";

/// Everything that both the API server and the parser refuse.
pub(super) fn refused_by_both() -> Vec<Refused> {
    [arns(), permission_sets(), templates(), shapes()]
        .into_iter()
        .flatten()
        .collect()
}

fn arns() -> Vec<Refused> {
    let mut rows = Vec::new();
    for (arn, told, parser) in [
        ("", NOT_AN_ARN, "ARN: not an ARN"),
        ("Admin", NOT_AN_ARN, "ARN: not an ARN"),
        ("role/Admin", NOT_AN_ARN, "ARN: not an ARN"),
        ("arn:aws:iam", NOT_AN_ARN, "ARN: not an ARN"),
        ("arn:aws:iam:123456789012:role/Admin", NOT_AN_ARN, "ARN: not an ARN"),
        ("urn:aws:iam::123456789012:role/A", NOT_AN_ARN, "ARN: not an ARN"),
        (
            "arn:aws-moon:iam::123456789012:role/A",
            PARTITION,
            "ARN: unknown partition",
        ),
        ("arn::iam::123456789012:role/A", PARTITION, "ARN: unknown partition"),
        ("arn:aws:s3::123456789012:role/A", SERVICE, "ARN: only services"),
        ("arn:aws:eks::123456789012:cluster/A", SERVICE, "ARN: only services"),
        (
            "arn:aws:iam:us-east-1:123456789012:role/A",
            REGION,
            "ARN: the ARN of a principal has no region",
        ),
        ("arn:aws:iam::12345678901:role/A", ACCOUNT, "ARN: the account"),
        ("arn:aws:iam::1234567890123:role/A", ACCOUNT, "ARN: the account"),
        ("arn:aws:iam::12345678901x:role/A", ACCOUNT, "ARN: the account"),
        ("arn:aws:iam::XXXXXXXXXXXX:role/A", ACCOUNT, "ARN: the account"),
        ("arn:aws:iam:::role/A", ACCOUNT, "ARN: the account"),
        ("arn:aws:iam::123456789012:", RESOURCE, "ARN: the resource"),
        ("arn:aws:iam::123456789012:role", RESOURCE, "ARN: the resource"),
        ("arn:aws:iam::123456789012:role/", RESOURCE, "ARN: the resource"),
        ("arn:aws:iam::123456789012:role//A", RESOURCE, "ARN: the resource"),
        ("arn:aws:iam::123456789012:role/A/", RESOURCE, "ARN: the resource"),
        ("arn:aws:iam::123456789012:role/A:B", RESOURCE, "ARN: the resource"),
        ("arn:aws:iam::123456789012:group/A", RESOURCE, "ARN: the resource"),
        (
            "arn:aws:iam::123456789012:instance-profile/A",
            RESOURCE,
            "ARN: the resource",
        ),
        ("arn:aws:iam::123456789012:root/A", RESOURCE, "ARN: the resource"),
        (
            "arn:aws:iam::123456789012:assumed-role/A/s",
            RESOURCE,
            "ARN: the resource",
        ),
        (
            "arn:aws:sts::123456789012:assumed-role/A",
            RESOURCE,
            "ARN: the resource",
        ),
        ("arn:aws:sts::123456789012:role/A", RESOURCE, "ARN: the resource"),
        ("arn:aws:sts::123456789012:root", RESOURCE, "ARN: the resource"),
        (
            "arn:aws:sts::123456789012:federated-user/a/b",
            RESOURCE,
            "ARN: the resource",
        ),
        (
            "arn:aws:iam::123456789012:role/A b",
            CHARACTER,
            "ARN: an ARN has printable",
        ),
        (
            "arn:aws:iam::123456789012:role/A ",
            CHARACTER,
            "ARN: an ARN has printable",
        ),
        (
            "arn:aws:iam::123456789012:role/A\n",
            CHARACTER,
            "ARN: an ARN has printable",
        ),
        (
            "arn:aws:iam::123456789012:role/Ä",
            CHARACTER,
            "ARN: an ARN has printable",
        ),
        ("arn:aws:iam::123456789012:role/*", WILDCARD, "ARN: wildcards"),
        ("arn:aws:iam::123456789012:role/Dev-*", WILDCARD, "ARN: wildcards"),
        ("arn:aws:iam::123456789012:role/Dev?", WILDCARD, "ARN: wildcards"),
        ("arn:aws:iam::123456789012:user/*", WILDCARD, "ARN: wildcards"),
        (
            "arn:aws:iam::123456789012:role/AWSReservedSSO_*",
            WILDCARD,
            "ARN: wildcards",
        ),
        (
            "arn:aws:iam::123456789012:role/AWSReservedSSO_Admin*",
            WILDCARD,
            "ARN: wildcards",
        ),
        (
            "arn:aws:iam::123456789012:role/AWSReservedSSO_*_*",
            WILDCARD,
            "permissionSetName:",
        ),
        (
            "arn:aws:iam::123456789012:role/AWSReservedSSO__*",
            WILDCARD,
            "permissionSetName:",
        ),
    ] {
        rows.push(refused(of_arn(arn), ("spec.arn", told), parser));
    }
    let long_set = format!("arn:aws:iam::123456789012:role/AWSReservedSSO_{}_*", "x".repeat(33));
    rows.push(refused(of_arn(&long_set), ("spec.arn", WILDCARD), "permissionSetName:"));
    let long = format!("{ARN}{}", "x".repeat(2048));
    let too_long = ("spec.arn", "Too long: may not be more than 2048 bytes");
    rows.push(refused(of_arn(&long), too_long, "ARN: longer than 2048 bytes"));
    // Everything that is wrong is named at once.
    rows.push(Refused {
        spec: of_arn("arn:mars:ec2:eu:1:role/A b"),
        told: [CHARACTER, PARTITION, SERVICE, REGION, ACCOUNT]
            .map(|told| ("spec.arn", told))
            .to_vec(),
        parser: "ARN: an ARN has printable",
    });
    rows
}

fn permission_sets() -> Vec<Refused> {
    const A: &str = "123456789012";
    let long_name = "x".repeat(33);
    let mut rows = Vec::new();
    for name in ["", "a b", "a/b", "Ä", "Admin_*", "a\n", &long_name] {
        let told = ("spec.sso.permissionSetName", SET_NAME);
        rows.push(refused(of_sso(name, A), told, "permissionSetName: must be 1 to 32"));
    }
    for account in [
        "",
        "12345678901",
        "1234567890123",
        "12345678901x",
        "１２３４５６７８９０１２",
    ] {
        rows.push(refused(
            of_sso("Admin", account),
            ("spec.sso.accountID", ACCOUNT),
            "ARN: the account",
        ));
    }
    let sso = |fields: Value| json!({ "sso": fields, "username": "u" });
    for partition in ["mars", "", "AWS"] {
        let spec = sso(json!({ "permissionSetName": "Admin", "accountID": A, "partition": partition }));
        rows.push(refused(
            spec,
            ("spec.sso.partition", PARTITION),
            "ARN: unknown partition",
        ));
    }
    rows.extend([
        refused(
            sso(json!({ "accountID": A })),
            ("spec.sso.permissionSetName", MISSING),
            "spec.sso.permissionSetName: must be given",
        ),
        refused(
            sso(json!({ "permissionSetName": "Admin" })),
            ("spec.sso.accountID", MISSING),
            "spec.sso.accountID: must be given",
        ),
        refused(
            sso(json!({ "permissionSetName": "Admin", "accountID": 123_456_789_012_i64 })),
            ("spec.sso.accountID", "must be of type string: \"integer\""),
            "spec.sso.accountID: must be a string, not a number",
        ),
        refused(
            sso(json!("Admin")),
            ("spec.sso", "must be of type object: \"string\""),
            "spec.sso: must have fields, not be a string",
        ),
        Refused {
            spec: sso(json!({})),
            told: vec![("spec.sso.accountID", MISSING), ("spec.sso.permissionSetName", MISSING)],
            parser: "spec.sso.permissionSetName: must be given",
        },
    ]);
    rows
}

fn templates() -> Vec<Refused> {
    let mut rows = Vec::new();
    for (text, told, parser) in [
        ("", EMPTY, "must not be empty"),
        ("  ", EMPTY, "must not be empty"),
        ("\u{a0}\u{2003}", EMPTY, "must not be empty"),
        ("a\nb", CONTROL, "must not contain control characters"),
        ("a\0b", CONTROL, "must not contain control characters"),
        ("a\u{7f}", CONTROL, "must not contain control characters"),
        ("\u{85}a", CONTROL, "must not contain control characters"),
        ("a\u{9b}b", CONTROL, "must not contain control characters"),
        ("{{Nobody}}", PLACEHOLDER, "has the unknown placeholder {{Nobody}}"),
        (
            "x-{{accountid}}",
            PLACEHOLDER,
            "has the unknown placeholder {{accountid}}",
        ),
        (
            "{{ AccountID }}",
            PLACEHOLDER,
            "has the unknown placeholder {{ AccountID }}",
        ),
        ("{{AccountID}}{{}}", PLACEHOLDER, "has the unknown placeholder {{}}"),
        (
            "{{{AccountID}}}",
            PLACEHOLDER,
            "has the unknown placeholder {{{AccountID}}",
        ),
        ("{{SessionName", PLACEHOLDER, "has {{ without a closing }}"),
        ("{{SessionName}", PLACEHOLDER, "has {{ without a closing }}"),
        ("a{{", PLACEHOLDER, "has {{ without a closing }}"),
        ("{{AccountID}}{{{", PLACEHOLDER, "has {{ without a closing }}"),
    ] {
        rows.push(refused(of_username(text), ("spec.username", told), parser));
        rows.push(refused(of_group(text), ("spec.groups[1]", told), parser));
    }
    for group in [
        "system:{{SessionName}}",
        "system:node:{{EC2PrivateDNSName}}",
        "system:masters{{AccountID}}",
    ] {
        let parser = "group 2: a template with a placeholder must not begin with system:";
        rows.push(refused(of_group(group), ("spec.groups[1]", SYSTEM), parser));
    }
    for id in ["", "AROA X", "AROAX\n", "ÄROA"] {
        rows.push(refused(
            of_user_id(id),
            ("spec.userID", USER_ID),
            "userID: must be an IAM unique id",
        ));
    }
    rows.push(refused(
        of_user_id(&"A".repeat(129)),
        ("spec.userID", "Too long: may not be more than 128 bytes"),
        "userID: must be an IAM unique id",
    ));
    rows
}

fn shapes() -> Vec<Refused> {
    let sso = json!({ "permissionSetName": "Admin", "accountID": "123456789012" });
    vec![
        refused(
            json!({ "username": "u" }),
            ("spec", ONE_SUBJECT),
            "exactly one of spec.arn and spec.sso must be given",
        ),
        refused(
            json!({ "username": "u", "arn": null, "sso": null }),
            ("spec", ONE_SUBJECT),
            "exactly one of spec.arn and spec.sso must be given",
        ),
        refused(
            json!({ "username": "u", "arn": ARN, "sso": sso }),
            ("spec", ONE_SUBJECT),
            "exactly one of spec.arn and spec.sso must be given",
        ),
        refused(
            json!({ "arn": ARN }),
            ("spec.username", MISSING),
            "spec.username: must be given",
        ),
        refused(
            json!({ "arn": ARN, "username": null }),
            ("spec.username", MISSING),
            "spec.username: must be given",
        ),
        refused(json!({}), ("spec.username", MISSING), "spec.username: must be given"),
        refused(
            json!({ "arn": 5, "username": "u" }),
            ("spec.arn", "must be of type string: \"integer\""),
            "spec.arn: must be a string, not a number",
        ),
        refused(
            json!({ "arn": ARN, "username": 5 }),
            ("spec.username", "must be of type string: \"integer\""),
            "spec.username: must be a string, not a number",
        ),
        refused(
            json!({ "arn": ARN, "username": "u", "groups": "g" }),
            ("spec.groups", "must be of type array: \"string\""),
            "spec.groups: must be a list of strings, not a string",
        ),
        refused(
            json!({ "arn": ARN, "username": "u", "groups": ["g", 1] }),
            ("spec.groups[1]", "must be of type string: \"integer\""),
            "spec.groups: must be a list of strings, not one with other values in it",
        ),
        refused(
            json!({ "arn": ARN, "username": "u", "groups": vec!["g"; 65] }),
            ("spec.groups", "Too many: 65: must have at most 64 items"),
            "has 65 groups; at most 64 are allowed",
        ),
        refused(
            json!("x"),
            ("spec", "must be of type object: \"string\""),
            "spec: must have fields",
        ),
    ]
}

/// What the API server refuses and the parser, which also reads what older definitions stored, lets pass: nobody's
/// access ends for it.
pub(super) fn refused_by_the_schema_alone() -> Vec<(Value, Told)> {
    let long = "x".repeat(1025);
    let too_long = "Too long: may not be more than 1024 bytes";
    vec![
        (of_username(&long), ("spec.username", too_long)),
        (of_group(&long), ("spec.groups[1]", too_long)),
        // The part with the wildcard is not compared, or the kind of principal has no open-ended form.
        (
            of_arn("arn:aws:iam::123456789012:role/a*/Admin"),
            ("spec.arn", WILDCARD),
        ),
        (
            of_arn("arn:aws:sts::123456789012:assumed-role/Admin/*"),
            ("spec.arn", WILDCARD),
        ),
    ]
}

/// What is accepted by both.
pub(super) fn accepted() -> Vec<Value> {
    let longest_name = "x".repeat(32);
    let sso = |fields: Value| json!({ "sso": fields, "username": "u" });
    let mut specs: Vec<Value> = [
        ARN,
        "arn:aws:iam::123456789012:role/ADMIN",
        "ARN:AWS:IAM::123456789012:ROLE/ADMIN",
        "arn:AWS-CN:iam::123456789012:Role/awsreservedsso_View_*",
        "arn:aws:iam::123456789012:role/a/b/Admin",
        "arn:aws:iam::000000000001:user/Bob",
        "arn:aws-cn:iam::123456789012:user/division/Bob@example.com",
        "arn:aws:iam::123456789012:user/assumed-role/Admin/x",
        "arn:aws-iso-f:iam::123456789012:root",
        "arn:aws:sts::123456789012:assumed-role/Admin/session",
        "arn:aws:sts::123456789012:assumed-role/a/Admin/session",
        "arn:aws:sts::123456789012:federated-user/Bob",
        "arn:aws:iam::123456789012:role/AWSReservedSSO_Admin_*",
        "arn:aws-us-gov:iam::123456789012:role/aws-reserved/sso.amazonaws.com/us-gov-west-1/AWSReservedSSO_View_Only_*",
        "arn:aws-eusc:iam::123456789012:role/AWSReservedSSO_a+=,.@-_*",
        "arn:aws:iam::123456789012:role/AWSReservedSSO_Admin_0123456789abcdef",
    ]
    .map(of_arn)
    .to_vec();
    for text in [
        "admin",
        "admin:{{SessionName}}",
        "{{AccountID}}{{SessionName}}{{SessionNameRaw}}{{AccessKeyID}}{{EC2PrivateDNSName}}",
        "a b",
        "josé",
        "}}{",
        "{x} {y",
        "{{AccountID}}}",
        "{a{{AccountID}}",
    ] {
        specs.push(of_username(text));
        specs.push(of_group(text));
    }
    specs.extend([
        of_username("system:node:{{EC2PrivateDNSName}}"),
        // Whether a name is reserved is a matter of the server's flags; `status` says so.
        of_username("system:admin"),
        of_group("system:masters"),
        of_group("sys{{SessionName}}"),
        of_user_id("AROAEXAMPLEID"),
        of_user_id("123456789012:Bob"),
        of_user_id(&"A".repeat(128)),
        of_sso("Admin", "000000000001"),
        of_sso(&longest_name, "123456789012"),
        of_sso("A_z0+=,.@-", "123456789012"),
        sso(json!({ "permissionSetName": "Admin", "accountID": "123456789012", "partition": "aws-cn" })),
        sso(json!({ "permissionSetName": "Admin", "accountID": "123456789012", "partition": null })),
        json!({ "arn": ARN, "username": "u", "groups": null, "sso": null, "userID": null }),
        json!({ "arn": null, "username": "u", "sso": { "permissionSetName": "A", "accountID": "123456789012" } }),
        json!({ "arn": ARN, "username": "u", "groups": [] }),
        json!({ "arn": ARN, "username": "u", "groups": ["same", "same"] }),
        largest("g"),
        largest("\u{1d4b3}"),
    ]);
    specs
}

/// As large as the definition lets it be, in characters of this one: the rules stay within what one object may cost.
fn largest(character: &str) -> Value {
    let placeholder = "{{EC2PrivateDNSName}}";
    let text = format!("{}{placeholder}", character.repeat(1024 - placeholder.len()));
    let path = "p/".repeat((2048 - ARN.len()) / 2);
    let arn = ARN.replace("role/", &format!("role/{path}"));
    json!({ "arn": arn, "username": text, "groups": vec![&text; 64], "userID": "A".repeat(128) })
}
