//! Documents for tests: what an administrator applies, what the API server posts, what a user's AWS files say.

use crate::principal::Principal;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Mappings of a `ConfigMap` or a config file, in the order they were added.
#[derive(Debug, Clone, Default)]
pub struct Mappings {
    cluster_id: Option<String>,
    roles: String,
    users: String,
    accounts: String,
}

impl Mappings {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `clusterID`; only `config.yaml` has a place for it.
    #[must_use]
    pub fn cluster_id(mut self, id: &str) -> Self {
        self.cluster_id = Some(id.to_owned());
        self
    }

    /// A role.
    #[must_use]
    pub fn role(mut self, arn: &str, username: &str, groups: &[&str]) -> Self {
        entry(&mut self.roles, "rolearn", arn, username, groups);
        self
    }

    /// A user.
    #[must_use]
    pub fn user(mut self, arn: &str, username: &str, groups: &[&str]) -> Self {
        entry(&mut self.users, "userarn", arn, username, groups);
        self
    }

    /// A whole account.
    #[must_use]
    pub fn account(mut self, account: &str) -> Self {
        writeln!(self.accounts, "- {}", quoted(account)).expect("writing to a string");
        self
    }

    /// A `config.yaml`: for `--config`, or the `config.yaml` of the authenticator's `ConfigMap`.
    pub fn config_yaml(&self) -> String {
        let mut text = String::new();
        if let Some(id) = &self.cluster_id {
            writeln!(text, "clusterID: {}", quoted(id)).expect("writing to a string");
        }
        text.push_str("server:\n");
        let sections = self.sections();
        if sections.is_empty() {
            text.push_str("  mapRoles: []\n");
        }
        for (key, list) in sections {
            write!(text, "  {key}:\n{}", indented(list, 2)).expect("writing to a string");
        }
        text
    }

    /// `ConfigMap` `kube-system/aws-iam-authenticator`.
    pub fn authenticator_config_map(&self) -> String {
        config_map(
            "kube-system",
            "aws-iam-authenticator",
            &[("config.yaml", &self.config_yaml())],
        )
    }

    /// `ConfigMap` `kube-system/aws-auth`.
    pub fn aws_auth(&self) -> String {
        config_map("kube-system", "aws-auth", &self.sections())
    }

    fn sections(&self) -> Vec<(&str, &str)> {
        let all = [
            ("mapRoles", &self.roles),
            ("mapUsers", &self.users),
            ("mapAccounts", &self.accounts),
        ];
        all.into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(key, list)| (key, list.as_str()))
            .collect()
    }
}

fn entry(list: &mut String, key: &str, arn: &str, username: &str, groups: &[&str]) {
    let groups: Vec<String> = groups.iter().map(|group| quoted(group)).collect();
    let groups = groups.join(", ");
    writeln!(
        list,
        "- {key}: {}\n  username: {}\n  groups: [{groups}]",
        quoted(arn),
        quoted(username)
    )
    .expect("writing to a string");
}

/// A `ConfigMap` with these keys and texts, whatever they say.
pub fn config_map(namespace: &str, name: &str, data: &[(&str, &str)]) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: {namespace}, name: {name}}}\ndata:");
    if data.is_empty() {
        text.push_str(" {}");
    }
    text.push('\n');
    for (key, value) in data {
        writeln!(text, "  {key}: {}", quoted(value)).expect("writing to a string");
    }
    text
}

/// An `IAMIdentityMapping`.
pub fn iam_identity_mapping(name: &str, arn: &str, username: &str, groups: &[&str]) -> String {
    let spec = json!({"arn": arn, "username": username, "groups": groups});
    json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1", "kind": "IAMIdentityMapping",
        "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}

/// A `TokenReview` as the API server posts it; `version` is `v1` or `v1beta1`.
pub fn token_review(version: &str, token: &str, audiences: &[&str]) -> Value {
    let mut spec = json!({ "token": token });
    if !audiences.is_empty() {
        spec["audiences"] = json!(audiences);
    }
    json!({
        "apiVersion": format!("authentication.k8s.io/{version}"), "kind": "TokenReview",
        "metadata": {"creationTimestamp": null}, "spec": spec, "status": {"user": {}},
    })
}

/// Writes `folder/credentials` with a profile for each principal, and `folder/config` with a region for each.
/// A process gets them by [`aws_files_env`].
pub fn write_aws_files(folder: &Path, profiles: &[(&str, &Principal)]) -> PathBuf {
    let (mut credentials, mut config) = (String::new(), String::new());
    for (name, who) in profiles {
        writeln!(credentials, "[{name}]\naws_access_key_id = {}", who.access_key_id).expect("writing to a string");
        writeln!(credentials, "aws_secret_access_key = {}", who.secret_access_key).expect("writing to a string");
        if let Some(token) = &who.session_token {
            writeln!(credentials, "aws_session_token = {token}").expect("writing to a string");
        }
        writeln!(config, "[profile {name}]\nregion = us-east-1").expect("writing to a string");
    }
    let path = folder.join("credentials");
    std::fs::write(&path, credentials).expect("the credentials are written");
    std::fs::write(folder.join("config"), config).expect("the config is written");
    path
}

/// The variables that make a process use the files of [`write_aws_files`] with one profile.
pub fn aws_files_env(folder: &Path, profile: &str) -> Vec<(String, String)> {
    let file = |name: &str| folder.join(name).display().to_string();
    [
        ("AWS_SHARED_CREDENTIALS_FILE", file("credentials")),
        ("AWS_CONFIG_FILE", file("config")),
        ("AWS_PROFILE", profile.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// A JSON string is a YAML string, and needs no rules of its own.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn indented(text: &str, spaces: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("{:spaces$}{line}\n", "")).collect();
    lines.concat()
}
