//! The sources against a real API server: a definition that is installed late, a deletion that nobody was there to
//! see, and a restart.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::fs;
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use iam_authenticator::crd::yaml;
use iam_authenticator::mapping::SourceId;
use iam_authenticator::mapping::aws_auth::read_aws_auth;
use iam_authenticator::mapping::index::{SourceFailure, SourceUpdate};
use iam_authenticator::sources::config_map::Watched;
use iam_authenticator::sources::{Connector, config_map, crd};
use kit::builders::{Mappings, iam_identity_mapping};
use kit::{ControlPlane, Options, UserAuth, require_parts};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const ROLE: &str = "arn:aws:iam::123456789012:role/Admin";

#[tokio::test]
async fn custom_resources_through_a_late_definition_and_a_restart() {
    let Some(parts) = require_parts() else { return };
    let plane = ControlPlane::new(parts, Options::default()).await;
    let mut run = Run::new(Connector::new(Some(plane.kubeconfig()), None));
    run.crd();
    run.until("the API server is not there yet", |update| {
        matches!(update, SourceUpdate::Failed(SourceId::Crd, SourceFailure::Unreachable))
    })
    .await;
    plane.start_api_server().await;
    run.until("the definition is not there yet", |update| {
        matches!(update, SourceUpdate::NotFound(SourceId::Crd))
    })
    .await;

    let kubectl = plane.kubectl();
    kubectl.apply(&yaml()).await.ok();
    let installed = Instant::now();
    run.until(
        "an empty list",
        |update| matches!(update, SourceUpdate::Reset(objects) if objects.is_empty()),
    )
    .await;
    assert!(
        installed.elapsed() < Duration::from_secs(8),
        "{:?}",
        installed.elapsed()
    );
    kubectl
        .apply(&iam_identity_mapping("one", ROLE, "admin", &["ops"]))
        .await
        .ok();
    run.until("the first mapping", applies("one")).await;
    let shown = kubectl.run(&["get", "iamim", "one"]).await.ok();
    assert!(
        shown.contains("ARN") && shown.contains("USERNAME") && shown.contains(ROLE),
        "{shown}"
    );
    let explained = kubectl.run(&["explain", "iamidentitymapping.spec.username"]).await.ok();
    assert!(explained.contains("{{SessionName}}"), "{explained}");
    let patch = r#"{"spec":{"username":5}}"#;
    let refused = kubectl
        .run(&["patch", "iamim", "one", "--type=merge", "-p", patch])
        .await;
    assert!(refused.stderr.contains("spec.username"), "{}", refused.stderr);

    plane.stop_api_server().await;
    run.until("an outage", |update| matches!(update, SourceUpdate::Failed(..)))
        .await;
    plane.start_api_server().await;
    kubectl
        .apply(&iam_identity_mapping("two", ROLE, "admin", &[]))
        .await
        .ok();
    let applied = Instant::now();
    run.until("the mapping that was applied after the outage", |update| {
        applies("two")(update)
            || matches!(update, SourceUpdate::Reset(objects) if objects.iter().any(|object| &*object.name == "two"))
    })
    .await;
    assert!(applied.elapsed() < Duration::from_secs(8), "{:?}", applied.elapsed());
    kubectl.run(&["delete", "iamim", "one"]).await.ok();
    run.until(
        "the deletion",
        |update| matches!(update, SourceUpdate::Delete(name) if &**name == "one"),
    )
    .await;

    let nobody = plane.write_kubeconfig("nobody", UserAuth::cert("nobody"));
    let mut run = Run::new(Connector::new(Some(nobody.clone()), None));
    run.crd();
    run.until("forbidden", |update| {
        matches!(update, SourceUpdate::Failed(_, SourceFailure::Forbidden))
    })
    .await;
    // Rotated credentials are taken up without a restart.
    fs::copy(plane.kubeconfig(), &nobody).expect("copied");
    run.until("other credentials", |update| matches!(update, SourceUpdate::Reset(_)))
        .await;
}

