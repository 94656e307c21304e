//! The chart's rights are exactly enough: the program runs with the token of the chart's own service account, and with any one
//! right less something is missing.

use std::time::Duration;

use kit::builders::{Mappings, iam_identity_mapping};
use kit::{Authenticator, ControlPlane, Helm, StsDouble, UserAuth, eventually};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{chart, documents};

const NAMESPACE: &str = "kube-system";
const ACCOUNT: &str = "system:serviceaccount:kube-system:aws-iam-authenticator";
const MODES: &str = "EKSConfigMap,AuthenticatorConfigMap,CRD";
/// A process, a watch and a write, on two busy cores.
const SOON: Duration = Duration::from_secs(15);

/// One right: a verb of a rule of a role, or one of several names.
struct Right {
    role: Value,
    rule: usize,
    verb: Option<String>,
    name: Option<String>,
}

impl Right {
    /// The role without it.
    fn without(&self) -> Value {
        let mut role = self.role.clone();
        let content = &mut role["rules"][self.rule];
        for (list, gone) in [("verbs", &self.verb), ("resourceNames", &self.name)] {
            if let (Some(gone), Some(values)) = (gone, content[list].as_array_mut()) {
                values.retain(|value| value != gone.as_str());
            }
        }
        if content["verbs"].as_array().is_some_and(Vec::is_empty) {
            role["rules"].as_array_mut().expect("rules").remove(self.rule);
        }
        role
    }

    fn rule(&self) -> &Value {
        &self.role["rules"][self.rule]
    }

    fn describe(&self) -> String {
        let what = self.verb.as_deref().or(self.name.as_deref()).unwrap_or_default();
        format!(
            "{}: {what} of {}",
            self.role["metadata"]["name"],
            self.rule()["resources"]
        )
    }

    fn is(&self, resource: &str, verb: &str) -> bool {
        self.rule()["resources"][0] == resource && self.verb.as_deref() == Some(verb)
    }

    /// What must be seen to be missing.
    fn missed(&self) -> &'static str {
        match self.rule()["resources"][0].as_str().unwrap_or_default() {
            "iamidentitymappings" if self.verb.as_deref() == Some("get") => "status",
            "iamidentitymappings/status" => "status",
            "configmaps" if self.verb.as_deref() == Some("get") => "event",
            "iamidentitymappings" | "configmaps" => "source",
            "leases" => "lease",
            "events" => "event",
            other => panic!("a right to {other} that no test knows"),
        }
    }

    fn path(&self) -> String {
        let name = self.role["metadata"]["name"].as_str().expect("a name");
        match self.role["metadata"]["namespace"].as_str() {
            Some(namespace) => {
                format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/{name}")
            }
            None => format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}"),
        }
    }
}

fn every_right(manifest: &[Value]) -> Vec<Right> {
    let mut rights = Vec::new();
    let roles = manifest.iter().filter(|document| {
        let kind = document["kind"].as_str();
        kind == Some("Role") || kind == Some("ClusterRole")
    });
    for role in roles {
        for (rule, content) in role["rules"].as_array().expect("rules").iter().enumerate() {
            let texts = |list: &str| -> Vec<String> {
                let values = content[list].as_array().into_iter().flatten();
                values.map(|value| value.as_str().expect("a text").to_owned()).collect()
            };
            assert_eq!(
                texts("resources").len(),
                1,
                "one kind a rule, so that no right hides behind another: {content}"
            );
            let right = |verb, name| Right {
                role: role.clone(),
                rule,
                verb,
                name,
            };
            rights.extend(texts("verbs").into_iter().map(|verb| right(Some(verb), None)));
            let names = texts("resourceNames");
            if names.len() > 1 {
                rights.extend(names.into_iter().map(|name| right(None, Some(name))));
            }
        }
    }
    rights
}

pub(super) async fn are_exactly_enough(plane: &ControlPlane, helm: &Helm) {
    let kubectl = plane.kubectl();
    let chart = chart().display().to_string();
    let modes = format!("backendModes={{{MODES}}}");
    let args = [
        "install",
        "aws-iam-authenticator",
        &chart,
        "-n",
        NAMESPACE,
        "--set",
        "clusterID=kit.example",
        "--set",
        &modes,
    ];
    helm.run(&args).await.ok();
    let manifest = helm
        .run(&["get", "manifest", "aws-iam-authenticator", "-n", NAMESPACE])
        .await
        .ok();
    let rights = every_right(&documents(&manifest));
    assert!(rights.len() >= 17, "{}", rights.len());

    let token = kubectl
        .run(&["-n", NAMESPACE, "create", "token", "aws-iam-authenticator"])
        .await
        .ok();
    plane.write_kubeconfig("chart", UserAuth::Token(token.trim().to_owned()));
    let bench = Bench {
        plane,
        sts: StsDouble::start(),
    };
    bench.config_maps("good").await;
    bench.may_do_nothing_else().await;

    let whole = bench.run("whole", true).await;
    assert_eq!(whole, None, "with all rights of the chart nothing is missing");
    for (number, right) in rights.iter().enumerate() {
        let about = right.describe();
        bench.put(right, right.without()).await;
        let began = Instant::now();
        let missing = bench.run(&format!("row-{number}"), right.is("leases", "create")).await;
        bench.put(right, right.role.clone()).await;
        let missing = missing.unwrap_or_else(|| panic!("{about}: nothing is missing without it, so it is too much"));
        assert!(missing.starts_with(right.missed()), "{about}: {missing}");
        eprintln!("without {about}: {missing} ({:?})", began.elapsed());
    }
    let again = bench.run("whole-again", false).await;
    assert_eq!(again, None, "nothing was left behind");
}

