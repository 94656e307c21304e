//! The kubeconfig that the API server reaches the webhook with: the shape of the Go authenticator's, whose readers know it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::ClientPair;

/// Where the API server asks.
pub fn server_url(hostname: &str, port: u16) -> String {
    // An IPv6 address stands in brackets.
    if hostname.contains(':') && !hostname.starts_with('[') {
        format!("https://[{hostname}]:{port}/authenticate")
    } else {
        format!("https://{hostname}:{port}/authenticate")
    }
}

/// The kubeconfig for `--authentication-token-webhook-config-file`; `trust_pem` and what the API server shows stand in it whole.
pub fn webhook_kubeconfig(trust_pem: &str, server_url: &str, client: Option<&ClientPair>) -> String {
    let trust = STANDARD.encode(trust_pem);
    let user = client.map_or_else(String::new, |client| {
        format!(
            "
    user:
      client-certificate-data: {}
      client-key-data: {}",
            STANDARD.encode(&client.cert_pem),
            STANDARD.encode(&client.key_pem)
        )
    });
    // `kind` and `apiVersion` are ours; names and contexts are those of the Go authenticator.
    format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: aws-iam-authenticator
    cluster:
      certificate-authority-data: {trust}
      server: {server_url}
# user refers to the API server client
users:
  - name: apiserver{user}
current-context: webhook
contexts:
- name: webhook
  context:
    cluster: aws-iam-authenticator
    user: apiserver
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(server_url("127.0.0.1", 21362), "https://127.0.0.1:21362/authenticate");
        assert_eq!(server_url("localhost", 1), "https://localhost:1/authenticate");
        assert_eq!(server_url("::1", 1), "https://[::1]:1/authenticate");
        assert_eq!(server_url("[::1]", 1), "https://[::1]:1/authenticate");
    }

    #[test]
    fn the_shape_of_the_go_authenticator() {
        let text = webhook_kubeconfig("PEM\n", "https://127.0.0.1:21362/authenticate", None);
        let config: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(
            config["clusters"][0]["cluster"]["certificate-authority-data"],
            "UEVNCg=="
        );
        assert_eq!(
            config["clusters"][0]["cluster"]["server"],
            "https://127.0.0.1:21362/authenticate"
        );
        assert_eq!(config["clusters"][0]["name"], "aws-iam-authenticator");
        assert_eq!(config["users"][0]["name"], "apiserver");
        assert_eq!(
            (&config["current-context"], &config["contexts"][0]["name"]),
            (&"webhook".into(), &"webhook".into())
        );
        assert_eq!(config["contexts"][0]["context"]["cluster"], "aws-iam-authenticator");
        assert_eq!(config["contexts"][0]["context"]["user"], "apiserver");
        assert_eq!(
            (&config["kind"], &config["apiVersion"]),
            (&"Config".into(), &"v1".into())
        );
    }
}
