//! Lists as people write them, and what they are after an entry was added.

use super::*;

const ADMIN: &str = "arn:aws:iam::123456789012:role/Admin";

fn groups(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn try_add(old: &str, arn: &str, username: &str, names: &[&str]) -> Result<Addition, AddError> {
    let new = NewEntry {
        list: List::MapRoles,
        subject: SubjectText::Arn(arn),
        username,
        groups: &groups(names),
    };
    add(old, &new, &MappingPolicy::default())
}

fn added(old: &str) -> String {
    match try_add(old, ADMIN, "admin:{{SessionName}}", &["ops", "system:masters"]) {
        Ok(Addition::Text(text)) => text,
        other => panic!("{old:?}: {other:?}"),
    }
}

const BLOCK: &str = "\
- rolearn: arn:aws:iam::123456789012:role/Admin
  username: admin:{{SessionName}}
  groups:
  - ops
  - system:masters
";

#[test]
fn the_first_entry() {
    for empty in ["", "\n", "[]", "[]\n", "\"\"", "``", "~", "---\n"] {
        assert_eq!(added(empty), BLOCK, "{empty:?}");
    }
    assert_eq!(
        added("# who may come in\n[] # nobody yet\n"),
        format!("# who may come in\n# nobody yet\n{BLOCK}")
    );
}

#[test]
fn after_the_last_entry_and_nothing_else_is_touched() {
    let old = "# nodes\n- groups:\n  - system:nodes   # the kubelets\n  rolearn: arn:aws:iam::123456789012:role/Node\n  username: system:node:{{EC2PrivateDNSName}}\n\n# the end\n";
    assert_eq!(added(old), format!("{old}{BLOCK}"));
    let without_newline = old.trim_end();
    assert_eq!(added(without_newline), format!("{without_newline}\n{BLOCK}"));
    let blank_at_end = format!("{old}\n\n");
    assert_eq!(added(&blank_at_end), format!("{old}{BLOCK}\n\n"));
}

#[test]
fn in_the_indentation_that_is_there() {
    let old =
        "  -   rolearn: arn:aws:iam::123456789012:role/Node\n      username: node\n      groups:\n        - nodes\n";
    assert_eq!(
        added(old),
        format!(
            "{old}  -   rolearn: {ADMIN}\n      username: admin:{{{{SessionName}}}}\n      groups:\n        - ops\n        - system:masters\n"
        )
    );
    let old = "- rolearn: arn:aws:iam::123456789012:role/Node\r\n  username: node\r\n";
    assert_eq!(added(old), format!("{old}{}", BLOCK.replace('\n', "\r\n")));
    let old = "-\n  rolearn: arn:aws:iam::123456789012:role/Node\n  username: node\n";
    assert_eq!(added(old), format!("{old}{BLOCK}"));
}

#[test]
fn in_brackets() {
    let entry = r#"{"rolearn": "arn:aws:iam::123456789012:role/Admin", "username": "admin:{{SessionName}}", "groups": ["ops", "system:masters"]}"#;
    let node = r#"{"rolearn":"arn:aws:iam::123456789012:role/Node","username":"node"}"#;
    assert_eq!(added(&format!("[{node}]")), format!("[{node}, {entry}]"));
    assert_eq!(
        added(&format!("[\n  {node},\n]\n# end\n")),
        format!("[\n  {node},\n  {entry}\n]\n# end\n")
    );
    assert_eq!(
        added(&format!("[\n    {node}\n]\n")),
        format!("[\n    {node},\n    {entry}\n]\n")
    );
}

#[test]
fn bad_entries_beside_it_are_left_to_their_owners() {
    let old = "- rolearn: nonsense\n  username: x\n";
    assert_eq!(added(old), format!("{old}{BLOCK}"));
}

#[test]
fn what_cannot_be_added_to_in_place_is_refused() {
    let node = "{rolearn: 'arn:aws:iam::123456789012:role/Node', username: node}";
    for old in [
        format!("&all [{node}]"),
        format!("--- [{node}]"),
        format!("- {node}\n...\n"),
        format!("[\n  {node} # the last one\n]"),
        format!("[{node}] # see [1]"),
    ] {
        let refused = try_add(&old, ADMIN, "admin", &[]);
        assert_eq!(refused, Err(AddError::Style { list: List::MapRoles }), "{old}");
    }
}

#[test]
fn the_same_entry_is_not_added_twice_and_another_one_is_not_shadowed() {
    let old = "- rolearn: arn:aws:iam::123456789012:role/x\n  username: x\n- roleARN: arn:aws:iam::123456789012:role/team/ADMIN\n  username: admin\n  groups: [a, b]\n";
    let present = |groups: &[&str]| try_add(old, ADMIN, "admin", groups);
    assert_eq!(present(&["a", "b"]), Ok(Addition::Present { line: 3 }));
    let taken = present(&["a"]).unwrap_err().to_string();
    assert_eq!(
        taken,
        "mapRoles, line 3, maps this principal already, to \"admin\" in a, b"
    );
}

#[test]
fn what_the_server_would_refuse_is_refused() {
    for (arn, username, group, wanted) in [
        ("arn:aws:iam::12:role/x", "u", "g", "the account must be 12 digits"),
        (ADMIN, "", "g", "username"),
        (ADMIN, "{{Sesion}}", "g", "unknown placeholder"),
        (ADMIN, "system:admin", "g", "is reserved"),
        (ADMIN, "u", "system:{{SessionName}}", "must not begin with system:"),
    ] {
        let error = try_add("", arn, username, &[group]).unwrap_err();
        assert!(
            matches!(error, AddError::Entry(_)) && error.to_string().contains(wanted),
            "{error}"
        );
    }
    let error = try_add("- a: [\n", ADMIN, "u", &[]).unwrap_err().to_string();
    assert!(
        error.starts_with("mapRoles cannot be read as it is now: line "),
        "{error}"
    );
}

#[test]
fn permission_sets_and_users() {
    let sso = NewEntry {
        list: List::MapRoles,
        subject: SubjectText::PermissionSet {
            name: "View",
            account: "012345678901",
            partition: "aws",
        },
        username: "viewer",
        groups: &[],
    };
    let expected = "- sso:\n    permissionSetName: View\n    accountID: \"012345678901\"\n    partition: aws\n  username: viewer\n";
    let policy = MappingPolicy::default();
    assert_eq!(add("", &sso, &policy), Ok(Addition::Text(expected.to_owned())));
    assert_eq!(sso.snippet(), expected);
    let brackets = "[{\"rolearn\": \"arn:aws:iam::123456789012:role/x\", \"username\": \"x\"}]";
    let Ok(Addition::Text(text)) = add(brackets, &sso, &policy) else {
        panic!("not added")
    };
    assert!(text.contains("\"accountID\": \"012345678901\""), "{text}");
    let user = NewEntry {
        list: List::MapUsers,
        subject: SubjectText::Arn("arn:aws:iam::123456789012:user/Alice"),
        username: "null",
        groups: &groups(&["7", "a: b", "{{AccountID}}-x"]),
    };
    assert_eq!(
        add("", &user, &policy),
        Ok(Addition::Text(
            "- userarn: arn:aws:iam::123456789012:user/Alice\n  username: \"null\"\n  groups:\n  - \"7\"\n  - \"a: b\"\n  - \"{{AccountID}}-x\"\n".to_owned()
        ))
    );
}

proptest::proptest! {
    /// Whatever the text, what is added is there afterwards, last, and everything before it is unchanged.
    #[test]
    fn what_was_there_stays(
        text in "(- |- rolearn: arn:aws:iam::123456789012:role/a\n  username: u\n|groups:|\\[|\\]|,|#|\n|  |---\n|[a-z]){0,12}",
        name in "[ -~]{1,12}",
    ) {
        let username = name.trim();
        if let Ok(Addition::Text(new)) = try_add(&text, ADMIN, username, &[username]) {
            let before = read(List::MapRoles, &text).unwrap();
            let after = read(List::MapRoles, &new).unwrap();
            proptest::prop_assert_eq!(after.mappings.len(), before.mappings.len() + 1);
            let last = after.mappings.last().unwrap();
            proptest::prop_assert_eq!(last.username().unwrap().as_str(), username);
            for line in text.lines().filter(|line| line.contains("rolearn")) {
                proptest::prop_assert!(new.contains(line));
            }
        }
    }
}