/// Where the program is run with the rights of the chart.
struct Bench<'a> {
    plane: &'a ControlPlane,
    sts: StsDouble,
}

impl Bench<'_> {
    /// Replaces a role, and waits until the API server acts on it.
    async fn put(&self, right: &Right, role: Value) {
        let web = self.plane.admin_web();
        let json = [("content-type", "application/json")];
        let reply = web
            .send("PUT", &right.path(), &json, role.to_string().as_bytes())
            .await
            .expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text);
        let wanted = role == right.role;
        let content = right.rule();
        let resource = content["resources"][0].as_str().expect("a kind");
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let name = right
            .name
            .clone()
            .or_else(|| content["resourceNames"][0].as_str().map(ToOwned::to_owned));
        let attributes = json!({
            "group": content["apiGroups"][0], "resource": resource, "subresource": subresource, "name": name,
            "namespace": right.role["metadata"]["namespace"],
            "verb": right.verb.clone().unwrap_or_else(|| "get".to_owned()),
        });
        eventually(
            &format!("the API server knows: {}", right.describe()),
            SOON,
            async || self.may(&attributes).await == wanted,
        )
        .await;
    }

    async fn may(&self, attributes: &Value) -> bool {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": ACCOUNT, "resourceAttributes": attributes},
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let reply = self
            .plane
            .admin_web()
            .post(path, review.to_string().as_bytes(), &[])
            .await
            .expect("an answer");
        reply.body["status"]["allowed"] == true
    }

    async fn may_do_nothing_else(&self) {
        for attributes in [
            json!({"resource": "secrets", "verb": "get", "namespace": NAMESPACE}),
            json!({"resource": "configmaps", "verb": "get", "namespace": NAMESPACE, "name": "kubeadm-config"}),
            json!({"resource": "configmaps", "verb": "list", "namespace": NAMESPACE}),
            json!({"resource": "configmaps", "verb": "update", "namespace": NAMESPACE, "name": "aws-auth"}),
            json!({"resource": "configmaps", "verb": "get", "namespace": "default", "name": "aws-auth"}),
            json!({"resource": "events", "verb": "list", "namespace": "default"}),
            json!({"resource": "events", "verb": "create", "namespace": "kube-public"}),
            json!({"group": "coordination.k8s.io", "resource": "leases", "verb": "update", "namespace": NAMESPACE, "name": "kube-scheduler"}),
            json!({"group": "iamauthenticator.k8s.aws", "resource": "iamidentitymappings", "verb": "update"}),
            json!({"group": "iamauthenticator.k8s.aws", "resource": "iamidentitymappings", "verb": "delete"}),
            json!({"resource": "users", "verb": "impersonate"}),
        ] {
            assert!(!self.may(&attributes).await, "{attributes}");
        }
    }

    /// The two ConfigMaps; with `broken` in place of an account, an entry is bad.
    async fn config_maps(&self, account: &str) {
        let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
        let bad = format!("arn:aws:iam::{account}:role/Bad");
        let mut auth = Mappings::new().role(&role("Auth"), "auth", &[]);
        if account != "good" {
            auth = auth.role(&bad, "bad", &[]);
        }
        let own = Mappings::new()
            .role(&role("Own"), "own", &[])
            .authenticator_config_map();
        self.plane
            .kubectl()
            .apply(&format!("{}---\n{own}", auth.aws_auth()))
            .await
            .ok();
    }

    async fn events(&self, namespace: &str) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/events");
        let mut list = self.plane.admin_web().get(&path).await.expect("an answer").body;
        list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Runs the program through all that it does, and says what is missing first.
    async fn run(&self, name: &str, without_lease: bool) -> Option<String> {
        let web = self.plane.admin_web();
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let lease = format!("{leases}/aws-iam-authenticator");
        for path in [
            "/api/v1/namespaces/default/events",
            "/api/v1/namespaces/kube-system/events",
            &lease,
        ] {
            web.send("DELETE", path, &[], b"").await.expect("an answer");
        }
        if !without_lease {
            // Nobody's, as after a replica that has ended: it is taken by an update.
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "aws-iam-authenticator"},
            });
            web.post(leases, lease.to_string().as_bytes(), &[])
                .await
                .expect("an answer");
        }
        let replica = Authenticator::builder(env!("CARGO_BIN_EXE_aws-iam-authenticator"))
            .backend_modes(MODES)
            .kubeconfig(self.plane.folder().join("chart.kubeconfig"))
            .sts(&self.sts)
            .start();
        replica.wait_listening().await;
        let missing = self.story(&replica, name).await.err();
        replica.terminate();
        replica.wait_exit(SOON).await;
        self.config_maps("good").await;
        missing
    }

    async fn story(&self, replica: &Authenticator, name: &str) -> Result<(), String> {
        until(replica, "source: in sync", async || {
            let metrics = replica.health_get("/metrics").await.text;
            let in_sync = |source: &str| {
                metrics.contains(&format!(
                    "aws_iam_authenticator_source_out_of_sync_seconds{{source=\"{source}\"}} 0.0"
                ))
            };
            MODES.split(',').all(in_sync)
        })
        .await?;
        until(replica, "lease: held", async || {
            let metrics = replica.health_get("/metrics").await.text;
            metrics.contains("election_standing{standing=\"leader\"} 1")
        })
        .await?;
        // Said, unsaid and said again: the second time over a status that is there, and an Event that is there.
        for (username, reason) in [
            ("somebody", "Serving"),
            ("system:somebody", "ReservedPrefix"),
            ("somebody", "Serving"),
        ] {
            let arn = format!("arn:aws:iam::111122223333:role/{name}");
            self.plane
                .kubectl()
                .apply(&iam_identity_mapping(name, &arn, username, &[]))
                .await
                .ok();
            until(replica, "status: written", async || self.reason(name).await == reason).await?;
            until(replica, "event: on the mapping", async || {
                self.count("default", reason, name).await > 0
            })
            .await?;
        }
        until(replica, "event: counted", async || {
            self.count("default", "Serving", name).await == 2
        })
        .await?;
        for (account, reason, count) in [
            ("bad", "EntryRejected", 1),
            ("good", "Mended", 1),
            ("bad", "EntryRejected", 2),
        ] {
            self.config_maps(account).await;
            until(replica, "event: on the ConfigMap", async || {
                self.count(NAMESPACE, reason, "aws-auth").await == count
            })
            .await?;
        }
        let events = self.events(NAMESPACE).await;
        if events.iter().any(|event| event["involvedObject"]["uid"].is_null()) {
            return Err(
                "event: without the uid of its ConfigMap, so that kubectl describe does not find it".to_owned(),
            );
        }
        // A watch that is refused is seen only after the list was accepted.
        sleep(Duration::from_millis(300)).await;
        fault(replica).await.map_or(Ok(()), Err)
    }

    async fn reason(&self, name: &str) -> String {
        let path = format!("/apis/iamauthenticator.k8s.aws/v1alpha1/iamidentitymappings/{name}");
        let object = self.plane.admin_web().get(&path).await.expect("an answer").body;
        let generation = &object["metadata"]["generation"];
        if object["status"]["observedGeneration"] != *generation {
            return String::new();
        }
        object["status"]["conditions"][0]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    async fn count(&self, namespace: &str, reason: &str, name: &str) -> i64 {
        let events = self.events(namespace).await;
        let about = |event: &&Value| event["reason"] == reason && event["involvedObject"]["name"] == name;
        events
            .iter()
            .find(about)
            .map_or(0, |event| event["count"].as_i64().unwrap_or_default())
    }
}