#[tokio::test]
async fn a_config_map_deleted_behind_our_back() {
    let Some(parts) = require_parts() else { return };
    let plane = ControlPlane::started(parts, Options::default()).await;
    let aws_auth = Mappings::new().role(ROLE, "admin", &[]).aws_auth();
    let kubectl = plane.kubectl();
    // The source reaches the API server through a line of ours, which can be cut.
    let mut line = Line::open("127.0.0.1:0".parse().expect("an address"), plane.address()).await;
    let kubeconfig = plane.folder().join("line.kubeconfig");
    let direct = fs::read_to_string(plane.kubeconfig()).expect("a kubeconfig");
    fs::write(
        &kubeconfig,
        direct.replace(&plane.address().to_string(), &line.address.to_string()),
    )
    .expect("written");
    let mut run = Run::new(Connector::new(Some(kubeconfig), None));
    run.aws_auth();

    run.until("an absent one", |update| {
        matches!(update, SourceUpdate::Content(_, None))
    })
    .await;
    kubectl.apply(&aws_auth).await.ok();
    run.until("its content", |update| {
        let SourceUpdate::Content(SourceId::EksConfigMap, Some(content)) = update else {
            return false;
        };
        content
            .documents
            .iter()
            .filter_map(|document| document.entries.as_ref().ok())
            .any(|found| found.mappings.len() == 1)
    })
    .await;
    let address = line.address;
    line.cut().await;
    run.until("the cut", |update| {
        matches!(update, SourceUpdate::Failed(_, SourceFailure::Unreachable))
    })
    .await;
    kubectl.delete(&aws_auth).await.ok();
    let _line = Line::open(address, plane.address()).await;
    run.until("its deletion", |update| {
        matches!(update, SourceUpdate::Content(_, None))
    })
    .await;
}

fn applies(name: &'static str) -> impl Fn(&SourceUpdate) -> bool {
    move |update| matches!(update, SourceUpdate::Apply(object) if &*object.name == name && object.mapping.is_ok())
}

struct Run {
    connector: Connector,
    send: mpsc::Sender<SourceUpdate>,
    updates: mpsc::Receiver<SourceUpdate>,
    tasks: JoinSet<()>,
}

impl Run {
    fn new(connector: Connector) -> Self {
        let (send, updates) = mpsc::channel(16);
        Self {
            connector,
            send,
            updates,
            tasks: JoinSet::new(),
        }
    }

    fn crd(&mut self) {
        self.tasks.spawn(crd::run(
            self.connector.clone(),
            self.send.clone(),
            CancellationToken::new(),
        ));
    }

    fn aws_auth(&mut self) {
        let watched = Watched {
            namespace: "kube-system".into(),
            name: "aws-auth".into(),
            source: SourceId::EksConfigMap,
            parse: read_aws_auth,
        };
        self.tasks.spawn(config_map::run(
            self.connector.clone(),
            watched,
            self.send.clone(),
            CancellationToken::new(),
        ));
    }

    /// Waits for an update; others before it are passed over.
    async fn until(&mut self, what: &str, wanted: impl Fn(&SourceUpdate) -> bool) {
        let mut last = None;
        let wait = async {
            loop {
                let update = self.updates.recv().await.expect("the source runs");
                if wanted(&update) {
                    return;
                }
                last = Some(update);
            }
        };
        let met = timeout(Duration::from_mins(1), wait).await;
        assert!(met.is_ok(), "not seen: {what}; last: {last:?}");
    }
}

/// A TCP line that can be cut.
struct Line {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Line {
    async fn open(from: SocketAddr, to: SocketAddr) -> Self {
        let listener = TcpListener::bind(from).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(to).await {
                        copy_bidirectional(&mut near, &mut far).await.ok();
                    }
                });
            }
        });
        Self { address, tasks }
    }

    async fn cut(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// An API server that knows one bearer token at a time.
#[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
async fn knows(token: Arc<Mutex<&'static str>>) -> SocketAddr {
    let answer = async move |headers: HeaderMap| {
        let wanted = format!("Bearer {}", token.lock().expect("not poisoned"));
        let known = headers
            .get(AUTHORIZATION)
            .is_some_and(|given| given.as_bytes() == wanted.as_bytes());
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401});
        if known {
            (StatusCode::OK, Json(json!({"major": "1", "minor": "36"})))
        } else {
            (StatusCode::UNAUTHORIZED, Json(status))
        }
    };
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = tcp.local_addr().expect("an address");
    tokio::spawn(axum::serve(tcp, Router::new().fallback(answer)).into_future());
    address
}

#[tokio::test]
async fn a_renewing_client_outlives_its_credentials() {
    let token = Arc::new(Mutex::new("first"));
    let address = knows(Arc::clone(&token)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("kubeconfig");
    let write = |token: &str| {
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        fs::write(&kubeconfig, text.to_string()).expect("the kubeconfig is written");
    };
    write("first");
    let client = Connector::new(Some(kubeconfig.clone()), None).renewing();
    let started = Instant::now();
    client.apiserver_version().await.expect("the first token is known");
    *token.lock().expect("not poisoned") = "second";
    write("second");
    let renewed = loop {
        match client.apiserver_version().await {
            Ok(_) => break started.elapsed(),
            Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(
        renewed > Duration::from_secs(9),
        "not read again with each request: {renewed:?}"
    );
}
