//! The first login on a new cluster, as a kops user lives it: the server starts before the API server runs and before
//! the ConfigMap exists, and nothing is ever restarted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::time::Duration;

use kit::builders::{Mappings, aws_files_env, write_aws_files};
use kit::{Authenticator, ControlPlane, Kubectl, Options, Principal, StsDouble, UserAuth, eventually};

const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
const CLUSTER: &str = "seed.example";
const ACCOUNT: &str = "111122223333";
const SOON: Duration = Duration::from_secs(20);

/// What the program may do in the cluster, and what the group of the role may.
const RBAC: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: authenticator, namespace: kube-system}
rules:
- {apiGroups: [''], resources: [configmaps], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: authenticator, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: authenticator}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: authenticator}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: pod-readers}
rules:
- {apiGroups: [''], resources: [pods], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: pod-readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pod-readers}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: pod-readers}]
";

struct Seed {
    plane: ControlPlane,
    sts: StsDouble,
    server: Authenticator,
}

impl Seed {
    /// The order of a control-plane node: our server, then the API server that was given its kubeconfig.
    async fn boot(parts: kit::Parts) -> Self {
        let sts = StsDouble::start();
        // The API server's own default, and the only version that kops can have.
        let plane = ControlPlane::new(parts, Options::default().webhook_version("v1beta1")).await;
        let server = Authenticator::builder(PROGRAM)
            .cluster_id(CLUSTER)
            .backend_modes("AuthenticatorConfigMap")
            .kubeconfig(plane.write_kubeconfig("authenticator", UserAuth::cert("authenticator")))
            .sts(&sts)
            .start();
        server.wait_listening().await;
        plane.set_webhook_kubeconfig(server.webhook_kubeconfig());
        plane.start_api_server().await;
        plane.kubectl().apply(RBAC).await.ok();
        server.wait_ready().await;
        Self { plane, sts, server }
    }

    /// kubectl whose credentials are made by our own binary from a profile of a credentials file.
    fn kubectl_as(&self, profile: &str, principal: &Principal) -> Kubectl {
        let folder = self.plane.folder().join(profile);
        std::fs::create_dir_all(&folder).unwrap();
        write_aws_files(&folder, &[(profile, principal)]);
        let mut environment = aws_files_env(&folder, profile);
        environment.extend(self.sts.env());
        let user = UserAuth::exec(PROGRAM, &["token", "-i", CLUSTER], &environment);
        self.plane
            .kubectl()
            .with_kubeconfig(self.plane.write_kubeconfig(profile, user))
    }
}

async fn is_let_in(kubectl: &Kubectl) -> bool {
    kubectl.run(&["auth", "whoami"]).await.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_login_needs_no_restart() {
    let Some(parts) = kit::require_parts() else { return };
    let seed = Seed::boot(parts).await;
    let pid = seed.server.pid();
    let alice = seed.sts.add(Principal::user(ACCOUNT, "alice"));
    let deployer = seed.sts.add(Principal::assumed_role(ACCOUNT, "Deployer", "nightly@ci"));
    let testuser = seed.kubectl_as("testuser", &alice);
    let role = seed.kubectl_as("deployer", &deployer);

    let refused = testuser.run(&["get", "namespaces"]).await.err();
    assert!(refused.contains("Unauthorized"), "{refused}");
    let log = seed.plane.api_server_log();
    assert!(
        log.contains("no mapping for this AWS identity"),
        "the API server logs our reason:\n{log}"
    );

    let mappings = Mappings::new()
        .user(
            &format!("arn:aws:iam::{ACCOUNT}:user/alice"),
            "test.user",
            &["system:masters"],
        )
        .role(
            &format!("arn:aws:iam::{ACCOUNT}:role/Deployer"),
            "deployer:{{SessionName}}",
            &["pod-readers"],
        );
    seed.plane
        .kubectl()
        .apply(&mappings.authenticator_config_map())
        .await
        .ok();
    eventually("alice is let in", SOON, || is_let_in(&testuser)).await;

    let whoami = testuser.run(&["auth", "whoami", "-o", "json"]).await.ok();
    assert!(
        whoami.contains("\"test.user\"") && whoami.contains("\"system:masters\""),
        "{whoami}"
    );
    testuser.run(&["create", "namespace", "shop"]).await.ok();

    let whoami = role.run(&["auth", "whoami", "-o", "json"]).await.ok();
    assert!(
        whoami.contains("\"deployer:nightly-ci\"") && whoami.contains("\"pod-readers\""),
        "{whoami}"
    );
    role.run(&["get", "pods", "-n", "shop"]).await.ok();
    let forbidden = role.run(&["delete", "namespace", "shop"]).await.err();
    assert!(forbidden.contains("Forbidden"), "{forbidden}");
    assert_eq!(seed.server.pid(), pid);

    let forger = seed.kubectl_as("forger", &alice.clone().wrong_secret());
    let refused = forger.run(&["get", "namespaces"]).await.err();
    assert!(refused.contains("Unauthorized"), "{refused}");
    let log = seed.plane.api_server_log();
    assert!(log.contains("STS refused the token: SignatureDoesNotMatch"), "{log}");
}
