//! Each row of the contract's table, in both versions and with both sets of status codes.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use serde_json::{Value, json};

use super::*;
use crate::authn::{DnsNameError, StsError, StsOutage};
use crate::identity::Identity;
use crate::mapping::SourceId;
use crate::mapping::aws_auth::read_config_file;
use crate::mapping::index::{Index, SourceUpdate};
use crate::metrics::Metrics;
use crate::partition::{Partition, StsEndpointPolicy};
use crate::token::presigned::PresignedRequest;

const SESSION: &str = "arn:aws:sts::123456789012:assumed-role/Admin/alice@example.com";
const MAPPINGS: &str = "
server:
  mapRoles:
  - roleARN: arn:aws:iam::123456789012:role/Admin
    username: admin:{{SessionName}}
    groups: [system:masters, '{{AccountID}}']
  - roleARN: arn:aws:iam::123456789012:role/NoGroups
    username: nobody
  - roleARN: arn:aws:iam::123456789012:role/Node
    username: system:node:{{EC2PrivateDNSName}}
    groups: [system:nodes]
  - roleARN: arn:aws:iam::123456789012:role/Pinned
    username: pinned
    userID: AROAOTHER
";

fn now() -> Timestamp {
    "2026-11-24T02:00:00Z".parse().expect("a time")
}

fn token_of(date: &str) -> String {
    let url = format!(
        "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20261124%2Fus-west-2%2Fsts%2Faws4_request&X-Amz-Date={date}\
         &X-Amz-Expires=60&X-Amz-Signature={}&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id",
        "0".repeat(64)
    );
    format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url))
}

fn token() -> String {
    token_of("20261124T015959Z")
}

type Answer = Result<Arc<Identity>, StsError>;

/// Answers as told; `None` never answers.
struct Sts(Option<Answer>);

impl GetCallerIdentity for Sts {
    async fn get_caller_identity(&self, request: &PresignedRequest) -> Answer {
        assert_eq!(request.access_key_id(), "ASIAIOSFODNN7EXAMPLE");
        match &self.0 {
            Some(answer) => answer.clone(),
            None => std::future::pending().await,
        }
    }

    fn admitted(&self, _: &PresignedRequest) {}
}

struct Ec2(Result<String, DnsNameError>);

impl PrivateDnsNames for Ec2 {
    async fn private_dns_name(&self, _: &str) -> Result<String, DnsNameError> {
        self.0.clone()
    }
}

type State = WebhookState<Sts, Ec2>;

fn identity_of(arn: &str) -> Arc<Identity> {
    let session = arn.rsplit('/').next().unwrap_or_default();
    Arc::new(Identity::new("123456789012", arn, &format!("AROAX:{session}"), "ASIAIOSFODNN7EXAMPLE").expect("valid"))
}

fn table(synced: bool) -> LiveTable {
    let mut index = Index::new(&[SourceId::MountedFile, SourceId::Crd], Arc::default());
    let content = read_config_file(MAPPINGS);
    let now = std::time::Instant::now();
    index.update(SourceUpdate::Content(SourceId::MountedFile, Some(content)), now);
    if synced {
        index.update(SourceUpdate::Reset(Vec::new()), now);
    }
    LiveTable::new(index.publish().expect("a table"))
}

fn state(answer: Option<Answer>) -> State {
    let endpoints = StsEndpointPolicy::new(Partition::Aws, None, &[]).expect("a policy");
    let tokens = TokenPolicy::new(endpoints, "cluster").expect("a policy");
    WebhookState {
        table: table(true),
        sts: Sts(answer),
        dns_names: Ec2(Ok("ip-10-0-0-1.ec2.internal".to_owned())),
        tokens: Arc::new(ArcSwapOption::from_pointee(tokens)),
        mappings: Arc::default(),
        options: WebhookOptions::default(),
        settle: Settle {
            started: Instant::now(),
            timeout: Duration::from_secs(30),
        },
        limits: ReviewLimits::default(),
        audit: Arc::new(Audit::new(
            Arc::new(Metrics::new(std::time::Instant::now(), "1")),
            Vec::new(),
            || Some(-12),
        )),
        now,
    }
}

fn caller(arn: &str) -> State {
    state(Some(Ok(identity_of(arn))))
}

fn failing(error: StsError) -> State {
    state(Some(Err(error)))
}

struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
    json: Value,
}

async fn send(state: State, method: &str, body: impl Into<Body>) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri("/authenticate")
        .body(body.into())
        .expect("a request");
    let response = service(state).call(request).await.expect("infallible");
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    assert!(!head.headers.contains_key(header::RETRY_AFTER));
    Reply {
        status: head.status.as_u16(),
        headers: head.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
        json: serde_json::from_slice(&bytes).unwrap_or_default(),
    }
}