/// Waits until it is so, or until the program itself says that it cannot be.
async fn until(replica: &Authenticator, what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Result<(), String> {
    let end = Instant::now() + SOON;
    loop {
        if let Some(fault) = fault(replica).await {
            return Err(fault);
        }
        if is_so().await {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{what} is not so; its log:\n{}", replica.log()));
        }
        sleep(Duration::from_millis(30)).await;
    }
}

/// What the program says it may not do.
async fn fault(replica: &Authenticator) -> Option<String> {
    let metrics = replica.health_get("/metrics").await.text;
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    let has = |name: &str, label: &str| {
        let mut lines = metrics
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        lines.any(|line| value(line).is_some_and(|value| value > 0.0))
    };
    for (metric, label, fault) in [
        (
            "aws_iam_authenticator_source_notices_total",
            "kind=\"Failed\"",
            "source: it cannot be read",
        ),
        (
            "aws_iam_authenticator_election_standing",
            "standing=\"no_lease_rights\"",
            "lease: no right",
        ),
        (
            "aws_iam_authenticator_status_writes_total",
            "result=\"forbidden\"",
            "status: no right",
        ),
        (
            "aws_iam_authenticator_events_total",
            "result=\"forbidden\"",
            "event: no right",
        ),
        (
            "aws_iam_authenticator_events_total",
            "result=\"repeated\"",
            "event: not counted, as it cannot be read",
        ),
    ] {
        if has(metric, label) {
            return Some(fault.to_owned());
        }
    }
    None
}
