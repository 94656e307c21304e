//! What a user's kubectl needs to log in here: the entries of a kubeconfig, and of a kuberc for those who restrict plugins.
//!
//! Formats: kubectl's `Config` v1 and `kubectl.config.k8s.io/v1beta1`. One user entry serves many clusters: the cluster id
//! stands in the cluster's entry, and kubectl hands it to the program (`provideClusterInfo`).

mod merge;

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::mapping::yaml::scalar;
pub use merge::{MergeError, Merged, merge};

/// The program, found by kubectl on the `PATH`.
pub const COMMAND: &str = "aws-iam-authenticator";

/// Under this name kubectl hands the extension of a cluster to its plugin, as `spec.cluster.config`.
const EXEC_EXTENSION: &str = "client.authentication.k8s.io/exec";

/// The key in it that `token` reads.
const CLUSTER_ID_KEY: &str = "clusterID";

/// What kubectl says when the program is not there.
const INSTALL_HINT: &str =
    "This kubeconfig logs in with aws-iam-authenticator. Install it, and see that it is on your PATH.";

/// How one user logs in to one cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The name of the entry of the cluster.
    pub cluster: String,
    /// The URL of the API server.
    pub server: String,
    /// Whom to trust there: certificates in PEM, in base64. `None` is whom the system trusts.
    pub certificate_authority_data: Option<String>,
    /// The cluster id that goes into tokens.
    pub cluster_id: String,
    /// The name of the context.
    pub context: String,
    /// A role to assume.
    pub role: Option<String>,
    /// The AWS profile.
    pub profile: Option<String>,
    /// The region of the STS endpoint.
    pub region: Option<String>,
    /// Whether kubectl tells the cluster id; else it stands in the arguments, and the user entry serves one cluster.
    pub cluster_info: bool,
}

impl Login {
    /// The name of the user entry: made of all that is in it, so that two clusters with the same share one.
    pub fn user(&self) -> String {
        let role = self.role.as_deref().map(|arn| arn.rsplit('/').next().unwrap_or(arn));
        let account = self.role.as_deref().and_then(|arn| arn.split(':').nth(4));
        let cluster = (!self.cluster_info).then_some(self.cluster.as_str());
        let parts = [cluster, self.profile.as_deref(), role, account, self.region.as_deref()];
        let parts = [Some(COMMAND)].into_iter().chain(parts).flatten();
        parts.collect::<Vec<_>>().join("-")
    }

    fn arguments(&self) -> Vec<&str> {
        let mut all = vec!["token"];
        for (flag, value) in [("--role", &self.role), ("--region", &self.region)] {
            all.extend(value.iter().flat_map(|value| [flag, value.as_str()]));
        }
        if !self.cluster_info {
            all.extend(["--cluster-id", self.cluster_id.as_str()]);
        }
        all
    }

    /// The cluster's entry.
    fn cluster_entry(&self) -> Value {
        let mut cluster = Map::from_iter([("server".to_owned(), json!(self.server))]);
        if let Some(data) = &self.certificate_authority_data {
            cluster.insert("certificate-authority-data".to_owned(), json!(data));
        }
        if self.cluster_info {
            let extension = json!({ "extension": { CLUSTER_ID_KEY: self.cluster_id }, "name": EXEC_EXTENSION });
            cluster.insert("extensions".to_owned(), json!([extension]));
        }
        json!({ "cluster": cluster, "name": self.cluster })
    }

    fn context_entry(&self) -> Value {
        json!({ "context": { "cluster": self.cluster, "user": self.user() }, "name": self.context })
    }

    fn user_entry(&self) -> Value {
        let env = self.profile.iter();
        let env: Vec<_> = env
            .map(|profile| json!({ "name": "AWS_PROFILE", "value": profile }))
            .collect();
        let mut exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "args": self.arguments(),
            "command": COMMAND,
            "env": env,
            "installHint": INSTALL_HINT,
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": self.cluster_info,
        });
        if env.is_empty() {
            exec.as_object_mut().and_then(|exec| exec.remove("env"));
        }
        json!({ "name": self.user(), "user": { "exec": exec } })
    }

    /// Each list of a kubeconfig with the entry that goes into it.
    fn entries(&self) -> [(&'static str, Value); 3] {
        [
            ("clusters", self.cluster_entry()),
            ("contexts", self.context_entry()),
            ("users", self.user_entry()),
        ]
    }

    /// A whole kubeconfig of it.
    pub fn kubeconfig(&self) -> String {
        let mut text = "apiVersion: v1\nkind: Config\n".to_owned();
        for (list, entry) in self.entries() {
            let _ = write!(text, "{list}:\n{}", item(&entry, 0));
        }
        let _ = writeln!(text, "current-context: {}", scalar(&self.context));
        text
    }
}