fn body(version: &str, token: &str, audiences: &[&str]) -> String {
    json!({"kind": "TokenReview", "apiVersion": format!("authentication.k8s.io/{version}"),
        "metadata": {"creationTimestamp": null}, "spec": {"token": token, "audiences": audiences}, "status": {"user": {}}})
    .to_string()
}

async fn ask(state: State) -> Reply {
    send(state, "POST", body("v1", &token(), &[])).await
}

fn refusal(error: &str) -> Value {
    json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": {"authenticated": false, "error": error}})
}

#[track_caller]
fn assert_status(reply: &Reply, code: u16, message: &str, details: Option<&Value>) {
    assert_eq!(reply.status, code, "{}", reply.text);
    let found = (
        &reply.json["kind"],
        &reply.json["apiVersion"],
        &reply.json["status"],
        &reply.json["code"],
    );
    assert_eq!(found, (&json!("Status"), &json!("v1"), &json!("Failure"), &json!(code)));
    assert_eq!(reply.json["message"], message);
    assert_eq!(reply.json.get("details"), details);
}

#[tokio::test]
async fn a_mapped_caller_in_both_versions() {
    for version in ["v1", "v1beta1"] {
        let reply = send(
            caller(SESSION),
            "POST",
            body(version, &token(), &["https://kubernetes.default.svc"]),
        )
        .await;
        assert_eq!(
            (reply.status, &reply.headers[header::CONTENT_TYPE]),
            (200, &HeaderValue::from_static("application/json"))
        );
        let expected = json!({
            "kind": "TokenReview",
            "apiVersion": format!("authentication.k8s.io/{version}"),
            "status": {"authenticated": true, "user": {
                "username": "admin:alice-example.com",
                "uid": "aws-iam-authenticator:123456789012:AROAX",
                "groups": ["system:masters", "123456789012"],
                "extra": {
                    "arn": [SESSION],
                    "canonicalArn": ["arn:aws:iam::123456789012:role/Admin"],
                    "sessionName": ["alice@example.com"],
                    "accessKeyId": ["ASIAIOSFODNN7EXAMPLE"],
                    "principalId": ["AROAX"],
                    "sigs.k8s.io/aws-iam-authenticator/principalId": ["AROAX"],
                },
            }},
        });
        assert_eq!(reply.json, expected);
    }
    let reply = ask(caller("arn:aws:sts::123456789012:assumed-role/NoGroups/s")).await;
    assert_eq!(reply.json["status"]["user"]["groups"], json!([]));
}

#[tokio::test]
async fn a_scrubbed_account_leaves_no_trace() {
    let mut state = caller(SESSION);
    state.options.scrubbed_accounts = vec![AccountId::parse("123456789012").expect("valid")];
    let reply = ask(state).await;
    let user = json!({"username": "admin:alice-example.com", "groups": ["system:masters", "123456789012"],
        "uid": "aws-iam-authenticator:administrative:admin:alice-example.com"});
    assert_eq!(reply.json["status"]["user"], user);
}

#[tokio::test]
async fn a_token_of_somebody_else_may_be_remembered() {
    for foreign in ["eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "k8s-aws-v2.x"] {
        let mut state = state(None);
        // Whatever the audience.
        state.options.audiences = vec!["ours".to_owned()];
        let reply = send(state, "POST", body("v1", foreign, &["theirs"])).await;
        let expected = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": {"authenticated": false}});
        assert_eq!((reply.status, reply.json), (200, expected));
    }
}

#[tokio::test]
async fn refusals_are_200_with_the_reason() {
    let reply = send(state(None), "POST", body("v1beta1", "k8s-aws-v1.x", &[])).await;
    assert_eq!(
        (reply.status, &reply.json["apiVersion"]),
        (200, &json!("authentication.k8s.io/v1beta1"))
    );
    assert_eq!(
        reply.json["status"]["error"],
        "the token is not unpadded base64url of a URL"
    );

    let refused = StsError::Refused {
        code: "SignatureDoesNotMatch".into(),
        status: 403,
    };
    let reply = ask(failing(refused)).await;
    assert_eq!(
        (reply.status, reply.json),
        (200, refusal("STS refused the token: SignatureDoesNotMatch"))
    );

    let reply = ask(caller("arn:aws:sts::123456789012:assumed-role/Stranger/s")).await;
    assert_eq!(
        (reply.status, reply.json),
        (200, refusal("no mapping for this AWS identity"))
    );

    let reply = ask(caller("arn:aws:sts::123456789012:assumed-role/Pinned/s")).await;
    assert_eq!(reply.status, 200);
    assert!(
        reply.json["status"]["error"]
            .as_str()
            .expect("a reason")
            .contains("pinned")
    );
}

