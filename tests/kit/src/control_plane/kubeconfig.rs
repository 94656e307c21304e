//! Kubeconfigs for users of the control plane. They are JSON, which is YAML too.

use crate::authority::Authority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The `kind` of exec credentials that `kubectl` asks for unless told otherwise.
const EXEC_V1: &str = "client.authentication.k8s.io/v1";

/// How a user logs in.
#[derive(Debug, Clone)]
pub enum UserAuth {
    /// With a bearer token.
    Token(String),
    /// With a command that prints an `ExecCredential`.
    Exec {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment, besides what kubectl has.
        env: Vec<(String, String)>,
        /// `client.authentication.k8s.io/v1` or `…/v1beta1`.
        api_version: String,
    },
    /// With a certificate that the cluster's CA signs for this kubeconfig.
    ClientCert {
        /// The user name.
        cn: String,
        /// The groups; at most one.
        orgs: Vec<String>,
    },
}

impl UserAuth {
    /// A member of `system:masters`.
    pub fn admin() -> Self {
        Self::ClientCert {
            cn: "kit-admin".to_owned(),
            orgs: vec!["system:masters".to_owned()],
        }
    }

    /// A user with a client certificate and no group.
    pub fn cert(cn: &str) -> Self {
        Self::ClientCert {
            cn: cn.to_owned(),
            orgs: Vec::new(),
        }
    }

    /// A command that speaks `client.authentication.k8s.io/v1`.
    pub fn exec(command: impl Into<String>, args: &[&str], env: &[(String, String)]) -> Self {
        Self::Exec {
            command: command.into(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: env.to_vec(),
            api_version: EXEC_V1.to_owned(),
        }
    }

    fn entry(&self, authority: &Authority) -> Value {
        match self {
            Self::Token(token) => json!({ "token": token }),
            Self::Exec {
                command,
                args,
                env,
                api_version,
            } => {
                let env: Vec<Value> = env
                    .iter()
                    .map(|(name, value)| json!({"name": name, "value": value}))
                    .collect();
                json!({ "exec": {
                    "apiVersion": api_version, "command": command, "args": args, "env": env,
                    "interactiveMode": "Never",
                }})
            }
            Self::ClientCert { cn, orgs } => {
                let issued = authority.client(cn, orgs);
                json!({
                    "client-certificate-data": STANDARD.encode(issued.cert),
                    "client-key-data": STANDARD.encode(issued.key),
                })
            }
        }
    }
}

pub(super) fn render(url: &str, authority: &Authority, users: &[(&str, UserAuth)]) -> String {
    let entries: Vec<Value> = users
        .iter()
        .map(|(name, user)| json!({"name": name, "user": user.entry(authority)}))
        .collect();
    let contexts: Vec<Value> = users
        .iter()
        .map(|(name, _)| json!({"name": name, "context": {"cluster": "kit", "user": name}}))
        .collect();
    let cluster = json!({"server": url, "certificate-authority-data": STANDARD.encode(authority.pem())});
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "kit", "cluster": cluster}],
        "users": entries, "contexts": contexts,
        "current-context": users.first().map_or("", |(name, _)| *name),
    });
    serde_json::to_string_pretty(&config).expect("JSON")
}
