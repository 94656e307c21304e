//! A source that runs, and an API server whose every answer is scripted.

use std::io;
use std::time::Duration;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, Response, StatusCode};
use iam_authenticator::mapping::index::{Object, SourceUpdate};
use iam_authenticator::mapping::{MappingError, SourceId, aws_auth};
use iam_authenticator::sources::{Connector, config_map, crd};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_test::mock::{Handle, SendResponse, pair};

pub(super) fn mapping(name: &str, role: &str) -> Value {
    json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1",
        "kind": "IAMIdentityMapping",
        "metadata": {
            "name": name,
            "resourceVersion": "6",
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{ "manager": "kubectl", "operation": "Update" }],
        },
        "spec": { "arn": format!("arn:aws:iam::123456789012:role/{role}"), "username": "u" },
    })
}

pub(super) fn config_map(role: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "aws-auth", "namespace": "kube-system", "resourceVersion": "6" },
        "data": { "mapRoles": format!("- rolearn: arn:aws:iam::123456789012:role/{role}\n  username: u\n") },
    })
}

pub(super) fn status(code: u16, reason: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no" })
}

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A source that runs against a scripted API server.
pub(super) struct Run {
    pub(super) api: Api,
    pub(super) updates: mpsc::Receiver<SourceUpdate>,
    pub(super) shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Run {
    pub(super) fn crd() -> Self {
        Self::start(|connector, updates, shutdown, tasks| {
            tasks.spawn(crd::run(connector, updates, shutdown));
        })
    }

    pub(super) fn aws_auth() -> Self {
        Self::start(|connector, updates, shutdown, tasks| {
            let watched = config_map::Watched {
                namespace: "kube-system".into(),
                name: "aws-auth".into(),
                source: SourceId::EksConfigMap,
                parse: aws_auth::read_aws_auth,
            };
            tasks.spawn(config_map::run(connector, watched, updates, shutdown));
        })
    }

    pub(super) fn start(
        spawn: impl FnOnce(Connector, mpsc::Sender<SourceUpdate>, CancellationToken, &mut JoinSet<()>),
    ) -> Self {
        let (service, handle) = pair::<Request<kube::client::Body>, Reply>();
        let (send, updates) = mpsc::channel(1);
        let (shutdown, mut tasks) = (CancellationToken::new(), JoinSet::new());
        spawn(
            Connector::connected(Client::new(service, "default")),
            send,
            shutdown.clone(),
            &mut tasks,
        );
        Self {
            api: Api(handle),
            updates,
            shutdown,
            tasks,
        }
    }

    pub(super) async fn update(&mut self) -> SourceUpdate {
        timeout(Duration::from_mins(10), self.updates.recv())
            .await
            .expect("in time")
            .expect("an update")
    }

    pub(super) async fn reset(&mut self) -> Vec<String> {
        match self.update().await {
            SourceUpdate::Reset(objects) => objects.iter().map(|object| object.name.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn applied(&mut self) -> (String, Result<String, MappingError>) {
        match self.update().await {
            SourceUpdate::Apply(Object { name, mapping, .. }) => (
                name.to_string(),
                mapping.map(|mapping| mapping.subject_key().to_owned()),
            ),
            other => panic!("{other:?}"),
        }
    }

    /// The subjects of the content that a `ConfigMap` has now.
    pub(super) async fn mapped(&mut self) -> Option<Vec<String>> {
        let SourceUpdate::Content(SourceId::EksConfigMap, content) = self.update().await else {
            panic!("content")
        };
        let entries = content?
            .documents
            .into_iter()
            .filter_map(|document| document.entries.ok());
        Some(
            entries
                .flat_map(|found| found.mappings)
                .map(|mapping| mapping.subject_key().to_owned())
                .collect(),
        )
    }

    pub(super) async fn is_alive(&mut self) {
        let update = self.update().await;
        assert!(matches!(update, SourceUpdate::Alive(SourceId::Crd)), "{update:?}");
    }

    pub(super) async fn ended(&mut self) {
        timeout(Duration::from_secs(10), self.tasks.join_next())
            .await
            .expect("in time")
            .expect("a task")
            .expect("no panic");
    }
}

pub(super) struct Api(Handle<Request<kube::client::Body>, Reply>);

impl Api {
    pub(super) async fn request(&mut self) -> Asked {
        let next = timeout(Duration::from_mins(10), self.0.next_request());
        let (request, send) = next.await.expect("in time").expect("a request");
        Asked { request, send }
    }
}

/// A request that waits for its answer.
pub(super) struct Asked {
    request: Request<kube::client::Body>,
    send: SendResponse<Reply>,
}

impl Asked {
    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub(super) fn query(&self) -> &str {
        self.request.uri().query().unwrap_or_default()
    }

    pub(super) fn is_watch(&self) -> bool {
        self.query().contains("watch=true")
    }

    pub(super) fn list(self, items: &[Value], version: &str, more: Option<&str>) {
        assert!(!self.is_watch(), "a list, not {}", self.request.uri());
        let metadata = json!({ "resourceVersion": version, "continue": more.unwrap_or_default() });
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items });
        self.text(StatusCode::OK, &list.to_string());
    }

    pub(super) fn status(self, code: u16, reason: &str) {
        self.text(
            StatusCode::from_u16(code).expect("a code"),
            &status(code, reason).to_string(),
        );
    }

    pub(super) fn text(self, code: StatusCode, text: &str) {
        let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {});
        self.reply(code, body.boxed_unsync());
    }

    pub(super) fn refuse(self) {
        self.send.send_error(io::Error::from(io::ErrorKind::ConnectionRefused));
    }

    pub(super) fn watch(self) -> Watch {
        assert!(self.is_watch(), "a watch, not {}", self.request.uri());
        let (send, receive) = mpsc::unbounded_channel();
        let frames = stream::unfold(
            receive,
            |mut receive: mpsc::UnboundedReceiver<io::Result<Bytes>>| async {
                receive.recv().await.map(|line| (line.map(Frame::data), receive))
            },
        );
        self.reply(StatusCode::OK, StreamBody::new(frames).boxed_unsync());
        Watch(send)
    }

    pub(super) fn reply(self, code: StatusCode, body: UnsyncBoxBody<Bytes, io::Error>) {
        let mut response = Response::new(body);
        *response.status_mut() = code;
        self.send.send_response(response);
    }
}

/// An open watch; it ends in order when it is dropped.
pub(super) struct Watch(mpsc::UnboundedSender<io::Result<Bytes>>);

impl Watch {
    pub(super) fn event(&self, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({ "type": kind, "object": object }));
        self.0.send(Ok(line.into())).expect("the watch is open");
    }

    pub(super) fn break_off(self) {
        self.0
            .send(Err(io::Error::from(io::ErrorKind::ConnectionReset)))
            .expect("the watch is open");
    }
}