#[tokio::test]
async fn refusals_about_time_name_the_skew() {
    for (date, part) in [("20261124T010000Z", "expired"), ("20261124T021000Z", "in the future")] {
        let reply = send(state(None), "POST", body("v1", &token_of(date), &[])).await;
        let error = reply.json["status"]["error"].as_str().expect("a reason");
        assert!(error.contains(part), "{error}");
        assert!(error.ends_with("(the server's clock is 12 s behind STS)"), "{error}");
    }
}

#[tokio::test]
async fn only_who_was_verified_lately_may_come_back() {
    let busy = "busy: too many requests to STS, try again in a few seconds";
    let reply = ask(failing(StsError::Busy { verified_lately: true })).await;
    assert_status(&reply, 429, busy, None);
    assert_eq!(reply.json["reason"], "TooManyRequests");
    let reply = ask(failing(StsError::Busy { verified_lately: false })).await;
    assert_eq!((reply.status, reply.json), (200, refusal(busy)));
}

#[tokio::test]
async fn outages_are_503_without_another_try() {
    let reply = ask(failing(StsError::Unavailable(StsOutage::Server(502)))).await;
    assert_status(&reply, 503, "STS is not available: HTTP status 502", None);
    let mut node = caller("arn:aws:sts::123456789012:assumed-role/Node/i-0123456789abcdef0");
    node.dns_names = Ec2(Err(DnsNameError::Unavailable(
        "see https://ec2.example.com/?X-Amz-Signature=1 there".into(),
    )));
    let reply = ask(node).await;
    assert_status(
        &reply,
        503,
        "the mapping needs {{EC2PrivateDNSName}}: see (redacted) there",
        None,
    );
}

#[tokio::test]
async fn what_was_not_read_yet_is_503_at_first_and_200_later() {
    let details = json!({"retryAfterSeconds": 1});
    let stranger = "arn:aws:sts::123456789012:assumed-role/Stranger/s";
    for settled in [false, true] {
        let mut unsynced = caller(stranger);
        unsynced.table = table(false);
        let mut no_cluster = caller(stranger);
        no_cluster.tokens = Arc::default();
        for (mut state, sentence) in [
            (unsynced, "mappings of CRD have not been read"),
            (
                no_cluster,
                "the cluster ID is not known (--cluster-id, or clusterID in the configuration)",
            ),
        ] {
            if settled {
                state.settle.timeout = Duration::ZERO;
                let reply = ask(state).await;
                assert_eq!(
                    (reply.status, reply.json),
                    (200, refusal(&format!("not served yet: {sentence}")))
                );
            } else {
                assert_status(
                    &ask(state).await,
                    503,
                    &format!("not ready: {sentence}"),
                    Some(&details),
                );
            }
        }
    }
    // What no source could change is answered at once.
    let mut early = caller(SESSION);
    early.table = table(false);
    assert_eq!(ask(early).await.json["status"]["authenticated"], true);
}