/// The preferences that let kubectl run this program and no other.
pub fn kuberc() -> String {
    format!(
        "\
apiVersion: kubectl.config.k8s.io/v1beta1
kind: Preference
credentialPluginPolicy: Allowlist
credentialPluginAllowlist:
# kubectl 1.35 calls it name instead of command, and knows only that.
- command: {COMMAND}
"
    )
}

/// An entry as an item of a list in block style, indented by so many blanks.
fn item(entry: &Value, indent: usize) -> String {
    let mut text = String::new();
    block(entry, 2, &mut text);
    let lines = text.lines().enumerate().map(|(number, line)| {
        let line = if number == 0 {
            line.replacen("  ", "- ", 1)
        } else {
            line.to_owned()
        };
        format!("{}{line}\n", " ".repeat(indent))
    });
    lines.collect()
}

/// Writes maps, lists and texts as kubectl writes them.
fn block(value: &Value, indent: usize, text: &mut String) {
    let blanks = " ".repeat(indent);
    let Value::Object(map) = value else { return };
    for (key, value) in map {
        match value {
            Value::Object(_) => {
                let _ = writeln!(text, "{blanks}{key}:");
                block(value, indent + 2, text);
            }
            Value::Array(items) => {
                let _ = writeln!(text, "{blanks}{key}:");
                for value in items {
                    match value {
                        Value::Object(_) => text.push_str(&item(value, indent)),
                        value => {
                            let _ = writeln!(text, "{blanks}- {}", plain(value));
                        }
                    }
                }
            }
            value => {
                let _ = writeln!(text, "{blanks}{key}: {}", plain(value));
            }
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), scalar)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn login() -> Login {
        Login {
            cluster: "prod".to_owned(),
            server: "https://api.prod.example".to_owned(),
            certificate_authority_data: Some("Q0E=".to_owned()),
            cluster_id: "prod.example".to_owned(),
            context: "prod".to_owned(),
            role: Some("arn:aws:iam::123456789012:role/team/Admin".to_owned()),
            profile: Some("work".to_owned()),
            region: None,
            cluster_info: true,
        }
    }

    #[test]
    fn a_kubeconfig_for_one() {
        let expected = "\
apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: \"Q0E=\"
    extensions:
    - extension:
        clusterID: prod.example
      name: client.authentication.k8s.io/exec
    server: https://api.prod.example
  name: prod
contexts:
- context:
    cluster: prod
    user: aws-iam-authenticator-work-Admin-123456789012
  name: prod
users:
- name: aws-iam-authenticator-work-Admin-123456789012
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      args:
      - token
      - \"--role\"
      - arn:aws:iam::123456789012:role/team/Admin
      command: aws-iam-authenticator
      env:
      - name: AWS_PROFILE
        value: work
      installHint: \"This kubeconfig logs in with aws-iam-authenticator. Install it, and see that it is on your PATH.\"
      interactiveMode: IfAvailable
      provideClusterInfo: true
current-context: prod
";
        assert_eq!(login().kubeconfig(), expected.replace("\"Q0E=\"", "Q0E="));
    }

    #[test]
    fn clusters_share_a_user_unless_the_id_is_in_its_arguments() {
        let mut one = login();
        let mut other = Login {
            cluster: "test".to_owned(),
            cluster_id: "test.example".to_owned(),
            ..login()
        };
        assert_eq!((one.user(), one.user_entry()), (other.user(), other.user_entry()));
        (one.cluster_info, other.cluster_info) = (false, false);
        assert_ne!(one.user(), other.user());
        assert_eq!(
            one.arguments()[3..],
            ["--cluster-id", "prod.example"],
            "{:?}",
            one.arguments()
        );
        assert!(!one.kubeconfig().contains("extension"));
    }

    #[test]
    fn what_is_written_is_what_is_meant() {
        let odd = Login {
            context: "a: b # c".to_owned(),
            profile: Some("true".to_owned()),
            region: Some("eu-west-1".to_owned()),
            ..login()
        };
        let read: Value = serde_saphyr::from_str(&odd.kubeconfig()).expect("YAML");
        for (list, entry) in odd.entries() {
            assert_eq!(read[list][0], entry);
        }
        assert_eq!(read["current-context"], "a: b # c");
        let kuberc: Value = serde_saphyr::from_str(&kuberc()).expect("YAML");
        assert_eq!(kuberc["credentialPluginAllowlist"][0]["command"], COMMAND);
    }
}
