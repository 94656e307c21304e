//! `mapRoles`, `mapUsers` and `mapAccounts` as people write them, in both dialects: the keys of the `aws-auth`
//! ConfigMap, each a YAML document of its own, and the `server` section of `config.yaml`.

pub mod edit;
mod entry;

use std::collections::BTreeMap;
use std::fmt;

pub use super::yaml::DocumentError;
use super::yaml::{self, Item, Node};
use super::{Mapping, MappingError, SourceId};

/// The key of the ConfigMap `aws-iam-authenticator` that holds the configuration.
pub const CONFIG_KEY: &str = "config.yaml";

/// One of the three lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum List {
    /// Roles and permission sets.
    MapRoles,
    /// Users.
    MapUsers,
    /// Whole accounts.
    MapAccounts,
}

impl List {
    /// All lists, in the order in which a later one wins.
    pub const ALL: [Self; 3] = [Self::MapRoles, Self::MapUsers, Self::MapAccounts];

    /// The key under which the list stands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MapRoles => "mapRoles",
            Self::MapUsers => "mapUsers",
            Self::MapAccounts => "mapAccounts",
        }
    }
}

/// An entry that is not a mapping, or not all that it seems.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The list it stands in.
    pub list: List,
    /// The line in its document, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub error: MappingError,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}: {}", self.list.as_str(), self.line, self.error)
    }
}

/// The entries of a document that parses.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// The good ones, in order.
    pub mappings: Vec<Mapping>,
    /// The bad ones.
    pub problems: Vec<Problem>,
    /// Good ones with something in them that has no effect.
    pub warnings: Vec<Problem>,
}

/// A text that is good or bad as a whole.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its name in messages: `mapRoles`, `config.yaml`.
    pub name: &'static str,
    /// The known keys that it has.
    pub keys: Vec<&'static str>,
    /// Its entries, or why it cannot be read.
    pub entries: Result<Entries, DocumentError>,
}

/// All that a ConfigMap or a file says.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Its documents, always the same ones for one source.
    pub documents: Vec<Document>,
    /// Keys that mean nothing to us.
    pub unknown_keys: Vec<String>,
    /// Whether it has anything that we know; a ConfigMap without is taken for a mistake.
    pub has_known_key: bool,
    /// `clusterID`, where the dialect has it.
    pub cluster_id: Option<Box<str>>,
}

/// Reads the `data` of the ConfigMap `aws-auth`.
pub fn read_aws_auth(data: &BTreeMap<String, String>) -> Content {
    let read = |list: List| {
        let text = data.get(list.as_str());
        let entries = yaml::parse(text.map_or("", String::as_str))
            .and_then(|item| entry::read_list(list, item, SourceId::EksConfigMap));
        Document {
            name: list.as_str(),
            keys: text.map(|_| list.as_str()).into_iter().collect(),
            entries,
        }
    };
    let is_known = |key: &String| List::ALL.iter().any(|list| list.as_str() == key);
    Content {
        documents: List::ALL.map(read).into(),
        unknown_keys: data.keys().filter(|key| !is_known(key)).cloned().collect(),
        has_known_key: data.keys().any(is_known),
        cluster_id: None,
    }
}

/// Reads the `data` of the ConfigMap `aws-iam-authenticator`.
pub fn read_config_map(data: &BTreeMap<String, String>) -> Content {
    let text = data.get(CONFIG_KEY);
    let mut content = read_config(text.map_or("", String::as_str), SourceId::AuthenticatorConfigMap);
    // Other keys of this ConfigMap are other people's files; they matter only in place of ours.
    if text.is_none() {
        content.unknown_keys = data.keys().cloned().collect();
        content.has_known_key = false;
    }
    content
}

/// Reads the text of a `--config` file.
pub fn read_config_file(text: &str) -> Content {
    read_config(text, SourceId::MountedFile)
}

fn read_config(text: &str, source: SourceId) -> Content {
    let mut content = Content {
        has_known_key: true,
        ..Content::default()
    };
    let mut keys = Vec::new();
    let entries = yaml::parse(text).and_then(|root| {
        let mut all = Entries::default();
        for (key, item) in into_map(root, "the configuration")? {
            if key.eq_ignore_ascii_case("clusterID") {
                content.cluster_id = entry::text(&item).filter(|id| !id.is_empty()).map(Into::into);
            } else if key == "server" {
                keys.push("server");
                read_server(item, source, &mut all, &mut keys, &mut content.unknown_keys)?;
            } else if !is_setting(&key, &TOP_SETTINGS) {
                content.unknown_keys.push(key);
            }
        }
        Ok(all)
    });
    content.documents = vec![Document {
        name: CONFIG_KEY,
        keys,
        entries,
    }];
    content
}

fn read_server(
    server: Item,
    source: SourceId,
    all: &mut Entries,
    keys: &mut Vec<&'static str>,
    unknown: &mut Vec<String>,
) -> Result<(), DocumentError> {
    for (key, item) in into_map(server, "server")? {
        if let Some(list) = List::ALL.into_iter().find(|list| list.as_str() == key) {
            keys.push(list.as_str());
            let entries = entry::read_list(list, item, source)?;
            all.mappings.extend(entries.mappings);
            all.problems.extend(entries.problems);
            all.warnings.extend(entries.warnings);
        } else if !is_setting(&key, &SERVER_SETTINGS) {
            unknown.push(format!("server.{key}"));
        }
    }
    Ok(())
}

