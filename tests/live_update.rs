//! Mappings that change under a running server, through a real API server that comes and goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what went wrong by panicking"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kit::builders::{Mappings, config_map, iam_identity_mapping};
use kit::{
    Authenticator, ControlPlane, Kubectl, Options, Principal, StsDouble, TokenBuilder, UserAuth, Web, eventually,
};

const ACCOUNT: &str = "111122223333";
const PROGRAM: &str = env!("CARGO_BIN_EXE_aws-iam-authenticator");
/// The name of the server's user, as the rules below have it.
const SERVER: &str = "aws-iam-authenticator";
/// Get, list and watch of `ConfigMap`s in `kube-system` and of mappings.
const RBAC: &str = include_str!("../examples/playground/rbac.yaml");
/// A change that is watched takes milliseconds, and one after an outage at most five seconds; cores are shared.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mappings_change_under_a_running_server() {
    let Some(parts) = kit::require_parts() else { return };
    let plane = ControlPlane::new(parts, Options::default()).await;
    let sts = StsDouble::start();
    let kubeconfig = plane.write_kubeconfig(SERVER, UserAuth::cert(SERVER));
    let server = Authenticator::builder(PROGRAM)
        .backend_modes("EKSConfigMap,AuthenticatorConfigMap,CRD")
        .kubeconfig(kubeconfig)
        .sts(&sts)
        .start();
    server.wait_listening().await;
    plane.set_webhook_kubeconfig(server.webhook_kubeconfig());
    plane.start_api_server().await;
    let pid = server.pid();
    let world = World::new(&plane, &sts, server);
    world.kubectl.apply(RBAC).await.ok();
    world.server.wait_ready().await;

    world.a_config_map_is_applied().await;
    world.a_broken_document_locks_nobody_out().await;
    world.a_bad_entry_costs_nobody_else_anything().await;
    world.the_definition_is_installed_late().await;
    world.the_api_server_is_away().await;
    world.a_deletion_that_was_not_watched().await;
    world.a_right_is_missing().await;

    // All of it without a restart.
    world.server.wait_ready().await;
    assert_eq!(world.server.pid(), pid);
    assert_eq!(world.server.wait_exit(Duration::ZERO).await, None);
}

/// Two principals of each source, besides one that nobody ever maps.
struct World<'a> {
    plane: &'a ControlPlane,
    sts: &'a StsDouble,
    kubectl: Kubectl,
    server: Authenticator,
    node: Principal,
    admin: Principal,
    newcomer: Principal,
    alice: Principal,
    bob: Principal,
    object: Principal,
    late_object: Principal,
    stranger: Principal,
}

impl<'a> World<'a> {
    fn new(plane: &'a ControlPlane, sts: &'a StsDouble, server: Authenticator) -> Self {
        let role = |name| sts.add(Principal::assumed_role(ACCOUNT, name, "session"));
        let user = |name| sts.add(Principal::user(ACCOUNT, name));
        Self {
            plane,
            sts,
            kubectl: plane.kubectl(),
            server,
            node: role("Node"),
            admin: role("Admin"),
            newcomer: role("Newcomer"),
            alice: user("alice"),
            bob: user("bob"),
            object: role("Object"),
            late_object: role("LateObject"),
            stranger: role("Stranger"),
        }
    }

    async fn a_config_map_is_applied(&self) {
        assert_eq!(self.login(&self.node).await, None);
        assert_eq!(self.login(&self.alice).await, None);
        self.apply(
            &Mappings::new()
                .role(&role_arn("Node"), "node", &[])
                .role(&role_arn("Admin"), "admin", &[])
                .aws_auth(),
        )
        .await;
        self.granted(&self.node, "node").await;
        self.granted(&self.admin, "admin").await;

        let ours = Mappings::new().user(&user_arn("alice"), "alice", &[]);
        self.apply(&ours.authenticator_config_map()).await;
        self.granted(&self.alice, "alice").await;
        assert_eq!(self.login(&self.stranger).await, None);
    }