#[tokio::test]
async fn what_is_no_review_gets_a_plain_reason() {
    let reply = send(state(None), "GET", "").await;
    assert_eq!(
        (reply.status, &*reply.text, &reply.headers["allow"]),
        (405, "expected POST\n", &HeaderValue::from_static("POST"))
    );
    let large = "x".repeat(64 * 1024 + 1);
    for (body, status, text) in [
        ("", 400, "expected a request body\n"),
        ("{}", 400, "expected a request body to be a TokenReview\n"),
        (
            r#"{"kind":"Pod","apiVersion":"v1","spec":{}}"#,
            400,
            "expected kind TokenReview of authentication.k8s.io/v1 or authentication.k8s.io/v1beta1\n",
        ),
        (&*body("v1", "", &[]), 400, "expected a token in spec.token\n"),
        (&*large, 413, "the request body is too large\n"),
    ] {
        let reply = send(state(None), "POST", body.to_owned()).await;
        assert_eq!((reply.status, &*reply.text), (status, text));
        assert_eq!(reply.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    }
    let whole = format!("{}{}", body("v1", "foreign", &[]), " ".repeat(60 * 1024));
    assert_eq!(send(state(None), "POST", whole).await.status, 200);
}

#[tokio::test]
async fn a_body_in_pieces_is_bounded_too() {
    let pieces = |count: usize, piece: &'static str| {
        Body::from_stream(futures::stream::iter(
            (0..count).map(move |_| Ok::<_, std::io::Error>(piece)),
        ))
    };
    assert_eq!(
        send(state(None), "POST", pieces(65, &*"x".repeat(1024).leak()))
            .await
            .status,
        413
    );
    let text: &'static str = body("v1", "foreign", &[]).leak();
    let halves = text.split_at(40);
    let body = Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(halves.0), Ok(halves.1)]));
    assert_eq!(send(state(None), "POST", body).await.status, 200);
    let broken = Body::from_stream(futures::stream::iter([Err::<&str, _>(std::io::Error::other("reset"))]));
    assert_eq!(send(state(None), "POST", broken).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn time_is_bounded() {
    let never = Body::from_stream(futures::stream::pending::<Result<&str, std::io::Error>>());
    assert_eq!(send(state(None), "POST", never).await.status, 408);
    let started = Instant::now();
    assert_status(&ask(state(None)).await, 503, "no decision in time", None);
    assert!((20..21).contains(&started.elapsed().as_secs()));
}

#[tokio::test]
async fn too_many_reviews_are_told_so() {
    let (mut full, mut heavy) = (caller(SESSION), caller(SESSION));
    full.limits.reviews = 0;
    // Less than one body: what waits for STS is bounded in bytes too.
    heavy.limits.held_bytes = 100;
    for state in [full, heavy] {
        let reply = ask(state).await;
        assert_eq!(
            (reply.status, reply.json),
            (
                200,
                refusal("busy: too many reviews at a time, try again in a few seconds")
            )
        );
    }
}

#[tokio::test]
async fn audiences_are_the_intersection() {
    for (asked, answered) in [
        (&["a", "b", "c"][..], Some(json!(["b", "c"]))),
        (&["c"], Some(json!(["c"]))),
        (&["a"], None),
        (&[], None),
    ] {
        let mut state = caller(SESSION);
        state.options.audiences = vec!["c".to_owned(), "b".to_owned()];
        let audit = Arc::clone(&state.audit);
        let reply = send(state, "POST", body("v1", &token(), asked)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json["status"]["authenticated"], answered.is_some());
        assert_eq!(reply.json["status"].get("audiences"), answered.as_ref());
        if answered.is_none() {
            assert!(
                audit
                    .metrics()
                    .exposition()
                    .contains(r#"decisions_total{decision="denied",reason="audience"} 1"#)
            );
            assert!(
                reply.json["status"]["error"]
                    .as_str()
                    .expect("a reason")
                    .contains("audiences")
            );
        }
    }
    let reply = send(caller(SESSION), "POST", body("v1", &token(), &["a"])).await;
    assert_eq!(reply.json["status"].get("audiences"), None);
}

#[tokio::test]
async fn legacy_codes_are_those_of_go() {
    let legacy = |mut state: State| {
        state.options.legacy_status_codes = true;
        state
    };
    let mut unsynced = caller("arn:aws:sts::123456789012:assumed-role/Stranger/s");
    unsynced.table = table(false);
    for (state, code) in [
        (caller(SESSION), 200),
        (caller("arn:aws:sts::123456789012:assumed-role/Stranger/s"), 403),
        (
            failing(StsError::Refused {
                code: "ExpiredToken".into(),
                status: 403,
            }),
            403,
        ),
        (failing(StsError::Unavailable(StsOutage::Connect)), 403),
        (failing(StsError::Busy { verified_lately: true }), 429),
        (failing(StsError::Busy { verified_lately: false }), 429),
        (unsynced, 403),
    ] {
        let reply = ask(legacy(state)).await;
        assert_eq!(reply.status, code, "{}", reply.text);
        assert_eq!(reply.json["kind"], "TokenReview");
        assert_eq!(reply.json["status"]["authenticated"], code == 200);
    }
    let foreign = send(legacy(state(None)), "POST", body("v1", "foreign", &[])).await;
    assert_eq!((foreign.status, foreign.json["status"].get("error")), (403, None));
    assert_eq!(send(legacy(state(None)), "GET", "").await.status, 405);
    assert_eq!(send(legacy(state(None)), "POST", "{}").await.status, 400);
}

#[tokio::test]
async fn every_review_is_counted() {
    let state = failing(StsError::Unavailable(StsOutage::Connect));
    let audit = Arc::clone(&state.audit);
    let service = service(state);
    for body in [body("v1", &token(), &[]), body("v1", "foreign", &[]), "{".to_owned()] {
        let request = Request::post("/authenticate")
            .body(Body::from(body))
            .expect("a request");
        service.call(request).await.expect("infallible");
    }
    let text = audit.metrics().exposition();
    for labels in [
        r#"decision="unavailable",reason="sts_connect""#,
        r#"decision="not_ours",reason="not_ours""#,
        r#"decision="malformed",reason="body_not_a_review""#,
    ] {
        assert!(
            text.contains(&format!("aws_iam_authenticator_decisions_total{{{labels}}} 1\n")),
            "{labels} in {text}"
        );
    }
}

#[tokio::test]
async fn the_other_routes() {
    for (uri, status, text) in [("/healthz", 200, "ok"), ("/metrics", 200, "# EOF\n"), ("/", 404, "")] {
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        let response = service(state(None)).call(request).await.expect("infallible");
        assert_eq!(response.status().as_u16(), status);
        assert!(
            response
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
                .ends_with(text.as_bytes())
        );
    }
}