fn into_map(item: Item, what: &str) -> Result<Vec<(String, Item)>, DocumentError> {
    match item.node {
        Node::Map(entries) => Ok(entries),
        Node::Null => Ok(Vec::new()),
        _ => Err(item.error(format!("{what} must have keys, not be {}", item.kind()))),
    }
}

/// Settings beside the mappings, at the top level of the configuration. `config` reads them; in a ConfigMap only
/// `clusterID` has an effect. A key that is on neither list is taken for a misspelling.
pub const TOP_SETTINGS: [&str; 12] = [
    "cache",
    "clusterID",
    "defaultRole",
    "externalID",
    "feature-gates",
    "forwardSessionName",
    "log-verbosity",
    "region",
    "role",
    "server",
    "sessionName",
    "tokenOnly",
];

/// Settings beside the mappings, in the section `server`.
pub const SERVER_SETTINGS: [&str; 36] = [
    "address",
    "allowSystemUsernames",
    "allowedRegions",
    "audience",
    "backendMode",
    "clientCAFile",
    "dynamicBackendModePath",
    "dynamicfileUserIDStrict",
    "dynamicfilepath",
    "ec2DescribeInstancesBurst",
    "ec2DescribeInstancesQps",
    "ec2DescribeInstancesRoleARN",
    "generateKubeconfig",
    "healthAddress",
    "healthPort",
    "hostname",
    "identityCacheTTL",
    "identityOutageGrace",
    "kubeconfig",
    "kubeconfigPregenerated",
    "leaderElect",
    "leaseName",
    "leaseNamespace",
    "legacyStatusCodes",
    "master",
    "metricsAddress",
    "partition",
    "port",
    "privilegedGroupsFrom",
    "region",
    "reservedPrefixConfig",
    "reusePort",
    "scrubbedAccounts",
    "sourceARN",
    "sourceSyncTimeout",
    "stateDir",
];

