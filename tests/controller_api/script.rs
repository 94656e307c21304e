//! A controller that runs, the table that it writes about, and an API server whose every answer is scripted.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use iam_authenticator::controller::{Controller, ControllerOptions, LeasePlace, Standing, WatchedConfigMap};
use iam_authenticator::crd::StoredMapping;
use iam_authenticator::live::{LiveObserver, writer};
use iam_authenticator::mapping::SourceId;
use iam_authenticator::mapping::index::{Index, Notice, NoticeKind, Object, SourceUpdate};
use iam_authenticator::mapping::table::MappingTable;
use iam_authenticator::metrics::Metrics;
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_test::mock::{Handle, SendResponse, pair};

pub(super) const NOW: &str = "2026-05-05T05:05:05Z";
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
pub(super) const MAPPINGS: &str = "/apis/iamauthenticator.k8s.aws/v1alpha1/iamidentitymappings";

/// Longer than anything waits, on a clock that costs nothing.
const FOR_EVER: Duration = Duration::from_hours(10);

type Reply = Response<Full<Bytes>>;

/// An object as it is stored.
pub(super) fn mapping(name: &str, generation: i64, version: u64, status: &Value) -> Value {
    json!({
        "apiVersion": "iamauthenticator.k8s.aws/v1alpha1",
        "kind": "IAMIdentityMapping",
        "metadata": {
            "name": name, "generation": generation, "resourceVersion": version.to_string(), "uid": format!("uid-of-{name}"),
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": { "arn": format!("arn:aws:iam::123456789012:role/{name}"), "username": "u" },
        "status": status,
    })
}

/// What the Go program writes.
pub(super) fn theirs(name: &str) -> Value {
    json!({ "canonicalARN": format!("arn:aws:iam::123456789012:role/{name}"), "userID": "" })
}

fn reduced(object: &Value) -> Object {
    let stored: StoredMapping = serde_json::from_value(object.clone()).expect("an object");
    stored.object
}

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

struct Silent;

impl LiveObserver for Silent {
    fn notice(&self, _: &Notice) {}
    fn published(&self, _: &MappingTable) {}
    fn cluster_id(&self, _: &str) {}
}

pub(super) struct Run {
    pub(super) api: Api,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shown: Arc<Mutex<Vec<String>>>,
    pub(super) stop: CancellationToken,
    events: iam_authenticator::controller::EventSender,
    updates: mpsc::Sender<SourceUpdate>,
    tasks: JoinSet<()>,
}

impl Run {
    /// Every replica writes.
    pub(super) fn alone() -> Self {
        Self::start(None)
    }

    /// The lease decides.
    pub(super) fn elected() -> Self {
        Self::start(Some(LeasePlace {
            namespace: "kube-system".to_owned(),
            name: "aws-iam-authenticator".to_owned(),
        }))
    }

    fn start(lease: Option<LeasePlace>) -> Self {
        let (service, handle) = pair::<Request<kube::client::Body>, Reply>();
        let client = Client::new(service, "default");
        let metrics = Arc::new(Metrics::new(std::time::Instant::now(), "1"));
        let (writer, _, updates) = writer(Index::new(&[SourceId::Crd], Arc::default()));
        let options = ControllerOptions {
            lease,
            host: "host".to_owned(),
            config_maps: vec![WatchedConfigMap {
                source: SourceId::EksConfigMap,
                namespace: "kube-system".into(),
                name: "aws-auth".into(),
            }],
            now,
        };
        let shown = Arc::new(Mutex::new(Vec::new()));
        let show = {
            let shown = Arc::clone(&shown);
            move |notes| *shown.lock().expect("no panic") = notes
        };
        let controller = Controller::new(options, writer.statuses(), Arc::clone(&metrics), show);
        let (standing, events, stop) = (controller.standing(), controller.events(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run(Silent));
        tasks.spawn(controller.run(async { client }, stop.clone()));
        Self {
            api: Api {
                handle,
                asked: VecDeque::new(),
            },
            standing,
            metrics,
            shown,
            stop,
            events,
            updates,
            tasks,
        }
    }

    /// These are all objects.
    pub(super) async fn reset(&self, objects: &[Value]) {
        let objects = objects.iter().map(reduced).collect();
        self.updates
            .send(SourceUpdate::Reset(objects))
            .await
            .expect("the writer runs");
    }

    /// The watch brings an object.
    pub(super) async fn apply(&self, object: &Value) {
        let update = SourceUpdate::Apply(reduced(object));
        self.updates.send(update).await.expect("the writer runs");
    }

    pub(super) fn notice(&self, kind: NoticeKind, message: &str) {
        let source = SourceId::EksConfigMap;
        self.events.notice(&Notice {
            source,
            kind,
            message: message.to_owned(),
        });
    }

    pub(super) fn standing(&self) -> &'static str {
        self.standing.borrow().as_str()
    }

    pub(super) fn has_metric(&self, line: &str) {
        let text = self.metrics.exposition();
        let line = format!("aws_iam_authenticator_{line}");
        assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
    }

    pub(super) fn shows(&self, part: &str) -> bool {
        self.shown
            .lock()
            .expect("no panic")
            .iter()
            .any(|note| note.contains(part))
    }

    /// Waits for the end of the controller.
    pub(super) async fn ended(&mut self) {
        timeout(FOR_EVER, self.tasks.join_next())
            .await
            .expect("in time")
            .expect("a task")
            .expect("no panic");
    }
}

pub(super) struct Api {
    handle: Handle<Request<kube::client::Body>, Reply>,
    asked: VecDeque<Asked>,
}

impl Api {
    /// The next request whose path begins like that; others wait.
    pub(super) async fn next(&mut self, path: &str) -> Asked {
        let next = async {
            loop {
                let place = self.asked.iter().position(|asked| asked.path.starts_with(path));
                if let Some(asked) = place.and_then(|place| self.asked.remove(place)) {
                    return asked;
                }
                self.take().await;
            }
        };
        timeout(FOR_EVER, next).await.expect("in time")
    }

    /// Nothing is asked for so long, but by the lease.
    pub(super) async fn is_quiet(&mut self, time: Duration) {
        let found = timeout(time, async {
            while self.asked.iter().all(|asked| asked.path.starts_with(LEASES)) {
                self.take().await;
            }
        });
        assert!(found.await.is_err(), "{:?}", self.asked);
    }

    /// How many requests wait for an answer when nothing more comes.
    pub(super) async fn waiting(&mut self) -> usize {
        let gather = async {
            loop {
                self.take().await;
            }
        };
        timeout(Duration::from_millis(100), gather)
            .await
            .expect_err("never ends");
        self.asked.len()
    }

    async fn take(&mut self) {
        let (request, send) = self.handle.next_request().await.expect("a request");
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        self.asked.push_back(Asked {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            send,
        });
    }
}

/// A request that waits for its answer.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Value,
    send: SendResponse<Reply>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.method, self.path, self.body)
    }
}

impl Asked {
    pub(super) fn is(self, method: &Method, path: &str) -> Self {
        assert_eq!((&self.method, self.path.as_str()), (method, path), "{self:?}");
        self
    }

    pub(super) fn answer(self, object: &Value) {
        self.reply(StatusCode::OK, object);
    }

    /// Answers with what was sent, under a new version.
    pub(super) fn accept(self, version: u64) -> Value {
        let mut object = self.body.clone();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        self.answer(&object);
        object
    }

    pub(super) fn refuse(self, code: u16, reason: &str) {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no",
        });
        self.reply(StatusCode::from_u16(code).expect("a code"), &status);
    }

    pub(super) fn break_off(self) {
        self.send.send_error(io::Error::from(io::ErrorKind::ConnectionRefused));
    }

    fn reply(self, code: StatusCode, body: &Value) {
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        *response.status_mut() = code;
        self.send.send_response(response);
    }
}
