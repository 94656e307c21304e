//! A control plane with mappings, and replicas of the program on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use kit::builders::iam_identity_mapping;
use kit::{Authenticator, ControlPlane, Kubectl, Options, Principal, StsDouble, TokenBuilder, eventually};
use serde_json::Value;

pub(super) const ACCOUNT: &str = "111122223333";
pub(super) const MAPPINGS: &str = "/apis/iamauthenticator.k8s.aws/v1alpha1/iamidentitymappings";

pub(super) struct Cluster {
    pub(super) plane: ControlPlane,
    pub(super) sts: StsDouble,
}

pub(super) fn arn(role: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
}

pub(super) fn mapping(name: &str, role: &str) -> String {
    iam_identity_mapping(name, &arn(role), &format!("{name}-user"), &["dev"])
}

impl Cluster {
    pub(super) async fn started(parts: kit::Parts) -> Self {
        let plane = ControlPlane::started(parts, Options::default()).await;
        Self {
            plane,
            sts: StsDouble::start(),
        }
    }

    pub(super) fn kubectl(&self) -> Kubectl {
        self.plane.kubectl()
    }

    /// Installs a definition and waits until it is served.
    pub(super) async fn define(&self, yaml: &str) {
        self.kubectl().apply(yaml).await.ok();
        let wait = [
            "wait",
            "--for=condition=Established",
            "crd/iamidentitymappings.iamauthenticator.k8s.aws",
        ];
        self.kubectl().run(&wait).await.ok();
    }

    pub(super) async fn apply(&self, manifest: &str) {
        self.kubectl().apply(manifest).await.ok();
    }

    /// A replica that is ready, as the user of this kubeconfig.
    pub(super) async fn replica(&self, kubeconfig: &Path, args: &[&str]) -> Authenticator {
        let mut builder = Authenticator::builder(env!("CARGO_BIN_EXE_aws-iam-authenticator"))
            .backend_modes("EKSConfigMap,CRD")
            .kubeconfig(kubeconfig)
            .sts(&self.sts);
        for arg in args {
            builder = builder.arg(arg);
        }
        let replica = builder.start();
        replica.wait_ready().await;
        replica
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.plane.admin_web().get(path).await.expect("an answer").body
    }

    pub(super) async fn object(&self, name: &str) -> Value {
        self.get(&format!("{MAPPINGS}/{name}")).await
    }

    /// Waits until the reason of an object's status is this one, and gives the status.
    pub(super) async fn reason(&self, name: &str, reason: &str, deadline: Duration) -> Value {
        eventually(&format!("{name} is {reason}"), deadline, async || {
            let status = self.object(name).await["status"].take();
            if ready(&status)["reason"] == reason {
                Ok(status)
            } else {
                Err(status)
            }
        })
        .await
    }

    /// The version of every object.
    pub(super) async fn versions(&self) -> BTreeMap<String, String> {
        let list = self.get(MAPPINGS).await;
        let items = list["items"].as_array().expect("a list").iter();
        items
            .map(|item| (text(item, "/metadata/name"), text(item, "/metadata/resourceVersion")))
            .collect()
    }

    /// Reason, object and count of every Event of ours.
    pub(super) async fn events(&self) -> Vec<(String, String, i64)> {
        let list = self.get("/api/v1/events").await;
        let items = list["items"].as_array().expect("a list").iter();
        let ours = items.filter(|item| item["source"]["component"] == "aws-iam-authenticator");
        let mut events: Vec<_> = ours
            .map(|item| {
                let count = item["count"].as_i64().expect("a count");
                (text(item, "/reason"), text(item, "/involvedObject/name"), count)
            })
            .collect();
        events.sort();
        events
    }

    /// A role that the double knows; a fresh token of it.
    pub(super) fn role(&self, name: &str) -> Principal {
        self.sts.add(Principal::assumed_role(ACCOUNT, name, "session"))
    }
}

pub(super) async fn username(replica: &Authenticator, who: &Principal) -> Option<String> {
    let reply = replica.authenticate(&TokenBuilder::new(who).build()).await;
    reply.username().map(ToOwned::to_owned)
}

pub(super) fn ready(status: &Value) -> &Value {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .rfind(|condition| condition["type"] == "Ready")
        .unwrap_or(&Value::Null)
}

fn text(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .expect("a text")
        .to_owned()
}

/// A metric of a replica, summed over its labels that contain `label`.
pub(super) async fn metric(replica: &Authenticator, name: &str, label: &str) -> f64 {
    let text = replica.health_get("/metrics").await.text;
    let lines = text
        .lines()
        .filter(|line| line.starts_with(&format!("aws_iam_authenticator_{name}")));
    lines
        .filter(|line| line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

pub(super) async fn writes(replica: &Authenticator) -> bool {
    metric(replica, "leader", "").await > 0.0
}

/// Waits until exactly one of them writes, and gives its place.
pub(super) async fn leader(replicas: &[&Authenticator], deadline: Duration) -> usize {
    eventually("one replica writes", deadline, async || {
        let mut leaders = Vec::new();
        for (place, replica) in replicas.iter().enumerate() {
            if writes(replica).await {
                leaders.push(place);
            }
        }
        assert!(leaders.len() < 2, "two write");
        leaders.first().copied()
    })
    .await
}
