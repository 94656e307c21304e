//! The guard rails of the chart on a real API server: who may give what to whom, and which ConfigMaps are refused.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

#[path = "guard_rails/config_maps.rs"]
mod config_maps;
#[path = "guard_rails/mappings.rs"]
mod mappings;

use std::path::Path;
use std::time::Duration;

use kit::{ControlPlane, Helm, Options, Web, eventually, require_helm, require_parts};
use serde_json::{Value, json};

const RIGHTS: &str = include_str!("guard_rails/rights.yaml");
const SOON: Duration = Duration::from_secs(30);

/// What became of a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    message: String,
}

impl Answer {
    #[track_caller]
    fn allowed(&self, what: &str) {
        assert!(self.status < 300, "{what}: {} {}", self.status, self.message);
    }

    #[track_caller]
    fn refused(&self, what: &str, why: &str) {
        assert!(
            (400..500).contains(&self.status),
            "{what} was to be refused ({why}): {self:?}"
        );
        assert!(
            self.message.contains(why),
            "{what}: {why:?} is not what was said: {}",
            self.message
        );
        assert!(
            self.message.contains("ValidatingAdmissionPolicy"),
            "{what}: {}",
            self.message
        );
    }
}

/// Requests as somebody; nothing is stored.
struct People {
    web: Web,
}

impl People {
    async fn send(&self, who: &str, method: &str, path: &str, content: &str, body: &Value) -> Answer {
        let mut headers = vec![("content-type", content)];
        // The administrator of the control plane is in system:masters by certificate.
        if who != "root" {
            headers.push(("impersonate-user", who));
        }
        let body = body.to_string();
        let reply = self
            .web
            .send(method, path, &headers, body.as_bytes())
            .await
            .expect("an answer");
        let message = reply.body["message"].as_str().unwrap_or_default().to_owned();
        Answer {
            status: reply.status,
            message,
        }
    }

    /// Creates it, to see whether that would be allowed.
    async fn create(&self, who: &str, path: &str, object: &Value) -> Answer {
        let answer = self
            .send(who, "POST", &format!("{path}?dryRun=All"), "application/json", object)
            .await;
        assert!(
            !answer.message.contains("budget"),
            "the cost of the rules: {}",
            answer.message
        );
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_real_control_plane() {
    let (Some(parts), Some(program)) = (require_parts(), require_helm()) else {
        return;
    };
    let plane = ControlPlane::started(parts, Options::default()).await;
    let kubectl = plane.kubectl();
    let crd = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/iamidentitymappings.yaml"));
    kubectl.apply(&crd.expect("the definition")).await.ok();
    kubectl.apply(RIGHTS).await.ok();
    let wait = [
        "wait",
        "--for=condition=Established",
        "crd/iamidentitymappings.iamauthenticator.k8s.aws",
    ];
    kubectl.run(&wait).await.ok();
    kubectl.apply(&policies(&Helm::new(&program)).await).await.ok();

    let people = People { web: plane.admin_web() };
    eventually("the policies are enforced", SOON, async || {
        let refused = mappings::create(&people, "mallory", &mappings::mapping("bob", &[]))
            .await
            .status
            >= 400;
        refused
            && config_maps::create(&people, "mallory", "aws-auth", &json!({"mapRole": "[]"}))
                .await
                .status
                >= 400
    })
    .await;
    mappings::nobody_gives_what_they_have_not(&people).await;
    mappings::edits_are_looked_at_when_they_change_the_spec(&people).await;
    config_maps::broken_ones_are_refused(&people).await;
    config_maps::good_ones_are_accepted(&people).await;
    config_maps::rights_are_given_by_few(&people).await;
}

/// The policies as the chart renders them.
async fn policies(helm: &Helm) -> String {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts/aws-iam-authenticator")
        .display()
        .to_string();
    let privileged = "guardRails.privileged.users={platform-engineer},\
                      guardRails.privileged.arns={arn:aws:iam::111122223333:role/Break-Glass}";
    let mut args = vec![
        "template",
        "guard",
        &chart,
        "--namespace",
        "kube-system",
        "--set",
        "kind=None,guardRails.enabled=true",
    ];
    args.extend([
        "--set",
        privileged,
        "--show-only",
        "templates/guard-rails-mappings.yaml",
    ]);
    args.extend(["--show-only", "templates/guard-rails-configmaps.yaml"]);
    helm.run(&args).await.ok()
}
