//! The STS adapter against the STS double: what each kind of answer becomes, what is remembered, and how often STS is asked.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::header::HeaderName;
use hyper_util::client::proxy::matcher::Matcher;
use iam_authenticator::authn::{GetCallerIdentity as _, StsError, StsOutage};
use iam_authenticator::identity::Identity;
use iam_authenticator::partition::{Partition, StsEndpointPolicy};
use iam_authenticator::sts::{CacheHit, Sts, StsObserver, StsOptions};
use iam_authenticator::token::presigned::PresignedRequest;
use iam_authenticator::token::{BearerToken, TokenPolicy};
use jiff::Timestamp;
use kit::{Behaviour, Connect, Principal, StsDouble, TokenBuilder};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const CLUSTER: &str = "kit.example";

#[expect(clippy::disallowed_methods, reason = "the double checks signatures by the real time")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Counts what the adapter reports.
#[derive(Default)]
struct Observed {
    responses: Mutex<Vec<(u16, &'static str)>>,
    failures: AtomicU64,
    throttled: AtomicU64,
    hits: Mutex<Vec<CacheHit>>,
}

impl StsObserver for Observed {
    fn response(&self, code: u16, region: &'static str, seconds: f64) {
        assert!((0.0..20.0).contains(&seconds));
        self.responses.lock().unwrap().push((code, region));
    }

    fn connection_failure(&self, _region: &'static str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn throttled(&self, _region: &'static str) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    fn cache_hit(&self, kind: CacheHit) {
        self.hits.lock().unwrap().push(kind);
    }
}

/// A double with one user, and an adapter that is led to it.
struct Scene {
    double: StsDouble,
    alice: Principal,
    sts: Sts,
    observed: Arc<Observed>,
}

impl Scene {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut StsOptions)) -> Self {
        let double = StsDouble::start();
        let alice = double.add(Principal::user("111122223333", "alice"));
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(double.ca_pem().as_bytes()).unwrap())
            .unwrap();
        let mut options = StsOptions {
            proxy: Matcher::builder().https(double.proxy_url()).build(),
            roots: Some(roots),
            ..StsOptions::new(now)
        };
        change(&mut options);
        let observed = Arc::new(Observed::default());
        let sts = Sts::new(options, observed.clone()).unwrap();
        Self {
            double,
            alice,
            sts,
            observed,
        }
    }

    /// A token of alice; each call gives another one.
    fn token(&self) -> PresignedRequest {
        static EXPIRES: AtomicU64 = AtomicU64::new(0);
        let expires = EXPIRES.fetch_add(1, Ordering::Relaxed) % 900;
        request(&TokenBuilder::new(&self.alice).expires(expires))
    }

    /// A review of somebody who is mapped.
    async fn ask(&self, request: &PresignedRequest) -> Result<Arc<Identity>, StsError> {
        let answer = self.sts.get_caller_identity(request).await;
        if answer.is_ok() {
            self.sts.admitted(request);
        }
        answer
    }

    async fn outage(&self, behaviour: Behaviour) -> StsOutage {
        self.double.behave(behaviour);
        match self.ask(&self.token()).await {
            Err(StsError::Unavailable(outage)) => outage,
            other => panic!("not an outage: {other:?}"),
        }
    }

    fn hits(&self) -> Vec<CacheHit> {
        self.observed.hits.lock().unwrap().clone()
    }
}

fn request(builder: &TokenBuilder) -> PresignedRequest {
    let policy = StsEndpointPolicy::new(Partition::Aws, None, &[]).unwrap();
    let policy = TokenPolicy::new(policy, CLUSTER).unwrap();
    let token = builder.clone().cluster_id(CLUSTER).build();
    PresignedRequest::parse(BearerToken::parse(&token).unwrap(), &policy, now()).unwrap()
}

fn code(outcome: Result<Arc<Identity>, StsError>) -> String {
    match outcome {
        Err(StsError::Refused { code, .. }) => code.into(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_good_token_is_an_identity() {
    let scene = Scene::new();
    let role = scene
        .double
        .add(Principal::assumed_role("111122223333", "Admin", "alice@example.com"));
    let identity = scene
        .ask(&request(&TokenBuilder::new(&role).region("eu-west-1")))
        .await
        .unwrap();
    assert_eq!(identity.arn(), role.arn);
    assert_eq!(identity.access_key_id(), role.access_key_id);
    assert_eq!(*scene.observed.responses.lock().unwrap(), [(200, "eu-west-1")]);
    let skew = scene.sts.clock_skew_seconds().unwrap();
    assert!(skew.abs() <= 2, "{skew}");
}

#[tokio::test]
async fn the_request_is_ours_alone() {
    let scene = Scene::new();
    scene.ask(&scene.token()).await.unwrap();
    let seen = scene.double.last_request().unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.host.as_str(), seen.http2),
        ("GET", "sts.us-east-1.amazonaws.com", false)
    );
    let mut names: Vec<_> = seen.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "host", "user-agent", "x-k8s-aws-id"]);
    assert_eq!(seen.headers["accept"], "application/json");
    assert_eq!(seen.headers["x-k8s-aws-id"], CLUSTER);
    let agent = seen.headers["user-agent"].to_str().unwrap();
    assert!(
        agent.starts_with(concat!("aws-iam-authenticator/", env!("CARGO_PKG_VERSION"))),
        "{agent}"
    );
}