    async fn a_broken_document_locks_nobody_out(&self) {
        let broken = format!("- rolearn: {}\n  username: node\n  groups: [\n", role_arn("Node"));
        let users = format!("- {{userarn: {}, username: bob, groups: []}}\n", user_arn("bob"));
        let log = self.server.log().len();
        self.apply(&config_map(
            "kube-system",
            "aws-auth",
            &[("mapRoles", &broken), ("mapUsers", &users)],
        ))
        .await;
        // A document of its own, so it holds; and from here on the faulty one has been seen too.
        self.granted(&self.bob, "bob").await;
        self.logged(log, &["mapRoles", "line ", "its last good content stays"])
            .await;
        assert_eq!(self.login(&self.node).await.as_deref(), Some("node"));
        assert_eq!(self.login(&self.admin).await.as_deref(), Some("admin"));

        // A misspelt key is a broken document as well.
        let roles = format!("- {{rolearn: {}, username: node, groups: []}}\n", role_arn("Node"));
        let log = self.server.log().len();
        self.apply(&config_map(
            "kube-system",
            "aws-auth",
            &[("mapRole", &roles), ("mapUsers", &users)],
        ))
        .await;
        self.logged(log, &["mapRole", "a misspelling?", "its last good content stays"])
            .await;
        assert_eq!(self.login(&self.admin).await.as_deref(), Some("admin"));
    }

    async fn a_bad_entry_costs_nobody_else_anything(&self) {
        // The node role's ARN has lost a digit, the administrator is gone, and somebody new is there.
        let entries = format!(
            "- rolearn: {}\n  username: node\n- rolearn: {}\n  username: newcomer\n",
            role_arn("Node").replace(ACCOUNT, "11112222333"),
            role_arn("Newcomer"),
        );
        let log = self.server.log().len();
        self.apply(&config_map("kube-system", "aws-auth", &[("mapRoles", &entries)]))
            .await;
        self.granted(&self.newcomer, "newcomer").await;
        self.logged(log, &["mapRoles, line 1"]).await;
        self.logged(log, &["2 subjects vanished in a faulty edit and stay"])
            .await;
        assert_eq!(self.login(&self.node).await.as_deref(), Some("node"));
        assert_eq!(self.login(&self.admin).await.as_deref(), Some("admin"));
        // The whole of `mapUsers` is gone, and that document has no fault.
        self.refused(&self.bob).await;

        // A clean version revokes at once what it does not list.
        let clean = Mappings::new()
            .role(&role_arn("Node"), "node", &[])
            .role(&role_arn("Newcomer"), "newcomer", &[]);
        self.apply(&clean.aws_auth()).await;
        self.refused(&self.admin).await;
        assert_eq!(self.login(&self.node).await.as_deref(), Some("node"));
    }

    async fn the_definition_is_installed_late(&self) {
        let mapping = iam_identity_mapping("object", &role_arn("Object"), "object", &[]);
        assert!(!self.kubectl.apply(&mapping).await.success(), "there is no definition");
        assert_eq!(self.login(&self.object).await, None);
        self.apply(&iam_authenticator::crd::yaml()).await;
        eventually("a mapping is accepted", SOON, async || {
            let output = self.kubectl.apply(&mapping).await;
            if output.success() { Ok(()) } else { Err(output.stderr) }
        })
        .await;
        self.granted(&self.object, "object").await;
    }