fn is_setting(key: &str, settings: &[&str]) -> bool {
    settings.iter().any(|setting| setting.eq_ignore_ascii_case(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws_auth(key: &str, text: &str) -> Document {
        let data = BTreeMap::from([(key.to_owned(), text.to_owned())]);
        let mut documents = read_aws_auth(&data).documents;
        documents.retain(|document| document.name == key);
        documents.pop().expect("the document of the key")
    }

    fn entries(key: &str, text: &str) -> Entries {
        aws_auth(key, text).entries.expect(text)
    }

    fn shown(mappings: &[Mapping]) -> Vec<String> {
        let show = |mapping: &Mapping| {
            let username = mapping.username().map(|name| name.to_string()).unwrap_or_default();
            let groups: Vec<_> = mapping.groups().map(|group| group.to_string()).collect();
            format!("{} {username} {}", mapping.subject_key(), groups.join("+"))
        };
        mappings.iter().map(show).collect()
    }

    #[test]
    fn a_few_bytes_cannot_become_megabytes() {
        let mut bomb = vec!["a0: &a0 [x,x,x,x,x,x,x,x]".to_owned()];
        for level in 1..8 {
            let inner = vec![format!("*a{}", level - 1); 8].join(",");
            bomb.push(format!("a{level}: &a{level} [{inner}]"));
        }
        let bomb = bomb.join("\n");
        let error = aws_auth("mapRoles", &bomb).entries.expect_err("too much");
        assert!(
            !error.message.contains("must be a list"),
            "it was read to its end: {error}"
        );
        let many = format!("[{}]", vec!["a"; 2_000].join(","));
        let error = aws_auth("mapRoles", &many).entries.expect_err("too many");
        assert!(error.message.contains("more than 1000 bad entries"), "{error}");
        let shared = "- &first\n  rolearn: arn:aws:iam::123456789012:role/a\n  username: u\n  groups: &g [g]\n"
            .to_owned()
            + &"- rolearn: arn:aws:iam::123456789012:role/b\n  username: u\n  groups: *g\n".repeat(500);
        assert_eq!(
            entries("mapRoles", &shared).mappings.len(),
            501,
            "aliases as people use them"
        );
    }

    #[test]
    fn entry_keys_in_any_case_and_values_as_users_write_them() {
        let text = "
# nodes
- rolearn: arn:aws:iam::123456789012:role/path/Node
  username: system:node:{{EC2PrivateDNSName}}
  groups:
  - system:bootstrappers
  - system:nodes
- roleARN: 'arn:aws:sts::123456789012:assumed-role/Admin/me'
  userName: admin
  Groups: []
- sso: {permissionSetName: View, accountID: 123456789012}
  username: viewer
  groups: a, b
- {\"rolearn\": \"arn:aws-cn:iam::123456789012:role/Json\", \"username\": \"json\", \"userid\": AROAX}
";
        assert_eq!(
            shown(&entries("mapRoles", text).mappings),
            [
                "arn:aws:iam::123456789012:role/node system:node:{{EC2PrivateDNSName}} system:bootstrappers+system:nodes",
                "arn:aws:iam::123456789012:role/admin admin ",
                "arn:aws:iam::123456789012:role/awsreservedsso_view_* viewer a+b",
                "arn:aws-cn:iam::123456789012:role/json json ",
            ]
        );
    }

    #[test]
    fn what_people_write_for_empty() {
        for text in ["", " ", "\"\"", "''", "``", "[]", "# nothing\n", "~", "\n"] {
            let entries = entries("mapRoles", text);
            assert!(entries.mappings.is_empty() && entries.problems.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn accounts_are_strings_or_integers_that_kept_their_zeros() {
        let entries = entries(
            "mapAccounts",
            "- '012345678901'\n- 123456789012\n- 12345678901\n- '1'\n- [x]\n",
        );
        assert_eq!(shown(&entries.mappings), ["012345678901  ", "123456789012  "]);
        let problems: Vec<_> = entries.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "mapAccounts, line 3: account 12345678901 has 11 digits: a bare integer loses its leading zeros; write it in quotes, as 12 digits",
                "mapAccounts, line 4: an account must be a string of 12 digits, leading zeros included",
                "mapAccounts, line 5: an account must be a string of 12 digits, not a list",
            ]
        );
    }

    #[test]
    fn bad_entries_say_where_and_why() {
        for (text, wanted) in [
            ("- username: u", "line 1: exactly one of rolearn and sso must be given"),
            (
                "- rolearn: arn:aws:iam::123456789012:role/a",
                "line 1: username must not be empty",
            ),
            (
                "- x: y\n- 7",
                "line 2: an entry must have keys such as rolearn and username, not be a number",
            ),
            (
                "- rolearn: arn:aws:iam::12345678901:role/a\n  username: u",
                "line 1: ARN: the account must be 12 digits",
            ),
            (
                "- rolearn: {a: b}\n  username: u",
                "line 1: rolearn must be a string, not a mapping of keys",
            ),
            (
                "- rolearn: arn:aws:iam::123456789012:role/a\n  roleARN: arn:aws:iam::123456789012:role/b\n  username: u",
                "line 1: key \"roleARN\" is given twice",
            ),
            (
                "- rolearn: arn:aws:iam::123456789012:role/a\n  username: true",
                "username must be a string, not a boolean",
            ),
            (
                "- rolearn: arn:aws:iam::123456789012:role/a\n  username: u\n  groups: {}",
                "groups must be a list",
            ),
            (
                "- rolearn: arn:aws:iam::123456789012:role/a\n  username: '{{User}}'",
                "unknown placeholder {{User}}",
            ),
            (
                "- sso: {permissionSetName: V}\n  username: u",
                "ARN: the account must be 12 digits",
            ),
        ] {
            let problems = entries("mapRoles", text).problems;
            let last = problems.last().map(ToString::to_string).unwrap_or_default();
            assert!(last.contains(wanted), "{text}\n{last}");
        }
    }

    #[test]
    fn an_unknown_entry_key_is_ignored_aloud() {
        let entries = entries(
            "mapRoles",
            "- rolearn: arn:aws:iam::123456789012:role/a\n  username: u\n  group: [g]",
        );
        assert_eq!(shown(&entries.mappings), ["arn:aws:iam::123456789012:role/a u "]);
        assert!(
            entries.warnings[0]
                .to_string()
                .contains("unknown key \"group\" is ignored")
        );
    }

    #[test]
    fn documents_that_are_bad_as_a_whole() {
        for (text, line) in [
            ("- a: [", 1),
            ("a: b", 1),
            ("text", 1),
            ("- a: b\n- a: b\n  a: c", 3),
            ("- a\n---\n- b", 2),
            ("- a: &x [*x]", 1),
        ] {
            let error = aws_auth("mapRoles", text).entries.expect_err(text);
            assert!(error.line >= line, "{text:?}: {error}");
        }
    }

    #[test]
    fn config_yaml_has_all_lists_in_its_server_section() {
        let text = "
clusterID: my-cluster
server:
  mapRoles:
  - roleARN: arn:aws:iam::123456789012:role/a
    username: a
  mapUsers:
  - userARN: arn:aws:iam::123456789012:user/b
    username: b
  mapAccounts: ['123456789012']
  backendMode: [CRD]
  colour: blue
other: x
";
        let content = read_config_file(text);
        assert_eq!(content.cluster_id.as_deref(), Some("my-cluster"));
        assert_eq!(content.unknown_keys, ["server.colour", "other"]);
        let document = &content.documents[0];
        assert_eq!(document.keys, ["server", "mapRoles", "mapUsers", "mapAccounts"]);
        assert_eq!(document.entries.as_ref().expect("valid").mappings.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(- |rolearn: |sso: |\\{|\\}|\\[|'|\"|\n|  |[a-z0-9:/*&]){0,40}") {
            let data = BTreeMap::from([("mapRoles".to_owned(), text.clone())]);
            let _ = read_aws_auth(&data);
            let _ = read_config_file(&text);
        }
    }
}