#[tokio::test]
async fn our_own_minted_token_is_accepted_by_sts() {
    use iam_authenticator::token::mint::{SigningCredentials, mint};
    let scene = Scene::new();
    let role = scene.double.add(Principal::assumed_role("111122223333", "Admin", "s"));
    let credentials = SigningCredentials {
        access_key_id: role.access_key_id.clone(),
        secret_access_key: role.secret_access_key.clone(),
        session_token: role.session_token.clone(),
    };
    for (host, region) in [
        ("sts.us-west-2.amazonaws.com", "us-west-2"),
        ("sts.amazonaws.com", "us-east-1"),
    ] {
        let token = mint(&credentials, host, region, CLUSTER, now());
        let policy = TokenPolicy::new(StsEndpointPolicy::new(Partition::Aws, None, &[]).unwrap(), CLUSTER).unwrap();
        let request = PresignedRequest::parse(BearerToken::parse(&token).unwrap(), &policy, now()).unwrap();
        assert_eq!(scene.ask(&request).await.unwrap().arn(), role.arn, "{host}");
    }
}

#[tokio::test]
async fn what_sts_refuses_is_refused() {
    let scene = Scene::new();
    let forged = scene.alice.clone().wrong_secret();
    assert_eq!(
        code(scene.ask(&request(&TokenBuilder::new(&forged))).await),
        "SignatureDoesNotMatch"
    );
    let stranger = Principal::user("111122223333", "mallory");
    assert_eq!(
        code(scene.ask(&request(&TokenBuilder::new(&stranger))).await),
        "InvalidClientTokenId"
    );
    let more = request(&TokenBuilder::new(&scene.alice).extra_header("x-evil", "1"));
    assert!(!code(scene.ask(&more).await).is_empty());
    let other_cluster = TokenBuilder::new(&scene.alice).cluster_id("other.example").build();
    let policy = TokenPolicy::new(StsEndpointPolicy::new(Partition::Aws, None, &[]).unwrap(), CLUSTER).unwrap();
    let replayed = PresignedRequest::parse(BearerToken::parse(&other_cluster).unwrap(), &policy, now()).unwrap();
    assert_eq!(code(scene.ask(&replayed).await), "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_principal_that_cannot_be_mapped_is_no_outage() {
    let scene = Scene::new();
    let odd = scene
        .double
        .add(Principal::user("111122223333", "x").arn("arn:aws:iam::111122223333:group/x"));
    let outcome = scene.ask(&request(&TokenBuilder::new(&odd))).await;
    assert!(matches!(outcome, Err(StsError::Identity(_))), "{outcome:?}");
}

#[tokio::test]
async fn replies_that_are_none_of_sts_s_are_outages() {
    let scene = Scene::new();
    let redirect = Behaviour::Redirect("https://sts.us-east-1.amazonaws.com/".to_owned());
    assert_eq!(scene.outage(redirect).await, StsOutage::Redirect);
    assert_eq!(scene.double.total_calls(), 1, "no redirect is followed");
    assert_eq!(
        scene.outage(Behaviour::Status(500, "{}".to_owned())).await,
        StsOutage::Server(500)
    );
    assert_eq!(
        scene.outage(Behaviour::Status(403, "<html>".to_owned())).await,
        StsOutage::Malformed
    );
    assert_eq!(scene.outage(Behaviour::Xml).await, StsOutage::Malformed);
    assert_eq!(scene.outage(Behaviour::Garbage).await, StsOutage::Malformed);
    assert_eq!(scene.outage(Behaviour::Oversize(65 * 1024)).await, StsOutage::Oversize);
    scene.double.behave(Behaviour::Oversize(64 * 1024));
    assert!(scene.ask(&scene.token()).await.is_ok(), "64 KiB are read");
    assert_eq!(scene.observed.failures.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn sts_that_cannot_be_reached_is_an_outage() {
    let scene = Scene::with(|options| options.deadline = Duration::from_millis(400));
    assert_eq!(scene.outage(Behaviour::Hang).await, StsOutage::Timeout);
    assert_eq!(
        scene.outage(Behaviour::Delay(Duration::from_secs(5))).await,
        StsOutage::Timeout
    );
    assert_eq!(scene.outage(Behaviour::Close).await, StsOutage::Connect);
    for (connect, outage) in [
        (Connect::Refuse, StsOutage::Connect),
        (Connect::Drop, StsOutage::Connect),
        (Connect::Hang, StsOutage::Timeout),
    ] {
        scene.double.connect(connect);
        assert_eq!(scene.outage(Behaviour::Normal).await, outage, "{connect:?}");
    }
    assert_eq!(scene.observed.failures.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_no_connection() {
    let scene = Scene::with(|options| options.roots = Some(RootCertStore::empty()));
    assert_eq!(scene.outage(Behaviour::Normal).await, StsOutage::Connect);
    assert_eq!(scene.double.total_calls(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_broken_ones_replaced() {
    let scene = Scene::new();
    for _ in 0..10 {
        scene.ask(&scene.token()).await.unwrap();
    }
    assert!(
        scene.double.connects() <= 2,
        "one before the host is trusted, one after"
    );
    scene.double.behave_next(1, &Behaviour::Close);
    scene.ask(&scene.token()).await.unwrap();
    scene.double.connect(Connect::Drop);
    scene.double.connect(Connect::Open);
    scene.ask(&scene.token()).await.unwrap();
}

#[tokio::test]
async fn throttling_is_retried_once_and_never_a_definite_no() {
    let scene = Scene::new();
    scene.double.behave_next(1, &Behaviour::Throttle);
    let start = Instant::now();
    assert!(scene.ask(&scene.token()).await.is_ok());
    assert!(start.elapsed() < Duration::from_millis(1500));
    assert_eq!(
        (
            scene.double.total_calls(),
            scene.observed.throttled.load(Ordering::Relaxed)
        ),
        (2, 1)
    );

    // Vouched for by STS, but no mapping is for her: as good as a stranger.
    let eve = scene.double.add(Principal::user("444455556666", "eve"));
    let unmapped = scene.sts.get_caller_identity(&request(&TokenBuilder::new(&eve))).await;
    assert!(unmapped.is_ok());

    scene.double.behave(Behaviour::Throttle);
    let again = request(&TokenBuilder::new(&eve).expires(61));
    let stranger = scene.sts.get_caller_identity(&again).await;
    assert_eq!(stranger, Err(StsError::Busy { verified_lately: false }));
    let known = scene.ask(&scene.token()).await;
    assert_eq!(known, Err(StsError::Busy { verified_lately: true }));
    assert_eq!(scene.double.total_calls(), 7);
    let bob = scene.double.add(Principal::user("111122223333", "bob"));
    let token = request(&TokenBuilder::new(&bob));
    assert_eq!(scene.ask(&token).await, Err(StsError::Busy { verified_lately: false }));
    scene.double.behave(Behaviour::Normal);
    assert!(scene.ask(&token).await.is_ok(), "throttling is not remembered");
}

#[tokio::test]
async fn a_verified_identity_is_remembered_for_its_time() {
    let scene = Scene::with(|options| options.identity_cache_ttl = Duration::from_millis(300));
    let token = scene.token();
    let first = scene.ask(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &scene.ask(&token).await.unwrap()));
    assert_eq!((scene.double.total_calls(), scene.hits()), (1, vec![CacheHit::Fresh]));
    scene.ask(&scene.token()).await.unwrap();
    assert_eq!(
        scene.double.total_calls(),
        2,
        "another token of the same key is another question"
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    scene.ask(&token).await.unwrap();
    assert_eq!(scene.double.total_calls(), 3);
}

#[tokio::test]
async fn without_the_cache_sts_is_asked_each_time() {
    let scene = Scene::with(|options| options.identity_cache_ttl = Duration::ZERO);
    let token = scene.token();
    for _ in 0..3 {
        scene.ask(&token).await.unwrap();
    }
    assert_eq!((scene.double.total_calls(), scene.hits()), (3, vec![]));
}

#[tokio::test]
async fn many_reviews_of_one_token_ask_once() {
    let scene = Scene::new();
    scene.double.behave(Behaviour::Delay(Duration::from_millis(200)));
    let token = scene.token();
    let outcomes = futures::future::join_all((0..20).map(|_| scene.ask(&token))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(
        (scene.double.total_calls(), scene.hits()),
        (1, vec![CacheHit::Joined; 19])
    );
}

#[tokio::test]
async fn a_cancelled_review_takes_nobody_with_it() {
    let scene = Scene::new();
    scene.double.behave(Behaviour::Delay(Duration::from_millis(200)));
    let token = scene.token();
    let first = tokio::time::timeout(Duration::from_millis(50), scene.ask(&token));
    let (first, second) = tokio::join!(first, scene.ask(&token));
    assert!(first.is_err() && second.is_ok());
}

#[tokio::test]
async fn during_an_outage_a_verified_token_serves_on() {
    let scene = Scene::with(|options| {
        options.identity_cache_ttl = Duration::ZERO;
        options.deadline = Duration::from_millis(400);
    });
    let token = scene.token();
    scene.ask(&token).await.unwrap();
    for behaviour in [
        Behaviour::Status(503, String::new()),
        Behaviour::Hang,
        Behaviour::Garbage,
    ] {
        scene.double.behave(behaviour);
        assert!(scene.ask(&token).await.is_ok());
    }
    scene.double.connect(Connect::Refuse);
    assert!(scene.ask(&token).await.is_ok());
    assert!(matches!(
        scene.ask(&scene.token()).await,
        Err(StsError::Unavailable(StsOutage::Connect))
    ));
    assert_eq!(scene.hits(), [CacheHit::Grace; 4]);
}

#[tokio::test]
async fn a_crowd_that_waits_for_a_hanging_sts_locks_nobody_out() {
    let scene = Scene::with(|options| options.identity_cache_ttl = Duration::ZERO);
    let known = scene.token();
    scene.ask(&known).await.unwrap();
    scene.double.behave(Behaviour::Hang);
    let crowd: Vec<_> = (0..64).map(|_| scene.token()).collect();
    let crowd = futures::future::join_all(crowd.iter().map(|token| scene.ask(token)));
    let bob = request(&TokenBuilder::new(
        &scene.double.add(Principal::user("111122223333", "bob")),
    ));
    let others = async { tokio::join!(scene.ask(&known), scene.ask(&bob)) };
    tokio::select! {
        biased;
        _ = crowd => panic!("the crowd waits for the whole deadline"),
        (known, bob) = others => {
            assert!(known.is_ok(), "{known:?}");
            assert_eq!(bob, Err(StsError::Busy { verified_lately: false }));
        }
    }
    assert_eq!(scene.hits(), [CacheHit::Grace]);
}

#[tokio::test]
async fn without_the_grace_an_outage_is_an_outage() {
    let scene = Scene::with(|options| {
        options.identity_cache_ttl = Duration::ZERO;
        options.outage_grace = false;
    });
    let token = scene.token();
    scene.ask(&token).await.unwrap();
    scene.double.behave(Behaviour::Status(503, String::new()));
    assert_eq!(
        scene.ask(&token).await,
        Err(StsError::Unavailable(StsOutage::Server(503)))
    );
}

#[tokio::test]
async fn a_definite_no_evicts_at_once() {
    let scene = Scene::with(|options| options.identity_cache_ttl = Duration::from_millis(100));
    let token = scene.token();
    scene.ask(&token).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    scene.double.expire(&scene.alice.access_key_id);
    assert_eq!(code(scene.ask(&token).await), "ExpiredToken");
    scene.double.connect(Connect::Refuse);
    assert_eq!(
        code(scene.ask(&token).await),
        "ExpiredToken",
        "the no is remembered for a moment, the identity is gone"
    );
    assert_eq!(scene.hits(), [CacheHit::Refused]);
}

#[tokio::test]
async fn the_clock_skew_is_read_from_sts() {
    let scene = Scene::new();
    assert_eq!(scene.sts.clock_skew_seconds(), None);
    scene.double.clock_skew(-120);
    scene.ask(&scene.token()).await.unwrap();
    let skew = scene.sts.clock_skew_seconds().unwrap();
    assert!((119..=121).contains(&skew), "{skew}");
}

#[tokio::test]
async fn regions_outside_the_table_are_rationed() {
    let scene = Scene::new();
    let ask = async |expires| {
        let token = TokenBuilder::new(&scene.alice)
            .region("us-southwest-9")
            .expires(expires);
        scene.ask(&request(&token)).await
    };
    for expires in 0..4 {
        ask(expires).await.unwrap();
    }
    assert_eq!(ask(4).await, Err(StsError::Busy { verified_lately: true }));
    assert!(ask(0).await.is_ok(), "what is remembered needs no ration");
    assert!(
        scene.ask(&scene.token()).await.is_ok(),
        "a region in the table needs none"
    );
    assert_eq!(scene.observed.responses.lock().unwrap()[0], (200, "other"));
    assert_eq!(scene.double.total_calls(), 5);
}