    async fn the_api_server_is_away(&self) {
        let all = [(&self.node, "node"), (&self.alice, "alice"), (&self.object, "object")];
        self.plane.stop_api_server().await;
        for _ in 0..3 {
            for (who, username) in all {
                let reply = self.server.authenticate(&fresh(who)).await;
                assert_eq!(reply.username(), Some(username), "{reply:?}");
            }
            let reply = self.server.authenticate(&fresh(&self.stranger)).await;
            assert_eq!((reply.status, reply.authenticated()), (200, false), "{reply:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // Who is ready once stays so: the mappings are there.
        assert_eq!(self.server.health_get("/readyz").await.status, 200);

        self.plane.start_api_server().await;
        let mapping = iam_identity_mapping("late-object", &role_arn("LateObject"), "late-object", &[]);
        self.apply(&mapping).await;
        self.granted(&self.late_object, "late-object").await;
        for (who, username) in all {
            assert_eq!(self.login(who).await.as_deref(), Some(username));
        }
    }

    /// The server sleeps through the end of its watch, the deletions, and the end of the API server that knew of them.
    async fn a_deletion_that_was_not_watched(&self) {
        self.server.signal("STOP");
        self.plane.stop_api_server().await;
        self.plane.start_api_server().await;
        for args in [
            ["-n", "kube-system", "delete", "configmap", "aws-auth"].as_slice(),
            &["delete", "iamidentitymapping", "object"],
        ] {
            self.kubectl.run(args).await.ok();
        }
        self.plane.stop_api_server().await;
        self.plane.start_api_server().await;
        self.server.signal("CONT");
        self.refused(&self.node).await;
        self.refused(&self.newcomer).await;
        self.refused(&self.object).await;
        assert_eq!(self.login(&self.alice).await.as_deref(), Some("alice"));
        assert_eq!(self.login(&self.late_object).await.as_deref(), Some("late-object"));
    }

    async fn a_right_is_missing(&self) {
        let delete = [
            "-n",
            "kube-system",
            "delete",
            "rolebinding,role",
            "aws-iam-authenticator",
        ];
        self.kubectl.run(&delete).await.ok();
        let kubeconfig = self.plane.folder().join(format!("{SERVER}.kubeconfig"));
        // The API server takes a moment to know it.
        eventually("the right is gone", SOON, async || {
            let may = ["-n", "kube-system", "auth", "can-i", "list", "configmaps"];
            !self.kubectl.with_kubeconfig(&kubeconfig).run(&may).await.success()
        })
        .await;
        let fresh_server = Authenticator::builder(PROGRAM)
            .backend_modes("CRD,AuthenticatorConfigMap")
            .kubeconfig(&kubeconfig)
            .arg("--source-sync-timeout=600s")
            .sts(self.sts)
            .start();
        fresh_server.wait_listening().await;
        let reason = "[-] AuthenticatorConfigMap was not read yet: forbidden";
        eventually("the probe names the source and the reason", SOON, async || {
            let reply = fresh_server.health_get("/readyz?verbose").await;
            if reply.status == 503 && reply.text.contains(reason) && !reply.text.contains("CRD") {
                Ok(())
            } else {
                Err(reply.text)
            }
        })
        .await;
        let reply = fresh_server.authenticate(&fresh(&self.late_object)).await;
        assert_eq!(reply.username(), Some("late-object"), "{reply:?}");
        let reply = fresh_server.authenticate(&fresh(&self.alice)).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        let message = reply.reason().unwrap_or_default();
        assert!(message.contains("AuthenticatorConfigMap"), "{reply:?}");
        // The one that has read it keeps what it knows.
        assert_eq!(self.login(&self.alice).await.as_deref(), Some("alice"));

        self.apply(RBAC).await;
        fresh_server.wait_ready().await;
        let reply = fresh_server.authenticate(&fresh(&self.alice)).await;
        assert_eq!(reply.username(), Some("alice"), "{reply:?}");
    }

    async fn apply(&self, yaml: &str) {
        self.kubectl.apply(yaml).await.ok();
    }

    /// Who the API server says a fresh token is of; `None` when it lets nobody in with it.
    async fn login(&self, who: &Principal) -> Option<String> {
        const WHO: &[u8] = br#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#;
        let bearer = format!("Bearer {}", fresh(who));
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let reply = Web::tls(self.plane.address(), self.plane.ca_pem())
            .send("POST", path, &headers, WHO)
            .await
            .unwrap();
        let user = &reply.body["status"]["userInfo"]["username"];
        match reply.status {
            201 => Some(user.as_str().unwrap().to_owned()),
            401 => None,
            _ => panic!("{reply:?}"),
        }
    }

    async fn granted(&self, who: &Principal, username: &str) {
        let started = Instant::now();
        eventually(&format!("{} is {username}", who.arn), SOON, async || {
            let found = self.login(who).await;
            if found.as_deref() == Some(username) {
                Ok(())
            } else {
                Err(found)
            }
        })
        .await;
        tell("granted", who, started);
    }

    async fn refused(&self, who: &Principal) {
        let started = Instant::now();
        eventually(&format!("{} is refused", who.arn), SOON, async || {
            match self.login(who).await {
                None => Ok(()),
                found => Err(found),
            }
        })
        .await;
        tell("refused", who, started);
    }

    /// Waits for a line of the server's log, after its first `from` bytes, that has all of this.
    async fn logged(&self, from: usize, words: &[&str]) {
        eventually(&format!("the server logs {words:?}"), SOON, async || {
            let log = self.server.log();
            let news = log.get(from..).unwrap_or_default();
            let found = news.lines().any(|line| words.iter().all(|word| line.contains(word)));
            if found { Ok(()) } else { Err(news.to_owned()) }
        })
        .await;
    }
}

#[expect(
    clippy::print_stderr,
    reason = "how long a change took is worth seeing with --nocapture"
)]
fn tell(what: &str, who: &Principal, started: Instant) {
    eprintln!("{} {what} after {:?}", who.arn, started.elapsed());
}

fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

fn user_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{name}")
}

/// A token that was never made before: tokens of one second differ in nothing else than this.
fn fresh(who: &Principal) -> String {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let nth = MADE.fetch_add(1, Ordering::Relaxed);
    // 900 is the most that is taken; by the time it comes round, the second is another one.
    TokenBuilder::new(who).expires(60 + nth % 800).build()
}
